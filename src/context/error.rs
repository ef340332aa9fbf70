//! What a context can't give, or can't be.

use thiserror::Error;

use super::Evidence;

/// How many generations of children a context can have.
pub(super) const MAX_DEPTH: u8 = 32;

/// A child was asked of a context at [`UserContext::MAX_DEPTH`](crate::UserContext::MAX_DEPTH).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a context has at most {} generations of children", MAX_DEPTH)]
pub struct DepthError {
    pub(super) _private: (),
}

/// A user is wanted and a service or nobody acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a user is required, and the principal is of kind {found}")]
pub struct UserRequiredError {
    pub(super) found: &'static str,
}

impl UserRequiredError {
    /// Whether nobody or a visitor acts, so that credentials would help.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        matches!(self.found, "anonymous" | "visitor")
    }
}

/// A verified credential is wanted and the identity is only asserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("proved evidence is required, and the identity is {}", .found.as_str())]
pub struct EvidenceError {
    pub(super) found: Evidence,
}

impl EvidenceError {
    /// The evidence that there is.
    #[must_use]
    pub fn found(&self) -> Evidence {
        self.found
    }
}
