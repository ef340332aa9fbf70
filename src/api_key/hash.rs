//! The hash of a key, which is what a store has of it.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::token::{Fingerprint, fingerprint};

/// The SHA-256 of a whole key, with its prefix and its identifier: what the application stores.
///
/// A key can't be found from its hash by trying, because its secret is random and has at least
/// 128 bits. A slow hash, as passwords need, would only make each request slow.
///
/// The hash covers the identifier, so that the hash of one record is worth nothing in another.
///
/// ```
/// use tower_user_scope::api_key::{ApiKey, ApiKeyHash};
///
/// let key = ApiKey::generate("acme")?;
/// let stored: [u8; 32] = *key.hash().as_bytes();
/// assert_eq!(ApiKeyHash::from(stored), key.hash());
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
#[derive(Clone, Copy)]
pub struct ApiKeyHash(Fingerprint);

impl ApiKeyHash {
    /// Returns the hash of a whole key, for keys that were made elsewhere.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(fingerprint(key))
    }

    pub(super) const fn zero() -> Self {
        Self([0; 32])
    }

    /// Returns the 32 bytes of the hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for ApiKeyHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// Compares in a time that does not depend on the hashes.
impl PartialEq for ApiKeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for ApiKeyHash {}

impl fmt::Debug for ApiKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyHash(..)")
    }
}
