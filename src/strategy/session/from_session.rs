//! The session that an outer layer has already looked up.

use std::{fmt, sync::Arc};

use http::request::Parts;
use serde::de::DeserializeOwned;
use tower_sessions_core::Session;

use super::{SessionFuture, cookie::USER_ID_KEY, reading::Reading};
use crate::{
    context::{IdRules, Identity},
    eventually::Eventually,
    strategy::{Invalid, Outcome, Presence, Strategy, Unavailable},
};

/// Takes the user from the `tower_sessions::Session` that an outer `SessionManagerLayer` put into
/// the extensions.
///
/// The outer layer has checked the cookie and makes a new session of one that it doesn't know, so a
/// stale cookie is nobody here; [`SessionCookie`](super::SessionCookie) tells the two apart. A
/// session that holds no user is `Absent` and keeps no fallback from acting. A store that can't
/// answer is 503. The identity is *proved* and ends with the session.
///
/// ```
/// use tower_sessions::{MemoryStore, SessionManagerLayer};
/// use tower_user_scope::{FromSession, UserScopeLayer};
///
/// let users = UserScopeLayer::builder()
///     .strategy(FromSession::new())
///     .context_only()
///     .build()?;
/// let stack = tower::ServiceBuilder::new()
///     .layer(SessionManagerLayer::new(MemoryStore::default()).with_name("__Host-sid"))
///     .layer(users);
/// # let _ = stack;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct FromSession {
    reading: Reading,
}

impl FromSession {
    /// The user's id is the string that the session holds under `user_id`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            reading: Reading::user_id(USER_ID_KEY, IdRules::new()),
        }
    }

    /// Takes the user's id from under this key instead.
    #[must_use]
    pub fn user_id_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.reading = Reading::user_id(key, IdRules::new());
        self
    }

    /// Makes the identity of the value under this key; see
    /// [`SessionCookie::identity`](super::SessionCookie::identity).
    #[must_use]
    pub fn identity<T, F>(mut self, key: impl Into<Arc<str>>, identity: F) -> Self
    where
        T: DeserializeOwned,
        F: Fn(T) -> Result<Identity, Invalid> + Send + Sync + 'static,
    {
        self.reading = Reading::identity(key, identity);
        self
    }
}

impl Default for FromSession {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for FromSession {
    type Future = SessionFuture;

    fn name(&self) -> &'static str {
        "session"
    }

    fn resolve(&self, head: &Parts) -> Eventually<SessionFuture> {
        let session = match head.extensions.get::<Session>() {
            // One without an id is new, and in no store.
            Some(session) if session.id().is_some() => session.clone(),
            _ => return Eventually::Now(Outcome::Absent),
        };
        let reading = self.reading.clone();
        Eventually::Later(SessionFuture::new(async move {
            match session.get_value(&reading.key).await {
                Ok(value) => match reading.outcome(value) {
                    Outcome::Found(identity) => {
                        identity.expires_at(session.expiry_date().into()).into()
                    }
                    other => other,
                },
                Err(error) => Unavailable::new(error).into(),
            }
        }))
    }

    /// A session without a user is no credential, and the outer layer has vouched for it.
    fn presence(&self, _: &Parts) -> Presence {
        Presence::NotSent
    }
}

impl fmt::Debug for FromSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromSession")
            .field("reading", &self.reading)
            .finish()
    }
}
