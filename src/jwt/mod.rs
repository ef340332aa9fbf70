//! A JSON Web Token (RFC 7519) that is verified here, or believed nowhere.
//!
//! The rules are those of RFC 8725: each key is bound to its algorithms; issuer and audience
//! are checked unless they are waived by name; a token has to end; what is critical and not
//! understood is refused; the header's own keys and links to keys are never used. Types of tokens
//! are told apart where [`Jwt::token_type`] says which. Nothing of the claims is read before the
//! signature was found good, but for the name of the issuer where there are several, which only
//! chooses whose keys count.
//!
//! ```
//! use tower_user_scope::{UserScopeLayer, jwt::{Algorithm, Jwt, Key}};
//!
//! # fn layer(public_key: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let layer = UserScopeLayer::builder()
//!     .strategy(
//!         Jwt::new(Key::from_pem(Algorithm::ES256, public_key)?)
//!             .issuer("https://id.example")
//!             .audience("api"),
//!     )
//!     .context_only()
//!     .build()?;
//! # let _ = layer;
//! # Ok(())
//! # }
//! ```

use std::{
    borrow::Cow,
    error::Error as StdError,
    fmt,
    future::Future,
    marker::PhantomData,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderName, HeaderValue, request::Parts};
use serde::de::DeserializeOwned;

use crate::{
    clock::{Clock, SystemClock},
    config_error::ConfigError,
    context::{IdRules, Identity},
    maybe_future::MaybeFuture,
    strategy::{InvalidError, InvalidErrorKind, Outcome, Presence, Strategy, Stripped},
};

mod algorithm;
mod cache;
mod claims;
mod der;
mod error;
mod header;
mod identify;
mod issuer;
mod json;
mod jwk;
mod key;
mod key_set;
mod keys;
mod numeric_date;
mod point;
mod problem;
mod provider;
mod remote;
mod revocation;
mod rsa;
mod secret;
mod settings;
mod skipped;
mod verified;
mod verify;

pub use self::remote::{FetchDocument, FetchError, Fetched, HttpsFetch, RemoteKeys, UrlProblem};
pub use self::{
    algorithm::Algorithm,
    cache::TokenCache,
    error::TokenError,
    issuer::Issuer,
    key::Key,
    key_set::KeySet,
    keys::Keys,
    problem::{KeyError, TokenConfigError, TokenErrorKind},
    provider::CryptoProvider,
    verified::VerifiedToken,
};
use self::{
    cache::Remembered,
    identify::{Beside, Identify},
    issuer::Rules,
    revocation::Revocation,
    settings::{Settings, Verified},
};
pub use crate::token::{OfferedProtocol, TokenSource};

/// Not said yet.
#[derive(Debug)]
pub struct Unstated {
    _private: (),
}

/// Said.
#[derive(Debug)]
pub struct Stated {
    _private: (),
}

/// Takes the user from a JSON Web Token that it verifies.
///
/// It is no strategy before it was said whose tokens are accepted
/// ([`issuer`](Self::issuer)) and for whom they have to be ([`audience`](Self::audience)), or
/// that it doesn't matter. The identity is *proved*, ends with the token, and has a
/// [`VerifiedToken`] among its attributes.
///
/// Tokens that were verified are [remembered](Self::cache), so that the next request with one
/// costs a hash instead of a signature. What is bad is 401 with
/// `WWW-Authenticate: Bearer error="invalid_token"`, what is no `Bearer` syntax or comes twice
/// 400 with `invalid_request` (RFC 6750 section 3.1); the [`TokenError`] goes to the audit
/// event only.
///
/// ```
/// use tower_user_scope::jwt::{Algorithm, Jwt, Key, TokenSource};
///
/// # let secret_from_a_vault = b"5bLk0ukr1SgGyg4oJxSLHk9ooSPN7DdJ";
/// let strategy = Jwt::new(Key::hmac(Algorithm::HS256, secret_from_a_vault)?)
///     .issuer("https://id.example")
///     .audience("api")
///     .token_type("at+jwt")
///     .tenant_claim("org")
///     .also_token_source(TokenSource::websocket_protocol("bearer"));
/// # let _ = strategy;
/// # Ok::<(), tower_user_scope::jwt::KeyError>(())
/// ```
pub struct Jwt<I = Unstated, A = Unstated> {
    settings: Arc<Settings>,
    _said: PhantomData<(I, A)>,
}

