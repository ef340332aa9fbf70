//! Tokens that were verified before.
//!
//! Kept by their SHA-256, from which no token can be had back, and only where they were good:
//! somebody who sends many bad tokens fills nothing.

use std::{fmt, sync::Arc};

use quick_cache::{Weighter, sync::Cache};
use sha2::{Digest, Sha256};

use super::verify::Verdict;

/// The digest of a token.
pub(super) type Fingerprint = [u8; 32];

/// How much is kept of tokens that were verified; see [`Jwt::cache`](super::Jwt::cache).
///
/// When it is full, those that were not used for long make room. An entry ends with its token,
/// and with the key that verified it.
///
/// ```
/// use tower_user_scope::jwt::TokenCache;
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

    /// Keeps at most so many tokens, at least one.
    #[must_use]
    pub const fn max_entries(mut self, entries: usize) -> Self {
        self.entries = if entries == 0 { 1 } else { entries };
        self
    }

    /// Keeps about so many bytes at the most, at least 4 KiB. What a token's claims take is
    /// estimated from their length; where the application's type for them takes much more room
    /// than their JSON, as `serde_json::Value` does, allow for that.
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

/// The tokens themselves.
pub(super) struct Remembered {
    verdicts: Cache<Fingerprint, Arc<Verdict>, Share>,
    limits: TokenCache,
}

/// Weighs an entry in bytes, and at least its share of them: one capacity bounds both.
#[derive(Clone)]
struct Share {
    least: u64,
}

impl Weighter<Fingerprint, Arc<Verdict>> for Share {
    fn weight(&self, _: &Fingerprint, verdict: &Arc<Verdict>) -> u64 {
        /// What an entry takes beside its claims: digest, verdict, identity and their counts.
        const OVERHEAD: u64 = 768;
        self.least.max(OVERHEAD + 2 * verdict.size as u64)
    }
}

impl Remembered {
    pub(super) fn new(limits: TokenCache) -> Self {
        let bytes = limits.bytes as u64;
        let share = Share {
            least: bytes.div_ceil(limits.entries as u64),
        };
        let entries = limits.entries.min(limits.bytes / 768);
        Self {
            verdicts: Cache::with_weighter(entries, bytes, share),
            limits,
        }
    }

    /// Another one with the same limits.
    pub(super) fn emptied(&self) -> Self {
        Self::new(self.limits)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.verdicts.is_empty()
    }

    pub(super) fn fingerprint(token: &str) -> Fingerprint {
        Sha256::digest(token.as_bytes()).into()
    }

    pub(super) fn get(&self, token: &Fingerprint) -> Option<Arc<Verdict>> {
        self.verdicts.get(token)
    }

    pub(super) fn insert(&self, token: Fingerprint, verdict: Arc<Verdict>) {
        self.verdicts.insert(token, verdict);
    }

    pub(super) fn remove(&self, token: &Fingerprint) {
        self.verdicts.remove(token);
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered")
            .field("len", &self.verdicts.len())
            .finish_non_exhaustive()
    }
}
