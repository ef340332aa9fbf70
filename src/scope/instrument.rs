//! A scope that travels with work, as `tracing`'s spans do.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project::{pin_project, pinned_drop};

use super::current::enter;
use crate::context::UserContext;

/// Gives futures a scope, so that work that leaves the handler keeps its user.
///
/// ```
/// use tower_user_scope::{InstrumentScope, UserContext};
///
/// async fn handler() {
///     tokio::spawn(
///         async {
///             // `UserContext::current()` is the handler's.
///         }
///         .in_current_scope(),
///     );
/// }
/// # let _ = handler;
/// ```
pub trait InstrumentScope: Sized {
    /// Polls the future in the scope of this context.
    fn in_scope(self, context: UserContext) -> InScope<Self> {
        InScope {
            inner: Some(self),
            context: Some(context),
        }
    }

    /// Polls the future in the scope that is current now; where none is, in none.
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
    /// There until it is dropped, which happens in the scope too.
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

#[pinned_drop]
impl<T> PinnedDrop for InScope<T> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        let _entered = enter(this.context);
        this.inner.set(None);
    }
}

/// Spawns a task in the scope that is current now; as `tokio::spawn` otherwise.
///
/// # Panics
/// Outside a Tokio runtime.
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub fn spawn<F>(work: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(work.in_current_scope())
}
