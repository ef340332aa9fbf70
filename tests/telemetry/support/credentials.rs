//! A service whose users have tokens, sessions and API keys, through the strategies that applications use.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_sessions::{
    MemoryStore, SessionStore,
    session::{Id, Record},
};
use tower_user_scope::{
    Identity, UserId, UserScopeLayer,
    api_key::{ApiKey, ApiKeyId, ApiKeyRecord, ApiKeyStore, ApiKeys},
    audit::{AuditEvent, Observer, UserIdTelemetry},
    jwt::{CryptoProvider, FetchDocument, FetchError, Jwt, RemoteKeys},
    middleware::BoxUserScopeLayer,
    session::SessionCookie,
    strategy::Strategy,
};

const ISSUER: &str = "https://id.example";

/// What the issuer publishes: the public half of the key that signs.
const KEY_SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"a","use":"sig",
    "x":"FkSO7a9v-a8pAlOgmFA3kHIMu-8CoB6hSXRz74JLrUw"}]}"#;
const PRIVATE_KEY: &[u8] = include_bytes!("../../jwt/tokens/keys/ed25519.pem");

/// The issuer's document, unless the issuer is down.
#[derive(Clone, Default)]
pub(crate) struct Issuer {
    pub(crate) is_down: Arc<AtomicBool>,
}

impl FetchDocument for Issuer {
    async fn fetch(&self, _url: &str) -> Result<Bytes, FetchError> {
        if self.is_down.load(Ordering::Relaxed) {
            return Err(FetchError::transport(io::Error::other(
                "connection refused",
            )));
        }
        Ok(Bytes::from_static(KEY_SET.as_bytes()))
    }
}

/// Returns a token of this user that ends after so many seconds from now.
pub(crate) fn token(kid: &str, user: &str, audience: &str, lasts: i64) -> String {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let provider = &jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
        provider.install_default().expect("nobody else chooses one");
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = i64::try_from(now.expect("after 1970").as_secs()).expect("a number");
    let claims = json!({
        "iss": ISSUER, "aud": audience, "sub": user, "iat": now - 3_600, "exp": now + lasts,
        "jti": format!("canary-of-the-token-of-{user}"),
    });
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(kid.to_owned());
    let key = EncodingKey::from_ed_pem(PRIVATE_KEY).expect("a private key");
    jsonwebtoken::encode(&header, &claims, &key).expect("a token")
}

struct Keys {
    alice: ApiKey,
    revoked: ApiKey,
}

impl ApiKeyStore for Keys {
    type Error = Infallible;

    async fn find(&self, id: &ApiKeyId) -> Result<Option<ApiKeyRecord>, Infallible> {
        let found = [&self.alice, &self.revoked]
            .into_iter()
            .find(|key| key.id() == id);
        Ok(found.map(|key| {
            let alice = UserId::try_from("alice").expect("an id");
            let is_revoked = key.id() == self.revoked.id();
            ApiKeyRecord::new(key.hash(), Identity::proved(alice)).with_revoked(is_revoked)
        }))
    }
}

/// A service, its credentials, and requests of every kind with them.
pub(crate) struct Service {
    pub(crate) layer: BoxUserScopeLayer,
    pub(crate) requests: Vec<(&'static str, Request<()>, StatusCode)>,
    /// What no telemetry may show.
    pub(crate) secrets: Vec<String>,
}

fn with(name: &'static str, value: &str) -> Request<()> {
    let request = Request::builder().uri(format!("/?token={}", value.replace(' ', "+")));
    request.header(name, value).body(()).expect("a request")
}

/// Returns the parts of a token that a thief could use, or that say who it is of.
fn parts(token: &str) -> impl Iterator<Item = String> {
    token.split('.').skip(1).map(str::to_owned)
}

async fn session_of(store: &MemoryStore, user: &str) -> Id {
    let mut record = Record {
        id: Id::default(),
        data: [("user_id".to_owned(), user.into())].into(),
        expiry_date: time::OffsetDateTime::now_utc() + time::Duration::HOUR,
    };
    store.create(&mut record).await.expect("memory");
    record.id
}

/// With a provider, because features may enable two.
fn token_strategy(keys: RemoteKeys) -> impl Strategy<Future: Send> + Send + Sync + 'static {
    Jwt::new(keys)
        .issuer(ISSUER)
        .audience("api")
        .crypto_provider(CryptoProvider::aws_lc_rs())
}

