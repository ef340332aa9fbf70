//! Why a session was refused.

use thiserror::Error;

use crate::{
    context::IdError,
    strategy::{InvalidError, InvalidErrorKind},
};

/// Why a session was refused: the source of the [`InvalidError`].
///
/// All variants but one are 401: the client can log in again. No variant has the session's id or a
/// value of its data.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The cookie's value is not a session id. The store was not read.
    #[error("the cookie does not hold a session id")]
    Malformed,
    /// The cookie's value is longer than a session id can be.
    #[error("the cookie's value has {len} bytes and may have {max}")]
    #[non_exhaustive]
    TooLong {
        /// How long it is, in bytes.
        len: usize,
        /// How long it may be, in bytes.
        max: usize,
    },
    /// The cookie was not signed or encrypted with an accepted key. The store was not read.
    #[error("the cookie was signed or encrypted with none of the accepted keys")]
    Seal,
    /// The store does not have the session: it has ended, or never existed.
    #[error("the store has no such session")]
    Unknown,
    /// The session has expired, and the store still has it.
    #[error("the session has expired")]
    Expired,
    /// The store returned the record of another session.
    #[error("the store returned the record of another session")]
    OtherSession,
    /// A value of the session is of another type.
    // No source: serde's messages quote the value.
    #[error("the session's value `{key}` is not of the expected type")]
    #[non_exhaustive]
    Value {
        /// The value's key.
        key: String,
    },
    /// An id in the session's data is invalid.
    #[error("the session holds an invalid id: {0}")]
    Id(#[from] IdError),
    /// The application refuses the session; the word goes to the audit event only.
    #[error("the session was refused: {0}")]
    Refused(&'static str),
    /// There is no `Session` in the request. This is a mistake in the application, and becomes 503.
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
