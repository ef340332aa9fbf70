//! Functions that hidden lines of the programs call to run them.

use std::{convert::Infallible, net::SocketAddr};

use http::{HeaderName, Request, Response, StatusCode};
use rcgen::{CertificateParams, KeyPair, SanType, string::Ia5String};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    PeerAddr, TrustedHeader, UserContext, UserScopeExt, UserScopeLayer, strategy::Trusting,
};

/// Returns the context of a request with these headers, resolved by this strategy.
///
/// # Panics
/// If the configuration or the request is bad.
///
/// # Errors
/// The status of a refusal.
pub fn read(
    strategy: TrustedHeader<Trusting>,
    peer: &str,
    headers: &[(&str, &str)],
) -> Result<UserContext, StatusCode> {
    let layer = UserScopeLayer::builder()
        .strategy(strategy)
        .context_only()
        .build()
        .expect("a valid configuration");
    let service = layer.layer(service_fn(async |request: Request<()>| {
        let mut response = Response::new(());
        if let Ok(context) = request.user_context() {
            response.extensions_mut().insert(context.clone());
        }
        Ok::<_, Infallible>(response)
    }));
    let mut request = Request::new(());
    let address: SocketAddr = format!("{peer}:4711").parse().expect("an address");
    request.extensions_mut().insert(PeerAddr(address));
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).expect("a name");
        let value = value.parse().expect("a value");
        request.headers_mut().append(name, value);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let response = runtime.block_on(service.oneshot(request));
    let mut response = response.expect("infallible");
    let context = response.extensions_mut().remove();
    context.ok_or(response.status())
}

/// Makes a certificate with this URI or e-mail address as its alternative name, in DER and in PEM.
///
/// # Panics
/// If the name can't be one.
#[must_use]
pub fn certificate(name: &str) -> (Vec<u8>, String) {
    let text: Ia5String = name.try_into().expect("ASCII");
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![if name.contains("://") {
        SanType::URI(text)
    } else {
        SanType::Rfc822Name(text)
    }];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.der().to_vec(), certificate.pem())
}
