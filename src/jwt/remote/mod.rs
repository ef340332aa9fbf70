//! A key set that its issuer publishes: fetched, kept fresh, and kept while the issuer is down.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, warn};

use super::{KeyError, KeySet, Keys, TokenConfigError};
use crate::strategy::Unavailable;

mod address;
mod fetch;
mod https;

use self::address::Address;
pub use self::{
    fetch::{FetchDocument, FetchError},
    https::HttpsFetch,
};

/// The keys of an issuer, from where it publishes them.
///
/// They are fetched when they are first asked for, or by [`ready`](Self::ready), and then in the
/// background before they grow old. A token with an unknown `kid` has them fetched once more, and
/// not again [for a while](Self::refetch_at_most_every), whoever asks. While the issuer is down the old
/// keys are [kept](Self::keep_for); after that, and before the first were fetched, requests with
/// tokens are 503. A key that the issuer removes takes all that it verified with it; where it
/// removes the last, tokens are 503 at once.
///
/// Of what the issuer publishes, each key counts for itself: one that can't be used leaves the
/// others alone. Secrets among them are left out, since they are none any more.
///
/// The task that fetches runs on the Tokio runtime of the request that first needed it, and ends
/// when the last clone of this is dropped.
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

/// What clones share; the task goes when they have all gone.
struct Owner {
    inner: Arc<Inner>,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    settings: Settings,
    loaded: ArcSwapOption<Loaded>,
    attempts: watch::Sender<Attempts>,
    asked: Notify,
}

struct Loaded {
    keys: Arc<KeySet>,
    /// Never, where they are kept for longer than clocks go.
    until: Option<Instant>,
}

/// The attempts to fetch so far.
#[derive(Clone, Default)]
struct Attempts {
    count: u64,
    last: Option<(Instant, Result<(), FetchError>)>,
}

#[derive(Clone)]
struct Settings {
    address: Address,
    /// Given, or made when it is first wanted.
    fetch: OnceLock<Arc<Fetch>>,
    refresh_every: Duration,
    refetch_every: Duration,
    keep_for: Duration,
    limit: Duration,
}

type Fetch =
    dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<Bytes, FetchError>> + Send>> + Send + Sync;

impl RemoteKeys {
    /// The JWK set at this URL (RFC 7517 section 5): `https`, or `http` to a loopback address.
    /// Another one is an error of `build()`.
    #[must_use]
    pub fn from_url(url: impl Into<String>) -> Self {
        Self::at(Address::Keys(url.into()))
    }

    /// The JWK set that the issuer's metadata names: OpenID Connect Discovery 1.0, under
    /// `/.well-known/openid-configuration`. Metadata that names another issuer is refused.
    #[must_use]
    pub fn discover(issuer: impl Into<String>) -> Self {
        Self::at(Address::Issuer(issuer.into()))
    }

    fn at(address: Address) -> Self {
        Self::with(Settings {
            address,
            fetch: OnceLock::new(),
            refresh_every: Duration::from_secs(300),
            refetch_every: Duration::from_secs(10),
            keep_for: Duration::from_secs(3_600),
            limit: Duration::from_secs(10),
        })
    }

    fn with(settings: Settings) -> Self {
        Self {
            owner: Arc::new(Owner {
                inner: Arc::new(Inner {
                    settings,
                    loaded: ArcSwapOption::empty(),
                    attempts: watch::Sender::new(Attempts::default()),
                    asked: Notify::new(),
                }),
                task: Mutex::new(None),
            }),
        }
    }

    fn set(self, set: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.owner.inner.settings.clone();
        set(&mut settings);
        Self::with(settings)
    }

