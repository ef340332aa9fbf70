//! A future with an open scope: it is polled in the scope, and dropped in it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project::{pin_project, pinned_drop};

use super::OpenScope;

/// A future with its scope. What it holds is dropped in the scope, also where it is cancelled.
#[pin_project(PinnedDrop, project = RunningProjection)]
pub(crate) struct Running<F> {
    #[pin]
    future: Option<F>,
    /// Taken when the result is known.
    scope: Option<OpenScope>,
}

impl<F> Running<F> {
    pub(crate) fn new(future: F, scope: OpenScope) -> Self {
        Self {
            future: Some(future),
            scope: Some(scope),
        }
    }

    /// For a future that has none.
    pub(crate) fn without_scope(future: F) -> Self {
        Self {
            future: Some(future),
            scope: None,
        }
    }

    /// Takes the scope, once the future is ready.
    pub(crate) fn take_scope(self: Pin<&mut Self>) -> Option<OpenScope> {
        self.project().scope.take()
    }
}

impl<F: Future> Future for Running<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let RunningProjection { mut future, scope } = self.project();
        let mut work = || {
            let Some(running) = future.as_mut().as_pin_mut() else {
                unreachable!("polled after it was ready")
            };
            let result = running.poll(cx);
            if result.is_ready() {
                future.set(None);
            }
            result
        };
        match scope {
            Some(scope) => scope.run(work),
            None => work(),
        }
    }
}

#[pinned_drop]
impl<F> PinnedDrop for Running<F> {
    fn drop(self: Pin<&mut Self>) {
        let RunningProjection { mut future, scope } = self.project();
        if let Some(scope) = scope {
            scope.run(|| future.set(None));
        }
    }
}