impl Jwt {
    /// Verifies tokens with these keys.
    #[must_use]
    pub fn new(keys: impl Into<Keys>) -> Self {
        Self::with(vec![Rules {
            name: None,
            audiences: Vec::new(),
            keys: keys.into(),
        }])
    }
}

impl Jwt<Stated, Stated> {
    /// Verifies tokens of several issuers, each with its own keys and audiences: `iss` picks
    /// one, and what that one's keys don't verify is refused.
    ///
    /// Nothing keeps two issuers from naming users alike, so how they are told apart has to be
    /// said, or is an error of `build()`: by [`tenant_claim("iss")`](Self::tenant_claim), by
    /// [`identity`](Self::identity) from [`VerifiedToken::issuer`], or not at all
    /// ([`issuers_share_users`](Self::issuers_share_users)).
    #[must_use]
    pub fn of_issuers(issuers: impl IntoIterator<Item = Issuer<Stated>>) -> Self {
        Self::with(issuers.into_iter().map(|issuer| issuer.rules).collect())
    }
}

impl<A> Jwt<Unstated, A> {
    /// Accepts tokens of this issuer, compared exactly with `iss`.
    #[must_use]
    pub fn issuer(mut self, name: impl Into<String>) -> Jwt<Stated, A> {
        let name = name.into().into_boxed_str();
        self.rules().name = Some(name);
        self.said()
    }

    /// Accepts tokens whoever issued them, and those that don't say. Right only where nobody
    /// else's tokens are signed with these keys.
    #[must_use]
    pub fn dangerously_accept_any_issuer(self) -> Jwt<Stated, A> {
        self.said()
    }
}

impl<I> Jwt<I, Unstated> {
    /// Accepts tokens for this audience, compared exactly with each of `aud`.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Jwt<I, Stated> {
        let audience = audience.into().into_boxed_str();
        self.rules().audiences.push(audience);
        self.said()
    }

    /// Accepts tokens whomever they are for: whoever gets one for another service can send it
    /// here.
    #[must_use]
    pub fn dangerously_accept_any_audience(self) -> Jwt<I, Stated> {
        self.said()
    }
}

impl<I, A> Jwt<I, A> {
    /// The longest token that is looked at unless [`max_len`](Self::max_len) says otherwise,
    /// in bytes.
    pub const MAX_LEN: usize = 8_192;

    const LONGEST_LEEWAY: Duration = Duration::from_secs(300);

    fn with(issuers: Vec<Rules>) -> Self {
        Self {
            settings: Arc::new(Settings {
                issuers,
                sources: vec![TokenSource::bearer()],
                identify: Identify::new(),
                share_users: false,
                accept_bound: false,
                token_type: None,
                leeway: Duration::from_secs(30),
                longest: Self::MAX_LEN,
                provider: None,
                clock: Arc::new(SystemClock),
                revocation: Revocation::Nobody,
                remembered: Some(Arc::new(Remembered::new(TokenCache::new()))),
            }),
            _said: PhantomData,
        }
    }

    fn set(&mut self) -> &mut Settings {
        // A strategy that was asked has verdicts by the settings of then, and tokens that wait
        // for a key go on with those: neither may see the verdicts of the others.
        let settings = Arc::make_mut(&mut self.settings);
        if let Some(remembered) = &mut settings.remembered {
            if !Arc::get_mut(remembered).is_some_and(|it| it.is_empty()) {
                *remembered = Arc::new(remembered.emptied());
            }
        }
        settings
    }

