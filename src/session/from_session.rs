//! The strategy that takes the session of an outer `SessionManagerLayer`.

use std::{collections::HashMap, future::Future, sync::Arc, time::SystemTime};

use http::request::Parts;
use serde_json::Value;
use tower_sessions_core::{Expiry, Session};
use tower_sessions_core_0_14::{Expiry as Expiry014, Session as Session014};

#[cfg(feature = "open-scopes")]
use super::lookup::revocable;
use super::{
    SessionData, SessionError,
    lookup::system_time,
    options::{SessionOptions, option_methods},
};
use crate::{
    config_error::ConfigError,
    context::{IdRules, Identity},
    maybe_future::MaybeFuture,
    strategy::{Outcome, OutcomeFuture, Presence, Strategy, UnavailableError},
};

/// Takes the user from the `Session` that tower-sessions' `SessionManagerLayer` puts into the
/// request. It is for applications that have that layer outside of this one anyway.
///
/// The session is loaded once, and a handler that reads it later finds it loaded. The identity is
/// *proved*.
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_sessions::{MemoryStore, SessionManagerLayer};
/// use tower_user_scope::{UserContext, UserScopeLayer, session::FromSession};
///
/// let layer = UserScopeLayer::builder()
///     .strategy(FromSession::new())
///     .context_only()
///     .build()?;
/// let app: Router = Router::new()
///     .route("/me", get(async |user: UserContext| format!("{:?}", user.user_id())))
///     .layer(layer)
///     // The layer that is added last is the outermost one.
///     .layer(SessionManagerLayer::new(MemoryStore::default()).with_name("__Host-sid"));
/// # let _ = app;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
///
/// # What differs from [`SessionCookie`](super::SessionCookie)
///
/// `SessionManagerLayer` reads the cookie before this strategy runs. It takes one of several
/// cookies, decodes their names, and starts a new session if the value is not a session id or is not
/// signed correctly. For such a request the outcome is [`Absent`](Outcome::Absent), and a
/// [`Fallback`](crate::Fallback) may act on it. To refuse it, use `SessionCookie`.
///
/// This strategy trusts the store: only `SessionCookie` notices that a record belongs to another
/// session or has expired. `SessionManagerLayer` also trims white space from the cookie's name that
/// browsers don't trim, so a `__Host-` prefix protects less.
///
/// A session that the store does not know is refused, unless other code has read the session
/// before: tower-sessions then makes it a new session and removes the browser's cookie.
/// The identity has an end only if the layer has `Expiry::AtDateTime`.
///
/// A request without a `Session` shows that the layers are in the wrong order, or that one is
/// missing. It is answered with 503 and [`SessionError::NoSessionLayer`], and never reaches a fallback.
///
/// # axum-login, axum-oidc, and other versions
///
/// The `Session` is the one of tower-sessions 0.15. Some libraries use another version and put
/// another type of the same name into the request: axum-login 0.18 and axum-oidc 0.6 use
/// tower-sessions 0.14. This strategy reads a `Session` of 0.14 too. If a request has both, it reads
/// the one of 0.15.
///
/// axum-login keeps its user in one value. Read it with [`identity`](Self::identity) from the key
/// `axum-login.data`.
#[derive(Clone, Debug)]
pub struct FromSession {
    options: Arc<SessionOptions>,
}

impl Default for FromSession {
    fn default() -> Self {
        Self::new()
    }
}