pub(crate) async fn service(
    issuer: &Issuer,
    observers: Vec<Arc<dyn Observer + Send + Sync>>,
    ids: UserIdTelemetry,
) -> Service {
    let keys = RemoteKeys::from_url("https://id.example/keys?key=canary-of-the-key-sets-url")
        .fetch_with(issuer.clone());
    let store = MemoryStore::default();
    let alice = ApiKey::generate("acme").expect("a prefix");
    let revoked = ApiKey::generate("acme").expect("a prefix");
    let other = ApiKey::generate("acme").expect("a prefix");
    let (good_key, revoked_key) = (
        alice.expose_secret().to_owned(),
        revoked.expose_secret().to_owned(),
    );
    let mut wrong_key = good_key.clone();
    let end = other.expose_secret().rsplit('_').next().expect("a secret");
    wrong_key.truncate(good_key.len() - end.len());
    wrong_key.push_str(end);

    let good = token("a", "alice", "api", 3_600);
    let expired = token("a", "alice", "api", -1_800);
    let unknown_key = token("b", "alice", "api", 3_600);
    let wrong_audience = token("a", "alice", "another", 3_600);
    let tampered = {
        let of_bob = token("a", "bob", "api", 3_600);
        let (signed, _) = good.rsplit_once('.').expect("a token");
        let (_, signature) = of_bob.rsplit_once('.').expect("a token");
        format!("{signed}.{signature}")
    };
    let (session, unknown) = (session_of(&store, "bob").await, Id(4_711_471_147_114_711));
    let bearer = |token: &str| with("authorization", &format!("Bearer {token}"));
    let cookie = |value: &str| with("cookie", &format!("sid={value}"));
    let no = StatusCode::UNAUTHORIZED;
    let requests = vec![
        ("a token", bearer(&good), StatusCode::OK),
        ("the token again", bearer(&good), StatusCode::OK),
        ("an expired token", bearer(&expired), no),
        ("a token of an unknown key", bearer(&unknown_key), no),
        ("a token for others", bearer(&wrong_audience), no),
        ("a token with another's signature", bearer(&tampered), no),
        ("not a token", bearer("canary.not-a.token"), no),
        ("a session", cookie(&session.to_string()), StatusCode::OK),
        ("an unknown session", cookie(&unknown.to_string()), no),
        ("not a session", cookie("canary-of-a-cookie"), no),
        ("a key", with("x-api-key", &good_key), StatusCode::OK),
        (
            "the key again",
            with("x-api-key", &good_key),
            StatusCode::OK,
        ),
        (
            "a key with a wrong secret",
            with("x-api-key", &wrong_key),
            no,
        ),
        ("a revoked key", with("x-api-key", &revoked_key), no),
        (
            "nothing that is read",
            with("x-other", "canary-of-a-query"),
            no,
        ),
    ];
    let secret = |key: &str| key.rsplit('_').next().unwrap_or_default().to_owned();
    let mut secrets: Vec<_> = [&good, &expired, &unknown_key, &wrong_audience, &tampered]
        .into_iter()
        .flat_map(|token| parts(token))
        .collect();
    secrets.extend([&good_key, &wrong_key, &revoked_key].map(|key| secret(key)));
    for id in [session, unknown] {
        secrets.extend([id.to_string(), id.0.to_string(), format!("{:x}", id.0)]);
    }
    secrets.push("canary".to_owned());

    let mut builder = UserScopeLayer::builder()
        .strategy(token_strategy(keys))
        .strategy(SessionCookie::new("sid", store))
        .strategy(ApiKeys::new("acme", Keys { alice, revoked }).cache_for(Duration::from_secs(30)))
        .user_ids_in_telemetry(ids)
        .context_only()
        .boxed();
    for observer in observers {
        builder = builder.observer(move |event: &AuditEvent<'_>| observer.observe(event));
    }
    Service {
        layer: builder.build().expect("a valid configuration"),
        requests,
        secrets,
    }
}

impl Service {
    /// Sends each request, and checks its status. Returns what `explain` says.
    pub(crate) async fn run(&self) -> String {
        let service = self.layer.layer(service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(String::new()))
        }));
        let mut explained = String::new();
        for (what, request, status) in &self.requests {
            let response = service.clone().oneshot(request.clone()).await;
            assert_eq!(response.expect("infallible").status(), *status, "{what}");
            let (head, ()) = request.clone().into_parts();
            let explanation = self.layer.explain(&head).await;
            explained.extend([explanation.to_string(), format!("{explanation:?}")]);
        }
        explained
    }
}
