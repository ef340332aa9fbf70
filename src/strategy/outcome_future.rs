//! The future of strategies that ask somebody else.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use super::Outcome;
use crate::maybe_future::MaybeFuture;

/// Resolves a credential that a store or an issuer has to be asked about.
///
/// # Cancel safety
/// Dropping it drops what the store or the issuer is asked with; it holds no lock and no connection of
/// its own.
pub struct OutcomeFuture(Pin<Box<dyn Future<Output = Outcome> + Send>>);

impl OutcomeFuture {
    /// Boxes a future.
    pub fn new(future: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }

    /// Polls once without a waker: a store in memory answers at the first poll. A future that has
    /// to wait is polled again by its caller, with a waker.
    #[must_use]
    pub fn poll_once(mut self) -> MaybeFuture<Self> {
        let mut noop = Context::from_waker(Waker::noop());
        match self.0.as_mut().poll(&mut noop) {
            Poll::Ready(outcome) => MaybeFuture::Ready(outcome),
            Poll::Pending => MaybeFuture::Future(self),
        }
    }
}

impl Future for OutcomeFuture {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for OutcomeFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutcomeFuture(..)")
    }
}
