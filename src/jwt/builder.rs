//! A [`Jwt`] and what has to be chosen before it is a strategy: the issuer and the audience.
//!
//! What may be chosen besides is in `options.rs`; how a token is verified is not known here.

use std::{borrow::Cow, fmt, marker::PhantomData, sync::Arc, time::Duration};

use super::{
    HasAudience, HasIssuer, Keys, WantsAudience, WantsIssuer,
    identify::Identify,
    issuer::IssuerRules,
    issuers::{AcceptedIssuers, Issuers},
    revocation::Revocation,
    settings::Settings,
};
use crate::{
    clock::system_clock,
    token::{TokenCache, TokenPlaces, TokenSource, VerdictCache},
};

/// Takes the user from a JSON Web Token that it verifies.
///
/// It is a [`Strategy`](crate::strategy::Strategy) once the accepted
/// [`issuer`](Self::issuer) and [`audience`](Self::audience) were chosen, or any was accepted
/// explicitly. The identity is *proved*, ends with the token, and has a
/// [`VerifiedToken`](super::VerifiedToken) among its attributes.
///
/// Verdicts are [cached](Self::cache), so that the next request with the same token costs a hash
/// instead of a signature. An invalid token is 401 with
/// `WWW-Authenticate: Bearer error="invalid_token"`; a token that is not in `Bearer` syntax or was
/// sent twice is 400 with `invalid_request` (RFC 6750 section 3.1). The
/// [`TokenError`](super::TokenError) goes to the audit event only.
///
/// ```
/// use tower_user_scope::{jwt::{Algorithm, Jwt, Key}, token::TokenSource};
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
pub struct Jwt<I = WantsIssuer, A = WantsAudience> {
    pub(super) settings: Arc<Settings>,
    _state: PhantomData<(I, A)>,
}

impl Jwt {
    /// Verifies tokens with these keys.
    #[must_use]
    pub fn new(keys: impl Into<Keys>) -> Self {
        let rules = IssuerRules::new(None, keys.into());
        Self::with(AcceptedIssuers::One(Arc::new(rules)))
    }
}

impl Jwt<HasIssuer, HasAudience> {
    /// Verifies tokens of several issuers, each with its own keys and audiences: `iss` selects
    /// the issuer, and only that issuer's keys may verify the token.
    ///
    /// Two issuers may use the same id for different users, so `build()` fails unless users of
    /// different issuers are told apart: by [`tenant_claim("iss")`](Self::tenant_claim), by
    /// [`identity`](Self::identity) from [`VerifiedToken::issuer`](super::VerifiedToken::issuer), or not at all
    /// ([`issuers_share_users`](Self::issuers_share_users)).
    ///
    /// The issuers are a list, or [`Issuers`] that change while the service runs.
    #[must_use]
    pub fn of_issuers(issuers: impl Into<Issuers>) -> Self {
        Self::with(AcceptedIssuers::Several(issuers.into()))
    }
}

impl<A> Jwt<WantsIssuer, A> {
    /// Accepts tokens whose `iss` is exactly this name.
    #[must_use]
    pub fn issuer(mut self, name: impl Into<String>) -> Jwt<HasIssuer, A> {
        let name = name.into().into_boxed_str();
        self.change_rules(|rules| rules.name = Some(name));
        self.with_state()
    }

    /// Accepts tokens of any issuer, and tokens without `iss`. Safe only if the keys sign no other
    /// issuer's tokens.
    #[must_use]
    pub fn dangerously_accept_any_issuer(self) -> Jwt<HasIssuer, A> {
        self.with_state()
    }
}

