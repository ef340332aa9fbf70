//! Two credentials that prove who it is: a session cookie for people with browsers, whose session
//! is in a store, and an access token for programs, whose issuer publishes its keys. Neither is
//! believed in place of the other: a request with both has to be the same user's.

#[path = "../../support/mod.rs"]
mod support;

use std::{error::Error, net::SocketAddr, time::SystemTime};

use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode, header},
    routing::get,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_sessions::{MemoryStore, Session, SessionManagerLayer, cookie::SameSite};
use tower_user_scope::{
    UserContext, UserScopeLayer,
    jwt::{CryptoProvider, Jwt, RemoteKeys},
    session::SessionCookie,
};

use self::support::{Case, serve_and_ask};

const COOKIE: &str = "__Host-sid";

/// What a real one does after it has checked a password.
async fn log_in(session: Session) -> Result<&'static str, StatusCode> {
    let logged_in = async {
        // A new id: one that somebody else has planted is worth nothing after this.
        session.cycle_id().await?;
        session.insert("user_id", "alice").await
    };
    let failed = |_| StatusCode::SERVICE_UNAVAILABLE;
    logged_in.await.map(|()| "welcome").map_err(failed)
}

async fn whoami(user: UserContext) -> String {
    let id = user.user_id().map_or("nobody", |id| id.as_str());
    format!("{id}, by {}", user.strategy())
}

fn app(sessions: MemoryStore, issuer: &str, published: Value) -> Result<Router, Box<dyn Error>> {
    let keys = RemoteKeys::from_url(format!("{issuer}/keys"));
    let tokens = Jwt::new(keys)
        .issuer(issuer)
        .audience("api")
        // Only where both providers are compiled in, as they are for the tests of this crate.
        .crypto_provider(CryptoProvider::aws_lc_rs());
    let users = UserScopeLayer::builder()
        .strategy(SessionCookie::new(COOKIE, sessions.clone()))
        .strategy(tokens)
        .unanimous()
        .context_only()
        .build()?;
    let cookies = SessionManagerLayer::new(sessions)
        .with_name(COOKIE)
        .with_secure(true)
        .with_same_site(SameSite::Lax);
    Ok(Router::new()
        .route("/", get(whoami))
        .layer(users)
        .merge(Router::new().route("/login", get(log_in)).layer(cookies))
        // The issuer's, really: another server, behind TLS.
        .route("/keys", get(async || Json(published))))
}

/// An issuer of tokens, which has a key and publishes its public half.
struct Issuer {
    name: String,
    key: KeyPair,
}

impl Issuer {
    fn published(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.der_bytes());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "use": "sig", "x": x}]})
    }

    fn token(&self, user: &str, audience: &str) -> Result<String, Box<dyn Error>> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let claims = json!({
            "iss": self.name, "aud": audience, "sub": user, "exp": now.as_secs() + 300,
        });
        let header = Header {
            kid: Some("1".to_owned()),
            ..Header::new(Algorithm::EdDSA)
        };
        let key = EncodingKey::from_ed_der(self.key.serialized_der());
        Ok(jsonwebtoken::encode(&header, &claims, &key)?)
    }
}

/// Logs in as a browser does, and returns the cookie that it would send from then on.
async fn cookie(address: SocketAddr) -> Result<String, Box<dyn Error>> {
    let response = reqwest::get(format!("http://{address}/login")).await?;
    let headers: &HeaderMap = response.headers();
    let set = headers.get(header::SET_COOKIE).ok_or("nobody logged in")?;
    Ok(set
        .to_str()?
        .split(';')
        .next()
        .unwrap_or_default()
        .to_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Minting needs a provider for the process; verifying does not ask for it.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let issuer = Issuer {
        name: format!("http://{address}"),
        key: KeyPair::generate_for(&PKCS_ED25519)?,
    };
    let app = app(MemoryStore::default(), &issuer.name, issuer.published())?;
    let server = tokio::spawn(axum::serve(listener, app).into_future());

    let cookie = cookie(address).await?;
    let alice = format!("Bearer {}", issuer.token("alice", "api")?);
    let bob = format!("Bearer {}", issuer.token("bob", "api")?);
    let elsewhere = format!("Bearer {}", issuer.token("bob", "another-api")?);
    let changed = format!("{bob}x");
    let stale = format!("{COOKIE}=AAAAAAAAAAAAAAAAAAAAAA");
    let refused = Err(StatusCode::UNAUTHORIZED);
    let browser = ("cookie", &*cookie);
    let ended = ("cookie", &*stale);
    let program = |token| ("authorization", token);
    let requests: [(_, &[_], _); 8] = [
        (
            "a browser, logged in",
            &[browser],
            Ok("alice, by session_cookie"),
        ),
        (
            "a program, with a token",
            &[program(&*bob)],
            Ok("bob, by jwt"),
        ),
        (
            "alice's cookie and alice's token",
            &[browser, program(&alice)],
            Ok("alice, by session_cookie"),
        ),
        (
            "alice's cookie and bob's token",
            &[browser, program(&bob)],
            refused,
        ),
        (
            "alice's cookie and a changed token",
            &[browser, program(&changed)],
            refused,
        ),
        (
            "a token for another service",
            &[program(&elsewhere)],
            refused,
        ),
        ("a session that has ended", &[ended], refused),
        ("nothing", &[], refused),
    ];
    let cases = requests.map(|(what, headers, expected)| Case::get(what, "/", headers, expected));
    serve_and_ask(address, async { server.await? }, &cases).await
}
