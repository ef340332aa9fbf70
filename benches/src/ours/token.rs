//! The token strategy.
//!
//! Until the crate has its `jwt` feature, a stand-in: a bearer token that is compared with the
//! one that is known, and nothing verified. To replace it, write `Jwt` with the keys of
//! [`tokens`](crate::tokens) into [`strategy`], into [`verified`] without a cache and into
//! [`cached`] with one, and set [`STAND_IN`] to `false`; then the ratios to the peers are printed
//! too.

use http::{Request, header::AUTHORIZATION};
use tower_user_scope::{
    Identity, Invalid, InvalidReason, Outcome, Reads, Strategy, UserId, from_fn,
};

use crate::{case::Case, requests, tokens::Kind};

/// Whether [`strategy`] is not the crate's own.
pub const STAND_IN: bool = true;

const TOKEN: &str = "AAECAwQFBgcICQoLDA0ODw";

/// The strategy, for the lists.
pub fn strategy() -> impl Strategy {
    from_fn(Reads::header(AUTHORIZATION), |head| {
        let Some(header) = head.headers.get(AUTHORIZATION) else {
            return Outcome::Absent;
        };
        match header.as_bytes().strip_prefix(b"Bearer ") {
            None => Outcome::Absent,
            Some(token) if token == TOKEN.as_bytes() => "alice".parse::<UserId>().map_or_else(
                |error| Outcome::Invalid(error.into()),
                |id| Identity::proved(id).into(),
            ),
            Some(_) => Invalid::new(InvalidReason::Rejected("token_unknown")).into(),
        }
    })
    .named("token")
}

/// A request of which it knows the user.
#[must_use]
pub fn request() -> Request<()> {
    requests::with_header(AUTHORIZATION, &format!("Bearer {TOKEN}"))
}

/// A token of this kind verified for each request: a miss of the cache.
#[must_use]
pub fn verified(_: Kind) -> Option<Case> {
    None
}

/// A token of this kind that was verified before: a hit of the cache.
#[must_use]
pub fn cached(_: Kind) -> Option<Case> {
    None
}