    fn rules(&mut self) -> &mut Rules {
        // `new` makes one, and `of_issuers` leaves nothing unstated.
        &mut self.set().issuers[0]
    }

    fn or_revoked(&mut self, check: Revocation) {
        let settings = self.set();
        let before = mem::replace(&mut settings.revocation, Revocation::Nobody);
        settings.revocation = before.or(check);
    }

    fn said<J, B>(self) -> Jwt<J, B> {
        Jwt {
            settings: self.settings,
            _said: PhantomData,
        }
    }

    /// Looks for the token here, and nowhere else.
    #[must_use]
    pub fn token_source(mut self, source: TokenSource) -> Self {
        self.set().sources = vec![source];
        self
    }

    /// Looks for the token here too.
    #[must_use]
    pub fn also_token_source(mut self, source: TokenSource) -> Self {
        self.set().sources.push(source);
        self
    }

    /// Takes the user's id from this claim instead of `sub`; its value has to be a string. A number
    /// is refused with [`TokenErrorKind::NumericId`]: which user it is, [`identity`](Self::identity)
    /// can say.
    #[must_use]
    pub fn user_id_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.set().identify.by_claim(name.into());
        self
    }

    /// Takes the tenant from this claim, where it is there; its value has to be a string.
    ///
    /// With several issuers, `iss` is the claim that tells their users apart. Another one holds
    /// whatever its issuer wrote into it, another issuer's tenants included.
    #[must_use]
    pub fn tenant_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.set().identify.beside(Beside::Tenant, name.into());
        self
    }

    /// Says that all issuers are of one user base: an id is one user's, whichever of them signs
    /// it. Right for a move from one to another, and for regions of one provider.
    #[must_use]
    pub fn issuers_share_users(mut self) -> Self {
        self.set().share_users = true;
        self
    }

    /// Accepts tokens that are bound to a key of their sender's (`cnf`: RFC 8705, RFC 9449) like
    /// any other, which are refused unless this is said: whoever steals one can use it, where
    /// nothing in front checks that the sender has the key.
    #[must_use]
    pub fn dangerously_accept_sender_constrained(mut self) -> Self {
        self.set().accept_bound = true;
        self
    }

    /// Takes the thread's id from this claim, where it is there: a request that names another
    /// one is refused.
    #[must_use]
    pub fn thread_id_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.set().identify.beside(Beside::Thread, name.into());
        self
    }

    /// Takes the run's id from this claim, where it is there: a request that names another one
    /// is refused.
    #[must_use]
    pub fn run_id_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.set().identify.beside(Beside::Run, name.into());
        self
    }

    /// Checks ids by other rules than [`IdRules::new`].
    #[must_use]
    pub fn id_rules(mut self, rules: IdRules) -> Self {
        self.set().identify.rules(rules);
        self
    }

    /// Adds the claims, as a type of the application's, to the context's attributes. Claims that
    /// are not of the type are refused. Said once more, it adds another type.
    ///
    /// ```
    /// use serde::Deserialize;
    /// use tower_user_scope::{UserContext, jwt::{Algorithm, Jwt, Key}};
    ///
    /// #[derive(Clone, Deserialize)]
    /// struct Claims {
    ///     roles: Vec<String>,
    /// }
    ///
    /// # let secret = b"5bLk0ukr1SgGyg4oJxSLHk9ooSPN7DdJ";
    /// let strategy = Jwt::new(Key::hmac(Algorithm::HS256, secret)?)
    ///     .issuer("https://id.example")
    ///     .audience("api")
    ///     .claims::<Claims>();
    ///
    /// fn is_editor(user: &UserContext) -> bool {
    ///     let claims = user.attributes().get::<Claims>();
    ///     claims.is_some_and(|claims| claims.roles.iter().any(|role| role == "editor"))
    /// }
    /// # let _ = (strategy, is_editor);
    /// # Ok::<(), tower_user_scope::jwt::KeyError>(())
    /// ```
    #[must_use]
    pub fn claims<T>(mut self) -> Self
    where
        T: DeserializeOwned + Clone + Send + Sync + 'static,
    {
        self.set().identify.attach::<T>();
        self
    }

    /// Makes the identity of the claims, as a type of the application's, which are added to its
    /// attributes too: for ids that are made of several claims, and principals that are services.
    ///
    /// No rule of this crate reads `sub` before it, so that a `sub` that is a number, as some
    /// issuers write it, is the closure's to read.
    ///
    /// It runs once for a token that is [remembered](Self::cache), and not for each request with
    /// it: what can change before the token ends is for [`revoked_if`](Self::revoked_if).
    ///
    /// ```
    /// use serde::Deserialize;
    /// use tower_user_scope::{
    ///     Identity, UserId, context::ServiceName, jwt::{Algorithm, Jwt, Key, TokenErrorKind},
    /// };
    ///
    /// #[derive(Clone, Deserialize)]
    /// struct Claims {
    ///     email: Option<String>,
    ///     client_id: String,
    /// }
    ///
    /// # let secret = b"5bLk0ukr1SgGyg4oJxSLHk9ooSPN7DdJ";
    /// let strategy = Jwt::new(Key::hmac(Algorithm::HS256, secret)?)
    ///     .issuer("https://id.example")
    ///     .audience("api")
    ///     .identity(|_token, claims: &Claims| Ok(match &claims.email {
    ///         Some(email) => Identity::proved(email.parse::<UserId>()?),
    ///         None => Identity::proved(claims.client_id.parse::<ServiceName>()?),
    ///     }));
    /// # let _ = strategy;
    /// # Ok::<(), tower_user_scope::jwt::KeyError>(())
    /// ```
    #[must_use]
    pub fn identity<T, F>(mut self, identity: F) -> Self
    where
        T: DeserializeOwned + Clone + Send + Sync + 'static,
        F: Fn(&VerifiedToken, &T) -> Result<Identity, InvalidError> + Send + Sync + 'static,
    {
        self.set().identify.by_application(identity);
        self
    }

    /// Asks for this `typ`, such as `at+jwt` for access tokens (RFC 9068 section 4): an ID token
    /// of the same issuer is then none. Compared without case and without `application/`.
    #[must_use]
    pub fn token_type(mut self, media_type: impl Into<Cow<'static, str>>) -> Self {
        self.set().token_type = Some(media_type.into());
        self
    }

    /// How far `exp` and `nbf` may be off, for clocks that differ: 30 seconds unless this says
    /// otherwise, at most five minutes, whole seconds.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.set().leeway = leeway;
        self
    }

    /// Looks at tokens of at most so many bytes, instead of [`MAX_LEN`](Self::MAX_LEN).
    #[must_use]
    pub fn max_len(mut self, bytes: usize) -> Self {
        self.set().longest = bytes;
        self
    }

    /// Says whose cryptography verifies the tokens; see [`CryptoProvider`].
    #[must_use]
    pub fn crypto_provider(mut self, provider: CryptoProvider) -> Self {
        self.set().provider = Some(provider);
        self
    }

    /// How many tokens that were verified are remembered. By default
    /// [`TokenCache::new`].
    #[must_use]
    pub fn cache(mut self, limits: TokenCache) -> Self {
        self.set().remembered = Some(Arc::new(Remembered::new(limits)));
        self
    }

    /// Remembers no token: each request pays for its signature.
    #[must_use]
    pub fn without_cache(mut self) -> Self {
        self.set().remembered = None;
        self
    }

    /// Asks this about each token that is otherwise good, remembered or not, and refuses it
    /// where the answer is `true`. It runs in place and must not block. Said once more, it is
    /// another check beside the first.
    #[must_use]
    pub fn revoked_if(
        mut self,
        is_revoked: impl Fn(&VerifiedToken) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.or_revoked(Revocation::Now(Arc::new(is_revoked)));
        self
    }

    /// As [`revoked_if`](Self::revoked_if), with a closure that returns a future. An error is
    /// 503.
    #[must_use]
    pub fn revoked_if_async<F, Fut, E>(mut self, is_revoked: F) -> Self
    where
        F: Fn(VerifiedToken) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<bool, E>> + Send + 'static,
        E: StdError + Send + Sync + 'static,
    {
        self.or_revoked(Revocation::later(is_revoked));
        self
    }
}