    /// Fetches with this instead of an [`HttpsFetch`]: with a proxy, a client certificate, or
    /// from a file.
    #[must_use]
    pub fn fetch_with(self, fetch: impl FetchDocument + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.fetch = OnceLock::from(erased(fetch)))
    }

    /// Fetches the keys so often, however few ask: every five minutes unless this says otherwise.
    #[must_use]
    pub fn refresh_every(self, period: Duration) -> Self {
        self.set(|settings| settings.refresh_every = period)
    }

    /// Fetches for tokens with an unknown `kid`, and after a failure, at most so often: every
    /// ten seconds unless this says otherwise.
    #[must_use]
    pub fn refetch_at_most_every(self, period: Duration) -> Self {
        self.set(|settings| settings.refetch_every = period)
    }

    /// Goes on with the keys of the last fetch for so long while the issuer is down: one hour
    /// unless this says otherwise. After that, tokens are 503.
    #[must_use]
    pub fn keep_for(self, period: Duration) -> Self {
        self.set(|settings| settings.keep_for = period)
    }

    /// Gives up a fetch after so long: ten seconds unless this says otherwise.
    #[must_use]
    pub fn fetch_time_limit(self, limit: Duration) -> Self {
        self.set(|settings| settings.limit = limit)
    }

    /// Waits until the keys were fetched: so that a service is not ready before it can verify.
    ///
    /// # Errors
    /// [`Unavailable`] where they could not be.
    pub async fn ready(&self) -> Result<(), Unavailable> {
        match self.current() {
            Some(_) => Ok(()),
            None => self.fetched().await.map(|_| ()),
        }
    }

    pub(super) fn validate(&self) -> Result<(), TokenConfigError> {
        let settings = &self.owner.inner.settings;
        settings.address.validate()?;
        let periods = [
            settings.refresh_every,
            settings.refetch_every,
            settings.keep_for,
            settings.limit,
        ];
        let fit = settings.keep_for >= settings.refresh_every
            && settings.refresh_every >= settings.refetch_every;
        if periods.iter().any(Duration::is_zero) || !fit {
            return Err(TokenConfigError::Intervals);
        }
        settings.fetch().map(|_| ())
    }

    pub(super) fn current(&self) -> Option<Arc<KeySet>> {
        let loaded = self.owner.inner.loaded.load();
        let loaded = loaded.as_ref()?;
        let is_kept = loaded.until.is_none_or(|until| Instant::now() < until);
        is_kept.then(|| Arc::clone(&loaded.keys))
    }

    /// The keys after they were fetched, unless that was tried a moment ago.
    pub(super) async fn fetched(&self) -> Result<Arc<KeySet>, Unavailable> {
        let inner = &self.owner.inner;
        let mut attempts = inner.attempts.subscribe();
        let before = attempts.borrow_and_update().clone();
        let tried_just_now = before
            .last
            .as_ref()
            .is_some_and(|(when, _)| when.elapsed() < inner.settings.refetch_every);
        self.keep_running()?;
        let last = if tried_just_now {
            before.last
        } else {
            inner.asked.notify_one();
            // The task may be about to end an attempt, and may have gone with its runtime.
            let limit = inner.settings.limit.saturating_mul(2);
            let after = timeout(limit, attempts.wait_for(|now| now.count > before.count)).await;
            after
                .map_err(|_| Unavailable::new(FetchError::TimedOut))?
                .map_err(|_| Unavailable::new(FetchError::NoRuntime))?
                .last
                .clone()
        };
        if let Some((_, Err(error))) = last {
            return Err(Unavailable::new(error));
        }
        self.current()
            .ok_or_else(|| Unavailable::new(FetchError::TimedOut))
    }

    /// Starts the task, or starts it again where its runtime has gone.
    fn keep_running(&self) -> Result<(), Unavailable> {
        let mut task = self
            .owner
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            let runtime =
                Handle::try_current().map_err(|_| Unavailable::new(FetchError::NoRuntime))?;
            *task = Some(runtime.spawn(refresh(Arc::clone(&self.owner.inner))));
        }
        Ok(())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task {
            task.abort();
        }
    }
}

fn erased(fetch: impl FetchDocument + Send + Sync + 'static) -> Arc<Fetch> {
    let fetch = Arc::new(fetch);
    Arc::new(move |url| {
        let fetch = Arc::clone(&fetch);
        Box::pin(async move { fetch.fetch(&url).await })
    })
}

async fn refresh(inner: Arc<Inner>) {
    let settings = &inner.settings;
    // `build()` has told of it where there is none.
    let Ok(fetch) = settings.fetch() else { return };
    let mut failures = 0_u32;
    loop {
        let result = match timeout(settings.limit, settings.address.keys(&**fetch)).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::TimedOut),
        };
        let pause = match &result {
            Ok(_) => settings.refresh_every,
            // Later and later, but never later than usual.
            Err(_) => settings
                .refetch_every
                .saturating_mul(1 << failures.min(8))
                .min(settings.refresh_every),
        };
        failures = if result.is_ok() {
            0
        } else {
            failures.saturating_add(1)
        };
        inner.take(result);
        sleep(settings.refetch_every.min(pause)).await;
        let rest = pause.saturating_sub(settings.refetch_every);
        // Whoever asks meanwhile has it fetched at once.
        let _ = timeout(rest, inner.asked.notified()).await;
    }
}

impl Settings {
    fn fetch(&self) -> Result<&Arc<Fetch>, TokenConfigError> {
        if let Some(fetch) = self.fetch.get() {
            return Ok(fetch);
        }
        let made = erased(HttpsFetch::new()?);
        Ok(self.fetch.get_or_init(|| made))
    }
}

impl Inner {
    fn take(&self, result: Result<KeySet, FetchError>) {
        let now = Instant::now();
        let result = result.map(|keys| {
            let keys = match &*self.loaded.load() {
                Some(old) => keys.keeping(&old.keys),
                None => keys,
            };
            debug!(keys = keys.len(), "the key set was fetched");
            self.loaded.store(Some(Arc::new(Loaded {
                keys: Arc::new(keys),
                until: now.checked_add(self.settings.keep_for),
            })));
        });
        // The issuer is there and has withdrawn what it published: that is not being down.
        if let Err(FetchError::Keys(KeyError::NoKey)) = &result {
            self.loaded.store(None);
        }
        if let Err(error) = &result {
            warn!(%error, address = %self.settings.address, "the key set could not be fetched");
        }
        self.attempts.send_modify(|attempts| {
            attempts.count += 1;
            attempts.last = Some((now, result));
        });
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
                &format_args!("{}", self.owner.inner.settings.address),
            )
            .finish_non_exhaustive()
    }
}
