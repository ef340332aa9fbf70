//! The fields `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
//!
//! There is no partition key (`pk`) among them, because the partition is the subject.

use std::{fmt::Write, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::quota::Quota;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What a subject has left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// How many requests, or scopes.
    pub(super) remaining: u64,
    /// After how long there are more: all of them after a request, one after a refusal.
    pub(super) reset: Option<Duration>,
}

/// The fields of one limit or several, which are lists (RFC 9651 section 3.1).
#[derive(Default)]
pub(super) struct Fields {
    policies: String,
    left: String,
}

impl Fields {
    /// Adds a limit, whose name `build()` has checked.
    pub(super) fn add(&mut self, limit: &str, quota: Quota, left: Option<Left>) {
        let policies = next_item(&mut self.policies);
        // Nothing fails to be written to a `String`.
        let _ = match quota {
            Quota::Rate(rate) => {
                let window = whole_seconds(rate.period());
                write!(policies, "\"{limit}\";q={};w={window}", rate.most())
            }
            Quota::Concurrency { most } => {
                write!(policies, "\"{limit}\";q={most};qu=\"concurrent-requests\"")
            }
        };
        let Some(Left { remaining, reset }) = left else {
            return;
        };
        let items = next_item(&mut self.left);
        let _ = write!(items, "\"{limit}\";r={remaining}");
        if let Some(reset) = reset {
            let _ = write!(items, ";t={}", whole_seconds(reset));
        }
    }

    pub(super) fn set_on(self, headers: &mut HeaderMap) {
        for (name, value) in [(RATE_LIMIT, self.left), (RATE_LIMIT_POLICY, self.policies)] {
            if value.is_empty() {
                continue;
            }
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }

    /// Returns the fields as headers; `None` if no limit was added.
    pub(super) fn into_headers(self) -> Option<Box<HeaderMap>> {
        let mut headers = HeaderMap::new();
        self.set_on(&mut headers);
        (!headers.is_empty()).then(|| Box::new(headers))
    }
}

fn next_item(list: &mut String) -> &mut String {
    if !list.is_empty() {
        list.push_str(", ");
    }
    list
}

/// Rounds up, so that a client that waits so long is not too early.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    let begun = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(begun).max(1)
}