impl Strategy for Jwt<Stated, Stated> {
    type Future = JwtFuture;

    fn name(&self) -> &'static str {
        "jwt"
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<JwtFuture> {
        let settings = &self.settings;
        let token = match settings.token(head) {
            Ok(Some(token)) => token,
            Ok(None) => return MaybeFuture::Ready(Outcome::Absent),
            Err(invalid) => return MaybeFuture::Ready(invalid.into()),
        };
        if token.len() > settings.longest {
            let limit = settings.longest;
            return MaybeFuture::Ready(Outcome::Invalid(TokenErrorKind::TooLong { limit }.into()));
        }
        let fingerprint = settings
            .remembered
            .is_some()
            .then(|| Remembered::fingerprint(&token));
        let now = settings.clock.now();
        if let Some(verdict) = settings.recall(fingerprint.as_ref(), now) {
            return settings.admit(verdict);
        }
        match settings.verify(&token, now) {
            Ok(Verified::Known(verdict)) => {
                settings.remember(fingerprint, &verdict);
                settings.admit(verdict)
            }
            Ok(Verified::KeysWanted { issuer }) => {
                let (settings, token) = (Arc::clone(settings), token.into_owned());
                MaybeFuture::Future(JwtFuture(Box::pin(async move {
                    settings.verify_later(&token, issuer, fingerprint).await
                })))
            }
            Err(invalid) => MaybeFuture::Ready(invalid.into()),
        }
    }

