//! A bounded cache of the verdicts on valid tokens.
//!
//! The key is the token's SHA-256, so that memory holds no token. Invalid tokens are not cached, so
//! that a sender of many can't evict the valid ones. Knows nothing of how a token is verified.

use std::{fmt, sync::Arc};

use quick_cache::{Weighter, sync::Cache};
use sha2::{Digest, Sha256};

use crate::measured::TokenLookups;

/// The SHA-256 of a token.
pub(crate) type Fingerprint = [u8; 32];

pub(crate) fn fingerprint(token: &str) -> Fingerprint {
    Sha256::digest(token.as_bytes()).into()
}

/// The limits of a strategy's cache of valid tokens.
///
/// A full cache evicts entries that were not used recently. Invalid tokens are not cached.
///
/// ```
/// use tower_user_scope::token::TokenCache;
///
/// let small = TokenCache::new().max_entries(1_000).max_bytes(1 << 20);
/// # let _ = small;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TokenCache {
    entries: usize,
    bytes: usize,
}

impl TokenCache {
    /// At most 10,000 tokens and 16 MiB.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: 10_000,
            bytes: 16 << 20,
        }
    }

    /// Sets the maximum number of tokens; at least one.
    #[must_use]
    pub const fn max_entries(mut self, entries: usize) -> Self {
        self.entries = if entries == 0 { 1 } else { entries };
        self
    }

    /// Sets the approximate maximum size in bytes; at least 4 KiB. The size of claims is estimated
    /// from the length of their JSON: if the application's type for them is much larger, as
    /// `serde_json::Value` is, set less.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.bytes = if bytes < 4_096 { 4_096 } else { bytes };
        self
    }
}

impl Default for TokenCache {
    fn default() -> Self {
        Self::new()
    }
}

/// What the strategy remembers about a valid token.
pub(crate) trait Weighed {
    /// Returns the length of what the token's issuer says about it, in bytes.
    fn size(&self) -> usize;
}

/// Verdicts by the digest of their token.
pub(crate) struct VerdictCache<V> {
    verdicts: Cache<Fingerprint, Arc<V>, EntryWeight>,
    limits: TokenCache,
    name: &'static str,
    lookups: TokenLookups,
}

/// The size of an entry in bytes without its claims: digest, verdict, identity with its attributes, and
/// their counters.
const OVERHEAD: usize = 1_024;

/// Weighs an entry by its bytes, and by at least `bytes / entries`, so that one capacity bounds
/// both.
#[derive(Clone)]
struct EntryWeight {
    min: u64,
}

impl<V: Weighed> Weighter<Fingerprint, Arc<V>> for EntryWeight {
    fn weight(&self, _: &Fingerprint, verdict: &Arc<V>) -> u64 {
        self.min.max((OVERHEAD + 2 * verdict.size()) as u64)
    }
}

impl<V: Weighed> VerdictCache<V> {
    /// Creates a cache of this name in metrics.
    pub(crate) fn new(name: &'static str, limits: TokenCache) -> Self {
        let bytes = limits.bytes as u64;
        let weight = EntryWeight {
            min: bytes.div_ceil(limits.entries as u64),
        };
        let entries = limits.entries.min(limits.bytes / OVERHEAD);
        Self {
            verdicts: Cache::with_weighter(entries, bytes, weight),
            limits,
            name,
            lookups: TokenLookups::new(name),
        }
    }

    /// Returns an empty cache with the same limits.
    #[cfg(feature = "jwt")]
    pub(crate) fn empty_copy(&self) -> Self {
        Self::new(self.name, self.limits)
    }

    #[cfg(feature = "jwt")]
    pub(crate) fn is_empty(&self) -> bool {
        self.verdicts.is_empty()
    }

    pub(crate) fn get(&self, token: &Fingerprint) -> Option<Arc<V>> {
        self.verdicts.get(token)
    }

    /// Counts whether a look-up found what could be used.
    #[inline]
    pub(crate) fn count(&self, is_hit: bool) {
        self.lookups.add(is_hit);
    }

    pub(crate) fn insert(&self, token: Fingerprint, verdict: Arc<V>) {
        self.verdicts.insert(token, verdict);
    }

    pub(crate) fn remove(&self, token: &Fingerprint) {
        self.verdicts.remove(token);
    }
}

impl<V: Weighed> fmt::Debug for VerdictCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerdictCache")
            .field("name", &self.name)
            .field("len", &self.verdicts.len())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
