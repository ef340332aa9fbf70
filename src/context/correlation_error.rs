//! The kinds of correlation ids, and what can be wrong with one.

use thiserror::Error;

use super::{ConnectionId, IdError, IdErrorKind, RequestId, RunId, ThreadId};

/// Which of a request's correlation ids is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CorrelationKind {
    /// [`RequestId`], by default from `x-request-id`, else from `traceparent`.
    Request,
    /// [`ThreadId`], by default from `x-thread-id`.
    Thread,
    /// [`RunId`], by default from `x-run-id`.
    Run,
    /// [`ConnectionId`], by default from `x-connection-id`.
    Connection,
}

impl CorrelationKind {
    pub(super) const ALL: [Self; 4] = [Self::Request, Self::Thread, Self::Run, Self::Connection];

    pub(super) fn bit(self) -> u8 {
        1 << self as u8
    }

    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Request => RequestId::FIELD,
            Self::Thread => ThreadId::FIELD,
            Self::Run => RunId::FIELD,
            Self::Connection => ConnectionId::FIELD,
        }
    }
}

/// Why a correlation id of a request was refused; the response is 400.
///
/// A bad `traceparent` is ignored instead: see
/// [`CorrelationSources::trace_context`](crate::context::CorrelationSources::trace_context).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{field} {kind}")]
pub struct CorrelationError {
    pub(super) field: &'static str,
    pub(super) kind: CorrelationErrorKind,
}

impl CorrelationError {
    pub(super) fn not_of_credential(field: &'static str) -> Self {
        Self {
            field,
            kind: CorrelationErrorKind::NotOfCredential,
        }
    }

    /// Which id it is, such as `thread_id`.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// What is wrong with it.
    #[must_use]
    pub fn kind(&self) -> CorrelationErrorKind {
        self.kind
    }
}

/// What is wrong with a correlation id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CorrelationErrorKind {
    /// The value is not an id.
    #[error(transparent)]
    Id(IdErrorKind),
    /// The value is not UTF-8.
    #[error("is not text")]
    NotText,
    /// The id was sent more than once, or its header and its query parameter differ.
    #[error("was sent more than once")]
    Repeated,
    /// The credential was issued for another one; see
    /// [`Identity::with_thread_id`](crate::Identity::with_thread_id).
    #[error("is not the one that the credential is for")]
    NotOfCredential,
    /// The `traceparent` does not follow the W3C's grammar. It is ignored and refuses nobody.
    #[error("does not follow the W3C grammar")]
    Malformed,
    /// The query string is longer than
    /// [`CorrelationSources::MAX_QUERY_LEN`](crate::context::CorrelationSources::MAX_QUERY_LEN) and
    /// was not searched.
    #[error("could not be looked for in a query string of that length")]
    QueryTooLong,
}

impl From<IdError> for CorrelationError {
    fn from(error: IdError) -> Self {
        Self {
            field: error.field(),
            kind: CorrelationErrorKind::Id(error.kind()),
        }
    }
}
