//! Three credentials that prove who it is: a session cookie for people with browsers, whose session
//! is in a store, an access token for programs of users, whose issuer publishes its keys, and an API key
//! for machines, whose hash is in a table. None is believed in place of another: a request with two has
//! to be the same principal's.
//!
//! Two routes ask for more: `/orders` for a scope, `/admin` for a role. A person who is not logged in
//! is sent to the log-in page.

#[path = "../../support/mod.rs"]
mod support;

use std::{
    collections::HashMap, convert::Infallible, error::Error, net::SocketAddr, time::SystemTime,
};

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
    Identity, Principal, UserContext, UserId, UserScopeLayer,
    api_key::{ApiKey, ApiKeyId, ApiKeyRecord, ApiKeyStore, ApiKeys},
    authorize::{Grants, Require},
    context::ServiceName,
    jwt::{CryptoProvider, Jwt, RemoteKeys},
    middleware::RequireLayer,
    rejection::LoginRedirect,
    session::{SessionCookie, SessionData, SessionError},
};

use self::support::{Case, serve_and_ask};

const COOKIE: &str = "__Host-sid";

/// What a real one does after it has checked a password.
async fn log_in(session: Session) -> Result<&'static str, StatusCode> {
    let logged_in = async {
        // A new id: one that somebody else has planted is worth nothing after this.
        session.cycle_id().await?;
        session.insert("roles", ["admin"]).await?;
        session.insert("user_id", "alice").await
    };
    let failed = |_| StatusCode::SERVICE_UNAVAILABLE;
    logged_in.await.map(|()| "welcome").map_err(failed)
}

async fn whoami(context: UserContext) -> String {
    let who = match context.principal() {
        Principal::User(user) => user.as_str(),
        Principal::Service(name) => name.as_str(),
        _ => "nobody",
    };
    format!("{who}, by {}", context.strategy())
}

/// Whose a session is: people who log in may do what their roles allow, and read their orders.
fn user_of(session: &SessionData<'_>) -> Result<Option<Identity>, SessionError> {
    let Some(id) = session.get::<String>("user_id")? else {
        return Ok(None);
    };
    let roles = session.get::<Vec<String>>("roles")?.unwrap_or_default();
    let grants = Grants::new().with_roles(roles).with_scopes(["orders:read"]);
    let user = Identity::proved(UserId::try_from(id)?);
    Ok(Some(user.with_attribute(grants)))
}

/// The API keys; really a table of a database.
struct Keys(HashMap<ApiKeyId, ApiKeyRecord>);

impl Keys {
    /// A table with the key of one machine, and that key.
    fn with_one() -> Result<(Self, ApiKey), Box<dyn Error>> {
        let key = ApiKey::generate("demo")?;
        let machine = Identity::proved("nightly-report".parse::<ServiceName>()?);
        let record = ApiKeyRecord::new(key.hash(), machine).with_scopes(["orders:read"]);
        Ok((Self(HashMap::from([(key.id().clone(), record)])), key))
    }
}

impl ApiKeyStore for Keys {
    type Error = Infallible;

    async fn find(&self, id: &ApiKeyId) -> Result<Option<ApiKeyRecord>, Infallible> {
        Ok(self.0.get(id).cloned())
    }
}

