//! The future of a token that can't be verified at once.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::strategy::Outcome;

/// The future of a [`Jwt`](super::Jwt) that has to wait: for a key to be fetched, or for the answer of
/// [`revoked_if_async`](super::Jwt::revoked_if_async).
///
/// # Cancel safety
/// Nothing is lost when it is dropped: keys are fetched by a task of their own.
pub struct JwtFuture(Pin<Box<dyn Future<Output = Outcome> + Send>>);

impl JwtFuture {
    pub(super) fn new(future: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for JwtFuture {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for JwtFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtFuture(..)")
    }
}
