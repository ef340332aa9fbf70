//! Why a session was refused.

use thiserror::Error;

use crate::{
    context::IdError,
    strategy::{InvalidError, InvalidErrorKind},
};

/// What is wrong with a session; the source of the [`InvalidError`] that it becomes.
///
/// All of them are 401: what the client can do about it is to log in again. No variant holds
/// the session's id or a value out of its data.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The cookie's value is no session id; the store was not asked.
    #[error("the cookie does not hold a session id")]
    Malformed,
    /// The cookie's value is longer than one can be; nothing of it was read.
    #[error("the cookie's value has {len} bytes and may have {max}")]
    #[non_exhaustive]
    TooLong {
        /// How long it is, in bytes.
        len: usize,
        /// How long it may be, in bytes.
        max: usize,
    },
    /// No key that is accepted signed or encrypted the cookie; the store was not asked.
    #[error("the cookie was signed or encrypted with none of the accepted keys")]
    Seal,
    /// The store knows no such session: it has ended, or it never was.
    #[error("the store has no such session")]
    Unknown,
    /// The session has ended, and the store still had it.
    #[error("the session has expired")]
    Expired,
    /// The store answered with the record of a session that was not asked for.
    #[error("the store returned the record of another session")]
    OtherSession,
    /// A value of the session has another type than it is read as.
    // No source: serde's messages quote the value.
    #[error("the session's value `{key}` is not of the expected type")]
    #[non_exhaustive]
    Value {
        /// The value's key.
        key: String,
    },
    /// An id in the session's data is not one.
    #[error("the session holds an invalid id: {0}")]
    Id(#[from] IdError),
    /// The application refuses the session; the word goes to the audit event only.
    #[error("the session was refused: {0}")]
    Refused(&'static str),
    /// There is no `Session` in the request. This is no fault of the client's and becomes 503.
    #[error(
        "the request has no `Session` of tower-sessions 0.15 or 0.14: `SessionManagerLayer` has to \
         be outside of this layer, and of one of these versions"
    )]
    NoSessionLayer,
}

impl SessionError {
    fn kind(&self) -> InvalidErrorKind {
        InvalidErrorKind::Rejected(match self {
            Self::Expired => return InvalidErrorKind::Expired,
            Self::Malformed | Self::TooLong { .. } => "session_cookie_malformed",
            Self::Seal => "session_cookie_seal",
            Self::Unknown => "session_unknown",
            Self::OtherSession => "session_of_another_id",
            Self::Value { .. } | Self::Id(_) => "session_data",
            Self::NoSessionLayer => "session_layer_missing",
            Self::Refused(word) => word,
        })
    }
}

impl From<SessionError> for InvalidError {
    fn from(error: SessionError) -> Self {
        Self::new(error.kind()).with_source(error)
    }
}
