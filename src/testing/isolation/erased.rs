//! A service without its types.

use std::{
    cell::RefCell,
    error::Error,
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    task::Poll,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::{
    depth::Depths,
    exchange::{Advance, Answer, End, Exchange, Reading},
};
use crate::testing::{TestBody, report::route};

/// Sends requests to a service whose types are not known.
pub(in crate::testing) trait SendRequest {
    /// Sends a request and reads its response, which is cancelled after this share of its way.
    fn send(
        &self,
        request: Request<Bytes>,
        cancel: Option<usize>,
    ) -> Pin<Box<dyn Future<Output = (Answer, End)> + '_>>;

    /// Begins an exchange that others poll.
    fn begin(&self, request: Request<Bytes>) -> Box<dyn Advance>;
}

/// A service, and how far its exchanges go.
pub(in crate::testing) struct Erased<S, R> {
    service: S,
    reading: Reading,
    depths: Rc<RefCell<Depths>>,
    body: PhantomData<fn() -> R>,
}

impl<S, R> Erased<S, R> {
    pub(in crate::testing) fn new(
        service: S,
        reading: Reading,
        depths: Rc<RefCell<Depths>>,
    ) -> Self {
        Self {
            service,
            reading,
            depths,
            body: PhantomData,
        }
    }
}

impl<S, R> SendRequest for Erased<S, R>
where
    S: Service<
            Request<TestBody>,
            Response = Response<R>,
            Error: Into<Box<dyn Error + Send + Sync>>,
        > + Clone
        + 'static,
    R: Body + 'static,
{
    fn begin(&self, request: Request<Bytes>) -> Box<dyn Advance> {
        let request = request.map(TestBody::from);
        Box::new(Exchange::new(self.service.clone(), request, self.reading))
    }

    fn send(
        &self,
        request: Request<Bytes>,
        cancel: Option<usize>,
    ) -> Pin<Box<dyn Future<Output = (Answer, End)> + '_>> {
        let mut exchange = Exchange::new(
            self.service.clone(),
            request.map(TestBody::from),
            self.reading,
        );
        let route = route(&exchange.request);
        Box::pin(poll_fn(move |cx| {
            let cancelled = |polls| {
                cancel.is_some_and(|share| self.depths.borrow().is_reached(&route, share, polls))
            };
            let end = if cancelled(exchange.polls) {
                End::Cancelled
            } else {
                match exchange.advance(cx) {
                    Some(end) => end,
                    None if cancelled(exchange.polls) => End::Cancelled,
                    None => return Poll::Pending,
                }
            };
            if end == End::Completed {
                self.depths.borrow_mut().completed(&route, exchange.polls);
            }
            Poll::Ready((std::mem::take(&mut exchange.answer), end))
        }))
    }
}
