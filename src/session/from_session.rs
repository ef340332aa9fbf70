//! The strategy that takes the session which an outer `SessionManagerLayer` reads.

use std::{collections::HashMap, sync::Arc};

use http::request::Parts;
use tower_sessions_core::{Expiry, Session};

use super::{
    SessionData, SessionProblem,
    data::UserOf,
    lookup::{Lenience, SessionLookup, end},
};
use crate::{
    config_error::ConfigError,
    context::{IdRules, Identity},
    eventually::Eventually,
    strategy::{Outcome, Presence, Strategy, Unavailable},
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
/// use tower_user_scope::{FromSession, UserContext, UserScopeLayer};
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
/// it takes one, it decodes their names, and it takes what is no session id, or not rightly
/// signed, for a new session: such a request is nobody's here ([`Absent`](Outcome::Absent)) and
/// a [`Fallback`](crate::Fallback) may act on it. Where it must be refused, use `SessionCookie`.
///
/// It believes the store: that a record is another session's, or has expired, is noticed by
/// `SessionCookie` only. And it has the name that the layer read, which may have been trimmed of
/// white space that no browser knows, so that a `__Host-` prefix protects less.
///
/// A session that the store doesn't know is refused, unless other code has asked the session
/// before: that makes it a new one. tower-sessions tells the browser to forget its cookie then.
/// The identity's end is known only where the layer has `Expiry::AtDateTime`.
///
/// A request without any `Session` (of tower-sessions 0.15) shows that the layers are in the
/// wrong order, or that one is missing. It becomes 503 with
/// [`SessionProblem::NoSessionLayer`] and never reaches a fallback.
#[derive(Clone, Debug)]
pub struct FromSession {
    user: Arc<UserOf>,
    lenience: Lenience,
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
            user: Arc::new(UserOf::by_key("user_id")),
            lenience: Lenience::default(),
        }
    }

    /// Takes the user's id from the session's value of this key.
    #[must_use]
    pub fn user_id_key(mut self, key: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.user).read_key(key);
        self
    }

    /// Checks the user's id by other rules than [`IdRules::new`].
    #[must_use]
    pub fn id_rules(mut self, rules: IdRules) -> Self {
        Arc::make_mut(&mut self.user).rules = rules;
        self
    }

    /// Reads the identity out of the session's values of these keys, the only ones that the
    /// closure gets to see; else as [`SessionCookie::identity`](super::SessionCookie::identity).
    ///
    /// No key at all is an error of `build()`.
    ///
    /// ```
    /// use tower_user_scope::{FromSession, Identity, TenantId, UserId};
    ///
    /// let strategy = FromSession::new().identity(["uid", "tenant"], |data| {
    ///     let Some(uid) = data.get::<u64>("uid")? else { return Ok(None) };
    ///     let identity = Identity::proved(UserId::try_from(uid.to_string())?);
    ///     Ok(Some(match data.get::<String>("tenant")? {
    ///         Some(tenant) => identity.tenant(TenantId::try_from(tenant)?),
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
        F: Fn(&SessionData<'_>) -> Result<Option<Identity>, SessionProblem> + Send + Sync + 'static,
    {
        let user = Arc::make_mut(&mut self.user);
        user.keys = keys.into_iter().map(Into::into).collect();
        user.read_by(read);
        self
    }

    /// Takes a session that the store doesn't know for no session at all: the next strategy is
    /// asked, and a [`Fallback`](crate::Fallback) may act.
    #[must_use]
    pub fn treat_unknown_as_absent(mut self) -> Self {
        self.lenience.unknown = true;
        self
    }

    /// Expects sessions without a user: a [`Fallback`](crate::Fallback) may act on them.
    #[must_use]
    pub fn allow_visitors(mut self) -> Self {
        self.lenience.visitors = true;
        self
    }
}

impl Strategy for FromSession {
    type Future = SessionLookup;

    fn name(&self) -> &'static str {
        "session"
    }

    fn resolve(&self, head: &Parts) -> Eventually<Self::Future> {
        match head.extensions.get::<Session>() {
            Some(session) => {
                let (session, user) = (session.clone(), Arc::clone(&self.user));
                Eventually::Later(SessionLookup::new(ask(session, user, self.lenience)))
            }
            None => Eventually::Now(Unavailable::new(SessionProblem::NoSessionLayer).into()),
        }
    }

    fn presence(&self, head: &Parts) -> Presence {
        let sent = |session: &Session| session.id().is_some();
        (!self.lenience.visitors && head.extensions.get().is_some_and(sent)).into()
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.user.validate()
    }
}

async fn ask(session: Session, user: Arc<UserOf>, lenience: Lenience) -> Outcome {
    let named = session.id();
    let mut values = HashMap::new();
    for key in &user.keys {
        match session.get_value(key).await {
            Ok(None) => {}
            Ok(Some(value)) => {
                values.insert(key.clone(), value);
            }
            Err(error) => return Unavailable::new(error).into(),
        }
    }
    // A session takes its id off when the store doesn't know it.
    if named.is_some() && session.id().is_none() {
        return lenience.unknown(SessionProblem::Unknown);
    }
    let expiry = match session.expiry() {
        Some(Expiry::AtDateTime(date)) => end(date.unix_timestamp(), date.nanosecond()),
        _ => None,
    };
    user.outcome(&SessionData::new(&values, expiry))
}
