//! Key sets that issuers publish: fetched, refreshed, and kept for a while when the issuer is down.
//!
//! Knows nothing of tokens.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use super::{KeySet, Keys, TokenConfigError};
use crate::{clock::Clock, strategy::UnavailableError};

mod address;
mod fetch;
mod https;
mod moment;
mod period;
mod refresher;
mod url;

pub(super) use self::refresher::Refreshed;
use self::{address::Address, period::Periods, refresher::Refresher};
pub use self::{
    fetch::{FetchDocument, FetchError, Fetched},
    https::HttpsFetch,
};

/// The keys of an issuer, from where it publishes them.
///
/// They are fetched when they are first asked for, or by [`ready`](Self::ready), and then in the
/// background before they grow old. A token with an unknown `kid` has them fetched once more, and
/// not again [for a while](Self::refetch_at_most_every), whoever asks. While the issuer is down the
/// old keys are [kept](Self::keep_for); after that, and before the first were fetched, requests
/// with tokens are 503. A key that the issuer removes takes all that it verified with it; where it
/// removes the last, tokens are 503 at once.
///
/// Of what the issuer publishes, each key counts for itself: one that can't be used leaves the
/// others alone. Secrets among them are left out, since they are none any more.
///
/// The task that fetches runs on the Tokio runtime of the request that first needed it, and ends
/// when the last clone of this is dropped. Nothing rests on it: each use of the keys looks at
/// their age, by the layer's [`Clock`] and by the monotonic one, and where a refresh is overdue by
/// more than twice the [time limit](Self::fetch_time_limit), the request fetches them itself
/// first. Where it can't, because there is no Tokio runtime, it is 503.
///
/// # What an issuer can do
///
/// At most one fetch is under way at a time. Each sends one request, or two where the keys are
/// [discovered](Self::discover), reads at most [`HttpsFetch::MAX_LEN`] bytes of each answer, takes
/// no longer than the time limit, and writes one line of a log. No URL that it names is followed
/// to plain `http`, nor to an IP address or `localhost` that is not its own host, and no redirect
/// at all. A name that it makes resolve to an internal address gets a TLS handshake, and no
/// request without that name's certificate.
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
    address: Address,
    /// Configured, or created at first use.
    fetch: OnceLock<Arc<Fetch>>,
    periods: Periods,
}

type Fetch = dyn Fn(String, Option<String>) -> Pin<Box<dyn Future<Output = Result<Fetched, FetchError>> + Send>>
    + Send
    + Sync;

impl RemoteKeys {
    /// The JWK set at this URL (RFC 7517 section 5): `https`, or `http` to a loopback address,
    /// without user name, password and fragment. Another one is an error of `build()`.
    ///
    /// A query is never shown in `Debug`, errors and logs.
    #[must_use]
    pub fn from_url(url: impl Into<String>) -> Self {
        Self::at(Address::Keys(url.into()))
    }

    /// The JWK set that the issuer's metadata names: OpenID Connect Discovery 1.0, under
    /// `/.well-known/openid-configuration`. Metadata that names another issuer is refused, and so is
    /// a URL of keys that is not `https`, where the issuer's is.
    ///
    /// A URL with a query, or with a placeholder such as `{tenantid}`, is an error of `build()`,
    /// and so is [`Jwt::issuer`](super::Jwt::issuer) with another name than this.
    #[must_use]
    pub fn discover(issuer: impl Into<String>) -> Self {
        Self::at(Address::Issuer(issuer.into()))
    }

    fn at(address: Address) -> Self {
        Self::with(Settings {
            address,
            fetch: OnceLock::new(),
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

    /// Fetches with this instead of an [`HttpsFetch`]: with a proxy, a client certificate, or
    /// from a file.
    #[must_use]
    pub fn fetch_with(self, fetch: impl FetchDocument + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.fetch = OnceLock::from(boxed(fetch)))
    }

    /// Fetches the keys at least so often, however few ask.
    ///
    /// Unless this is called, the issuer has a say: keys are fetched when the
    /// `Cache-Control: max-age` of its answer has passed, but not before
    /// [ten seconds](Self::refetch_at_most_every), and not after half the time for which keys are
    /// [kept](Self::keep_for) or a day; and every five minutes where it doesn't say, or says
    /// `no-store`, `no-cache` or `max-age=0`. After this was called, it can only ask for less.
    ///
    /// A key that the issuer removed may be used for so long.
    #[must_use]
    pub fn refresh_every(self, period: Duration) -> Self {
        self.set(|settings| settings.periods.refresh = Some(period))
    }

    /// Fetches for tokens with an unknown `kid`, and after a failure, at most so often: every
    /// ten seconds unless this says otherwise.
    #[must_use]
    pub fn refetch_at_most_every(self, period: Duration) -> Self {
        self.set(|settings| settings.periods.refetch = period)
    }

    /// Goes on with the keys of the last fetch for so long while the issuer is down: one hour
    /// unless this says otherwise. After that, tokens are 503.
    ///
    /// It is down where a fetch was tried and failed. Keys that nobody could try to fetch, since
    /// the runtime has ended, are not kept.
    #[must_use]
    pub fn keep_for(self, period: Duration) -> Self {
        self.set(|settings| settings.periods.keep = period)
    }

    /// Gives up a fetch after so long: ten seconds unless this says otherwise.
    #[must_use]
    pub fn fetch_time_limit(self, limit: Duration) -> Self {
        self.set(|settings| settings.periods.limit = limit)
    }

    /// Waits until the keys were fetched: so that a service is not ready before it can verify.
    ///
    /// # Errors
    /// [`UnavailableError`] where they could not be.
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
        settings.address.validate()?;
        settings.periods.validate()?;
        settings.fetch().map(|_| ())
    }

    /// Returns the issuer whose metadata names the keys.
    pub(super) fn discovered_from(&self) -> Option<&str> {
        self.refresher().settings.address.issuer()
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

fn boxed(fetch: impl FetchDocument + Send + Sync + 'static) -> Arc<Fetch> {
    let fetch = Arc::new(fetch);
    Arc::new(move |url, etag| {
        let fetch = Arc::clone(&fetch);
        Box::pin(async move { fetch.fetch_if_changed(&url, etag.as_deref()).await })
    })
}

impl Settings {
    fn fetch(&self) -> Result<&Arc<Fetch>, TokenConfigError> {
        if let Some(fetch) = self.fetch.get() {
            return Ok(fetch);
        }
        let made = boxed(HttpsFetch::new()?);
        Ok(self.fetch.get_or_init(|| made))
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
                &format_args!("{}", self.refresher().settings.address),
            )
            .finish_non_exhaustive()
    }
}
