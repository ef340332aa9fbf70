//! The identifier of a key.

use std::{fmt, sync::Arc};

use crate::context::{IdError, IdErrorKind};

/// The identifier of an API key: 1 to 64 ASCII letters and digits. It is not secret, and may be logged.
///
/// It is among the [attributes](crate::UserContext::attributes) of every context of an
/// [`ApiKeys`](super::ApiKeys), so that handlers know which key was used.
///
/// ```
/// use tower_user_scope::{UserContext, api_key::ApiKeyId};
///
/// fn key_of(user: &UserContext) -> Option<&str> {
///     user.attributes().get().map(ApiKeyId::as_str)
/// }
/// # let _ = key_of;
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKeyId(Arc<str>);

impl ApiKeyId {
    /// The length of the longest identifier, in bytes.
    pub const MAX_LEN: usize = 64;

    /// Returns the identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for ApiKeyId {
    type Error = IdError;

    fn try_from(text: &str) -> Result<Self, IdError> {
        let refused = |kind| Err(IdError::new("api_key_id", kind));
        if text.is_empty() {
            return refused(IdErrorKind::Empty);
        }
        if text.len() > Self::MAX_LEN {
            let limit = Self::MAX_LEN;
            return refused(IdErrorKind::TooLong { limit });
        }
        match text.bytes().position(|byte| !byte.is_ascii_alphanumeric()) {
            Some(at) => refused(IdErrorKind::ForbiddenCharacter { at }),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ApiKeyId").field(&self.as_str()).finish()
    }
}
