//! The strategy that reads the session's cookie and its store.

use std::{any::type_name, fmt, sync::Arc};

use http::{HeaderName, header, request::Parts};
use tower_sessions_core::SessionStore;

use super::{
    SessionData, SessionError,
    id_cookie::IdCookie,
    lookup::{SessionLookup, look_up},
    options::SessionOptions,
    seal::{CookieKey, Kind},
};
use crate::{
    clock::{Clock, SystemClock},
    config_error::ConfigError,
    context::{IdRules, Identity},
    cookies::mark_sensitive,
    maybe_future::MaybeFuture,
    strategy::{Outcome, Presence, Strategy, Stripped},
};

/// Takes the user from a session whose id is in a cookie and whose data is in a store.
///
/// The store is any of the tower-sessions family, and what wrote the session is usually
/// tower-sessions' own `SessionManagerLayer`; this strategy only reads. The identity is *proved*
/// and ends with the session. Reading prolongs nothing: where sessions end on inactivity, the
/// outer `SessionManagerLayer` has to save them, as `with_always_save(true)` does.
///
/// ```
/// use axum::{Router, http::StatusCode, routing::{get, post}};
/// use tower_sessions::{Expiry, MemoryStore, Session, SessionManagerLayer, cookie::{SameSite, time}};
/// use tower_user_scope::{UserContext, UserScopeLayer, session::SessionCookie};
///
/// # fn app() -> Result<Router, tower_user_scope::ConfigError> {
/// // In production a store that all instances share.
/// let store = MemoryStore::default();
///
/// // Browsers let only this very host set a `__Host-` cookie, only over TLS.
/// let sessions = SessionManagerLayer::new(store.clone())
///     .with_name("__Host-sid")
///     .with_secure(true)
///     .with_http_only(true)
///     .with_same_site(SameSite::Lax)
///     .with_expiry(Expiry::OnInactivity(time::Duration::hours(2)))
///     // A session that is only read ends two hours after it was last written, however active
///     // its user is, unless each response saves it.
///     .with_always_save(true);
///
/// async fn log_in(session: Session) -> Result<(), StatusCode> {
///     let user = "alice"; // Whom the password, or the identity provider, has shown.
///     let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
///     // A new id, so that one that was planted before the login is worth nothing (fixation).
///     session.cycle_id().await.map_err(failed)?;
///     session.insert("user_id", user).await.map_err(failed)
/// }
///
/// async fn log_out(session: Session) -> Result<(), StatusCode> {
///     // Ends the session in the store, and has the browser forget the cookie.
///     session.flush().await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
/// }
///
/// async fn me(context: UserContext) -> String {
///     context.user_id().map(ToString::to_string).unwrap_or_default()
/// }
///
/// let scope = UserScopeLayer::builder()
///     .strategy(SessionCookie::new("__Host-sid", store))
///     .context_only()
///     .build()?;
/// let app = Router::new()
///     .route("/me", get(me))
///     .layer(scope)
///     // Outside the layer, so that a stale cookie does not prevent a login.
///     .route("/login", post(log_in))
///     .route("/logout", post(log_out))
///     .layer(sessions);
/// # Ok(app)
/// # }
/// # app().unwrap();
/// ```
///
/// # The cookie
///
/// A server does not see a cookie's attributes, so only the name protects it: browsers accept
/// `__Host-…` only from the host itself, over TLS and for all paths, and `__Secure-…` only over
/// TLS (RFC 6265bis section 4.1.3). Any name works; `__Host-` is the one to take, as otherwise
/// another subdomain can plant a session.
///
/// The name is compared exactly. A second cookie of the name, equal or not, is refused with 400; so is
/// a cookie whose name differs in case or is percent-encoded, as an attacker may have set it. A cookie
/// alone does not protect from requests of other sites: use `SameSite`.
///
/// # Verdicts
///
/// | the request has | verdict | status |
/// | --- | --- | --- |
/// | no such cookie | [`Absent`](Outcome::Absent), the store is not read | |
/// | several | [`InvalidError`](Outcome::Invalid), the store is not read | 400 |
/// | no session id in it, or no good signature | `InvalidError`, the store is not read | 401 |
/// | a session that the store doesn't know, or that has expired | `InvalidError` | 401 |
/// | a session with an invalid user id | `InvalidError` | 401 |
/// | a session without a user | `Absent` | |
/// | a session of a user | [`Found`](Outcome::Found) | |
/// | a session, and the store does not answer | [`UnavailableError`](Outcome::Unavailable) | 503 |
///
/// The source of an `InvalidError` is a [`SessionError`]. The store is read once for each request
/// that reaches this strategy, within the layer's [time limit](crate::middleware::LayerBuilder::time_limit).
///
/// *A session that is unknown or has expired* is a bad credential like any other: taking it for
/// none would let an attacker who can break sessions turn users into whatever comes next in the
/// list. But browsers go on sending the cookie, so tell them to forget it. Not where it was
/// [repeated](crate::strategy::InvalidErrorKind::Repeated): the good cookie would go, and its twin would stay.
/// See below for that one.
///
/// ```
/// use bytes::Bytes;
/// use http::{HeaderValue, Response, header, request::Parts};
/// use tower_sessions::MemoryStore;
/// use tower_user_scope::{
///     Rejection, UserScopeLayer, rejection::{DefaultResponder, RejectionKind,
///     RespondToRejection}, session::SessionCookie, strategy::InvalidErrorKind,
/// };
///
/// const FORGET: HeaderValue = HeaderValue::from_static(
///     "__Host-sid=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax",
/// );
///
/// fn respond(rejection: &Rejection, head: &Parts) -> Response<Bytes> {
///     let mut response = DefaultResponder::default().respond(rejection, head);
///     let is_stale = matches!(
///         rejection.kind(),
///         RejectionKind::Invalid { strategy: "session_cookie", invalid, .. }
///             if invalid.kind() != InvalidErrorKind::Repeated
///     );
///     if is_stale {
///         response.headers_mut().append(header::SET_COOKIE, FORGET);
///     }
///     response
/// }
///
/// let layer = UserScopeLayer::builder()
///     .strategy(SessionCookie::new("__Host-sid", MemoryStore::default()))
///     .rejection_response(respond)
///     .context_only()
///     .build()?;
/// # let _ = layer;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
///
/// This is so on public pages too: a visitor whose session has ended gets a 401 where one
/// without any cookie gets the page. For pages that need no login,
/// [`treat_unknown_as_absent`](Self::treat_unknown_as_absent) and a fallback make such a visitor
/// anonymous. ([`optional`](Strategy::optional) does so for forged and repeated cookies too.)
///
/// ```
/// use tower_sessions::MemoryStore;
/// use tower_user_scope::{Fallback, UserScopeLayer, session::SessionCookie};
///
/// let public = UserScopeLayer::builder()
///     .strategy(SessionCookie::new("__Host-sid", MemoryStore::default()).treat_unknown_as_absent())
///     .fallback(Fallback::anonymous())
///     .context_only()
///     .build()?;
/// # let _ = public;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
///
/// *A twin*, a second cookie of the name, comes from another host of the domain, such as
/// `blog.example.com` with `Domain=example.com`. Browsers prevent that for a `__Host-` name,
/// so use one. For any other name, browsers keep the two apart by name, domain and path
/// (RFC 6265bis section 5.7), and so `sid=; Max-Age=0; Domain=example.com; Path=/` clears the twin and
/// not the cookie of `app.example.com` itself. Send that with the 400, once for each parent domain
/// that hosts of yours share; a twin with a path of its own needs that path too.
///
/// *A session without a user*, a visitor's with a shopping cart, is a good session that is
/// nobody's: it does not keep a token that comes with it from being used, so the next strategy is
/// asked. It is not *no credential* either, and a [`Fallback`](crate::Fallback) does not act on
/// it, unless [`allow_visitors`](Self::allow_visitors) says that visitors are expected.
pub struct SessionCookie<S> {
    cookie: IdCookie,
    store: Arc<S>,
    options: Arc<SessionOptions>,
    clock: Arc<dyn Clock>,
}

