//! An [`Introspection`] and what has to be chosen before it is a strategy: the audience.

use std::{
    borrow::Cow,
    fmt,
    marker::PhantomData,
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::{ClientAuthentication, answer::Rules, endpoint::Endpoint, settings::Settings};
use crate::{
    clock::system_clock,
    jwt::{HasAudience, Identify, PlainHttp, Source, WantsAudience},
    token::{TokenCache, TokenPlaces, TokenSource},
};

/// Takes the user from a token that its issuer says is active (RFC 7662).
///
/// It is a [`Strategy`](crate::strategy::Strategy) once the accepted [`audience`](Self::audience) was
/// chosen, or any was accepted explicitly. The identity is *proved*, and ends with the token if the answer
/// has `exp`. Its user is the answer's `sub`; `scope` becomes its
/// [`Grants`](crate::authorize::Grants); a [`VerifiedToken`](crate::jwt::VerifiedToken) is among its
/// attributes.
///
/// # What the issuer is asked, and how often
///
/// An answer is remembered for [30 seconds](Self::cache_for), and never beyond the token's end. A token
/// that was revoked is accepted for this long. A token that was refused is remembered for at most 10
/// seconds, apart from the others, so that a client that sends a bad token again and again does not
/// reach the issuer with each request. Memory has digests of tokens only.
///
/// Requests with the same token share one call. At most [64 calls](Self::max_calls) are under
/// way, each for at most [5 seconds](Self::call_time_limit); other requests wait, within the layer's
/// [time limit](crate::middleware::LayerBuilder::time_limit). An issuer that is down or slow is a 503, and so
/// is one that answers with another status than 200, with more than 64 KiB, or with something else than an
/// object that says whether the token is active. A signed answer (RFC 9701) is not asked for, and is such
/// a thing too.
///
/// # What is checked
///
/// | member | check |
/// | --- | --- |
/// | `active` | is `true` |
/// | `exp`, `nbf` | if there, the token has begun and not ended |
/// | `iss` | with [`issuer`](Self::issuer): is there, and is this one |
/// | `aud` | is there, and has the configured audience |
/// | `token_type` | if there, `Bearer` (or `access_token`, as some issuers write it) |
/// | `token_use` | if there, `access_token` or `access`: a refresh token is active too |
/// | one of these two | is there, unless `aud` is checked: nothing else tells a refresh token apart |
/// | `cnf` | is not there: nothing shows that the sender has the key |
///
/// The source of the error of a token that is refused is a [`TokenError`](crate::jwt::TokenError), and that of
/// a 503 an [`IntrospectionError`](super::IntrospectionError).
///
/// ```
/// use tower_user_scope::{
///     introspection::{ClientAuthentication, Introspection},
///     token::TokenSource,
/// };
///
/// # fn strategy(secret: String) {
/// let client = ClientAuthentication::basic("orders-api", secret);
/// let strategy = Introspection::new("https://id.example/introspect", client)
///     .audience("https://orders.example")
///     .issuer("https://id.example")
///     .also_token_source(TokenSource::cookie("__Host-token"));
/// # let _ = strategy;
/// # }
/// ```
pub struct Introspection<A = WantsAudience> {
    pub(super) settings: Arc<Settings>,
    _state: PhantomData<A>,
}

impl Introspection {
    /// Asks the endpoint at this URL: `https`, or `http` to a loopback address, without user name, password
    /// and fragment. Another URL is an error of `build()`.
    #[must_use]
    pub fn new(url: impl Into<String>, client: ClientAuthentication) -> Self {
        Self::at(Endpoint::Url(url.into()), client)
    }

    /// Asks the endpoint that the issuer's metadata names as `introspection_endpoint`: OpenID Connect
    /// Discovery 1.0, under `/.well-known/openid-configuration`. Metadata that names another issuer is
    /// refused, and so is an endpoint that is not `https`, where the issuer's URL is.
    ///
    /// The metadata is fetched for the first token, and again an hour later. While it can't be fetched,
    /// a known endpoint is used for one more hour, and tokens are 503 after that. A fetch has
    /// [the time limit of a call](Self::call_time_limit), and after one that failed, there is no other
    /// for ten seconds.
    ///
    /// A URL with a query is an error of `build()`, and so is [`issuer`](Self::issuer) with another name.
    ///
    /// ```
    /// use tower_user_scope::introspection::{ClientAuthentication, Introspection};
    ///
    /// # fn strategy(secret: String) {
    /// let client = ClientAuthentication::basic("orders-api", secret);
    /// let strategy =
    ///     Introspection::discover("https://id.example", client).audience("https://orders.example");
    /// # let _ = strategy;
    /// # }
    /// ```
    #[must_use]
    pub fn discover(issuer: impl Into<String>, client: ClientAuthentication) -> Self {
        let issuer = issuer.into();
        Self::discover_at(issuer.clone(), issuer, client)
    }

    /// As [`discover`](Self::discover), with the metadata of RFC 8414: under
    /// `/.well-known/oauth-authorization-server`, which comes before the issuer's path.
    #[must_use]
    pub fn discover_oauth(issuer: impl Into<String>, client: ClientAuthentication) -> Self {
        Self::at(Endpoint::Metadata(Source::oauth(issuer.into())), client)
    }

    /// As [`discover`](Self::discover), with the metadata fetched under another URL than the issuer's
    /// name, as within a cluster. The metadata still has to name `issuer`.
    #[must_use]
    pub fn discover_at(
        url: impl Into<String>,
        issuer: impl Into<String>,
        client: ClientAuthentication,
    ) -> Self {
        let source = Source::open_id(url.into(), issuer.into());
        Self::at(Endpoint::Metadata(source), client)
    }

    fn at(endpoint: Endpoint, client: ClientAuthentication) -> Self {
        let mut identify = Identify::new();
        identify.grants().add_scopes(Cow::Borrowed("scope"));
        Self {
            settings: Arc::new(Settings {
                endpoint,
                client,
                post: OnceLock::new(),
                plain: PlainHttp::ToLoopback,
                places: TokenPlaces::new(TokenSource::bearer()),
                leaves_jwts: false,
                left_prefixes: Vec::new(),
                rules: Rules {
                    issuer: None,
                    audiences: Vec::new(),
                    audience_claim: Cow::Borrowed("aud"),
                    required: Vec::new(),
                    accept_sender_constrained: false,
                    identify,
                },
                cache: TokenCache::new(),
                cache_for: Duration::from_secs(30),
                call_limit: Duration::from_secs(5),
                at_once: 64,
                clock: system_clock(),
                calls: OnceLock::new(),
            }),
            _state: PhantomData,
        }
    }

    /// Looks for the audience in this member instead of `aud`, such as `client_id`.
    #[must_use]
    pub fn audience_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.settings_mut().rules.audience_claim = name.into();
        self
    }

    /// Accepts tokens for any audience, and tokens without any: a token that was issued for another
    /// service is valid here too. Right if the issuer answers each service about its own tokens only.
    #[must_use]
    pub fn dangerously_accept_any_audience(self) -> Introspection<HasAudience> {
        self.with_state()
    }
}

impl<A> Introspection<A> {
    /// The length of the longest accepted token, in bytes.
    pub const MAX_LEN: usize = 8_192;

    /// Accepts tokens one of whose audiences is exactly this name. Call it again to accept another.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Introspection<HasAudience> {
        let audience = audience.into().into_boxed_str();
        self.settings_mut().rules.audiences.push(audience);
        self.with_state()
    }

    pub(super) fn settings_mut(&mut self) -> &mut Settings {
        let settings = Arc::make_mut(&mut self.settings);
        // What was remembered follows the settings at that time.
        settings.calls = OnceLock::new();
        settings
    }

    fn with_state<B>(self) -> Introspection<B> {
        Introspection {
            settings: self.settings,
            _state: PhantomData,
        }
    }
}

impl<A> Clone for Introspection<A> {
    fn clone(&self) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
            _state: PhantomData,
        }
    }
}

impl<A> fmt::Debug for Introspection<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Introspection")
            .field(&self.settings)
            .finish()
    }
}
