//! The error of a response's body.

use std::{error::Error as StdError, fmt};

use crate::factory::BoxError;

/// The error of a [`ResponseBody`](super::ResponseBody): that of the inner service's body, or a
/// [`ScopeEndedError`](crate::scope::ScopeEndedError) where the response was cut off.
///
/// The error itself is its [source](StdError::source), and
/// [`into_inner`](Self::into_inner) gives it back. Servers ask for a type that implements `Error`,
/// which a box does not.
#[derive(Debug)]
pub struct BodyError(BoxError);

impl BodyError {
    pub(super) fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }

    /// Returns the error itself.
    #[must_use]
    pub fn into_inner(self) -> BoxError {
        self.0
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for BodyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}