impl<S: SessionStore> SessionCookie<S> {
    /// Reads the cookie of this name and the sessions of this store.
    ///
    /// A name that no cookie can have is an error of `build()`.
    #[must_use]
    pub fn new(name: impl AsRef<str>, store: S) -> Self {
        Self {
            cookie: IdCookie::new(name.as_ref()),
            store: Arc::new(store),
            options: Arc::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Takes the user's id from the session's value of this key, a string; else from `user_id`.
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

    /// Reads the identity out of the session's data: own types, a tenant, roles.
    ///
    /// `Ok(None)` is a session without a user. The identity ends with the session, or before.
    ///
    /// ```
    /// use serde::Deserialize;
    /// use tower_sessions::MemoryStore;
    /// use tower_user_scope::{
    ///     Identity, UserId, context::TenantId, session::{SessionCookie, SessionError},
    /// };
    ///
    /// #[derive(Deserialize)]
    /// struct Account { id: u64, tenant: String, locked: bool }
    ///
    /// let strategy = SessionCookie::new("__Host-sid", MemoryStore::default()).identity(|data| {
    ///     let Some(account) = data.get::<Account>("account")? else { return Ok(None) };
    ///     if account.locked {
    ///         return Err(SessionError::Refused("account_locked"));
    ///     }
    ///     let user = UserId::try_from(account.id.to_string())?;
    ///     let tenant = TenantId::try_from(account.tenant)?;
    ///     Ok(Some(Identity::proved(user).with_tenant_id(tenant)))
    /// });
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn identity<F>(mut self, read: F) -> Self
    where
        F: Fn(&SessionData<'_>) -> Result<Option<Identity>, SessionError> + Send + Sync + 'static,
    {
        Arc::make_mut(&mut self.options).set_closure(read);
        self
    }

    /// Accepts only cookies that were signed with this key, as `SessionManagerLayer::with_signed`
    /// writes them; others never reach the store.
    ///
    /// A key of fewer than 64 bytes, of zeroes or of few different bytes is an error of `build()`,
    /// and so is a second `signed` or `encrypted`.
    #[must_use]
    pub fn signed(mut self, key: CookieKey) -> Self {
        self.cookie.seal.with(Kind::Signed, key);
        self
    }

    /// Accepts only cookies that were encrypted with this key, as
    /// `SessionManagerLayer::with_private` writes them; else as [`signed`](Self::signed).
    #[must_use]
    pub fn encrypted(mut self, key: CookieKey) -> Self {
        self.cookie.seal.with(Kind::Encrypted, key);
        self
    }

    /// Also accepts cookies under this key: the one before, until the last session that it
    /// signed or encrypted has ended.
    ///
    /// A key that is there already, or without `signed` or `encrypted`, is an error of `build()`.
    ///
    /// ```
    /// use tower_sessions::MemoryStore;
    /// use tower_user_scope::session::{CookieKey, SessionCookie};
    ///
    /// # let (newest, before) = (&[1; 64], &[2; 64]);
    /// let (newest, before) = (CookieKey::from(newest), CookieKey::from(before));
    /// let strategy = SessionCookie::new("__Host-sid", MemoryStore::default())
    ///     .signed(newest)
    ///     .also_accept(before);
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn also_accept(mut self, key: CookieKey) -> Self {
        self.cookie.seal.also_accept(key);
        self
    }

    /// Takes a session that the store doesn't know, or that has expired, for no session at all:
    /// the next strategy is asked, and a [`Fallback`](crate::Fallback) may act.
    ///
    /// A cookie that is not a session id, is sealed wrongly, or was sent twice is still refused. A
    /// fallback may then act on a session without a user too, which is told from an unknown one
    /// by the store alone.
    #[must_use]
    pub fn treat_unknown_as_absent(mut self) -> Self {
        Arc::make_mut(&mut self.options).unknown_is_absent = true;
        self
    }

    /// Expects sessions without a user: a [`Fallback`](crate::Fallback), such as
    /// [`Fallback::anonymous`](crate::Fallback::anonymous), may act on them.
    #[must_use]
    pub fn allow_visitors(mut self) -> Self {
        Arc::make_mut(&mut self.options).allow_visitors = true;
        self
    }
}

impl<S: SessionStore> Strategy for SessionCookie<S> {
    type Future = SessionLookup;

    fn name(&self) -> &'static str {
        "session_cookie"
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future> {
        match self.cookie.id(&head.headers) {
            Ok(None) => MaybeFuture::Ready(Outcome::Absent),
            Err(invalid) => MaybeFuture::Ready(invalid.into()),
            Ok(Some(id)) => {
                let (store, options) = (Arc::clone(&self.store), Arc::clone(&self.options));
                let clock = Arc::clone(&self.clock);
                SessionLookup::new(look_up(store, id, options, clock)).poll_once()
            }
        }
    }

    /// Where the options let some sessions count as no credential, only the store can tell which, so
    /// the cookie alone does not keep a fallback from acting. A bad one has ended the list before.
    fn presence(&self, head: &Parts) -> Presence {
        if self.options.is_lenient() {
            return self.cookie.has_look_alike(&head.headers).into();
        }
        self.cookie.is_present(&head.headers).into()
    }

    fn headers(&self) -> Option<Vec<HeaderName>> {
        Some(vec![header::COOKIE])
    }

    /// Marks the cookie as sensitive, so that `Debug` of the headers does not show the session's id.
    fn scrub(&self, head: &mut Parts, _: bool, _: &mut dyn FnMut(Stripped<'_>)) {
        mark_sensitive(head, &header::COOKIE);
    }

    fn use_clock(&mut self, clock: &Arc<dyn Clock>) {
        self.clock = Arc::clone(clock);
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.cookie.validate()?;
        self.options.validate()
    }
}

impl<S> Clone for SessionCookie<S> {
    fn clone(&self) -> Self {
        Self {
            cookie: self.cookie.clone(),
            store: Arc::clone(&self.store),
            options: Arc::clone(&self.options),
            clock: Arc::clone(&self.clock),
        }
    }
}

/// Shows the store's type only: `Debug` of a store in memory shows all sessions.
impl<S> fmt::Debug for SessionCookie<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCookie")
            .field("cookie", &self.cookie)
            .field("store", &format_args!("{}", type_name::<S>()))
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
