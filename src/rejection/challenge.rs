//! The `WWW-Authenticate` challenges of a refusal (RFC 9110 section 11.6.1).

use http::{HeaderValue, StatusCode};

use super::{BearerChallenge, Rejection, RejectionKind};

/// The challenge of a 401 if no strategy has one: RFC 9110 section 15.5.2 asks for at least one.
/// Clients ignore schemes that they don't know.
const DEFAULT: HeaderValue = HeaderValue::from_static("UserScope");

/// Adds the challenges of all strategies to a rejection, one for each scheme. `refused` is that of the
/// strategy that refused, which names the error; one that names what is missing is the rejection's own.
/// Those of the scheme `Bearer` are completed.
pub(crate) fn challenges(
    rejection: Rejection,
    bearer: &BearerChallenge,
    refused: Option<HeaderValue>,
    others: impl FnOnce(&mut dyn FnMut(Option<HeaderValue>)),
) -> Rejection {
    let mut all = Vec::new();
    all.extend(refused);
    if let RejectionKind::Forbidden { forbidden, .. } = rejection.kind() {
        all.extend(forbidden.challenge());
    }
    if rejection.status() == StatusCode::UNAUTHORIZED {
        others(&mut |challenge| {
            // The first challenge of a scheme is the one that names the error.
            let known = challenge
                .as_ref()
                .is_some_and(|new| all.iter().any(|old| scheme(old) == scheme(new)));
            if !known {
                all.extend(challenge);
            }
        });
        if all.is_empty() {
            all.push(DEFAULT);
        }
    }
    let all = all.into_iter().map(|challenge| bearer.complete(challenge));
    rejection.with_challenges(all.collect())
}

fn scheme(challenge: &HeaderValue) -> Option<&[u8]> {
    challenge.as_bytes().split(|byte| *byte == b' ').next()
}
