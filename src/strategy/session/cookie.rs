//! A session cookie, and the look-up of its session.

use std::{fmt, sync::Arc, time::SystemTime};

use cookie::{Cookie, Key};
use http::{HeaderName, header, request::Parts};
use serde::de::DeserializeOwned;
use tower_sessions_core::{
    SessionStore,
    session::{Id, Record},
};

use super::{SessionFuture, SessionProblem, protection::Protection, reading::Reading};
use crate::{
    config_error::ConfigError,
    context::{IdRules, Identity},
    eventually::Eventually,
    strategy::{Invalid, InvalidReason, Outcome, Presence, Strategy, Stripped, Unavailable},
};

/// Takes the user from the session whose id is in a cookie.
///
/// The session is looked up in the store, once for each request that has the cookie and that no
/// earlier strategy has answered. The identity is *proved* and ends with the session.
///
/// - The cookie twice, equal or not, is 400: RFC 6265 section 4.2.2 leaves open which is meant, and a
///   sub-domain can set a second one. A name with the prefix `__Host-` keeps it from doing so.
/// - A cookie that holds no session id, or isn't signed as it should be, is 401 before any look-up.
/// - A session that the store doesn't know, or that has ended, is 401: who sends it was somebody
///   once, and believes to be still; answered as nobody, they would silently lose what they do.
///   A page for visitors wants [`stale_is_absent`](Self::stale_is_absent).
/// - A session that holds no user, such as a visitor's shopping cart, is `Absent`: the next
///   strategy is asked. It was sent, so a fallback does not act; see
///   [`anonymous_sessions`](Self::anonymous_sessions).
/// - A store that can't answer is 503. Give it a [`timeout`](Strategy::timeout).
///
/// ```
/// use tower_sessions_core::SessionStore;
/// use tower_user_scope::SessionCookie;
///
/// # fn strategy(store: impl SessionStore, key: cookie::Key, old_key: cookie::Key) {
/// let strategy = SessionCookie::new("__Host-sid", store)
///     .user_id_key("uid")
///     .signed(key)
///     .previous_key(old_key);
/// # let _ = strategy;
/// # }
/// ```
pub struct SessionCookie<S> {
    name: Arc<str>,
    store: Arc<S>,
    protection: Protection,
    reading: Reading,
    stale_is_absent: bool,
    /// Told by `build()`.
    wrong: Option<ConfigError>,
}

/// The key under which a session holds its user's id, unless something else is said.
pub(super) const USER_ID_KEY: &str = "user_id";

/// What `tower-sessions` writes, signed or encrypted, is shorter by far.
const LONGEST: usize = 1_024;

impl<S: SessionStore> SessionCookie<S> {
    /// The cookie of this name, and the store of its sessions. The user's id is the string that
    /// the session holds under `user_id`.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, store: S) -> Self {
        Self {
            name: name.into(),
            store: Arc::new(store),
            protection: Protection::None,
            reading: Reading::user_id(USER_ID_KEY, IdRules::new()),
            stale_is_absent: false,
            wrong: None,
        }
    }
}

impl<S> SessionCookie<S> {
    /// Takes the user's id from under this key instead.
    #[must_use]
    pub fn user_id_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.reading = Reading::user_id(key, IdRules::new());
        self
    }

    /// Makes the identity of the value under this key, as a type of the application's. A session
    /// without the key holds no user.
    ///
    /// ```
    /// use serde::Deserialize;
    /// use tower_sessions_core::SessionStore;
    /// use tower_user_scope::{Identity, SessionCookie, TenantId, UserId};
    ///
    /// #[derive(Deserialize)]
    /// struct LoggedIn {
    ///     id: String,
    ///     organisation: String,
    /// }
    ///
    /// # fn strategy(store: impl SessionStore) {
    /// let strategy = SessionCookie::new("__Host-sid", store).identity("login", |login: LoggedIn| {
    ///     let tenant: TenantId = login.organisation.parse()?;
    ///     Ok(Identity::proved(login.id.parse::<UserId>()?).tenant(tenant))
    /// });
    /// # let _ = strategy;
    /// # }
    /// ```
    #[must_use]
    pub fn identity<T, F>(mut self, key: impl Into<Arc<str>>, identity: F) -> Self
    where
        T: DeserializeOwned,
        F: Fn(T) -> Result<Identity, Invalid> + Send + Sync + 'static,
    {
        self.reading = Reading::identity(key, identity);
        self
    }

    /// Takes a session that holds no user for [`Principal::Anonymous`](crate::Principal), after
    /// [`user_id_key`](Self::user_id_key) or [`identity`](Self::identity).
    #[must_use]
    pub fn anonymous_sessions(mut self) -> Self {
        self.reading.anonymous();
        self
    }

    /// Takes a session that the store doesn't know, or that has ended, for none; and lets a
    /// fallback act although the cookie was sent.
    #[must_use]
    pub fn stale_is_absent(mut self) -> Self {
        self.stale_is_absent = true;
        self
    }

    /// Believes only cookies that were signed with this key
    /// (`SessionManagerLayer::with_signed`).
    #[must_use]
    pub fn signed(self, key: Key) -> Self {
        self.protected(Protection::Signed(vec![key]))
    }

    /// Believes only cookies that were encrypted with this key
    /// (`SessionManagerLayer::with_private`).
    #[must_use]
    pub fn encrypted(self, key: Key) -> Self {
        self.protected(Protection::Encrypted(vec![key]))
    }

    /// Believes cookies of this key too, while the last of them run out. Without
    /// [`signed`](Self::signed) or [`encrypted`](Self::encrypted) before it, an error of
    /// `build()`.
    #[must_use]
    pub fn previous_key(mut self, key: Key) -> Self {
        if !self.protection.also(key) {
            self.wrong = Some(ConfigError::Custom(
                "a previous cookie key needs `signed` or `encrypted` before it".to_owned(),
            ));
        }
        self
    }

    fn protected(mut self, protection: Protection) -> Self {
        if !matches!(self.protection, Protection::None) {
            self.wrong = Some(ConfigError::Custom(
                "a session cookie is signed or encrypted once; for an older key there is \
                 `previous_key`"
                    .to_owned(),
            ));
        }
        self.protection = protection;
        self
    }

    /// The only cookie of the name.
    fn cookie(&self, head: &Parts) -> Result<Option<String>, Invalid> {
        let mut found = None;
        for field in head.headers.get_all(header::COOKIE) {
            // Another cookie may be in another encoding; this one must not vanish for it.
            let text = String::from_utf8_lossy(field.as_bytes());
            for cookie in Cookie::split_parse_encoded(&*text).flatten() {
                if !cookie.name().eq_ignore_ascii_case(&self.name) {
                    continue;
                }
                // Some browsers and proxies fold the case of `__Host-`: two of them are one
                // too many, whichever is meant.
                if found.replace(cookie.into_owned()).is_some() {
                    return Err(InvalidReason::Repeated.into());
                }
            }
        }
        match found {
            Some(cookie) if cookie.name() == &*self.name => {
                if cookie.value().len() > LONGEST {
                    return Err(SessionProblem::Malformed.into());
                }
                Ok(Some(self.protection.open(cookie)?))
            }
            _ => Ok(None),
        }
    }

    fn id(&self, head: &Parts) -> Result<Option<Id>, Invalid> {
        let Some(value) = self.cookie(head)? else {
            return Ok(None);
        };
        let id = value.parse().map_err(|_| SessionProblem::Malformed)?;
        Ok(Some(id))
    }
}

