//! The strategy that checks API keys.

use std::{any::type_name, fmt, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, request::Parts};

use super::{
    ApiKeyError, ApiKeyErrorKind, ApiKeyHash, ApiKeyId, ApiKeyStore,
    form::{MAX_LEN, Prefix, id_of},
    lookup::Lookup,
};
use crate::{
    clock::{Clock, system_clock},
    config_error::ConfigError,
    maybe_future::MaybeFuture,
    strategy::{InvalidError, Outcome, OutcomeFuture, Presence, Strategy, Stripped},
    token::{ConfirmedIdentities, TokenCache, TokenPlaces, TokenSource},
};

/// Takes the user from an API key whose record is in a store of the application's.
///
/// A key has the form `prefix_identifier_secret`. The identifier is 1 to 64 ASCII letters and digits,
/// the secret is 22 to 128. The store is asked for the record of the identifier; the SHA-256 of the
/// whole key is compared with the record's in constant time.
///
/// The key is read from `x-api-key`, and from other places with
/// [`token_source`](Self::token_source). The header is removed unless its key identified the request,
/// and so are headers that a CGI-style upstream treats as equal, such as `x_api_key`. A header in
/// `Authorization` is marked as sensitive.
///
/// # Verdicts
///
/// | the request has | verdict | status |
/// | --- | --- | --- |
/// | nothing in the key's places | [`Absent`](Outcome::Absent) | |
/// | two keys, or a place that can't be read | [`Invalid`](Outcome::Invalid) | 400 |
/// | a key of another form | `Invalid`, the store is not asked | 401 |
/// | a key that is unknown, or has a wrong secret | `Invalid` | 401 |
/// | a key that was revoked or has expired | `Invalid` | 401 |
/// | a key that is good | [`Found`](Outcome::Found) | |
/// | a key, but the store does not answer | [`Unavailable`](Outcome::Unavailable) | 503 |
///
/// The source of the error is an [`ApiKeyError`], with the identifier and without the secret. The store
/// is asked within the layer's [time limit](crate::middleware::LayerBuilder::time_limit).
///
/// ```
/// use std::time::Duration;
/// # use tower_user_scope::api_key::{ApiKeyId, ApiKeyRecord, ApiKeyStore};
/// # struct Table;
/// # impl ApiKeyStore for Table {
/// #     type Error = std::convert::Infallible;
/// #     async fn find(&self, _: &ApiKeyId) -> Result<Option<ApiKeyRecord>, Self::Error> { Ok(None) }
/// # }
/// use tower_user_scope::{UserScopeLayer, api_key::ApiKeys, token::TokenSource};
///
/// let keys = ApiKeys::new("acme", Table)
///     .token_source(TokenSource::bearer())
///     .cache_for(Duration::from_secs(30));
/// let layer = UserScopeLayer::builder().strategy(keys).context_only().build()?;
/// # let _ = layer;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
pub struct ApiKeys<S> {
    settings: Settings,
    store: Arc<S>,
}

#[derive(Clone, Debug)]
struct Settings {
    prefix: Prefix,
    places: TokenPlaces,
    /// Whether a token without the prefix is another strategy's.
    leaves_other_tokens: bool,
    cache: TokenCache,
    cache_for: Duration,
    known: Option<Arc<ConfirmedIdentities>>,
    clock: Arc<dyn Clock>,
}

impl<S: ApiKeyStore> ApiKeys<S> {
    /// Creates a strategy for keys that begin with this prefix and `_`.
    ///
    /// A prefix is 1 to 32 ASCII letters, digits, `-` and `_`, and does not end with `_`; another one is
    /// an error of `build()`. Where one list has keys of two prefixes, neither may begin with the other
    /// and `_`.
    #[must_use]
    pub fn new(prefix: impl AsRef<str>, store: S) -> Self {
        Self {
            settings: Settings {
                prefix: Prefix::new(prefix.as_ref()),
                places: TokenPlaces::new(TokenSource::header("x-api-key")),
                leaves_other_tokens: false,
                cache: TokenCache::new(),
                cache_for: Duration::ZERO,
                known: None,
                clock: system_clock(),
            },
            store: Arc::new(store),
        }
    }

    /// Sets the only place where keys are looked for, instead of the header `x-api-key`.
    #[must_use]
    pub fn token_source(mut self, source: TokenSource) -> Self {
        self.settings.places = TokenPlaces::new(source);
        self
    }

    /// Adds a place where keys are looked for.
    #[must_use]
    pub fn also_token_source(mut self, source: TokenSource) -> Self {
        self.settings.places.add(source);
        self
    }