impl Jwt<HasIssuer, WantsAudience> {
    /// Verifies tokens with these keys instead, such as those of a [preset](super::presets) that the
    /// application fetches with its own client.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_user_scope::jwt::{RemoteKeys, presets};
    ///
    /// # async fn strategy() -> Result<(), tower_user_scope::UnavailableError> {
    /// let keys = RemoteKeys::discover("https://tenant.eu.auth0.com/")
    ///     .refresh_every(Duration::from_secs(3_600));
    /// // At start-up: the first request finds the keys there.
    /// keys.ready().await?;
    /// let strategy = presets::auth0("tenant.eu.auth0.com")
    ///     .keys(keys)
    ///     .audience("https://api.example");
    /// # let _ = strategy;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn keys(mut self, keys: impl Into<Keys>) -> Self {
        let keys = keys.into();
        self.change_rules(|rules| rules.keys = keys);
        self
    }
}

impl<I> Jwt<I, WantsAudience> {
    /// Accepts tokens one of whose `aud` values is exactly this name.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Jwt<I, HasAudience> {
        let audience = audience.into().into_boxed_str();
        self.change_rules(|rules| rules.audiences.push(audience));
        self.with_state()
    }

    /// Looks for the audience in this claim instead of `aud`: access tokens of Amazon Cognito have
    /// none, and name the client in `client_id`; other issuers name it in `azp`.
    ///
    /// ```
    /// use tower_user_scope::jwt::{Jwt, RemoteKeys};
    ///
    /// let pool = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_example";
    /// let strategy = Jwt::new(RemoteKeys::discover(pool))
    ///     .issuer(pool)
    ///     .audience_claim("client_id")
    ///     .audience("the app client's id")
    ///     .require_claim("token_use", ["access"]);
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn audience_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        let name = name.into();
        self.change_rules(|rules| rules.audience_claim = name);
        self
    }

    /// Accepts tokens for any audience: a token that was issued for another service is valid here
    /// too.
    #[must_use]
    pub fn dangerously_accept_any_audience(self) -> Jwt<I, HasAudience> {
        self.with_state()
    }
}

impl<I, A> Jwt<I, A> {
    /// The length of the longest accepted token in bytes, unless [`max_len`](Self::max_len) sets
    /// another.
    pub const MAX_LEN: usize = 8_192;

    fn with(issuers: AcceptedIssuers) -> Self {
        Self {
            settings: Arc::new(Settings {
                issuers,
                required: Vec::new(),
                places: TokenPlaces::new(TokenSource::bearer()),
                leaves_other_tokens: false,
                identify: Identify::new(),
                issuers_share_users: false,
                accept_sender_constrained: false,
                token_type: None,
                leeway: Duration::from_secs(30),
                max_len: Self::MAX_LEN,
                provider: None,
                clock: system_clock(),
                revocation: Revocation::None,
                cache: Some(Arc::new(VerdictCache::new("jwt", TokenCache::new()))),
            }),
            _state: PhantomData,
        }
    }

    pub(super) fn settings_mut(&mut self) -> &mut Settings {
        // Cached verdicts follow the settings at the time of verification, and clones may still use
        // them: changed settings start with an empty cache.
        let settings = Arc::make_mut(&mut self.settings);
        if let Some(cache) = &mut settings.cache {
            if !Arc::get_mut(cache).is_some_and(|it| it.is_empty()) {
                *cache = Arc::new(cache.empty_copy());
            }
        }
        settings
    }

    fn change_rules(&mut self, change: impl FnOnce(&mut IssuerRules)) {
        // `of_issuers` returns a type without the methods that come here.
        if let AcceptedIssuers::One(rules) = &mut self.settings_mut().issuers {
            change(Arc::make_mut(rules));
        }
    }

    fn with_state<J, B>(self) -> Jwt<J, B> {
        Jwt {
            settings: self.settings,
            _state: PhantomData,
        }
    }
}

/// Clones share the cache until the settings of one are changed.
impl<I, A> Clone for Jwt<I, A> {
    fn clone(&self) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
            _state: PhantomData,
        }
    }
}

impl<I, A> fmt::Debug for Jwt<I, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("issuers", &self.settings.issuers)
            .field("places", &self.settings.places)
            .finish_non_exhaustive()
    }
}
