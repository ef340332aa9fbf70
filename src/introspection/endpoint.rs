//! Where the introspection endpoint is: at a URL, or where the issuer's metadata says.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::under_way::UnderWay;
use crate::{
    clock::{Clock, Moment},
    jwt::{FetchError, PlainHttp, Source, TokenConfigError, bounded, checked, redacted, timer},
};

#[derive(Clone)]
pub(super) enum Endpoint {
    Url(String),
    /// The metadata of an issuer.
    Metadata(Source),
}

impl Endpoint {
    pub(super) fn validate(&self, plain: PlainHttp) -> Result<(), TokenConfigError> {
        match self {
            Self::Url(url) => match checked(url, plain) {
                Ok(_) => Ok(()),
                Err(problem) => {
                    let url = redacted(url);
                    Err(TokenConfigError::Url { url, problem })
                }
            },
            Self::Metadata(source) => source.validate(),
        }
    }

    /// Returns the issuer whose metadata names the endpoint.
    pub(super) fn issuer(&self) -> Option<&str> {
        match self {
            Self::Url(_) => None,
            Self::Metadata(source) => source.issuer(),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, url) = match self {
            Self::Url(url) => ("Url", url.as_str()),
            Self::Metadata(source) => ("Metadata", source.issuer().unwrap_or_default()),
        };
        f.debug_tuple(name).field(&redacted(url)).finish()
    }
}

type Answer = Result<Arc<str>, FetchError>;

/// What an issuer's metadata said when it was last fetched.
pub(super) struct Discovered {
    last: Mutex<Last>,
    under_way: UnderWay<Answer>,
}

#[derive(Default)]
struct Last {
    found: Option<(Moment, Arc<str>)>,
    /// Of the last fetch, if it failed.
    failed: Option<(Moment, FetchError)>,
}

impl Discovered {
    /// How long the metadata is not fetched again.
    const PERIOD: Duration = Duration::from_secs(3_600);
    /// How long an endpoint is used while the metadata can't be fetched.
    const KEPT_FOR: Duration = Duration::from_secs(2 * 3_600);
    /// How long after a failure the metadata is not fetched again.
    const RETRIED_AFTER: Duration = Duration::from_secs(10);

    pub(super) fn new() -> Self {
        Self {
            last: Mutex::default(),
            under_way: UnderWay::new(),
        }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the URL of the endpoint, after a fetch of the metadata if that is due. Requests share a
    /// fetch.
    pub(super) async fn url(&self, source: &Source, limit: Duration, clock: &dyn Clock) -> Answer {
        let now = Moment::at(clock.now());
        let known = self.last().known(now);
        if let Some(known) = known {
            return known;
        }
        let fetch = async {
            // Once in an hour: its large future is not a part of that of each request.
            let fetched = Box::pin(fetched(source, limit)).await;
            self.last().learn(now, fetched)
        };
        // There is one document.
        self.under_way.join([0; 32], fetch).await
    }
}

async fn fetched(source: &Source, limit: Duration) -> Answer {
    let limit = timer(limit)?;
    let url = bounded(source.introspection_endpoint(), limit).await??;
    Ok(Arc::from(url.as_str()))
}

impl Last {
    /// Returns what is known; `None` if the metadata has to be fetched.
    fn known(&self, now: Moment) -> Option<Answer> {
        if let Some(url) = self.found_within(Discovered::PERIOD, now) {
            return Some(Ok(url));
        }
        let (when, error) = self.failed.as_ref()?;
        let is_recent = when.elapsed(now) < Discovered::RETRIED_AFTER;
        is_recent.then(|| self.kept(now, error.clone()))
    }

    fn learn(&mut self, began: Moment, fetched: Answer) -> Answer {
        match fetched {
            Ok(url) => {
                self.found = Some((began, Arc::clone(&url)));
                self.failed = None;
                Ok(url)
            }
            Err(error) => {
                self.failed = Some((began, error.clone()));
                self.kept(began, error)
            }
        }
    }

    fn kept(&self, now: Moment, error: FetchError) -> Answer {
        self.found_within(Discovered::KEPT_FOR, now).ok_or(error)
    }

    fn found_within(&self, period: Duration, now: Moment) -> Option<Arc<str>> {
        let (when, url) = self.found.as_ref()?;
        (when.elapsed(now) < period).then(|| Arc::clone(url))
    }
}

impl fmt::Debug for Discovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovered").finish_non_exhaustive()
    }
}
