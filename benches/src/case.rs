//! One case: a service, and the request that it gets.

use std::{
    fmt::Debug,
    future::Future,
    hint::black_box,
    pin::pin,
    task::{Context, Poll},
};

use futures::task::noop_waker_ref;
use http::{Request, Response, StatusCode};
use tower::Service;

/// Something that can be done many times.
pub struct Case {
    run: Box<dyn FnMut(u32)>,
    /// How many of what is counted one run does.
    each: f64,
}

impl Case {
    /// One request, made anew each time; making it is part of what is measured, for each case
    /// alike.
    ///
    /// # Panics
    /// Where the service does not answer with 200: what is measured must be what succeeds.
    pub fn new<S, B, R>(mut service: S, mut next: impl FnMut() -> Request<B> + 'static) -> Self
    where
        S: Service<Request<B>, Response = Response<R>, Error: Debug> + 'static,
        R: 'static,
    {
        assert_eq!(respond(&mut service, next()).status(), StatusCode::OK);
        Self::of(move |times| {
            for _ in 0..times {
                drop(black_box(respond(&mut service, next())));
            }
        })
    }

    /// Anything else that is to be timed.
    pub fn of(run: impl FnMut(u32) + 'static) -> Self {
        Self {
            run: Box::new(run),
            each: 1.0,
        }
    }

    /// Where one run does many of what is counted.
    #[must_use]
    pub fn each(self, each: f64) -> Self {
        Self { each, ..self }
    }

    /// How many of what is counted one run does.
    #[must_use]
    pub fn per_run(&self) -> f64 {
        self.each
    }

    /// Does it so many times. Never inlined: valgrind counts from here.
    #[inline(never)]
    pub fn run(&mut self, times: u32) {
        (self.run)(times);
    }
}

/// Calls a service that has nothing to wait for outside this thread.
pub fn respond<S, B, R>(service: &mut S, request: Request<B>) -> Response<R>
where
    S: Service<Request<B>, Response = Response<R>, Error: Debug>,
{
    let mut cx = Context::from_waker(noop_waker_ref());
    assert!(service.poll_ready(&mut cx).is_ready(), "not ready");
    wait_for(service.call(request)).expect("an answer")
}

/// Polls until there is a result: no case of ours waits for more than its own turn.
pub fn wait_for<F: Future>(future: F) -> F::Output {
    let mut cx = Context::from_waker(noop_waker_ref());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
}
