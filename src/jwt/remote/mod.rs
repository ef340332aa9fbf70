//! Key sets that issuers publish: fetched, refreshed, and kept for a while when the issuer is down.
//!
//! Knows nothing of tokens.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{KeySet, Keys, TokenConfigError};
use crate::{clock::Clock, strategy::UnavailableError};

mod address;
mod bounded;
mod fetch;
mod https;
mod period;
mod refresher;
mod source;
mod url;

pub(super) use self::refresher::Refreshed;
#[cfg(not(feature = "introspection"))]
use self::source::Source;
#[cfg(feature = "introspection")]
pub(crate) use self::{
    bounded::{bounded, timer},
    https::{body, send},
    source::Source,
    url::{PlainHttp, checked, redacted},
};
pub use self::{
    fetch::{FetchDocument, FetchError, Fetched},
    https::HttpsFetch,
};
use self::{period::Periods, refresher::Refresher};

/// The keys that an issuer publishes.
///
/// Keys are fetched at their first use, or by [`ready`](Self::ready), and then refreshed in the
/// background. A token with an unknown `kid` causes one more fetch, at most one in
/// [a period](Self::refetch_at_most_every) for all requests. While the issuer is down, the old keys
/// are [kept](Self::keep_for). After that, and before the first fetch succeeded, requests with tokens
/// are 503. When the issuer removes a key, cached tokens that it verified are no longer accepted; when
/// it removes the last key, tokens are 503 at once.
///
/// A published key that can't be used does not affect the others. Secrets are ignored: published, they
/// are not secret.
///
/// The background task runs on the Tokio runtime of the request that started it, and ends when the
/// last clone of this value is dropped. Correctness does not depend on the task: each use of the keys
/// checks their age, by the layer's [`Clock`] and by the monotonic clock. If a refresh is late by more
/// than twice the [time limit](Self::fetch_time_limit), the request fetches the keys itself; without a
/// Tokio runtime it is 503.
///
/// # What an issuer can do
///
/// At most one fetch runs at a time. It sends one request, or two if the keys are
/// [discovered](Self::discover), reads at most [`HttpsFetch::MAX_LEN`] bytes of each response, takes at
/// most the time limit, and writes one line of log. Reading the keys of a document takes less than
/// four times [`HttpsFetch::MAX_LEN`] of memory, whatever is in it. A URL in the metadata is not
/// fetched if it is plain `http`, or an IP address or `localhost` that is not the issuer's own host.
/// Redirects are not followed. A name that resolves to an internal address causes a TLS handshake
/// there, and a request only if the certificate is for that name.
///
/// Clones share keys, and the clock of the layer that was built first.
///
/// ```
/// use std::time::Duration;
/// use tower_user_scope::jwt::{Jwt, RemoteKeys};
///
/// let keys = RemoteKeys::discover("https://id.example").keep_for(Duration::from_secs(6 * 3_600));
/// let strategy = Jwt::new(keys).issuer("https://id.example").audience("api");
/// # let _ = strategy;
/// ```
#[derive(Clone)]
pub struct RemoteKeys {
    owner: Arc<Owner>,
}

/// Shared by clones; the last one that is dropped ends the background task.
struct Owner(Arc<Refresher>);

#[derive(Clone)]
struct Settings {
    source: Source,
    periods: Periods,
}

impl RemoteKeys {
    /// Fetches the JWK set at this URL (RFC 7517 section 5): `https`, or `http` to a loopback address,
    /// without user name, password and fragment. Another URL is an error of `build()`.
    ///
    /// A query is never shown in `Debug`, errors and logs.
    #[must_use]
    pub fn from_url(url: impl Into<String>) -> Self {
        Self::at(Source::keys_at(url.into()))
    }

    /// Fetches the JWK set that the issuer's metadata names: OpenID Connect Discovery 1.0, under
    /// `/.well-known/openid-configuration`. Metadata that names another issuer is refused, and so is
    /// a URL of keys that is not `https`, where the issuer's is.
    ///
    /// A URL with a query, or with a placeholder such as `{tenantid}`, is an error of `build()`,
    /// and so is [`Jwt::issuer`](super::Jwt::issuer) with another name than this.
    #[must_use]
    pub fn discover(issuer: impl Into<String>) -> Self {
        let issuer = issuer.into();
        Self::discover_at(issuer.clone(), issuer)
    }

    /// As [`discover`](Self::discover), with the metadata of RFC 8414: under
    /// `/.well-known/oauth-authorization-server`, which comes before the issuer's path.
    #[must_use]
    pub fn discover_oauth(issuer: impl Into<String>) -> Self {
        Self::at(Source::oauth(issuer.into()))
    }

