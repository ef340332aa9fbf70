//! Metrics of what belongs to no layer: caches, key sets, feeds of revocations and singletons have no
//! observer.
//!
//! Without the feature `metrics` the types are empty and do nothing. Each metric is registered when it
//! first counts, with the recorder that is installed then. `audit::Metrics` describes them.

#[cfg(not(feature = "metrics"))]
mod ignored;
#[cfg(feature = "metrics")]
mod recorded;

#[cfg(not(feature = "metrics"))]
use self::ignored as implementation;
#[cfg(feature = "jwt")]
pub(crate) use self::implementation::KeySetFetches;
pub(crate) use self::implementation::SingletonUses;
#[cfg(any(feature = "api-keys", feature = "jwt"))]
pub(crate) use self::implementation::TokenLookups;
#[cfg(feature = "open-scopes")]
pub(crate) use self::implementation::{feed_is_connected, revocation_arrived};
#[cfg(feature = "metrics")]
use self::recorded as implementation;
