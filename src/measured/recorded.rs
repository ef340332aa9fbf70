//! Metrics for the recorder that the program has installed.

use std::panic::Location;
#[cfg(any(feature = "api-keys", feature = "jwt"))]
use std::sync::OnceLock;
#[cfg(feature = "open-scopes")]
use std::time::Duration;
#[cfg(feature = "jwt")]
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

#[cfg(feature = "jwt")]
use metrics::Gauge;
#[cfg(any(feature = "jwt", feature = "open-scopes"))]
use metrics::gauge;
#[cfg(feature = "open-scopes")]
use metrics::histogram;
use metrics::{Counter, counter};

/// Measures how long a revocation of another replica has taken to arrive here.
#[cfg(feature = "open-scopes")]
pub(crate) fn revocation_arrived(lag: Duration) {
    histogram!("user_scope_revocation_lag_seconds").record(lag.as_secs_f64());
}

/// Says whether the feed of revocations is connected.
#[cfg(feature = "open-scopes")]
pub(crate) fn feed_is_connected(is_connected: bool) {
    gauge!("user_scope_revocation_feed_connected").set(f64::from(u8::from(is_connected)));
}

/// Counts the uses of a singleton at one place of the program and on one route.
pub(crate) struct SingletonUses(Counter);

impl SingletonUses {
    pub(crate) fn at(singleton: &'static str, place: &Location<'_>, route: Option<&str>) -> Self {
        let place = format!("{}:{}", place.file(), place.line());
        let route = route.unwrap_or_default().to_owned();
        Self(
            counter!("user_scope_singleton_uses_total", "singleton" => singleton, "place" => place, "route" => route),
        )
    }

    /// Counts those of places that are too many to be labels.
    pub(crate) fn of_others(singleton: &'static str) -> Self {
        Self(
            counter!("user_scope_singleton_uses_total", "singleton" => singleton, "place" => "other", "route" => ""),
        )
    }

    pub(crate) fn add(&self) {
        self.0.increment(1);
    }
}

/// Counts how often a cache of tokens had what was looked for.
#[cfg(any(feature = "api-keys", feature = "jwt"))]
pub(crate) struct TokenLookups {
    cache: &'static str,
    counters: OnceLock<[Counter; 2]>,
}

#[cfg(any(feature = "api-keys", feature = "jwt"))]
impl TokenLookups {
    pub(crate) const fn new(cache: &'static str) -> Self {
        Self {
            cache,
            counters: OnceLock::new(),
        }
    }

    #[inline]
    pub(crate) fn add(&self, is_hit: bool) {
        let register = || {
            ["hit", "miss"].map(|result| {
                counter!("user_scope_token_cache_lookups_total", "cache" => self.cache, "result" => result)
            })
        };
        let [hit, miss] = self.counters.get_or_init(register);
        if is_hit { hit } else { miss }.increment(1);
    }
}

/// Measures the fetches of one key set.
#[cfg(feature = "jwt")]
pub(crate) struct KeySetFetches(OnceLock<OfKeySet>);

#[cfg(feature = "jwt")]
struct OfKeySet {
    succeeded: Counter,
    failed: Counter,
    /// Not for the key sets that share a label.
    fetched: Option<Gauge>,
}

#[cfg(feature = "jwt")]
impl KeySetFetches {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Counts a fetch that brought keys, or the word that those known are still right.
    pub(crate) fn succeeded(&self, address: &dyn fmt::Display, at: SystemTime) {
        let of = self.of(address);
        of.succeeded.increment(1);
        if let Some(fetched) = &of.fetched {
            let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
            fetched.set(since.as_secs_f64());
        }
    }

    pub(crate) fn failed(&self, address: &dyn fmt::Display) {
        self.of(address).failed.increment(1);
    }

    fn of(&self, address: &dyn fmt::Display) -> &OfKeySet {
        self.0.get_or_init(|| {
            let name = label(address.to_string());
            let fetches = |result: &'static str| {
                let name = name.clone().unwrap_or_else(|| "other".to_owned());
                counter!("user_scope_key_set_fetches_total", "key_set" => name, "result" => result)
            };
            OfKeySet {
                succeeded: fetches("succeeded"),
                failed: fetches("failed"),
                fetched: name.clone().map(
                    |name| gauge!("user_scope_key_set_fetched_timestamp_seconds", "key_set" => name),
                ),
            }
        })
    }
}

/// Returns the address as a label; `None` if there are too many already. A program that adds issuers
/// while it runs may come to any number.
#[cfg(feature = "jwt")]
fn label(address: String) -> Option<String> {
    const MOST: usize = 64;
    static KNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() == MOST && !known.contains(&address) {
        return None;
    }
    known.insert(address.clone());
    Some(address)
}
