//! An inner service that takes Tower's contract at its word.

use std::task::{Context, Poll, ready};

use tower::Service;

/// Panics when it is called without having been polled ready, as Tower's contract allows; a
/// clone is not ready because its original was.
///
/// Put it inside a middleware under test.
#[derive(Debug)]
pub struct StrictService<S> {
    inner: S,
    ready: bool,
}

impl<S> StrictService<S> {
    /// Watches over calls to `inner`.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            ready: false,
        }
    }
}

impl<S: Clone> Clone for StrictService<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone())
    }
}

impl<S: Service<R>, R> Service<R> for StrictService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let polled = ready!(self.inner.poll_ready(cx));
        self.ready = polled.is_ok();
        Poll::Ready(polled)
    }

    /// # Panics
    /// Where this instance was not polled ready since its last call.
    fn call(&mut self, request: R) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called without having been polled ready: the instance that was is the one to call"
        );
        self.inner.call(request)
    }
}
