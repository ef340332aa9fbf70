//! The inner service: looks at what it was given and answers nothing.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    marker::PhantomData,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower::Service;

/// Takes any body and answers with an empty one of type `R`, at once.
pub struct Inner<R = ()>(PhantomData<fn() -> R>);

impl<R> Inner<R> {
    /// A service that costs nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R> Default for Inner<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> Clone for Inner<R> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<R: Default, B> Service<Request<B>> for Inner<R> {
    type Response = Response<R>;
    type Error = Infallible;
    type Future = Ready<Result<Response<R>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        black_box(&request);
        ready(Ok(Response::new(R::default())))
    }
}
