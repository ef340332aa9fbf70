//! By hand, and with a scope: what [`by_hand`](crate::by_hand) leaves out, written for this one
//! case by somebody who wants the same guarantees and nothing configurable.
//!
//! Beside the work of the other it removes names that an upstream would take for the header and
//! looks for correlation ids; says in the log what it found and whom it let in; makes the user
//! the thread's current one while the factory is made, the inner service is called and polled,
//! and what is left of the request is dropped; keeps the scope until the response's body has
//! ended; and looks then whether somebody still holds the factory.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::{Future, Ready},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderName, Request, Response, StatusCode, request::Parts};
use tower::Service;

use crate::{
    by_hand::{HandContext, HandFactory, resolve_with},
    requests::USER,
};

thread_local! {
    static CURRENT: RefCell<Option<HandContext>> = const { RefCell::new(None) };
}

/// Does the work of the layer inline, its scope included.
#[derive(Clone)]
pub struct ByHandScoped<S>(pub S);

/// From the request to the end of the response's body.
struct Scope {
    context: Option<HandContext>,
    factory: Arc<HandFactory>,
}

struct Entered<'a>(&'a mut Option<HandContext>);

fn exchange(slot: &mut Option<HandContext>) {
    CURRENT.with(|current| mem::swap(&mut *current.borrow_mut(), slot));
}

fn enter(slot: &mut Option<HandContext>) -> Entered<'_> {
    exchange(slot);
    Entered(slot)
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        exchange(self.0);
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if Arc::strong_count(&self.factory) > 1 {
            tracing::warn!("factory still held");
        }
    }
}

/// A response's body, and the scope that ends with it.
pub struct ScopedBody<B> {
    /// The body.
    pub body: B,
    _scope: Option<Scope>,
}

/// The inner service at work in its scope.
pub struct ScopedFuture<F> {
    future: F,
    scope: Option<Scope>,
}

impl<F, R> Future for ScopedFuture<F>
where
    F: Future<Output = Result<Response<R>, Infallible>> + Unpin,
{
    type Output = Result<Response<ScopedBody<R>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { future, scope } = &mut *self;
        let response = {
            let _entered = scope.as_mut().map(|scope| enter(&mut scope.context));
            ready!(Pin::new(future).poll(cx))?
        };
        let scope = scope.take();
        Poll::Ready(Ok(response.map(|body| ScopedBody {
            body,
            _scope: scope,
        })))
    }
}

impl<S, B, R> Service<Request<B>> for ByHandScoped<S>
where
    S: Service<
            Request<B>,
            Response = Response<R>,
            Error = Infallible,
            Future = Ready<Result<Response<R>, Infallible>>,
        >,
    R: Default,
{
    type Response = Response<ScopedBody<R>>;
    type Error = Infallible;
    type Future = ScopedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        match open(&mut head) {
            Ok(mut scope) => {
                let entered = enter(&mut scope.context);
                let future = self.0.call(Request::from_parts(head, body));
                drop(entered);
                ScopedFuture {
                    future,
                    scope: Some(scope),
                }
            }
            Err(status) => {
                let mut response = Response::new(R::default());
                *response.status_mut() = status;
                ScopedFuture {
                    future: std::future::ready(Ok(response)),
                    scope: None,
                }
            }
        }
    }
}

fn open(head: &mut Parts) -> Result<Scope, StatusCode> {
    let context = resolve_with(head)?;
    tracing::debug!(strategy = "header", verdict = "found", "strategy consulted");
    if head.headers.keys().any(looks_like_the_header) {
        head.headers.remove("x_user_id");
    }
    if head.headers.keys().any(may_be_an_id_of_work) {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    tracing::info!(strategy = "header", "request accepted");
    let mut slot = Some(context.clone());
    let factory = {
        let _entered = enter(&mut slot);
        Arc::new(HandFactory {
            context: context.clone(),
        })
    };
    head.extensions.insert(context);
    head.extensions.insert(Arc::clone(&factory));
    Ok(Scope {
        context: slot,
        factory,
    })
}

fn looks_like_the_header(name: &HeaderName) -> bool {
    const OURS: &[u8] = b"x-user-id";
    let sent = name.as_str().as_bytes();
    OURS.len() == sent.len()
        && *name != USER
        && OURS
            .iter()
            .zip(sent)
            .all(|(a, b)| a == b || !(a.is_ascii_alphanumeric() || b.is_ascii_alphanumeric()))
}

/// `x-run-id`, `x-thread-id`, `traceparent`, `x-request-id`, `x-connection-id`.
fn may_be_an_id_of_work(name: &HeaderName) -> bool {
    matches!(name.as_str().len(), 8 | 11 | 12 | 15)
}
