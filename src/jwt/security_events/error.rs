//! Why a token was not accepted.

use std::error::Error as StdError;

use thiserror::Error;

use super::super::{TokenError, TokenErrorKind, fetched::NotVerified};
use crate::outcome::{InvalidError, UnavailableError};

/// A log-out token or a security event token was not accepted.
///
/// ```
/// use http::StatusCode;
/// use tower_user_scope::jwt::{EventTokenError, TokenErrorKind};
///
/// /// What the issuer is told.
/// fn status(error: &EventTokenError) -> StatusCode {
///     match (error, error.kind()) {
///         // It was delivered before: there is nothing left to do.
///         (_, Some(TokenErrorKind::Replayed)) => StatusCode::OK,
///         (EventTokenError::Invalid(_), _) => StatusCode::BAD_REQUEST,
///         // The issuer may try again.
///         _ => StatusCode::SERVICE_UNAVAILABLE,
///     }
/// }
/// # let _ = status;
/// ```
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum EventTokenError {
    /// The token is not valid. The source says why.
    #[error("the token {0}")]
    Invalid(#[source] InvalidError),
    /// The keys of its issuer could not be fetched.
    #[error("the token could not be checked: {0}")]
    Unavailable(#[source] UnavailableError),
}

impl EventTokenError {
    /// Returns what is wrong with the token; `None` if that is not known, or for an error of the
    /// application's own closure.
    #[must_use]
    pub fn kind(&self) -> Option<&TokenErrorKind> {
        let Self::Invalid(invalid) = self else {
            return None;
        };
        let error: &TokenError = invalid.source()?.downcast_ref()?;
        Some(error.kind())
    }
}

impl From<NotVerified> for EventTokenError {
    fn from(error: NotVerified) -> Self {
        match error {
            NotVerified::Invalid(invalid) => Self::Invalid(invalid),
            NotVerified::Unavailable(unavailable) => Self::Unavailable(unavailable),
        }
    }
}