    /// Leaves a token that does not begin with the prefix to the other strategies of the list, instead
    /// of refusing it: for a list in which access tokens come in the same header.
    ///
    /// A token that no strategy takes is refused with 401 unless another credential identifies the
    /// request, and no [`Fallback`](crate::Fallback) acts on it. See
    /// [several credentials in one header](crate::guide::choosing_strategies#several-kinds-of-tokens).
    #[must_use]
    pub fn leave_other_tokens(mut self) -> Self {
        self.settings.leaves_other_tokens = true;
        self
    }

    /// Remembers a good key for this long, in which the store is not asked again. A key that is revoked
    /// is accepted for this long, unless it was not used before.
    ///
    /// By default the store is asked for each request.
    #[must_use]
    pub fn cache_for(mut self, period: Duration) -> Self {
        self.settings.cache_for = period;
        self.forget();
        self
    }

    /// Sets the limits of the cache, instead of [`TokenCache::new`].
    #[must_use]
    pub fn cache(mut self, limits: TokenCache) -> Self {
        self.settings.cache = limits;
        self.forget();
        self
    }

    fn forget(&mut self) {
        let Settings {
            cache_for, cache, ..
        } = self.settings;
        let is_used = !cache_for.is_zero();
        self.settings.known =
            is_used.then(|| Arc::new(ConfirmedIdentities::new("api_key", cache_for, cache)));
    }
}

impl Settings {
    /// Returns the identifier of a key; `None` if the token is another strategy's.
    fn id(&self, token: &str) -> Result<Option<ApiKeyId>, InvalidError> {
        let malformed = || ApiKeyError::new(ApiKeyErrorKind::Malformed, None).into();
        match self.prefix.strip(token) {
            None if self.leaves_other_tokens => Ok(None),
            Some(rest) if token.len() <= MAX_LEN => id_of(rest).ok_or_else(malformed).map(Some),
            _ => Err(malformed()),
        }
    }
}

impl<S> Strategy for ApiKeys<S>
where
    S: ApiKeyStore + Send + Sync + 'static,
{
    type Future = OutcomeFuture;

    fn name(&self) -> &'static str {
        "api_key"
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<OutcomeFuture> {
        let settings = &self.settings;
        let token = match settings.places.token(head) {
            Ok(Some(token)) => token,
            Ok(None) => return MaybeFuture::Ready(Outcome::Absent),
            Err(invalid) => return MaybeFuture::Ready(invalid.into()),
        };
        let id = match settings.id(&token) {
            Ok(Some(id)) => id,
            Ok(None) => return MaybeFuture::Ready(Outcome::Absent),
            Err(invalid) => return MaybeFuture::Ready(invalid.into()),
        };
        let hash = ApiKeyHash::of(&token);
        let known = settings.known.as_ref();
        let remembered = known.and_then(|known| known.get(hash.as_bytes(), settings.clock.now()));
        if let Some(known) = known {
            known.count(remembered.is_some());
        }
        if let Some(identity) = remembered {
            return MaybeFuture::Ready(identity.into());
        }
        let lookup = Lookup {
            id,
            hash,
            store: Arc::clone(&self.store),
            clock: Arc::clone(&settings.clock),
            known: known.cloned(),
        };
        OutcomeFuture::new(lookup.outcome()).poll_once()
    }

    fn presence(&self, head: &Parts) -> Presence {
        self.settings.places.presence(head)
    }

    fn headers(&self) -> Option<Vec<HeaderName>> {
        self.settings.places.headers()
    }

    fn scrub(&self, head: &mut Parts, believed: bool, stripped: &mut dyn FnMut(Stripped<'_>)) {
        self.settings.places.scrub(head, believed, stripped);
    }

    fn challenge(&self, refused: Option<&InvalidError>) -> Option<HeaderValue> {
        self.settings.places.challenge(refused)
    }

    fn use_clock(&mut self, clock: &Arc<dyn Clock>) {
        // Times by another clock mean nothing.
        if !Arc::ptr_eq(&self.settings.clock, clock) {
            self.settings.clock = Arc::clone(clock);
            self.forget();
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.settings.prefix.text()?;
        self.settings.places.validate()
    }
}

impl<S> Clone for ApiKeys<S> {
    fn clone(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            store: Arc::clone(&self.store),
        }
    }
}

impl<S> fmt::Debug for ApiKeys<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys")
            .field("prefix", &self.settings.prefix)
            .field("places", &self.settings.places)
            .field("store", &format_args!("{}", type_name::<S>()))
            .finish_non_exhaustive()
    }
}
