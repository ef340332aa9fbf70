//! Users that an Application Load Balancer of AWS has logged in, by the statement that it signs. The
//! strategy is in `load_balancer.rs`, to be copied; here it is tried out with a load balancer that is
//! made up.

mod load_balancer;
#[path = "../../support/mod.rs"]
mod support;

use std::{error::Error, net::SocketAddr, time::SystemTime};

use axum::{Router, extract::Path, http::StatusCode, routing::get};
use base64::{Engine, engine::general_purpose::URL_SAFE};
use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_user_scope::{UserId, UserScopeLayer, strategy::Trust};

use self::{
    load_balancer::{Expected, LoadBalancer},
    support::{Case, serve_and_ask},
};

const ARN: &str =
    "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/shop/50dc6c495c0c9188";
const KEY_ID: &str = "12345678-1234-1234-1234-123456789012";

async fn whoami(user: UserId) -> String {
    user.to_string()
}

fn app(keys: &str, public_key: String) -> Result<Router, Box<dyn Error>> {
    let expected = Expected {
        signer: ARN.to_owned(),
        issuer: "https://id.example".to_owned(),
        client: "shop".to_owned(),
    };
    // Really the subnets of the load balancer.
    let trust = Trust::proxies(["127.0.0.1/32"])?;
    let layer = UserScopeLayer::builder()
        .strategy(LoadBalancer::new(expected, trust, keys)?)
        .context_only()
        .build()?;
    // The keys' server, really AWS'.
    let public_keys = async move |Path(id): Path<String>| match &*id {
        KEY_ID => Ok(public_key.clone()),
        _ => Err(StatusCode::NOT_FOUND),
    };
    Ok(Router::new()
        .route("/", get(whoami))
        .layer(layer)
        .route("/keys/{id}", get(public_keys)))
}

/// What the load balancer makes of a log-in, with these members of the header changed.
fn statement(key: &KeyPair, changed: &[(&str, Value)]) -> Result<String, Box<dyn Error>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let mut header = json!({
        "typ": "JWT", "alg": "ES256", "kid": KEY_ID, "signer": ARN, "iss": "https://id.example",
        "client": "shop", "exp": now.as_secs() + 120,
    });
    for (name, value) in changed {
        header[*name] = value.clone();
    }
    let claims = json!({"sub": "alice", "email": "alice@example.com"});
    let encoded = |part: Value| URL_SAFE.encode(part.to_string());
    let signed = format!("{}.{}", encoded(header), encoded(claims));
    let key = EncodingKey::from_ec_der(key.serialized_der());
    let signature = sign(signed.as_bytes(), &key, Algorithm::ES256)?;
    // 64 bytes end in two characters of padding.
    Ok(format!("{signed}.{signature}=="))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Only where both providers are compiled in, as they are for the tests of this crate.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (key, other) = (
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
    );
    let app = app(&format!("http://{address}/keys"), key.public_key_pem())?;
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    let server = async { axum::serve(listener, service).await };

    let right = statement(&key, &[])?;
    let strangers = statement(&key, &[("signer", json!(ARN.replace("shop", "other")))])?;
    let for_another = statement(&key, &[("client", json!("other"))])?;
    let expired = statement(&key, &[("exp", json!(1_700_000_000))])?;
    let unknown_key = statement(&key, &[("kid", json!("no-key"))])?;
    let forged = statement(&other, &[])?;
    let data = "x-amzn-oidc-data";
    let refused = Err(StatusCode::UNAUTHORIZED);
    let requests: [(_, &[_], _); 8] = [
        ("a user that was logged in", &[(data, &*right)], Ok("alice")),
        ("another load balancer", &[(data, &*strangers)], refused),
        ("another client", &[(data, &*for_another)], refused),
        ("a statement that has ended", &[(data, &*expired)], refused),
        ("a key that there is not", &[(data, &*unknown_key)], refused),
        ("a signature of another key", &[(data, &*forged)], refused),
        (
            "the id alone",
            &[("x-amzn-oidc-identity", "alice")],
            refused,
        ),
        ("nobody", &[], refused),
    ];
    let cases = requests.map(|(what, headers, expected)| Case::get(what, "/", headers, expected));
    serve_and_ask(address, server, &cases).await
}
