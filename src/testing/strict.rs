//! An inner service that enforces Tower's contract.

use std::task::{Context, Poll, ready};

use tower::Service;

/// An inner service for tests of middleware: it panics if it is called before it was polled ready, as
/// Tower's contract allows. A clone has to be polled ready itself.
#[derive(Debug)]
pub struct StrictService<S> {
    inner: S,
    ready: bool,
}

impl<S> StrictService<S> {
    /// Wraps a service.
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
    /// If this instance was not polled ready since its last call.
    fn call(&mut self, request: R) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called without having been polled ready: the instance that was is the one to call"
        );
        self.inner.call(request)
    }
}
