//! What a strategy says of a request: four verdicts that never blur.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use http::StatusCode;
use thiserror::Error;

use crate::context::{IdError, IdErrorKind, Identity};

/// What a strategy says of a request.
#[derive(Debug)]
#[must_use]
pub enum Outcome {
    /// My credential is here and good: this is who it is.
    Found(Identity),
    /// None of my credential is here.
    Absent,
    /// My credential is here and bad. The list ends with a refusal.
    Invalid(InvalidError),
    /// My credential is here and I could not check it. The list ends with 503.
    Unavailable(UnavailableError),
}

impl Outcome {
    /// The verdict in one lower-case word, for telemetry.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Found(_) => Verdict::Found,
            Self::Absent => Verdict::Absent,
            Self::Invalid(_) => Verdict::Invalid,
            Self::Unavailable(_) => Verdict::Unavailable,
        }
    }
}

/// An [`Outcome`] without what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// See [`Outcome::Found`].
    Found,
    /// See [`Outcome::Absent`].
    Absent,
    /// See [`Outcome::Invalid`].
    Invalid,
    /// See [`Outcome::Unavailable`].
    Unavailable,
}

impl Verdict {
    /// The verdict in one lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Absent => "absent",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
        }
    }
}

impl From<Identity> for Outcome {
    fn from(identity: Identity) -> Self {
        Self::Found(identity)
    }
}

impl From<InvalidError> for Outcome {
    fn from(invalid: InvalidError) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<UnavailableError> for Outcome {
    fn from(unavailable: UnavailableError) -> Self {
        Self::Unavailable(unavailable)
    }
}

/// A credential that is there and bad, with the typed reason.
///
/// The reason and its source go to the audit event; the response says only that the credential
/// was not accepted. Never put the credential itself into either.
///
/// ```
/// use tower_user_scope::{InvalidError, strategy::InvalidErrorKind};
///
/// let unknown = InvalidError::new(InvalidErrorKind::Rejected("api_key_unknown"));
/// assert_eq!(unknown.to_string(), "was rejected: api_key_unknown");
/// ```
#[derive(Clone)]
pub struct InvalidError {
    /// Apart, so that what is good stays small.
    why: Box<Why<InvalidErrorKind>>,
}

/// A reason, and the error that told.
#[derive(Clone)]
struct Why<R> {
    reason: R,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    /// Whose credential it was. Not part of `Debug`.
    user: Option<Box<str>>,
}

impl<R: fmt::Debug> Why<R> {
    fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("reason", &self.reason)
            .field("source", &self.source)
            .finish()
    }
}

impl InvalidError {
    /// A credential that is bad for this reason.
    #[must_use]
    pub fn new(reason: InvalidErrorKind) -> Self {
        let source = None;
        Self {
            why: Box::new(Why {
                reason,
                source,
                user: None,
            }),
        }
    }

    /// Says whose credential it was, where that is known for certain: of a genuine one that has
    /// ended, or is for somebody else.
    #[cfg(feature = "jwt")]
    #[must_use]
    pub(crate) fn of_user(mut self, user: Option<String>) -> Self {
        self.why.user = user.map(String::into_boxed_str);
        self
    }

    /// Whose credential it was, as it says itself, where it is genuine and refused for another
    /// reason, such as a token that has expired. It is not an id that was validated, and not part
    /// of `Display` or `Debug`.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.why.user.as_deref()
    }

    /// Keeps the error that told, for the operator's log.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.why.source = Some(Arc::new(source));
        self
    }

    /// Why the credential is bad.
    #[must_use]
    pub fn kind(&self) -> InvalidErrorKind {
        self.why.reason
    }
}

impl fmt::Debug for InvalidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.debug("Invalid", f)
    }
}

impl fmt::Display for InvalidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.why.reason, f)
    }
}

impl StdError for InvalidError {
    /// The error itself rather than what it is shared by, so that it can be downcast.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.why.source.as_deref().map(|source| source as _)
    }
}

impl From<IdError> for InvalidError {
    fn from(error: IdError) -> Self {
        Self::new(InvalidErrorKind::Id(error.kind())).with_source(error)
    }
}

impl From<InvalidErrorKind> for InvalidError {
    fn from(reason: InvalidErrorKind) -> Self {
        Self::new(reason)
    }
}

/// Why a credential is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum InvalidErrorKind {
    /// It was sent more than once, or as a list. 400.
    #[error("was sent more than once")]
    Repeated,
    /// It is not UTF-8. 400.
    #[error("is not text")]
    NotText,
    /// It does not have the form of such a credential. 400.
    #[error("is malformed")]
    Malformed,
    /// The id in it is not one. 400.
    #[error("holds an id that {0}")]
    Id(IdErrorKind),
    /// It is announced as a trailer field, which identifies nobody. 400.
    #[error("is announced as a trailer")]
    Trailer,
    /// It was good until some time ago. 401.
    #[error("has expired")]
    Expired,
    /// It is well-formed and the application knows better; the word goes to the audit event
    /// only. 401.
    #[error("was rejected: {0}")]
    Rejected(&'static str),
}

impl InvalidErrorKind {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Repeated | Self::NotText | Self::Malformed | Self::Id(_) | Self::Trailer => {
                StatusCode::BAD_REQUEST
            }
            Self::Expired | Self::Rejected(_) => StatusCode::UNAUTHORIZED,
        }
    }
}

/// A credential that could not be checked: its store, key set or issuer did not answer.
#[derive(Clone)]
pub struct UnavailableError {
    why: Box<Why<UnavailableErrorKind>>,
}

impl UnavailableError {
    /// What answers did not come; the error is kept for the operator's log.
    #[must_use]
    pub fn new(source: impl StdError + Send + Sync + 'static) -> Self {
        let reason = UnavailableErrorKind::Source;
        let source = Some(Arc::new(source) as _);
        Self {
            why: Box::new(Why {
                reason,
                source,
                user: None,
            }),
        }
    }

    /// The answer did not come in time.
    #[must_use]
    pub fn timed_out(limit: Duration) -> Self {
        let reason = UnavailableErrorKind::TimedOut { limit };
        let source = None;
        Self {
            why: Box::new(Why {
                reason,
                source,
                user: None,
            }),
        }
    }

    /// Why it could not be checked.
    #[must_use]
    pub fn kind(&self) -> UnavailableErrorKind {
        self.why.reason
    }
}

impl fmt::Debug for UnavailableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.debug("Unavailable", f)
    }
}

impl fmt::Display for UnavailableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.why.reason, f)
    }
}

impl StdError for UnavailableError {
    /// The error itself rather than what it is shared by, so that it can be downcast.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.why.source.as_deref().map(|source| source as _)
    }
}

/// Why a credential could not be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum UnavailableErrorKind {
    /// What knows the answer (a store, a key set, an issuer) could not be reached.
    #[error("its source could not be reached")]
    Source,
    /// The answer did not come in time.
    #[error("the answer did not come within {limit:?}")]
    TimedOut {
        /// How long was waited.
        limit: Duration,
    },
}

/// Whether a strategy's credential is on the wire, good or bad.
///
/// A [`Fallback`](crate::Fallback) acts only where every strategy answers
/// [`NotSent`](Self::NotSent), whatever it said when it was asked to resolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// There is something that this strategy is about.
    Sent,
    /// There is nothing of the kind.
    NotSent,
}

impl From<bool> for Presence {
    fn from(sent: bool) -> Self {
        if sent { Self::Sent } else { Self::NotSent }
    }
}
