//! Keys that are used only in these tests, tokens that are signed with them, and the results of the
//! layer.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod jwk;
pub(crate) mod providers;

use std::{
    convert::Infallible,
    error::Error,
    future::{Ready, ready},
    sync::Once,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{Request, Response, header};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_user_scope::{
    Rejection, UserContext, UserScopeExt, UserScopeLayer,
    clock::{Clock, SystemClock},
    jwt::{
        Algorithm, CryptoProvider, HasAudience, HasIssuer, Jwt, Key, Keys, TokenError,
        TokenErrorKind,
    },
    rejection::RejectionKind,
    strategy::{InvalidErrorKind, Strategy},
};

pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "api";
pub(crate) const SECRET: &[u8] =
    b"a secret of these tests, and of nothing else in the world, 64 by";

/// A secret that signs no token.
pub(crate) const OTHER_SECRET: &[u8] =
    b"another secret of these tests, that signs nothing anywhere, 64 b";

/// Each algorithm with its signing key and its verifying key.
pub(crate) const ALGORITHMS: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The algorithm of tests that do not depend on the algorithm.
pub(crate) const HS: Algorithm = Algorithm::HS256;

/// Signing uses the process's provider, which has to be chosen if features enable two.
pub(crate) fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER
            .install_default()
            .expect("nobody else chooses one");
    });
}

pub(crate) fn public_pem(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::ES256 => include_str!("keys/p256.pub.pem"),
        Algorithm::ES384 => include_str!("keys/p384.pub.pem"),
        Algorithm::EdDSA => include_str!("keys/ed25519.pub.pem"),
        _ => include_str!("keys/rsa.pub.pem"),
    }
}

/// The same key as a `SubjectPublicKeyInfo` in DER.
pub(crate) fn public_der(algorithm: Algorithm) -> Vec<u8> {
    use base64::Engine as _;
    let body: String = public_pem(algorithm)
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body);
    der.expect("PEM has base64")
}

pub(crate) fn is_hmac(algorithm: Algorithm) -> bool {
    algorithm.as_str().starts_with("HS")
}

pub(crate) fn verifying(algorithm: Algorithm) -> Key {
    if is_hmac(algorithm) {
        return Key::hmac(algorithm, SECRET).expect("the secret is long enough");
    }
    Key::from_pem(algorithm, public_pem(algorithm)).expect("the key is one for its algorithm")
}

fn signing(algorithm: Algorithm) -> EncodingKey {
    if is_hmac(algorithm) {
        return EncodingKey::from_secret(SECRET);
    }
    let key = match algorithm {
        Algorithm::ES256 => EncodingKey::from_ec_pem(include_bytes!("keys/p256.pem")),
        Algorithm::ES384 => EncodingKey::from_ec_pem(include_bytes!("keys/p384.pem")),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(include_bytes!("keys/ed25519.pem")),
        _ => EncodingKey::from_rsa_pem(include_bytes!("keys/rsa.pem")),
    };
    key.expect("a private key in PEM")
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

/// Claims that are valid for the next hour.
pub(crate) fn claims(user: &str) -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": user, "iat": now(), "exp": now() + 3_600})
}

/// The valid claims of alice with these members replaced; `null` removes a member.
pub(crate) fn claims_with(members: Value) -> Value {
    let mut claims = claims("alice");
    let (Value::Object(all), Value::Object(members)) = (&mut claims, members) else {
        panic!("claims are objects");
    };
    for (name, value) in members {
        if value.is_null() {
            all.remove(&name);
        } else {
            all.insert(name, value);
        }
    }
    claims
}

/// A token as `jsonwebtoken` writes it.
pub(crate) fn minted(algorithm: Algorithm, key_id: Option<&str>, claims: &Value) -> String {
    install_provider();
    let header = Header {
        kid: key_id.map(str::to_owned),
        ..Header::new(algorithm.as_str().parse().expect("a name that it knows"))
    };
    jsonwebtoken::encode(&header, claims, &signing(algorithm)).expect("it can be signed")
}

/// A token whose header and payload are exactly these bytes, signed for the algorithm's key.
pub(crate) fn signed(algorithm: Algorithm, header: &str, payload: &str) -> String {
    signed_bytes(algorithm, header.as_bytes(), payload.as_bytes())
}

/// The same as `signed`, for bytes that may not be text.
pub(crate) fn signed_bytes(algorithm: Algorithm, header: &[u8], payload: &[u8]) -> String {
    install_provider();
    let message = format!("{}.{}", base64url(header), base64url(payload));
    let jwa = algorithm.as_str().parse().expect("a name that it knows");
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &signing(algorithm), jwa)
        .expect("it can be signed");
    format!("{message}.{signature}")
}

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// A strategy for the issuer and the audience of these tests, whose tokens are verified by both
/// crypto providers.
pub(crate) fn jwt(keys: impl Into<Keys>) -> Jwt<HasIssuer, HasAudience> {
    jwt_on(providers::both(), keys)
}

