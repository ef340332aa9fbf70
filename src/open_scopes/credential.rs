//! Identifies a credential, so that it can be revoked.

use std::{fmt, sync::Arc, time::SystemTime};

/// Identifies the credential behind an identity: an
/// [attribute](crate::Identity::with_attribute) by which an application can revoke it.
///
/// [`Jwt`](crate::jwt::Jwt) and [`Introspection`](crate::introspection::Introspection) set it from `sid`,
/// `jti` and `iat`, [`SessionCookie`](crate::session::SessionCookie) and
/// [`FromSession`](crate::session::FromSession) from the session's id, and
/// [`ApiKeys`](crate::api_key::ApiKeys) from the key's identifier, as a token id. An application that
/// sets it in a closure of one of them names the session itself, such as by the `sid` of the log-in. A
/// strategy of an application's own that knows one of them adds it:
///
/// ```
/// use tower_user_scope::{Identity, UserId, open_scopes::Credential};
///
/// let alice: UserId = "alice".parse()?;
/// let identity = Identity::proved(alice)
///     .with_attribute(Credential::new().with_session_id("7d4c..."));
/// # let _ = identity;
/// # Ok::<(), tower_user_scope::context::IdError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credential {
    session_id: Option<Arc<str>>,
    token_id: Option<Arc<str>>,
    issued_at: Option<SystemTime>,
}

impl Credential {
    /// Creates one of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the id of the session that the credential belongs to, such as the `sid` of a token.
    #[must_use]
    pub fn with_session_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.session_id = Some(id.into());
        self
    }

    /// Sets the id of the credential itself, such as the `jti` of a token.
    #[must_use]
    pub fn with_token_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.token_id = Some(id.into());
        self
    }

    /// Sets when the credential was issued.
    #[must_use]
    pub fn with_issued_at(mut self, time: SystemTime) -> Self {
        self.issued_at = Some(time);
        self
    }

    /// Returns the id of the session that the credential belongs to.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }

    /// Returns the id of the credential itself.
    #[must_use]
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// Returns when the credential was issued.
    #[must_use]
    pub fn issued_at(&self) -> Option<SystemTime> {
        self.issued_at
    }
}

/// Shows which are known. A session's id may be a secret, and the others are personal data.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("session_id", &self.session_id.is_some())
            .field("token_id", &self.token_id.is_some())
            .field("issued_at", &self.issued_at.is_some())
            .finish()
    }
}
