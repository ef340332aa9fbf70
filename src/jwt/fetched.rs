//! Verifies with the keys of an issuer: those that are loaded, or those after a fetch.

use std::time::SystemTime;

use super::{KeySet, issuer::IssuerRules, verify::Refused};
use crate::outcome::{InvalidError, UnavailableError};

/// Why a token was not accepted after a fetch.
pub(super) enum NotVerified {
    Invalid(InvalidError),
    /// Its key may be one that could not be fetched.
    Unavailable(UnavailableError),
}

/// Verifies with the keys that are loaded.
pub(super) fn with_loaded_keys<T>(
    issuer: &IssuerRules,
    now: SystemTime,
    verify: impl FnOnce(&KeySet) -> Result<T, Refused>,
) -> Result<T, Refused> {
    match issuer.keys.current(now) {
        Some(keys) => verify(&keys),
        None => Err(Refused::UnknownKey),
    }
}

/// Waits for a fetch of the keys, and verifies with them.
pub(super) async fn with_fetched_keys<T>(
    issuer: &IssuerRules,
    verify: impl FnOnce(&KeySet) -> Result<T, Refused>,
) -> Result<T, NotVerified> {
    let refreshed = issuer.keys.refreshed().await;
    let verified = match &refreshed.keys {
        Some(keys) => verify(keys),
        None => Err(Refused::UnknownKey),
    };
    match (verified, refreshed.why_incomplete()) {
        (Ok(verified), _) => Ok(verified),
        // The token is not called invalid.
        (Err(Refused::UnknownKey), Some(error)) => {
            Err(NotVerified::Unavailable(UnavailableError::new(error)))
        }
        (Err(refused), _) => Err(NotVerified::Invalid(refused.into())),
    }
}
