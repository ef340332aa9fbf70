//! An answer that may already be there, so that what is synchronous pays for no future.

use std::{
    fmt,
    future::{Future, Ready},
};

/// The answer of a step that may have to wait: there now, or a future of it.
///
/// Strategies, `authorize` steps and factories return one. A synchronous implementation names
/// [`std::future::Ready`] as its future and always answers [`Ready`](Self::Ready).
/// This enum never grows.
///
/// ```
/// use std::future::Ready;
/// use tower_user_scope::MaybeFuture;
///
/// let answer: MaybeFuture<Ready<u8>> = MaybeFuture::ready(7);
/// assert!(matches!(answer, MaybeFuture::Ready(7)));
/// ```
pub enum MaybeFuture<F: Future> {
    /// The answer.
    Ready(F::Output),
    /// What has to be polled for the answer.
    Future(F),
}

impl<T> MaybeFuture<Ready<T>> {
    /// An answer that never has to wait.
    pub const fn ready(answer: T) -> Self {
        Self::Ready(answer)
    }
}

impl<F: Future> MaybeFuture<F> {
    /// Applies `wrap` to the future, where there is one.
    pub(crate) fn map_future<G>(self, wrap: impl FnOnce(F) -> G) -> MaybeFuture<G>
    where
        G: Future<Output = F::Output>,
    {
        match self {
            Self::Ready(answer) => MaybeFuture::Ready(answer),
            Self::Future(future) => MaybeFuture::Future(wrap(future)),
        }
    }
}

impl<F: Future> fmt::Debug for MaybeFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "Ready(..)",
            Self::Future(_) => "Future(..)",
        })
    }
}
