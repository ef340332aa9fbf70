//! What is revoked: one or all of a subject's credentials.

use std::{fmt, sync::Arc, time::SystemTime};

use sha2::{Digest, Sha256};

use super::Credential;
use crate::{context::Subject, lifetime::EndReason};

/// Names credentials that are no longer valid; for
/// [`OpenScopes::revoke`](super::OpenScopes::revoke).
///
/// ```
/// use tower_user_scope::{UserId, context::Subject, open_scopes::Revocation};
///
/// let alice = Subject::new("alice".parse::<UserId>()?);
/// // Everything that alice has, but for the session in which she changes her password.
/// let others = Revocation::of_subject(alice).except_session("7d4c...");
/// // The log-out of one session.
/// let one = Revocation::of_session("91aa...").as_log_out();
/// # let _ = (others, one);
/// # Ok::<(), tower_user_scope::context::IdError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct Revocation {
    pub(super) whom: Whom,
    pub(super) issued_before: Option<SystemTime>,
    /// The SHA-256 of the session's id: the session lives, and what is revoked goes to other processes.
    pub(super) except_session: Option<[u8; 32]>,
    pub(super) only_session: Option<Arc<str>>,
    pub(super) reason: EndReason,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Whom {
    Subject(Subject),
    Session(Arc<str>),
    Token(Arc<str>),
}

impl Revocation {
    /// Revokes the credentials of a subject that were issued before now; see
    /// [`issued_before`](Self::issued_before).
    pub fn of_subject(subject: Subject) -> Self {
        Self::new(Whom::Subject(subject))
    }

    /// Revokes the credentials of a session.
    pub fn of_session(id: impl Into<Arc<str>>) -> Self {
        Self::new(Whom::Session(id.into()))
    }

    /// Revokes one token.
    pub fn of_token(id: impl Into<Arc<str>>) -> Self {
        Self::new(Whom::Token(id.into()))
    }

    pub(super) fn new(whom: Whom) -> Self {
        Self {
            whom,
            issued_before: None,
            except_session: None,
            only_session: None,
            reason: EndReason::Revoked,
        }
    }

    /// Revokes what was issued before this time; for a subject, the time of the revocation is the
    /// default. A credential that is not known to have been issued later is revoked too.
    ///
    /// Tokens have whole seconds, cut off: one that is issued within a second after this time may count
    /// as issued before it.
    pub fn issued_before(mut self, time: SystemTime) -> Self {
        self.issued_before = Some(time);
        self
    }

    /// Leaves the credentials of one session alone: "log me out everywhere else".
    pub fn except_session(mut self, id: impl AsRef<str>) -> Self {
        self.except_session = Some(digest(id.as_ref()));
        self
    }

    /// Revokes the credentials of one session only: a session of a subject, where ids of sessions may
    /// be another subject's too.
    pub fn only_session(mut self, id: impl Into<Arc<str>>) -> Self {
        self.only_session = Some(id.into());
        self
    }

    /// Says that this is a log-out: scopes end as [`EndReason::LoggedOut`] instead of
    /// [`EndReason::Revoked`].
    pub fn as_log_out(mut self) -> Self {
        self.reason = EndReason::LoggedOut;
        self
    }

    /// Sets the time of a subject's revocation that has none.
    pub(super) fn at(self, now: SystemTime) -> Self {
        match (&self.whom, self.issued_before) {
            (Whom::Subject(_), None) => self.issued_before(now),
            _ => self,
        }
    }

    /// Whether a credential of the one that this names is revoked.
    pub(super) fn covers(&self, credential: Option<&Credential>) -> bool {
        let session = credential.and_then(Credential::session_id);
        if self.except_session.is_some() && session.map(digest) == self.except_session {
            return false;
        }
        if self.only_session.is_some() && session != self.only_session.as_deref() {
            return false;
        }
        let issued_at = credential.and_then(Credential::issued_at);
        match (self.issued_before, issued_at) {
            (Some(before), Some(issued_at)) => issued_at < before,
            _ => true,
        }
    }

    /// Whether it is about this subject and credential.
    pub(super) fn names(&self, subject: &Subject, credential: Option<&Credential>) -> bool {
        match &self.whom {
            Whom::Subject(revoked) => revoked == subject,
            Whom::Session(id) => credential.and_then(Credential::session_id) == Some(id),
            Whom::Token(id) => credential.and_then(Credential::token_id) == Some(id),
        }
    }
}

fn digest(session_id: &str) -> [u8; 32] {
    Sha256::digest(session_id).into()
}

/// Shows no ids, which may be secrets or personal data.
impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = match self.whom {
            Whom::Subject(_) => "subject",
            Whom::Session(_) => "session",
            Whom::Token(_) => "token",
        };
        f.debug_struct("Revocation")
            .field("whom", &whom)
            .field("issued_before", &self.issued_before)
            .field("except_session", &self.except_session.is_some())
            .field("only_session", &self.only_session.is_some())
            .field("reason", &self.reason)
            .finish()
    }
}
