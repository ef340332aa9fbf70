//! Who verifies tokens: the header read, the token verified, its claims inserted.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    sync::Arc,
    task::{Context, Poll},
};

use axum::extract::{FromRef, FromRequestParts};
use axum_jwt_auth::{Decoder, LocalDecoder};
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use jsonwebtoken_10 as jsonwebtoken10;
use jwt_authorizer::{IntoLayer, JwtAuthorizer};
use tower::Service;
use tower_layer::Layer;
use tower_oauth2_resource_server::{
    server::OAuth2ResourceServer, tenant::TenantConfiguration, validation::ClaimsValidationSpec,
};

use crate::{
    case::{Case, wait_for},
    inner::Inner,
    requests::same,
    tokens::{AUDIENCE, Claims, ISSUER, Kind, Material},
};

/// `jsonwebtoken` 11 on aws-lc-rs, called by hand: what every verifier on it has to pay.
#[must_use]
pub fn bare(kind: Kind) -> Case {
    Case::new(Bare(kind.material(), Inner::new()), same(kind.request()))
}

#[derive(Clone)]
struct Bare(&'static Material, Inner);

impl Bare {
    fn claims(&self, request: &Request<()>) -> Option<Claims> {
        let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
        let token = value.strip_prefix("Bearer ")?;
        let data = jsonwebtoken::decode(token, &self.0.key, &self.0.validation);
        Some(data.ok()?.claims)
    }
}

impl Service<Request<()>> for Bare {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<()>) -> Self::Future {
        let Some(claims) = self.claims(&request) else {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            return ready(Ok(response));
        };
        request.extensions_mut().insert(claims);
        self.1.call(request)
    }
}

/// jwt-authorizer 0.15 (`jsonwebtoken` 9, ring).
///
/// # Panics
/// Where it does not take the key.
#[must_use]
pub fn jwt_authorizer(kind: Kind) -> Case {
    let material = kind.material();
    let builder: JwtAuthorizer<Claims> = match kind {
        Kind::Hs256 => JwtAuthorizer::from_secret(material.secret),
        Kind::Rs256 => JwtAuthorizer::from_rsa_pem_text(&material.public_pem),
        Kind::Es256 => JwtAuthorizer::from_ec_pem_text(&material.public_pem),
        Kind::EdDsa => JwtAuthorizer::from_ed_pem_text(&material.public_pem),
    };
    let validation = jwt_authorizer::Validation::new()
        .iss(&[ISSUER])
        .aud(&[AUDIENCE])
        .exp(true);
    let authorizer = wait_for(builder.validation(validation).build()).expect("an authorizer");
    let service = authorizer
        .into_layer()
        .layer(Inner::<axum_07::body::Body>::new());
    Case::new(service, same(kind.request()))
}

/// axum-jwt-auth 0.7 (`jsonwebtoken` 10, its Rust provider): an extractor.
///
/// # Panics
/// Where it does not take the key.
#[must_use]
pub fn axum_jwt_auth(kind: Kind) -> Case {
    let material = kind.material();
    let pem = material.public_pem.as_bytes();
    let (algorithm, key) = match kind {
        Kind::Hs256 => (
            jsonwebtoken10::Algorithm::HS256,
            Ok(jsonwebtoken10::DecodingKey::from_secret(
                material.secret.as_bytes(),
            )),
        ),
        Kind::Rs256 => (
            jsonwebtoken10::Algorithm::RS256,
            jsonwebtoken10::DecodingKey::from_rsa_pem(pem),
        ),
        Kind::Es256 => (
            jsonwebtoken10::Algorithm::ES256,
            jsonwebtoken10::DecodingKey::from_ec_pem(pem),
        ),
        Kind::EdDsa => (
            jsonwebtoken10::Algorithm::EdDSA,
            jsonwebtoken10::DecodingKey::from_ed_pem(pem),
        ),
    };
    let mut validation = jsonwebtoken10::Validation::new(algorithm);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    let decoder = LocalDecoder::builder()
        .keys(vec![key.expect("a key")])
        .validation(validation)
        .build()
        .expect("a decoder");
    let state = Extracting {
        decoder: Arc::new(decoder),
    };
    Case::new(state, same(kind.request()))
}

/// A handler with the extractor as its argument.
#[derive(Clone, FromRef)]
struct Extracting {
    decoder: Decoder<Claims>,
}

impl Service<Request<()>> for Extracting {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let extracted = axum_jwt_auth::Claims::<Claims>::from_request_parts(&mut head, self);
        match wait_for(extracted) {
            Ok(claims) => {
                black_box(claims.claims);
                Inner::new().call(Request::from_parts(head, body))
            }
            Err(_) => {
                let mut response = Response::new(());
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                ready(Ok(response))
            }
        }
    }
}

/// tower-oauth2-resource-server 0.12 (`jsonwebtoken` 11, aws-lc-rs).
///
/// # Panics
/// Where it does not take the key.
#[must_use]
pub fn tower_oauth2(kind: Kind) -> Case {
    let material = kind.material();
    let claims = ClaimsValidationSpec::new()
        .exp(true)
        .iss(ISSUER)
        .aud(&vec![AUDIENCE.to_owned()]);
    let tenant = TenantConfiguration::static_builder(&material.jwk_set)
        .claims_validation(claims)
        .allowed_algorithms(&[kind.algorithm()])
        .build()
        .expect("a tenant");
    let server = OAuth2ResourceServer::<Claims>::builder().add_tenant(tenant);
    let server = wait_for(server.build()).expect("a server");
    let service = server.into_layer::<()>().layer(Inner::<()>::new());
    Case::new(service, same(kind.request()))
}
