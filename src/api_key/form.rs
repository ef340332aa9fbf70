//! The form of a key: `prefix_identifier_secret`.

use super::ApiKeyId;
use crate::config_error::ConfigError;

/// The part of a key that names the service; an application may have several.
#[derive(Clone, Debug)]
pub(super) struct Prefix(Result<Box<str>, ConfigError>);

impl Prefix {
    const MAX_LEN: usize = 32;

    pub(super) fn new(text: &str) -> Self {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let fits = (1..=Self::MAX_LEN).contains(&text.len())
            && text.bytes().all(is_allowed)
            && !text.ends_with('_');
        Self(if fits {
            Ok(text.into())
        } else {
            Err(ConfigError::ApiKeyPrefix {
                prefix: text.to_owned(),
            })
        })
    }

    /// Returns what the keys begin with, without the `_`.
    ///
    /// # Errors
    /// [`ConfigError::ApiKeyPrefix`]
    pub(super) fn text(&self) -> Result<&str, ConfigError> {
        self.0.as_deref().map_err(Clone::clone)
    }

    /// Returns what comes after the prefix; `None` if the token does not begin with it.
    pub(super) fn strip<'t>(&self, token: &'t str) -> Option<&'t str> {
        let prefix = self.0.as_deref().ok()?;
        token.strip_prefix(prefix)?.strip_prefix('_')
    }
}

/// The length of the shortest secret: 22 characters of base64 have 128 bits.
const MIN_SECRET_LEN: usize = 22;
const MAX_SECRET_LEN: usize = 128;

/// The length of the longest key, in bytes.
pub(super) const MAX_LEN: usize = Prefix::MAX_LEN + ApiKeyId::MAX_LEN + MAX_SECRET_LEN + 2;

/// Returns the identifier of a key without its prefix; `None` if it does not have the form of a key.
pub(super) fn id_of(rest: &str) -> Option<ApiKeyId> {
    let (id, secret) = rest.split_once('_')?;
    let fits = (MIN_SECRET_LEN..=MAX_SECRET_LEN).contains(&secret.len())
        && secret.bytes().all(|byte| byte.is_ascii_alphanumeric());
    ApiKeyId::try_from(id).ok().filter(|_| fits)
}