fn app(
    sessions: MemoryStore,
    issuer: &str,
    published: Value,
    keys_of_machines: Keys,
) -> Result<Router, Box<dyn Error>> {
    let keys = RemoteKeys::from_url(format!("{issuer}/keys"));
    let tokens = Jwt::new(keys)
        .issuer(issuer)
        .audience("api")
        .scope_claim("scope")
        .role_claim("roles")
        // Only where both providers are compiled in, as they are for the tests of this crate.
        .crypto_provider(CryptoProvider::aws_lc_rs());
    let users = UserScopeLayer::builder()
        .strategy(SessionCookie::new(COOKIE, sessions.clone()).identity(user_of))
        .strategy(tokens)
        .strategy(ApiKeys::new("demo", keys_of_machines))
        .unanimous()
        .rejection_response(LoginRedirect::to("/login")?)
        .context_only()
        .build()?;
    let cookies = SessionManagerLayer::new(sessions)
        .with_name(COOKIE)
        .with_secure(true)
        .with_same_site(SameSite::Lax);
    let may_read = RequireLayer::new(Require::new().scope("orders:read"));
    let is_admin = RequireLayer::new(Require::new().role("admin"));
    Ok(Router::new()
        .route("/", get(whoami))
        .route("/orders", get(whoami).layer(may_read))
        .route("/admin", get(whoami).layer(is_admin))
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

    fn token(&self, user: &str, audience: &str, scope: &str) -> Result<String, Box<dyn Error>> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let claims = json!({
            "iss": self.name, "aud": audience, "sub": user, "scope": scope,
            "exp": now.as_secs() + 300,
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
    let (keys, key) = Keys::with_one()?;
    let app = app(
        MemoryStore::default(),
        &issuer.name,
        issuer.published(),
        keys,
    )?;
    let server = tokio::spawn(axum::serve(listener, app).into_future());

    let cookie = cookie(address).await?;
    let alice = format!("Bearer {}", issuer.token("alice", "api", "orders:read")?);
    let bob = format!("Bearer {}", issuer.token("bob", "api", "orders:read")?);
    let narrow = format!("Bearer {}", issuer.token("bob", "api", "profile")?);
    let elsewhere = format!(
        "Bearer {}",
        issuer.token("bob", "another-api", "orders:read")?
    );
    let unknown_key = key.expose_secret().replace(key.id().as_str(), "unknown");
    let changed = format!("{bob}x");
    let stale = format!("{COOKIE}=AAAAAAAAAAAAAAAAAAAAAA");
    let refused = Err(StatusCode::UNAUTHORIZED);
    let may_not = Err(StatusCode::FORBIDDEN);
    let browser = ("cookie", &*cookie);
    let ended = ("cookie", &*stale);
    let program = |token| ("authorization", token);
    let machine = ("x-api-key", key.expose_secret());
    let (alice_session, bob_token) = (Ok("alice, by session_cookie"), Ok("bob, by jwt"));
    let by_key = Ok("nightly-report, by api_key");
    let requests: [(_, _, &[_], _); 16] = [
        ("a browser, logged in", "/", &[browser], alice_session),
        ("a program, with a token", "/", &[program(&*bob)], bob_token),
        ("a machine, with a key", "/", &[machine], by_key),
        ("the key may read orders", "/orders", &[machine], by_key),
        (
            "the token may read orders",
            "/orders",
            &[program(&bob)],
            bob_token,
        ),
        (
            "a token without that scope",
            "/orders",
            &[program(&narrow)],
            may_not,
        ),
        ("the admin", "/admin", &[browser], alice_session),
        ("a program of no admin", "/admin", &[program(&bob)], may_not),
        (
            "alice's cookie and alice's token",
            "/",
            &[browser, program(&alice)],
            alice_session,
        ),
        (
            "alice's cookie and bob's token",
            "/",
            &[browser, program(&bob)],
            refused,
        ),
        (
            "alice's cookie and a changed token",
            "/",
            &[browser, program(&changed)],
            refused,
        ),
        (
            "alice's cookie and a machine's key",
            "/",
            &[browser, machine],
            refused,
        ),
        (
            "a token for another service",
            "/",
            &[program(&elsewhere)],
            refused,
        ),
        (
            "an unknown key",
            "/",
            &[("x-api-key", &*unknown_key)],
            refused,
        ),
        ("a session that has ended", "/", &[ended], refused),
        (
            "a person who is not logged in",
            "/orders",
            &[("accept", "text/html")],
            Err(StatusCode::SEE_OTHER),
        ),
    ];
    let cases =
        requests.map(|(what, path, headers, expected)| Case::get(what, path, headers, expected));
    serve_and_ask(address, async { server.await? }, &cases).await
}
