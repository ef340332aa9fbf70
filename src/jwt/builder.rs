//! A [`Jwt`] and what has to be chosen before it is a strategy: the issuer and the audience.
//!
//! What may be chosen besides is in `options.rs`; how a token is verified is not known here.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use super::{
    Issuer, Keys, Stated, TokenCache, TokenSource, Unstated, cache::Remembered, identify::Identify,
    issuer::Rules, revocation::Revocation, settings::Settings,
};
use crate::clock::SystemClock;

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
    pub(super) settings: Arc<Settings>,
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

    pub(super) fn set(&mut self) -> &mut Settings {
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

    fn said<J, B>(self) -> Jwt<J, B> {
        Jwt {
            settings: self.settings,
            _said: PhantomData,
        }
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