/// The same, with this crypto provider.
pub(crate) fn jwt_on(
    provider: CryptoProvider,
    keys: impl Into<Keys>,
) -> Jwt<HasIssuer, HasAudience> {
    Jwt::new(keys)
        .crypto_provider(provider)
        .issuer(ISSUER)
        .audience(AUDIENCE)
}

pub(crate) fn bearer(token: &str) -> Request<()> {
    Request::builder()
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(())
        .expect("the token can be in a header")
}

type Answered = Ready<Result<Response<()>, Infallible>>;
type Inner = tower::util::ServiceFn<fn(Request<()>) -> Answered>;

fn answer(request: Request<()>) -> Answered {
    let mut response = Response::new(());
    let (head, ()) = request.into_parts();
    if let Ok(context) = head.user_context() {
        response.extensions_mut().insert(context.clone());
    }
    response.extensions_mut().insert(head.headers);
    ready(Ok(response))
}

/// A service behind a layer that handles any number of requests.
#[derive(Clone)]
pub(crate) struct Asked(BoxCloneSyncService<Request<()>, Response<()>, Infallible>);

/// A service behind a layer with this strategy.
pub(crate) fn asking<T>(strategy: T) -> Asked
where
    T: Strategy + Send + Sync + 'static,
    T::Future: Send + 'static,
{
    asking_at(strategy, SystemClock)
}

/// The same, with this clock.
pub(crate) fn asking_at<T>(strategy: T, clock: impl Clock + 'static) -> Asked
where
    T: Strategy + Send + Sync + 'static,
    T::Future: Send + 'static,
{
    let layer = UserScopeLayer::builder()
        .strategy(strategy)
        .clock(clock)
        .context_only()
        .build()
        .expect("the configuration is good");
    let inner: Inner = service_fn(answer as fn(Request<()>) -> Answered);
    Asked(BoxCloneSyncService::new(
        layer
            .layer(inner)
            .map_response(|response| response.map(|_| ())),
    ))
}

/// The same, with the secret of these tests.
pub(crate) fn hs() -> Asked {
    asking(jwt(verifying(HS)))
}

impl Asked {
    pub(crate) async fn response(&self, request: Request<()>) -> Response<()> {
        self.0.clone().oneshot(request).await.expect("infallible")
    }

    /// The context that the inner service saw, or the rejection.
    pub(crate) async fn send(&self, request: Request<()>) -> Result<UserContext, Rejection> {
        let mut response = self.response(request).await;
        let extensions = response.extensions_mut();
        extensions
            .remove::<UserContext>()
            .ok_or_else(|| extensions.remove().expect("a context or a reason"))
    }

    /// The user, or the reason of the refusal.
    pub(crate) async fn user(&self, token: &str) -> Result<String, Why> {
        let context = self.send(bearer(token)).await?;
        Ok(context.user_id().expect("a user").to_string())
    }
}

/// Why a token was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Token(TokenErrorKind),
    /// The credential is not a token.
    Credential(InvalidErrorKind),
    Unavailable,
    Other,
}

impl From<Rejection> for Why {
    fn from(rejection: Rejection) -> Self {
        match rejection.kind() {
            RejectionKind::Invalid { invalid, .. } => invalid
                .source()
                .and_then(|source| source.downcast_ref::<TokenError>())
                .map_or(Self::Credential(invalid.kind()), |error| {
                    Self::Token(error.kind().clone())
                }),
            RejectionKind::Unavailable { .. } => Self::Unavailable,
            _ => Self::Other,
        }
    }
}

pub(crate) fn refused(problem: TokenErrorKind) -> Result<String, Why> {
    Err(Why::Token(problem))
}

pub(crate) fn missing(name: &'static str) -> TokenErrorKind {
    TokenErrorKind::MissingClaim(name.into())
}

/// Returns whether a token was refused before its claims were read.
pub(crate) fn is_before_claims(why: &Why) -> bool {
    matches!(
        why,
        Why::Credential(_)
            | Why::Token(
                TokenErrorKind::TooLong { .. }
                    | TokenErrorKind::Malformed
                    | TokenErrorKind::CriticalHeader
                    | TokenErrorKind::UnsupportedAlgorithm
                    | TokenErrorKind::WrongAlgorithm
                    | TokenErrorKind::UnknownKey
                    | TokenErrorKind::AmbiguousKey
                    | TokenErrorKind::Signature
            )
    )
}
