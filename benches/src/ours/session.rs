//! The session strategy.
//!
//! Until the crate has its `session` feature, a stand-in: a cookie that is looked up in a map.
//! To replace it, write `SessionCookie` over a memory store into [`strategy`] (and its cookie into
//! [`request`]) and set [`STAND_IN`] to `false`; then the ratios to tower-sessions and axum-login
//! are printed too.

use std::collections::HashMap;

use http::{Request, header::COOKIE};
use tower_user_scope::{
    Identity, Invalid, InvalidReason, Outcome, Reads, Strategy, UserId, from_fn,
};

use crate::requests;

/// Whether [`strategy`] is not the crate's own.
pub const STAND_IN: bool = true;

const NAME: &str = "sid";
const ID: &str = "AAECAwQFBgcICQoLDA0ODw";

/// The strategy.
pub fn strategy() -> impl Strategy {
    let sessions = HashMap::from([(ID.to_owned(), "alice".to_owned())]);
    from_fn(Reads::header(COOKIE), move |head| {
        let Some(header) = head.headers.get(COOKIE) else {
            return Outcome::Absent;
        };
        let Ok(text) = header.to_str() else {
            return Invalid::new(InvalidReason::NotText).into();
        };
        let Some(cookie) = cookie::Cookie::split_parse(text)
            .flatten()
            .find(|cookie| cookie.name() == NAME)
        else {
            return Outcome::Absent;
        };
        let Some(user) = sessions.get(cookie.value()) else {
            return Invalid::new(InvalidReason::Rejected("session_unknown")).into();
        };
        user.parse::<UserId>().map_or_else(
            |error| Outcome::Invalid(error.into()),
            |id| Identity::proved(id).into(),
        )
    })
    .named("session")
}

/// A request of which it knows the user.
#[must_use]
pub fn request() -> Request<()> {
    requests::with_header(COOKIE, &format!("{NAME}={ID}"))
}
