//! How user ids appear in telemetry.

use crate::{config_error::ConfigError, context::Principal};

/// How user ids appear in spans and `tracing` events, and in an audit log. The fields are `user.id` and
/// `user.hash`, as in OpenTelemetry's conventions; `id` and `hash` in an audit log.
///
/// It does not apply to an [`Observer`](crate::audit::Observer), which gets the context.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum UserIdTelemetry {
    /// Not at all.
    #[default]
    Omitted,
    /// As it is, under `user.id`.
    Plain,
    /// As a keyed hash, under `user.hash`: readers of the log can follow a user but not identify one,
    /// and with the key the lines of a user can be found.
    #[cfg(feature = "telemetry")]
    #[cfg_attr(docsrs, doc(cfg(feature = "telemetry")))]
    Hashed(UserIdKey),
}

impl UserIdTelemetry {
    /// Returns the value of `user.id`.
    pub(super) fn plain<'a>(&self, principal: &'a Principal) -> Option<&'a str> {
        match (self, principal) {
            (Self::Plain, Principal::User(id)) => Some(id.as_str()),
            _ => None,
        }
    }

    /// Returns the value of `user.hash`.
    #[cfg_attr(
        not(feature = "telemetry"),
        expect(clippy::unused_self, reason = "there is no key")
    )]
    pub(super) fn hashed(&self, principal: &Principal) -> Option<String> {
        #[cfg(feature = "telemetry")]
        if let (Self::Hashed(key), Principal::User(id)) = (self, principal) {
            return Some(key.hash(id));
        }
        let _ = principal;
        None
    }

    #[cfg_attr(
        not(feature = "telemetry"),
        expect(clippy::unnecessary_wraps, reason = "only a key can be wrong")
    )]
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        match self {
            Self::Omitted | Self::Plain => Ok(()),
            #[cfg(feature = "telemetry")]
            Self::Hashed(key) => key.validate(),
        }
    }
}

#[cfg(feature = "telemetry")]
pub use self::key::UserIdKey;

#[cfg(feature = "telemetry")]
mod key {
    use std::{fmt, sync::Arc};

    use hmac::{Hmac, Mac};
    use sha2::Sha256;

    use crate::{config_error::ConfigError, context::UserId};

    const MIN_LEN: usize = 16;

    /// The key under which [`UserIdTelemetry::Hashed`](super::UserIdTelemetry::Hashed) hashes.
    ///
    /// Without the key, hashes can't be found by trying ids. All processes whose logs are read together
    /// need the same key. A key of fewer than 16 bytes is an error of `build()`.
    ///
    /// ```
    /// use tower_user_scope::{
    ///     ExistingContext, UserScopeLayer, audit::{UserIdKey, UserIdTelemetry},
    /// };
    ///
    /// # let secret = [7_u8; 32];
    /// let key = UserIdKey::new(secret);
    /// let of_alice = key.hash(&"alice".parse()?);
    /// assert_eq!(of_alice.len(), 32);
    ///
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(ExistingContext::new())
    ///     .context_only()
    ///     .user_ids_in_telemetry(UserIdTelemetry::Hashed(key))
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Clone)]
    pub struct UserIdKey {
        keyed: Option<Arc<Hmac<Sha256>>>,
        len: usize,
    }

    impl UserIdKey {
        /// Creates a key of these bytes.
        pub fn new(secret: impl AsRef<[u8]>) -> Self {
            let secret = secret.as_ref();
            Self {
                keyed: Hmac::new_from_slice(secret).ok().map(Arc::new),
                len: secret.len(),
            }
        }

        /// Returns the first 16 bytes of the id's HMAC-SHA-256 (RFC 2104) as 32 hexadecimal digits. The
        /// same id in two tenants has the same hash.
        #[must_use]
        pub fn hash(&self, id: &UserId) -> String {
            let Some(keyed) = &self.keyed else {
                return String::new();
            };
            let hash = Hmac::clone(keyed).chain_update(id.as_str()).finalize();
            let mut first = [0; 16];
            first.copy_from_slice(&hash.into_bytes()[..16]);
            format!("{:032x}", u128::from_be_bytes(first))
        }

        pub(super) fn validate(&self) -> Result<(), ConfigError> {
            if self.len < MIN_LEN {
                return Err(ConfigError::WeakSecret {
                    len: self.len,
                    min: MIN_LEN,
                });
            }
            Ok(())
        }
    }

    impl fmt::Debug for UserIdKey {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("UserIdKey(..)")
        }
    }
}
