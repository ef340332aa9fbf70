//! Why a key was refused.

use std::fmt;

use thiserror::Error;

use super::ApiKeyId;
use crate::strategy::{InvalidError, InvalidErrorKind};

/// Why an API key was refused: the [source](std::error::Error::source) of the [`InvalidError`] in the
/// audit event. The response is 401 and says nothing of it.
///
/// It has the identifier of the key, if the key has the form of one, and never the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyError {
    kind: ApiKeyErrorKind,
    id: Option<ApiKeyId>,
}

/// What is wrong with an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum ApiKeyErrorKind {
    /// It does not have the form of a key with the configured prefix.
    #[error("the key is malformed")]
    Malformed,
    /// The store has no key with its identifier.
    #[error("the key is unknown")]
    Unknown,
    /// The store has another hash under its identifier.
    #[error("the key has a wrong secret")]
    WrongSecret,
    /// It was revoked.
    #[error("the key was revoked")]
    Revoked,
    /// It has expired.
    #[error("the key has expired")]
    Expired,
}

impl ApiKeyError {
    pub(super) fn new(kind: ApiKeyErrorKind, id: Option<ApiKeyId>) -> Self {
        Self { kind, id }
    }

    /// Returns what is wrong.
    #[must_use]
    pub fn kind(&self) -> ApiKeyErrorKind {
        self.kind
    }

    /// Returns the identifier that was sent; `None` if the key is malformed.
    #[must_use]
    pub fn id(&self) -> Option<&ApiKeyId> {
        self.id.as_ref()
    }
}

impl fmt::Display for ApiKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "{}: {id}", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

impl std::error::Error for ApiKeyError {}

impl From<ApiKeyError> for InvalidError {
    fn from(error: ApiKeyError) -> Self {
        Self::new(match error.kind {
            ApiKeyErrorKind::Malformed => InvalidErrorKind::Rejected("api_key_malformed"),
            ApiKeyErrorKind::Unknown => InvalidErrorKind::Rejected("api_key_unknown"),
            ApiKeyErrorKind::WrongSecret => InvalidErrorKind::Rejected("api_key_wrong_secret"),
            ApiKeyErrorKind::Revoked => InvalidErrorKind::Rejected("api_key_revoked"),
            ApiKeyErrorKind::Expired => InvalidErrorKind::Expired,
        })
        .with_source(error)
    }
}