impl<S: SessionStore> Strategy for SessionCookie<S> {
    type Future = SessionFuture;

    fn name(&self) -> &'static str {
        "session_cookie"
    }

    fn resolve(&self, head: &Parts) -> Eventually<SessionFuture> {
        let id = match self.id(head) {
            Ok(Some(id)) => id,
            Ok(None) => return Eventually::Now(Outcome::Absent),
            Err(invalid) => return Eventually::Now(invalid.into()),
        };
        let (store, reading) = (Arc::clone(&self.store), self.reading.clone());
        let stale_is_absent = self.stale_is_absent;
        Eventually::Later(SessionFuture::new(async move {
            let record = match store.load(&id).await {
                Ok(record) => record,
                Err(error) => return Unavailable::new(error).into(),
            };
            match checked(record, id) {
                Ok(mut record) => {
                    let outcome = reading.outcome(record.data.remove(&*reading.key));
                    let ends_at = SystemTime::from(record.expiry_date);
                    match outcome {
                        Outcome::Found(identity) => identity.expires_at(ends_at).into(),
                        other => other,
                    }
                }
                Err(SessionProblem::Unknown | SessionProblem::Expired) if stale_is_absent => {
                    Outcome::Absent
                }
                Err(problem) => problem.into(),
            }
        }))
    }

    fn presence(&self, head: &Parts) -> Presence {
        let sent = !self.stale_is_absent && !matches!(self.cookie(head), Ok(None));
        sent.into()
    }

    /// Keeps the session's id out of what the inner service may print of the headers.
    fn scrub(&self, head: &mut Parts, _: bool, _: &mut dyn FnMut(Stripped<'_>)) {
        if let header::Entry::Occupied(mut field) = head.headers.entry(header::COOKIE) {
            for value in field.iter_mut() {
                value.set_sensitive(true);
            }
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        // The names of cookies are tokens (RFC 6265 section 4.1.1), as those of headers are.
        if HeaderName::try_from(&*self.name).is_err() {
            return Err(ConfigError::CookieName {
                name: self.name.to_string(),
            });
        }
        Ok(())
    }
}

/// What a shared connection may return is somebody else's session, and what a store may return is
/// one that has ended.
fn checked(record: Option<Record>, id: Id) -> Result<Record, SessionProblem> {
    let record = record.ok_or(SessionProblem::Unknown)?;
    if record.id != id {
        return Err(SessionProblem::OfAnother);
    }
    if SystemTime::from(record.expiry_date) <= SystemTime::now() {
        return Err(SessionProblem::Expired);
    }
    Ok(record)
}

impl<S> Clone for SessionCookie<S> {
    fn clone(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            store: Arc::clone(&self.store),
            protection: self.protection.clone(),
            reading: self.reading.clone(),
            stale_is_absent: self.stale_is_absent,
            wrong: self.wrong.clone(),
        }
    }
}

impl<S> fmt::Debug for SessionCookie<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCookie")
            .field("name", &self.name)
            .field("protection", &self.protection)
            .field("reading", &self.reading)
            .finish_non_exhaustive()
    }
}
