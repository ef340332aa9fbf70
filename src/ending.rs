//! How a scope ends.

#[cfg(feature = "tokio")]
use crate::lifetime::EndReason;

/// How a scope ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// The whole response was handed to the server: to its end, its trailers, or as many bytes
    /// as its `Content-Length` or the body's exact size hint says.
    ///
    /// This says nothing of what the response says; see [`ClosedScope::status`](crate::scope::ClosedScope::status).
    Completed,
    /// The response, or what would have become one, was dropped before its end: the client went
    /// away, or a time limit struck.
    Cancelled,
    /// The inner service or the body failed with an error, or the body had fewer or more bytes
    /// than its `Content-Length` or its exact size hint says: what the client got is not whole.
    Failed,
    /// The inner service or the body panicked.
    Panicked,
    /// The identity that opened the scope has ended, and the response's body was cut off; see
    /// [`end_scopes_at_expiry`](crate::middleware::LayerBuilder::end_scopes_at_expiry).
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    CutOff(EndReason),
}

impl Ending {
    /// The ending in one lower-case word, for telemetry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            #[cfg(feature = "tokio")]
            Self::CutOff(reason) => reason.as_str(),
        }
    }
}
