//! The outcome of a strategy for one request, and its errors.
//!
//! Knows nothing of strategies, lists and responses.

use std::{error::Error as StdError, fmt, iter, sync::Arc, time::Duration};

use http::StatusCode;
use thiserror::Error;

use crate::context::{IdError, IdErrorKind, Identity};

/// The result of a strategy for one request; the enum never grows.
#[derive(Debug)]
#[must_use]
pub enum Outcome {
    /// The strategy's credential is there and valid, and identifies this principal.
    Found(Identity),
    /// The strategy's credential is not there.
    Absent,
    /// The strategy's credential is there and invalid. The request is refused.
    Invalid(InvalidError),
    /// The strategy's credential is there and could not be checked. The request is refused with 503.
    Unavailable(UnavailableError),
}

impl Outcome {
    /// Returns the outcome without its contents, for telemetry.
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
#[non_exhaustive]
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
    /// Returns the verdict as one lower-case word.
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
    /// Boxed, so that `Outcome` stays small.
    details: Box<Details<InvalidErrorKind>>,
}

/// The classification of an error, its source, and whose credential it is about.
#[derive(Clone)]
struct Details<K> {
    kind: K,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    /// Whose credential it was. Not part of `Debug`, which may be logged.
    user: Option<Box<str>>,
}

impl<K> Details<K> {
    fn boxed(kind: K, source: Option<Arc<dyn StdError + Send + Sync>>) -> Box<Self> {
        Box::new(Self {
            kind,
            source,
            user: None,
        })
    }
}

impl<K: fmt::Debug> Details<K> {
    fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("kind", &self.kind)
            .field("source", &self.source)
            .finish()
    }
}

impl InvalidError {
    /// Creates an error of this kind.
    #[must_use]
    pub fn new(kind: InvalidErrorKind) -> Self {
        Self {
            details: Details::boxed(kind, None),
        }
    }

    /// Sets whose credential it was, if that was verified: for a genuine token that has expired, or is
    /// for another audience.
    #[cfg(any(feature = "api-keys", feature = "jwt"))]
    #[must_use]
    pub(crate) fn of_user(mut self, user: Option<String>) -> Self {
        self.details.user = user.map(String::into_boxed_str);
        self
    }

    /// Returns the user of a credential that is genuine and was refused for another reason, such as a
    /// token that has expired. The id is not validated, and not part of `Display` or `Debug`.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.details.user.as_deref()
    }

    /// Sets the source, for the audit event.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.details.source = Some(Arc::new(source));
        self
    }

    /// Returns why the credential is bad.
    #[must_use]
    pub fn kind(&self) -> InvalidErrorKind {
        self.details.kind
    }
}

impl fmt::Debug for InvalidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.details.debug("InvalidError", f)
    }
}

impl fmt::Display for InvalidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.details.kind, f)
    }
}

impl StdError for InvalidError {
    /// Returns the error itself, not the `Arc` around it, so that it can be downcast.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.details.source.as_deref().map(|source| source as _)
    }
}

impl From<IdError> for InvalidError {
    fn from(error: IdError) -> Self {
        Self::new(InvalidErrorKind::Id(error.kind())).with_source(error)
    }
}

impl From<InvalidErrorKind> for InvalidError {
    fn from(kind: InvalidErrorKind) -> Self {
        Self::new(kind)
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
    /// Returns the kind as one lower-case word that stays the same, for telemetry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Repeated => "repeated",
            Self::NotText => "not_text",
            Self::Malformed => "malformed",
            Self::Id(_) => "invalid_id",
            Self::Trailer => "trailer",
            Self::Expired => "expired",
            Self::Rejected(word) => word,
        }
    }

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
    details: Box<Details<UnavailableErrorKind>>,
}

impl UnavailableError {
    /// Creates an error whose source did not answer. The error is in the audit event.
    #[must_use]
    pub fn new(source: impl StdError + Send + Sync + 'static) -> Self {
        let source = Some(Arc::new(source) as _);
        Self {
            details: Details::boxed(UnavailableErrorKind::Source, source),
        }
    }

    /// Creates an error for an answer that did not come within `limit`.
    #[must_use]
    pub fn timed_out(limit: Duration) -> Self {
        Self {
            details: Details::boxed(UnavailableErrorKind::TimedOut { limit }, None),
        }
    }

    /// Returns why the credential could not be checked.
    #[must_use]
    pub fn kind(&self) -> UnavailableErrorKind {
        self.details.kind
    }
}

impl fmt::Debug for UnavailableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.details.debug("UnavailableError", f)
    }
}

impl fmt::Display for UnavailableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.details.kind, f)
    }
}

impl StdError for UnavailableError {
    /// Returns the error itself, not the `Arc` around it, so that it can be downcast.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.details.source.as_deref().map(|source| source as _)
    }
}

/// Why a credential could not be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum UnavailableErrorKind {
    /// Its store, key set or issuer could not be reached.
    #[error("its source could not be reached")]
    Source,
    /// The answer did not come in time.
    #[error("the answer did not come within {limit:?}")]
    TimedOut {
        /// The time limit.
        limit: Duration,
    },
}

/// Whether a strategy's credential is on the wire, good or bad.
///
/// A [`Fallback`](crate::Fallback) acts only if every strategy returns [`NotSent`](Self::NotSent),
/// whatever their outcomes were. The enum never grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// The request has the strategy's credential, valid or not.
    Sent,
    /// The request does not have it.
    NotSent,
}

impl From<bool> for Presence {
    fn from(sent: bool) -> Self {
        if sent { Self::Sent } else { Self::NotSent }
    }
}

/// Returns the last source of an error, which is the cause.
pub(crate) fn root_cause(error: &dyn StdError) -> Option<&(dyn StdError + 'static)> {
    iter::successors(error.source(), |&error| error.source()).last()
}
