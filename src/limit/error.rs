//! Why a request was refused as too much, and what the client is told of it.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use thiserror::Error;

use super::quota::Quota;

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

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

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
        let (limit, wait) = (&*self.limit, self.retry_after());
        let policy = match self.quota {
            Quota::Rate(rate) => {
                let window = whole_seconds(rate.period());
                format!("\"{limit}\";q={};w={window}", rate.most())
            }
            Quota::Concurrency { most } => {
                format!("\"{limit}\";q={most};qu=\"concurrent-requests\"")
            }
        };
        for (name, value) in [
            (header::RETRY_AFTER, wait.to_string()),
            (RATE_LIMIT, format!("\"{limit}\";r=0;t={wait}")),
            (RATE_LIMIT_POLICY, policy),
        ] {
            // `build()` has checked the characters of the name.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// Rounds up, so that a client that waits so long is not too early.
fn whole_seconds(wait: Duration) -> u64 {
    let begun = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(begun).max(1)
}
