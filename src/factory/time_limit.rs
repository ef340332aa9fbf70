//! A factory that is not waited for longer than its limit.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project::pin_project;
use thiserror::Error;
use tokio::time::Sleep;

use super::{BoxError, MakeFactory};
use crate::{context::UserContext, eventually::Eventually};

/// A way to make a factory that is given up after a while; see
/// [`Builder::factory_time_limit`](crate::Builder::factory_time_limit).
#[derive(Clone, Debug)]
pub struct TimeLimit<M> {
    make: M,
    limit: Duration,
}

impl<M> TimeLimit<M> {
    pub(crate) fn new(make: M, limit: Duration) -> Self {
        Self { make, limit }
    }
}

#[derive(Debug, Error)]
#[error("it was not ready within {limit:?}")]
pub(super) struct FactoryTimedOut {
    pub(super) limit: Duration,
}

impl<M: MakeFactory> MakeFactory for TimeLimit<M> {
    type Factory = M::Factory;
    type Error = BoxError;
    type Future = TimeLimitFuture<M::Future>;

    fn make(&self, context: &UserContext) -> Eventually<Self::Future> {
        match self.make.make(context) {
            Eventually::Now(built) => Eventually::Now(built.map_err(Into::into)),
            Eventually::Later(future) => Eventually::Later(TimeLimitFuture {
                future,
                sleep: tokio::time::sleep(self.limit),
                limit: self.limit,
            }),
        }
    }
}

/// The future of a [`TimeLimit`].
#[derive(Debug)]
#[pin_project]
pub struct TimeLimitFuture<F> {
    #[pin]
    future: F,
    #[pin]
    sleep: Sleep,
    limit: Duration,
}

impl<F, T, E> Future for TimeLimitFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(built) = this.future.poll(cx) {
            return Poll::Ready(built.map_err(Into::into));
        }
        let limit = *this.limit;
        this.sleep
            .poll(cx)
            .map(|()| Err(FactoryTimedOut { limit }.into()))
    }
}
