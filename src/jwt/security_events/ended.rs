//! What a verified token says: who and when.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use crate::{context::Subject, open_scopes::Revocation};

/// Sessions that have ended, as their issuer says: one of them, or all of a user's.
///
/// ```
/// use tower_user_scope::{
///     jwt::{EventTokenError, LogoutTokens},
///     open_scopes::OpenScopes,
/// };
///
/// async fn log_out(
///     tokens: &LogoutTokens,
///     open: &OpenScopes,
///     token: &str,
/// ) -> Result<(), EventTokenError> {
///     let ended = tokens.verify(token).await?;
///     if open.revoke(ended.revocation()).is_err() {
///         tracing::error!("too many revocations to remember");
///     }
///     // Then end the session that belongs to `ended.session_id()` in the application's own store.
///     Ok(())
/// }
/// # let _ = log_out;
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct EndedSessions {
    pub(super) issuer: Box<str>,
    pub(super) subject: Option<Box<str>>,
    pub(super) session_id: Option<Box<str>>,
    pub(super) ended_at: SystemTime,
    pub(super) whom: Whom,
    pub(super) is_log_out: bool,
}

/// Whose credentials are revoked.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Whom {
    Session,
    SessionOf(Subject),
    AllOf(Subject),
}

impl EndedSessions {
    /// Returns the issuer of the token.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the user's id at the issuer (`sub`), if the token names it.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Returns the id of the session at the issuer (`sid`); `None` if all sessions of the user have
    /// ended.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }

    /// Returns when they have ended, in whole seconds, cut off.
    #[must_use]
    pub fn ended_at(&self) -> SystemTime {
        self.ended_at
    }

    /// Returns the revocation of the credentials that belong to these sessions.
    ///
    /// One session is named by its id: credentials name it if the strategy took it from `sid`, as
    /// [`Jwt`](super::super::Jwt) does, or from where the application keeps it
    /// ([`Credential`](crate::open_scopes::Credential)). Where tokens of several issuers are accepted,
    /// the user has to be the same too, because issuers may use one id for different sessions.
    ///
    /// All sessions of a user are named by the user. Credentials that are known to be issued in a later
    /// second than [`ended_at`](Self::ended_at) stay valid.
    pub fn revocation(&self) -> Revocation {
        let session = || self.session_id.as_deref().unwrap_or_default();
        let revocation = match &self.whom {
            Whom::Session => Revocation::of_session(session()),
            Whom::SessionOf(subject) => {
                Revocation::of_subject(subject.clone()).only_session(session())
            }
            // The whole second: what was issued in it may have been issued before.
            Whom::AllOf(subject) => Revocation::of_subject(subject.clone())
                .issued_before(self.ended_at + Duration::from_secs(1)),
        };
        if self.is_log_out {
            revocation.as_log_out()
        } else {
            revocation
        }
    }
}

/// Shows no ids, which are personal data.
impl fmt::Debug for EndedSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndedSessions")
            .field("issuer", &self.issuer)
            .field("subject", &self.subject.is_some())
            .field("session_id", &self.session_id.is_some())
            .field("ended_at", &self.ended_at)
            .finish_non_exhaustive()
    }
}
