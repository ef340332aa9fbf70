//! The claims of a verified token that applications may read.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::claims::Claims;
#[cfg(feature = "open-scopes")]
use crate::open_scopes::Credential;

/// The claims of a verified token: among the
/// [attributes](crate::UserContext::attributes) of every context of a [`Jwt`](super::Jwt),
/// and the argument of revocation checks.
///
/// A claim is `None` if the token doesn't have it, or if it is not of its type in RFC 7519 and no
/// setting needs it. With a revocation check, a token whose `jti`, `sid` or `iat` is of another type
/// is refused.
///
/// ```
/// use tower_user_scope::{UserContext, jwt::VerifiedToken};
///
/// fn session_of(user: &UserContext) -> Option<&str> {
///     user.attributes().get::<VerifiedToken>()?.session_id()
/// }
/// # let _ = session_of;
/// ```
#[derive(Clone)]
pub struct VerifiedToken {
    inner: Arc<Inner>,
}

struct Inner {
    issuer: Option<Box<str>>,
    subject: Option<Box<str>>,
    audience: Option<Box<str>>,
    token_id: Option<Box<str>>,
    session_id: Option<Box<str>>,
    key_id: Option<Box<str>>,
    issued_at: Option<u64>,
    expires_at: Option<u64>,
}

impl VerifiedToken {
    pub(crate) fn new(
        claims: &Claims<'_>,
        audience: Option<&str>,
        key_id: Option<&str>,
        expires_at: Option<u64>,
    ) -> Self {
        let text = |name: &str| claims.optional_text(name).map(|text| Box::from(&*text));
        Self {
            inner: Arc::new(Inner {
                issuer: text("iss"),
                subject: text("sub"),
                audience: audience.map(Box::from),
                token_id: text("jti"),
                session_id: text("sid"),
                key_id: key_id.map(Box::from),
                issued_at: claims.issued_at(),
                expires_at,
            }),
        }
    }

    /// Returns what the token can be revoked by.
    #[cfg(feature = "open-scopes")]
    pub(super) fn credential(&self) -> Credential {
        let mut credential = Credential::new();
        if let Some(id) = self.session_id() {
            credential = credential.with_session_id(id);
        }
        if let Some(id) = self.token_id() {
            credential = credential.with_token_id(id);
        }
        match self.issued_at() {
            Some(time) => credential.with_issued_at(time),
            None => credential,
        }
    }

    /// Returns `iss`, the issuer.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.inner.issuer.as_deref()
    }

    /// Returns `sub`, the subject; `None` if it is a number.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.inner.subject.as_deref()
    }

    /// Returns the configured audience that the token is for.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        self.inner.audience.as_deref()
    }

    /// Returns `jti`, the token's id.
    #[must_use]
    pub fn token_id(&self) -> Option<&str> {
        self.inner.token_id.as_deref()
    }

    /// Returns `sid`, the session at the issuer (OpenID Connect Front-Channel Logout 1.0).
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        self.inner.session_id.as_deref()
    }

    /// Returns the id of the key that verified the token.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.inner.key_id.as_deref()
    }

    /// Returns `iat`, when the token was issued, in whole seconds.
    #[must_use]
    pub fn issued_at(&self) -> Option<SystemTime> {
        self.inner.issued_at.map(at)
    }

    /// Returns until when the token is accepted: `exp` plus the leeway. A JSON Web Token always has an
    /// end; what an introspection endpoint answers may have none.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.inner.expires_at.map(at)
    }
}

fn at(seconds: u64) -> SystemTime {
    // Times are at most in the year 9999, which `SystemTime` can represent.
    UNIX_EPOCH + Duration::from_secs(seconds)
}

impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `sub`, `jti` and `sid` are personal data and stay out of logs.
        f.debug_struct("VerifiedToken")
            .field("issuer", &self.inner.issuer)
            .field("audience", &self.inner.audience)
            .field("key_id", &self.inner.key_id)
            .finish_non_exhaustive()
    }
}
