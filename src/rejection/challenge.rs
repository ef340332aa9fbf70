//! `WWW-Authenticate`: what a client may send to get further (RFC 9110 section 11.6.1).

use http::{HeaderValue, StatusCode};

use super::Rejection;

/// A 401 has at least one challenge (RFC 9110 section 15.5.2). Where no strategy has a scheme
/// of its own, this says that the identity comes from elsewhere; clients ignore schemes they
/// don't know.
const OTHERWISE: HeaderValue = HeaderValue::from_static("UserScope");

/// Merges the challenges of all strategies, that of the one that refused in its sharper form.
pub(crate) fn challenges(
    rejection: Rejection,
    refused: Option<HeaderValue>,
    others: impl FnOnce(&mut dyn FnMut(Option<HeaderValue>)),
) -> Rejection {
    let mut all = Vec::new();
    all.extend(refused);
    if rejection.status() == StatusCode::UNAUTHORIZED {
        others(&mut |challenge| {
            // One challenge for a scheme: the sharper one came first.
            let known = challenge
                .as_ref()
                .is_some_and(|new| all.iter().any(|old| scheme(old) == scheme(new)));
            if !known {
                all.extend(challenge);
            }
        });
        if all.is_empty() {
            all.push(OTHERWISE);
        }
    }
    rejection.with_challenges(all)
}

fn scheme(challenge: &HeaderValue) -> Option<&[u8]> {
    challenge.as_bytes().split(|byte| *byte == b' ').next()
}
