//! An answer that may already be there, so that what is synchronous pays for no future.

use std::{
    fmt,
    future::{Future, Ready},
};

/// The answer of a step that may have to wait: there now, or a future of it.
///
/// Strategies, `authorize` steps and factories return one. A synchronous implementation names
/// [`std::future::Ready`] as its future and always answers [`Now`](Self::Now).
///
/// ```
/// use std::future::Ready;
/// use tower_user_scope::Eventually;
///
/// let answer: Eventually<Ready<u8>> = Eventually::now(7);
/// assert!(matches!(answer, Eventually::Now(7)));
/// ```
pub enum Eventually<F: Future> {
    /// The answer.
    Now(F::Output),
    /// What has to be polled for the answer.
    Later(F),
}

impl<T> Eventually<Ready<T>> {
    /// An answer that never has to wait.
    pub const fn now(answer: T) -> Self {
        Self::Now(answer)
    }
}

impl<F: Future> Eventually<F> {
    /// Applies `wrap` to the future, where there is one.
    pub(crate) fn map_future<G>(self, wrap: impl FnOnce(F) -> G) -> Eventually<G>
    where
        G: Future<Output = F::Output>,
    {
        match self {
            Self::Now(answer) => Eventually::Now(answer),
            Self::Later(future) => Eventually::Later(wrap(future)),
        }
    }
}

impl<F: Future> fmt::Debug for Eventually<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now(_) => "Now(..)",
            Self::Later(_) => "Later(..)",
        })
    }
}
