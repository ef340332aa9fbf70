//! How a scope ends.

/// How a scope ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// The whole response was handed to the server.
    Completed,
    /// The response, or what would have become one, was dropped before its end: the client went
    /// away, or a time limit struck.
    Cancelled,
    /// The inner service or the body failed with an error.
    Failed,
    /// The inner service or the body panicked.
    Panicked,
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
        }
    }
}
