//! The future of a token whose verification has to wait.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::strategy::Outcome;

/// Resolves a token that has to wait: for a key that is fetched, or for
/// [`revoked_if_async`](super::Jwt::revoked_if_async).
///
/// # Cancel safety
/// Dropping it loses nothing: keys are fetched by a separate task.
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