    fn presence(&self, head: &Parts) -> Presence {
        let sources = &self.settings.sources;
        sources.iter().any(|source| source.is_present(head)).into()
    }

    fn headers(&self) -> Option<Vec<HeaderName>> {
        let sources = &self.settings.sources;
        sources.iter().map(TokenSource::header).collect()
    }

    fn scrub(&self, head: &mut Parts, _: bool, _: &mut dyn FnMut(Stripped<'_>)) {
        for source in &self.settings.sources {
            source.scrub(head);
        }
    }

    fn challenge(&self, refused: Option<&InvalidError>) -> Option<HeaderValue> {
        if !self.settings.sources.iter().any(TokenSource::is_bearer) {
            return None;
        }
        Some(HeaderValue::from_static(
            match refused.map(InvalidError::kind) {
                None => "Bearer",
                Some(InvalidErrorKind::Rejected(_) | InvalidErrorKind::Expired) => {
                    "Bearer error=\"invalid_token\""
                }
                Some(_) => "Bearer error=\"invalid_request\"",
            },
        ))
    }

    fn use_clock(&mut self, clock: &Arc<dyn Clock>) {
        self.set().use_clock(clock);
    }

    fn validate(&self) -> Result<(), ConfigError> {
        Ok(self.settings.validate()?)
    }
}

/// The future of a [`Jwt`] that has to wait: for a key to be fetched, or for the answer of
/// [`revoked_if_async`](Jwt::revoked_if_async).
///
/// # Cancel safety
/// Nothing is lost when it is dropped: keys are fetched by a task of their own.
pub struct JwtFuture(Pin<Box<dyn Future<Output = Outcome> + Send>>);

impl Future for JwtFuture {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for JwtFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtFuture(..)")
    }
}

/// Clones share what they remember, until the settings of one are changed.
impl<I, A> Clone for Jwt<I, A> {
    fn clone(&self) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
            _said: PhantomData,
        }
    }
}

impl<I, A> fmt::Debug for Jwt<I, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("issuers", &self.settings.issuers)
            .field("sources", &self.settings.sources)
            .finish_non_exhaustive()
    }
}
