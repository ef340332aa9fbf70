//! Why a request was refused as too much, and what the client is told of it.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header};
use thiserror::Error;

use super::{
    fields::{Fields, Left, whole_seconds},
    quota::Quota,
};

/// A subject has used all of a limit.
///
/// It is the reason of a refusal
/// ([`RejectionKind::Limited`](crate::rejection::RejectionKind::Limited)), and names the limit and no
/// subject.
///
/// ```
/// use tower_user_scope::{Rejection, rejection::RejectionKind};
///
/// fn limit(rejection: &Rejection) -> Option<&str> {
///     match rejection.kind() {
///         RejectionKind::Limited(error) => Some(error.limit()),
///         _ => None,
///     }
/// }
/// # let _ = limit;
/// ```
#[derive(Clone, Debug, Error)]
#[error("limit `{limit}` is used up")]
pub struct LimitError {
    pub(super) limit: Arc<str>,
    pub(super) quota: Quota,
    pub(super) wait: Duration,
}

impl LimitError {
    /// Returns the name of the limit.
    #[must_use]
    pub fn limit(&self) -> &str {
        &self.limit
    }

    /// Returns what the limit allows.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Returns after how many seconds the client may try again, at least 1. For a concurrency limit
    /// it is 1, as nobody knows when a scope closes.
    #[must_use]
    pub fn retry_after(&self) -> u64 {
        whole_seconds(self.wait)
    }

    /// Sets `Retry-After`, `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers)
    /// on a response. A [`RespondToRejection`](crate::rejection::RespondToRejection) of an
    /// application's own can call it; the default one does.
    ///
    /// There is no partition key (`pk`) among them, because the partition is the subject.
    pub fn set_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after()));
        let mut fields = Fields::default();
        let left = Left {
            remaining: 0,
            reset: Some(self.wait),
        };
        fields.add(&self.limit, self.quota, Some(left));
        fields.set_on(headers);
    }
}