    /// As [`discover`](Self::discover), with the metadata fetched under another URL than the issuer's
    /// name. The metadata still has to name `issuer`.
    ///
    /// Inside a cluster the issuer's name is often not its address: tokens have the name that browsers
    /// see.
    ///
    /// ```
    /// use tower_user_scope::jwt::{Jwt, RemoteKeys};
    ///
    /// // Keycloak in a Compose file, whose `KC_HOSTNAME` is what browsers see.
    /// let issuer = "http://localhost:9000/realms/main";
    /// let keys = RemoteKeys::discover_at("http://keycloak:8080/realms/main", issuer)
    ///     .dangerously_allow_http();
    /// let strategy = Jwt::new(keys).issuer(issuer).audience("api");
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn discover_at(url: impl Into<String>, issuer: impl Into<String>) -> Self {
        Self::at(Source::open_id(url.into(), issuer.into()))
    }

    /// Allows plain `http` to other hosts than this one. Whoever can answer in that network's place can
    /// sign tokens for every user: right inside a cluster whose network is trusted, and nowhere else.
    ///
    /// An issuer at an `https` URL still can't name keys at an `http` one. With
    /// [`fetch_with`](Self::fetch_with), the fetcher decides as well.
    #[must_use]
    pub fn dangerously_allow_http(self) -> Self {
        self.set(|settings| settings.source.allow_http())
    }

    fn at(source: Source) -> Self {
        Self::with(Settings {
            source,
            periods: Periods::new(),
        })
    }

    fn with(settings: Settings) -> Self {
        Self {
            owner: Arc::new(Owner(Arc::new(Refresher::new(settings)))),
        }
    }

    fn refresher(&self) -> &Arc<Refresher> {
        &self.owner.0
    }

    fn set(self, set: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.refresher().settings.clone();
        set(&mut settings);
        Self::with(settings)
    }

    /// Sets how documents are fetched, instead of an [`HttpsFetch`]: with a proxy, with a client
    /// certificate, or from a file.
    #[must_use]
    pub fn fetch_with(self, fetch: impl FetchDocument + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.source.fetch_with(fetch))
    }

    /// Sets the longest time between two fetches.
    ///
    /// By default it is the `Cache-Control: max-age` of the issuer's response: at least
    /// [ten seconds](Self::refetch_at_most_every), and at most a day or half the time for which keys
    /// are [kept](Self::keep_for). Without `max-age`, or with `no-store`, `no-cache` or `max-age=0`, it
    /// is five minutes. If it is set, a `max-age` can only make it shorter.
    ///
    /// A key that the issuer has removed may be used for this long.
    #[must_use]
    pub fn refresh_every(self, period: Duration) -> Self {
        self.set(|settings| settings.periods.refresh = Some(period))
    }

    /// Sets the shortest time between two fetches for tokens with an unknown `kid`, or after a failure:
    /// ten seconds by default.
    #[must_use]
    pub fn refetch_at_most_every(self, period: Duration) -> Self {
        self.set(|settings| settings.periods.refetch = period)
    }

    /// Sets for how long keys are used after the last successful fetch, while the issuer is down: one
    /// hour by default. After that, tokens are 503.
    ///
    /// The issuer is down if a fetch was tried and failed. If none could be tried, because the runtime
    /// has ended, keys are not kept.
    #[must_use]
    pub fn keep_for(self, period: Duration) -> Self {
        self.set(|settings| settings.periods.keep = period)
    }

    /// Sets the time limit of a fetch: ten seconds by default.
    #[must_use]
    pub fn fetch_time_limit(self, limit: Duration) -> Self {
        self.set(|settings| settings.periods.limit = limit)
    }

    /// Waits until the keys are loaded, so that a service is ready only when it can verify tokens.
    ///
    /// # Errors
    /// [`UnavailableError`] if they could not be fetched.
    pub async fn ready(&self) -> Result<(), UnavailableError> {
        if self.current(self.refresher().now()).is_some() {
            return Ok(());
        }
        let refreshed = self.refreshed().await;
        match (refreshed.keys, refreshed.result) {
            (Some(_), _) => Ok(()),
            (None, Err(error)) => Err(UnavailableError::new(error)),
            (None, Ok(())) => Err(UnavailableError::new(FetchError::TimedOut)),
        }
    }

    pub(super) fn validate(&self) -> Result<(), TokenConfigError> {
        let settings = &self.refresher().settings;
        settings.source.validate()?;
        settings.periods.validate()
    }

    /// Returns the issuer whose metadata names the keys.
    pub(super) fn discovered_from(&self) -> Option<&str> {
        self.refresher().settings.source.issuer()
    }

    pub(super) fn use_clock(&self, clock: &Arc<dyn Clock>) {
        self.refresher().use_clock(clock);
    }

    /// Returns the keys if they can be used without a fetch.
    pub(super) fn current(&self, now: SystemTime) -> Option<Arc<KeySet>> {
        self.refresher().current(now)
    }

    /// Returns the keys after a fetch, unless one was made a moment ago.
    pub(super) async fn refreshed(&self) -> Refreshed {
        self.refresher().refresh().await
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl From<RemoteKeys> for Keys {
    fn from(keys: RemoteKeys) -> Self {
        Self::remote(keys)
    }
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeys")
            .field(
                "address",
                &format_args!("{}", self.refresher().settings.source.address),
            )
            .finish_non_exhaustive()
    }
}
