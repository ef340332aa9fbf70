//! A session that a login left behind, looked up in its store or taken from an outer layer.
//!
//! Every store of the `tower-sessions` family works. The session itself (logging in and out, new
//! ids against fixation, cookie attributes) stays with `tower_sessions::SessionManagerLayer`;
//! here only the question is answered whose it is.
//!
//! ```
//! use tower_sessions::{MemoryStore, SessionManagerLayer, cookie::SameSite};
//! use tower_user_scope::{SessionCookie, UserScopeLayer};
//!
//! let store = MemoryStore::default();
//! // On the routes that log in and out. Their handlers call `session.cycle_id()` at each login,
//! // then `session.insert("user_id", id)`.
//! let sessions = SessionManagerLayer::new(store.clone())
//!     .with_name("__Host-sid")
//!     .with_secure(true)
//!     .with_same_site(SameSite::Lax);
//! // On all others.
//! let users = UserScopeLayer::builder()
//!     .strategy(SessionCookie::new("__Host-sid", store))
//!     .context_only()
//!     .build()?;
//! # let _ = (sessions, users);
//! # Ok::<(), tower_user_scope::ConfigError>(())
//! ```

mod cookie;
#[cfg(feature = "session-stores-0-14")]
mod earlier;
mod from_session;
mod protection;
mod reading;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use thiserror::Error;

#[cfg(feature = "session-stores-0-14")]
#[cfg_attr(docsrs, doc(cfg(feature = "session-stores-0-14")))]
pub use self::earlier::StoreOf014;
pub use self::{cookie::SessionCookie, from_session::FromSession};
use super::{Invalid, InvalidReason, Outcome};

/// Why a session was refused: the [source](std::error::Error::source) of the [`Invalid`] in the
/// audit event. The response is 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SessionProblem {
    /// The cookie holds no session id.
    #[error("the cookie holds no session id")]
    Malformed,
    /// None of the keys signed or encrypted the cookie.
    #[error("the cookie was not signed or encrypted with any of the keys")]
    Protection,
    /// The store knows no such session: it ended, or never was.
    #[error("the store knows no such session")]
    Unknown,
    /// The session has ended, and the store still has it.
    #[error("the session has ended")]
    Expired,
    /// The store returned another session than it was asked for.
    #[error("the store returned another session than it was asked for")]
    OfAnother,
    /// What the session holds for its user is not of the type that it should be.
    #[error("the session's user is not of the expected type")]
    User,
}

impl From<SessionProblem> for Invalid {
    fn from(problem: SessionProblem) -> Self {
        let reason = match problem {
            SessionProblem::Malformed => InvalidReason::Rejected("session_malformed"),
            SessionProblem::Protection => InvalidReason::Rejected("session_protection"),
            SessionProblem::Unknown => InvalidReason::Rejected("session_unknown"),
            SessionProblem::Expired => InvalidReason::Expired,
            SessionProblem::OfAnother => InvalidReason::Rejected("session_of_another"),
            SessionProblem::User => InvalidReason::Rejected("session_user"),
        };
        Self::new(reason).with_source(problem)
    }
}

impl From<SessionProblem> for Outcome {
    fn from(problem: SessionProblem) -> Self {
        Self::Invalid(problem.into())
    }
}

/// The future of a session that is being looked up.
///
/// # Cancel safety
/// As the store's own: a store that puts a connection back into its pool while a reply is still
/// to come gives it to somebody else. What comes back is checked to be the session that was
/// asked for.
pub struct SessionFuture(Pin<Box<dyn Future<Output = Outcome> + Send>>);

impl SessionFuture {
    fn new(future: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for SessionFuture {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for SessionFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionFuture(..)")
    }
}