impl FromSession {
    /// Creates a strategy that takes the user's id from the session's value of the key `user_id`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            options: Arc::default(),
        }
    }

    option_methods!();

    /// Reads the identity with a closure, which gets the session's values of these keys and no
    /// others. Apart from that it works as [`SessionCookie::identity`](super::SessionCookie::identity).
    ///
    /// An empty list of keys is an error of `build()`.
    ///
    /// ```
    /// use tower_user_scope::{Identity, UserId, context::TenantId, session::FromSession};
    ///
    /// let strategy = FromSession::new().identity(["uid", "tenant"], |data| {
    ///     let Some(uid) = data.get::<u64>("uid")? else { return Ok(None) };
    ///     let identity = Identity::proved(UserId::try_from(uid.to_string())?);
    ///     Ok(Some(match data.get::<String>("tenant")? {
    ///         Some(tenant) => identity.with_tenant_id(TenantId::try_from(tenant)?),
    ///         None => identity,
    ///     }))
    /// });
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn identity<K, F>(mut self, keys: K, read: F) -> Self
    where
        K: IntoIterator,
        K::Item: Into<String>,
        F: Fn(&SessionData<'_>) -> Result<Option<Identity>, SessionError> + Send + Sync + 'static,
    {
        let options = Arc::make_mut(&mut self.options);
        options.keys = keys.into_iter().map(Into::into).collect();
        options.set_closure(read);
        self
    }
}

impl Strategy for FromSession {
    type Future = OutcomeFuture;

    fn name(&self) -> &'static str {
        "session"
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future> {
        if let Some(session) = head.extensions.get::<Session>() {
            return self.look_up(session.clone());
        }
        if let Some(session) = head.extensions.get::<Session014>() {
            return self.look_up(session.clone());
        }
        MaybeFuture::Ready(UnavailableError::new(SessionError::NoSessionLayer).into())
    }

    fn presence(&self, head: &Parts) -> Presence {
        let is_named = head.extensions.get::<Session>().map(OuterSession::is_named);
        let is_named = is_named.or_else(|| {
            let session = head.extensions.get::<Session014>();
            session.map(OuterSession::is_named)
        });
        (!self.options.allow_visitors && is_named == Some(true)).into()
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.options.validate()
    }
}

impl FromSession {
    fn look_up(&self, session: impl OuterSession) -> MaybeFuture<OutcomeFuture> {
        let options = Arc::clone(&self.options);
        MaybeFuture::Future(OutcomeFuture::new(resolve_session(session, options)))
    }
}

/// A `Session` of either version of tower-sessions.
trait OuterSession: Send + Sync + 'static {
    /// Returns whether the session has an id, from the request's cookie.
    fn is_named(&self) -> bool;

    /// Returns the session's id as text.
    #[cfg(feature = "open-scopes")]
    fn id_text(&self) -> Option<String>;

    /// Returns the session's value of this key, and loads the session first if needed.
    fn value(
        &self,
        key: &str,
    ) -> impl Future<Output = Result<Option<Value>, UnavailableError>> + Send;

    /// Returns when the session ends, if its expiry is a date.
    fn end(&self) -> Option<SystemTime>;
}

macro_rules! outer_session {
    ($session:ty, $expiry:ident) => {
        impl OuterSession for $session {
            fn is_named(&self) -> bool {
                self.id().is_some()
            }

            #[cfg(feature = "open-scopes")]
            fn id_text(&self) -> Option<String> {
                self.id().map(|id| id.to_string())
            }

            async fn value(&self, key: &str) -> Result<Option<Value>, UnavailableError> {
                self.get_value(key).await.map_err(UnavailableError::new)
            }

            fn end(&self) -> Option<SystemTime> {
                match self.expiry() {
                    Some($expiry::AtDateTime(date)) => {
                        system_time(date.unix_timestamp(), date.nanosecond())
                    }
                    _ => None,
                }
            }
        }
    };
}

outer_session!(Session, Expiry);
outer_session!(Session014, Expiry014);

async fn resolve_session(session: impl OuterSession, options: Arc<SessionOptions>) -> Outcome {
    let was_named = session.is_named();
    let mut values = HashMap::new();
    for key in &options.keys {
        match session.value(key).await {
            Ok(None) => {}
            Ok(Some(value)) => {
                values.insert(key.clone(), value);
            }
            Err(unavailable) => return unavailable.into(),
        }
    }
    // tower-sessions removes the id of a session that the store does not have.
    if was_named && !session.is_named() {
        return options.unknown(SessionError::Unknown);
    }
    let outcome = options.outcome(&SessionData::new(&values, session.end()));
    #[cfg(feature = "open-scopes")]
    let outcome = match session.id_text() {
        Some(id) => revocable(outcome, &id),
        None => outcome,
    };
    outcome
}
