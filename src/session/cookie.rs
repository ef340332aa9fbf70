//! The strategy that reads the session's cookie and its store.

use std::{any::type_name, fmt, sync::Arc};

use http::{HeaderName, header, request::Parts};
use tower_sessions_core::SessionStore;

use super::{
    SessionData, SessionError,
    id_cookie::IdCookie,
    lookup::look_up,
    options::{SessionOptions, option_methods},
    seal::{CookieKey, Kind},
};
use crate::{
    clock::{Clock, SystemClock},
    config_error::ConfigError,
    context::{IdRules, Identity},
    cookies::mark_sensitive,
    maybe_future::MaybeFuture,
    strategy::{Outcome, OutcomeFuture, Presence, Strategy, Stripped},
};

/// Takes the user from a session whose id is in a cookie and whose data is in a store.
///
/// The store is any store of the tower-sessions family. This strategy only reads sessions;
/// tower-sessions' own `SessionManagerLayer` usually writes them. The identity is *proved* and ends
/// with the session. Reading does not prolong a session: if sessions end on inactivity, let the outer
/// `SessionManagerLayer` save them in each response, with `with_always_save(true)`.
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
/// // Browsers accept a `__Host-` cookie only from this host itself, and only over TLS.
/// let sessions = SessionManagerLayer::new(store.clone())
///     .with_name("__Host-sid")
///     .with_secure(true)
///     .with_http_only(true)
///     .with_same_site(SameSite::Lax)
///     .with_expiry(Expiry::OnInactivity(time::Duration::hours(2)))
///     // Each response saves the session. Without this, a session that is only read ends two
///     // hours after it was last written, even while its user is active.
///     .with_always_save(true);
///
/// async fn log_in(session: Session) -> Result<(), StatusCode> {
///     let user = "alice"; // The user that the password or the identity provider has proved.
///     let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
///     // A new id: one that an attacker planted before the login becomes useless (fixation).
///     session.cycle_id().await.map_err(failed)?;
///     session.insert("user_id", user).await.map_err(failed)
/// }
///
/// async fn log_out(session: Session) -> Result<(), StatusCode> {
///     // Removes the session from the store and the cookie from the browser.
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
/// TLS (RFC 6265bis section 4.1.3). Any name works, but use `__Host-`: with another name, another
/// subdomain can plant a session.
///
/// The name is compared exactly. The strategy refuses a second cookie of the same name with 400, even
/// if its value is the same. It also refuses a cookie whose name differs only in case or by
/// percent-encoding, because an attacker may have set it. A cookie does not protect from requests that
/// other sites make: set `SameSite`.
///
/// # Verdicts
///
/// | the request has | verdict | status |
/// | --- | --- | --- |
/// | no such cookie | [`Absent`](Outcome::Absent), the store is not read | |
/// | more than one such cookie | [`InvalidError`](Outcome::Invalid), the store is not read | 400 |
/// | a cookie without a session id or without a valid signature | `InvalidError`, the store is not read | 401 |
/// | a session that the store doesn't know, or that has expired | `InvalidError` | 401 |
/// | a session with an invalid user id | `InvalidError` | 401 |
/// | a session without a user | `Absent` | |
/// | a session of a user | [`Found`](Outcome::Found) | |
/// | a session, but the store does not answer | [`UnavailableError`](Outcome::Unavailable) | 503 |
///
/// The source of an `InvalidError` is a [`SessionError`]. The store is read once for each request
/// that reaches this strategy, within the layer's [time limit](crate::middleware::LayerBuilder::time_limit).
///
/// *A session that is unknown or has expired* is a bad credential like any other. If it counted as
/// absent, an attacker that can break sessions could make the next strategy of the list decide.
/// Browsers keep sending the cookie, so the refusal has to remove it. Do not remove a
/// [repeated](crate::strategy::InvalidErrorKind::Repeated) cookie in this way: the browser would drop the
/// good cookie and keep the other one, which is described below.
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
/// The same applies to public pages: a visitor whose session has ended gets a 401, while a visitor
/// without a cookie gets the page. For pages that need no login,
/// [`treat_unknown_as_absent`](Self::treat_unknown_as_absent) and a fallback make such a visitor
/// anonymous. ([`optional`](Strategy::optional) also does this for forged and repeated cookies.)
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
/// *A second cookie of the same name* comes from another host of the domain, such as
/// `blog.example.com` with `Domain=example.com`. Browsers prevent this for a `__Host-` name.
/// For any other name, browsers tell the two cookies apart by name, domain and path
/// (RFC 6265bis section 5.7), so `sid=; Max-Age=0; Domain=example.com; Path=/` removes the second one
/// and keeps the cookie of `app.example.com` itself. Send it with the 400, once for each parent domain
/// that your hosts share. A second cookie that has its own path needs that path too.
///
/// *A session without a user*, such as a visitor's with a shopping cart, is valid and identifies
/// no user. The next strategy is tried, so a token that comes with it is used. The session still
/// counts as a credential, so a [`Fallback`](crate::Fallback) does not act on the request unless
/// [`allow_visitors`](Self::allow_visitors) is set.
pub struct SessionCookie<S> {
    cookie: IdCookie,
    store: Arc<S>,
    options: Arc<SessionOptions>,
    clock: Arc<dyn Clock>,
}

impl<S: SessionStore> SessionCookie<S> {
    /// Creates a strategy that reads the cookie of this name and the sessions of this store.
    ///
    /// A name that a cookie can't have is an error of `build()`.
    #[must_use]
    pub fn new(name: impl AsRef<str>, store: S) -> Self {
        Self {
            cookie: IdCookie::new(name.as_ref()),
            store: Arc::new(store),
            options: Arc::default(),
            clock: Arc::new(SystemClock),
        }
    }

    option_methods!();

    /// Reads the identity from the session's data with a closure, such as from a type of the
    /// application, with a tenant or with roles.
    ///
    /// `Ok(None)` stands for a session without a user. The identity ends with the session, or earlier
    /// if the closure sets an earlier end.
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

    /// Accepts only cookies that are signed with this key, as `SessionManagerLayer::with_signed`
    /// writes them. The store is not read for other cookies.
    ///
    /// These are errors of `build()`: a key of fewer than 64 bytes, of zeroes or of few different
    /// bytes, and a second call of `signed` or `encrypted`.
    #[must_use]
    pub fn signed(mut self, key: CookieKey) -> Self {
        self.cookie.seal.with(Kind::Signed, key);
        self
    }

    /// Accepts only cookies that are encrypted with this key, as
    /// `SessionManagerLayer::with_private` writes them. The rules of [`signed`](Self::signed) apply.
    #[must_use]
    pub fn encrypted(mut self, key: CookieKey) -> Self {
        self.cookie.seal.with(Kind::Encrypted, key);
        self
    }

    /// Also accepts cookies that are signed or encrypted with this key: the previous key, until the
    /// last session that it signed or encrypted has ended.
    ///
    /// A key that was added before, or a call without `signed` or `encrypted`, is an error of `build()`.
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
}

impl<S: SessionStore> Strategy for SessionCookie<S> {
    type Future = OutcomeFuture;

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
                OutcomeFuture::new(look_up(store, id, options, clock)).poll_once()
            }
        }
    }

    /// If the options let some sessions count as absent, only the store knows which, so the cookie
    /// alone does not stop a fallback. A bad cookie has ended the list before.
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

/// Shows only the store's type, because `Debug` of a store in memory shows all sessions.
impl<S> fmt::Debug for SessionCookie<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCookie")
            .field("cookie", &self.cookie)
            .field("store", &format_args!("{}", type_name::<S>()))
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
