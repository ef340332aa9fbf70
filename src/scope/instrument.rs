//! Work with a scope of its own, as `tracing` gives work a span.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project::{pin_project, pinned_drop};

use super::current::enter;
use crate::context::UserContext;

/// Gives a scope to futures, and with the feature `tokio` to streams, so that work outside of the
/// handler keeps its user.
///
/// ```
/// use tower_user_scope::{UserContext, scope::InstrumentScope};
///
/// async fn handler() {
///     tokio::spawn(
///         async {
///             // `UserContext::current()` returns the handler's context.
///         }
///         .in_current_scope(),
///     );
/// }
/// # let _ = handler;
/// ```
pub trait InstrumentScope: Sized {
    /// Polls the future or stream in the scope of this context.
    fn in_scope(self, context: UserContext) -> InScope<Self> {
        InScope {
            inner: Some(self),
            context: Some(context),
        }
    }

    /// Polls the future or stream in the scope that is current now, or in none if there is none.
    fn in_current_scope(self) -> InScope<Self> {
        InScope {
            inner: Some(self),
            context: UserContext::current(),
        }
    }
}

impl<T> InstrumentScope for T {}

/// Work with a scope; see [`InstrumentScope`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
#[pin_project(PinnedDrop)]
pub struct InScope<T> {
    /// `None` after it was dropped, which happens in the scope too.
    #[pin]
    inner: Option<T>,
    context: Option<UserContext>,
}

impl<F: Future> Future for InScope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _entered = enter(this.context);
        match this.inner.as_pin_mut() {
            Some(inner) => inner.poll(cx),
            None => Poll::Pending,
        }
    }
}

#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
impl<S: futures_core::Stream> futures_core::Stream for InScope<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        let _entered = enter(this.context);
        match this.inner.as_pin_mut() {
            Some(inner) => inner.poll_next(cx),
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.as_ref().map_or((0, Some(0)), S::size_hint)
    }
}

#[pinned_drop]
impl<T> PinnedDrop for InScope<T> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        let _entered = enter(this.context);
        this.inner.set(None);
    }
}

/// Spawns a task as `tokio::spawn` does, in the scope that is current now.
///
/// # Panics
/// Panics outside of a Tokio runtime.
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub fn spawn<F>(work: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(work.in_current_scope())
}
