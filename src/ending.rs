//! How a scope ends, and what the result of work says of that.

#[cfg(feature = "tokio")]
use crate::lifetime::EndReason;

/// How a scope ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// The whole response was handed to the server: to its end, its trailers, or as many bytes
    /// as its `Content-Length` or the body's exact size hint says. Work that is not a request has
    /// returned no error.
    ///
    /// This says nothing of what the response says; see [`ClosedScope::status`](crate::scope::ClosedScope::status).
    Completed,
    /// The response, or what would have become one, was dropped before its end: the client went
    /// away, or a time limit struck. The future of work was dropped.
    Cancelled,
    /// The inner service or the body failed with an error, or the body had fewer or more bytes
    /// than its `Content-Length` or its exact size hint says: what the client got is not whole. Work
    /// has returned an error.
    Failed,
    /// The inner service, the body or the work panicked.
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

/// The result of work that is not a request: says how the scope of the work ends. See
/// [`UserScopeLayer::run`](crate::UserScopeLayer::run).
///
/// Implement it for a type that tells failure in its own way, such as an exit code.
///
/// ```
/// use tower_user_scope::scope::{Ending, WorkOutput};
///
/// assert_eq!(Ok::<(), String>(()).ending(), Ending::Completed);
/// assert_eq!(Err::<(), _>("the printer is on fire").ending(), Ending::Failed);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say whether the work failed",
    label = "the result of work is a `Result` or `()`",
    note = "return `Ok::<_, Infallible>(..)` from work that can't fail, or implement `WorkOutput`"
)]
pub trait WorkOutput {
    /// Returns how the scope of the work ends.
    fn ending(&self) -> Ending;
}

/// Completed.
impl WorkOutput for () {
    fn ending(&self) -> Ending {
        Ending::Completed
    }
}

/// Completed for `Ok`, and failed for `Err`.
impl<T, E> WorkOutput for Result<T, E> {
    fn ending(&self) -> Ending {
        match self {
            Ok(_) => Ending::Completed,
            Err(_) => Ending::Failed,
        }
    }
}
