//! The strategy that takes the session of an outer `SessionManagerLayer`.

use std::{collections::HashMap, future::Future, sync::Arc, time::SystemTime};

use http::request::Parts;
use serde_json::Value;
use tower_sessions_core::{Expiry, Session};
use tower_sessions_core_0_14::{Expiry as Expiry014, Session as Session014};

use super::{
    SessionData, SessionError,
    lookup::{SessionLookup, system_time},
    options::SessionOptions,
};
use crate::{
    config_error::ConfigError,
    context::{IdRules, Identity},
    maybe_future::MaybeFuture,
    strategy::{Outcome, Presence, Strategy, UnavailableError},
};

/// Takes the user from the `Session` that tower-sessions' `SessionManagerLayer` put into the
/// request, for applications that have that layer outside of this one anyway.
///
/// The session is loaded once, and the handler that asks it later finds it loaded. The identity
/// is *proved*.
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
///     // The layer that is added last is the outer one.
///     .layer(SessionManagerLayer::new(MemoryStore::default()).with_name("__Host-sid"));
/// # let _ = app;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
///
/// # What differs from [`SessionCookie`](super::SessionCookie)
///
/// `SessionManagerLayer` has read the cookie before this strategy is asked. Of several cookies
/// it takes one, it decodes their names, and it starts a new session if the value is not a session id
/// or is not signed correctly. For such a request the outcome is [`Absent`](Outcome::Absent), and a
/// [`Fallback`](crate::Fallback) may act on it. To refuse it, use `SessionCookie`.
///
/// It believes the store: that a record is another session's, or has expired, is noticed by
/// `SessionCookie` only. And it has the name that the layer read, which may have been trimmed of
/// white space that no browser knows, so that a `__Host-` prefix protects less.
///
/// A session that the store doesn't know is refused, unless other code has asked the session
/// before: that makes it a new one. tower-sessions tells the browser to forget its cookie then.
/// The identity's end is known only where the layer has `Expiry::AtDateTime`.
///
/// A request without any `Session` shows that the layers are in the wrong order, or that one is
/// missing. It becomes 503 with [`SessionError::NoSessionLayer`] and never reaches a fallback.
///
/// # axum-login, axum-oidc, and other versions
///
/// The `Session` is that of tower-sessions 0.15. Libraries that bring a version of their own, such
/// as axum-login 0.18 and axum-oidc 0.6 with tower-sessions 0.14, put another type of the same name
/// into the request. A `Session` of 0.14 is read too; where a request has both, the one of 0.15 is
/// read.
///
/// axum-login keeps its user in a value of its own: read that one with
/// [`identity`](Self::identity), such as from the key `axum-login.data`.
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
    /// Takes the user's id from the session's value of the key `user_id`, a string.
    #[must_use]
    pub fn new() -> Self {
        Self {
            options: Arc::default(),
        }
    }

    /// Takes the user's id from the session's value of this key.
    #[must_use]
    pub fn user_id_key(mut self, key: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.options).set_user_id_key(key);
        self
    }

    /// Checks the user's id by other rules than [`IdRules::new`].
    #[must_use]
    pub fn id_rules(mut self, rules: IdRules) -> Self {
        Arc::make_mut(&mut self.options).rules = rules;
        self
    }

    /// Reads the identity out of the session's values of these keys, the only ones that the
    /// closure gets to see; else as [`SessionCookie::identity`](super::SessionCookie::identity).
    ///
    /// No key at all is an error of `build()`.
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

    /// Takes a session that the store doesn't know for no session at all: the next strategy is
    /// asked, and a [`Fallback`](crate::Fallback) may act.
    #[must_use]
    pub fn treat_unknown_as_absent(mut self) -> Self {
        Arc::make_mut(&mut self.options).unknown_is_absent = true;
        self
    }

    /// Expects sessions without a user: a [`Fallback`](crate::Fallback) may act on them.
    #[must_use]
    pub fn allow_visitors(mut self) -> Self {
        Arc::make_mut(&mut self.options).allow_visitors = true;
        self
    }
}

impl Strategy for FromSession {
    type Future = SessionLookup;

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
    fn look_up(&self, session: impl OuterSession) -> MaybeFuture<SessionLookup> {
        let options = Arc::clone(&self.options);
        MaybeFuture::Future(SessionLookup::new(resolve_session(session, options)))
    }
}

/// A `Session` of either version of tower-sessions.
trait OuterSession: Send + Sync + 'static {
    /// Whether the session has an id, from the request's cookie.
    fn is_named(&self) -> bool;

    fn value(
        &self,
        key: &str,
    ) -> impl Future<Output = Result<Option<Value>, UnavailableError>> + Send;

    /// Returns when it ends, if its expiry is a date.
    fn end(&self) -> Option<SystemTime>;
}

macro_rules! outer_session {
    ($session:ty, $expiry:ident) => {
        impl OuterSession for $session {
            fn is_named(&self) -> bool {
                self.id().is_some()
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
    options.outcome(&SessionData::new(&values, session.end()))
}
