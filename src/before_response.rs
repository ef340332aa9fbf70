//! Steps after the inner service has answered and before the response goes out, which can still turn
//! it into an error.
//!
//! Knows nothing of how requests are resolved, and of the service that answers.

use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header, request};
use pin_project::{pin_project, pinned_drop};

use crate::{
    context::UserContext,
    factory::{BoxError, Scoped},
    peer::peer_ip,
    rejection::RejectionKind,
    scope::{Handle, OpenScope},
    time_limit::{Awaited, Deadline},
};

/// A response that the inner service has made and that has not gone out: the argument of
/// [`LayerBuilder::before_response`](crate::middleware::LayerBuilder::before_response).
pub struct Answered<'a> {
    context: &'a UserContext,
    handle: Option<&'a Arc<dyn Handle>>,
    status: StatusCode,
    headers: &'a HeaderMap,
}

impl Answered<'_> {
    /// Returns the context of the request.
    #[must_use]
    pub fn context(&self) -> &UserContext {
        self.context
    }

    /// Returns the factory of the request; `None` where the layer built another type or none.
    #[must_use]
    pub fn scoped<F: Send + Sync + 'static>(&self) -> Option<Scoped<F>> {
        Scoped::from_handle(Arc::clone(self.handle?))
    }

    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the headers of the response.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.headers
    }

    /// Whether the response says that the request succeeded: its status is 2xx, and its head has no
    /// `grpc-status` other than 0.
    ///
    /// A gRPC stream that fails after its first message says so in the trailers, which come later.
    #[must_use]
    pub fn is_success(&self) -> bool {
        let grpc = self.headers.get("grpc-status").map(HeaderValue::as_bytes);
        self.status.is_success() && grpc.is_none_or(|status| status == b"0")
    }
}

impl fmt::Debug for Answered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answered")
            .field("context", &self.context)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

type StepFuture = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

type StepFn<T> = Box<dyn Fn(&Answered<'_>) -> T + Send + Sync>;

enum Step {
    Sync(StepFn<Result<(), BoxError>>),
    Async(StepFn<StepFuture>),
}

/// The steps of a layer, in their order.
#[derive(Default)]
pub(crate) struct BeforeResponse(Vec<Step>);

impl BeforeResponse {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add<E: Into<BoxError>>(
        &mut self,
        step: impl Fn(&Answered<'_>) -> Result<(), E> + Send + Sync + 'static,
    ) {
        let step = move |answered: &Answered<'_>| step(answered).map_err(Into::into);
        self.0.push(Step::Sync(Box::new(step)));
    }

    pub(crate) fn add_async<F, Fut, E>(&mut self, step: F)
    where
        F: Fn(&Answered<'_>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let step = move |answered: &Answered<'_>| {
            let work = step(answered);
            Box::pin(async move { work.await.map_err(Into::into) }) as StepFuture
        };
        self.0.push(Step::Async(Box::new(step)));
    }

    /// Takes the steps from `first` on, up to one that has to be waited for.
    fn run<B>(
        &self,
        first: usize,
        scope: &mut OpenScope,
        response: &Response<B>,
    ) -> Result<Option<Pending>, BoxError> {
        let Some(context) = scope.context().cloned() else {
            unreachable!("nothing of the scope is polled")
        };
        let handle = scope.handle().cloned();
        scope.run(|| {
            let answered = Answered {
                context: &context,
                handle: handle.as_ref(),
                status: response.status(),
                headers: response.headers(),
            };
            for (index, step) in self.0.iter().enumerate().skip(first) {
                match step {
                    Step::Sync(step) => step(&answered)?,
                    Step::Async(step) => {
                        let (future, next) = (step(&answered), index + 1);
                        return Ok(Some(Pending { future, next }));
                    }
                }
            }
            Ok(None)
        })
    }
}

/// A step that is waited for.
struct Pending {
    future: StepFuture,
    /// The step after it.
    next: usize,
}

/// What a refusal needs of the request's head, which the inner service has taken.
pub(crate) struct Asked {
    method: Method,
    uri: Uri,
    content_type: Option<HeaderValue>,
    pub(crate) peer: Option<IpAddr>,
}

impl Asked {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            content_type: request.headers().get(header::CONTENT_TYPE).cloned(),
            peer: peer_ip(request.extensions()),
        }
    }

    /// Returns a head with the method, the URI and the content type of the request.
    pub(crate) fn into_head(self) -> request::Parts {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = self.method;
        head.uri = self.uri;
        if let Some(value) = self.content_type {
            head.headers.insert(header::CONTENT_TYPE, value);
        }
        head
    }
}

/// A response while the steps are taken. It is dropped in its scope, as what a step waits for is.
#[pin_project(PinnedDrop)]
pub(crate) struct Finishing<R> {
    /// Taken when the result is known.
    held: Option<Held<R>>,
    pending: Option<Pending>,
    #[pin]
    deadline: Deadline,
}

struct Held<R> {
    response: R,
    scope: OpenScope,
    asked: Box<Asked>,
}

/// The result of the steps.
pub(crate) enum Finished<B> {
    Passed(Response<B>, OpenScope),
    Failed(RejectionKind, Box<Asked>, OpenScope),
}

impl<B> Finishing<Response<B>> {
    pub(crate) fn new(response: Response<B>, scope: OpenScope, asked: Box<Asked>) -> Self {
        Self {
            held: Some(Held {
                response,
                scope,
                asked,
            }),
            pending: None,
            deadline: Deadline::default(),
        }
    }

    /// Takes the steps and returns their result; `None` if one has to be waited for.
    pub(crate) fn begin(&mut self, steps: &BeforeResponse) -> Option<Finished<B>> {
        take_steps(steps, 0, &mut self.held, &mut self.pending)
    }

    pub(crate) fn poll(
        self: Pin<&mut Self>,
        steps: &BeforeResponse,
        limit: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Finished<B>> {
        let mut this = self.project();
        loop {
            let (Some(held), Some(pending)) = (this.held.as_mut(), this.pending.as_mut()) else {
                unreachable!("`ResponseFuture` polled after it was ready")
            };
            let next = pending.next;
            let result = match held.scope.run(|| pending.future.as_mut().poll(cx)) {
                Poll::Ready(result) => result.map_err(failed),
                Poll::Pending => {
                    let awaited = Awaited::BeforeResponse(next);
                    let limit = ready!(this.deadline.as_mut().poll(awaited, cx, || limit));
                    Err(RejectionKind::BeforeResponseTimedOut { limit })
                }
            };
            // What was waited for is gone before the next step begins.
            held.scope.run(|| *this.pending = None);
            let finished = match result {
                Ok(()) => take_steps(steps, next, this.held, this.pending),
                Err(kind) => conclude(Err(kind), this.held),
            };
            if let Some(finished) = finished {
                return Poll::Ready(finished);
            }
        }
    }
}

/// Takes the steps from `first` on; returns `None` if one has to be waited for.
fn take_steps<B>(
    steps: &BeforeResponse,
    first: usize,
    held: &mut Option<Held<Response<B>>>,
    pending: &mut Option<Pending>,
) -> Option<Finished<B>> {
    let Held {
        response, scope, ..
    } = held.as_mut()?;
    let result = match steps.run(first, scope, response) {
        Ok(None) => Ok(()),
        Ok(waits) => {
            *pending = waits;
            return None;
        }
        Err(error) => Err(failed(error)),
    };
    conclude(result, held)
}

fn failed(error: BoxError) -> RejectionKind {
    RejectionKind::BeforeResponse(Arc::<dyn StdError + Send + Sync>::from(error))
}

fn conclude<B>(
    result: Result<(), RejectionKind>,
    held: &mut Option<Held<Response<B>>>,
) -> Option<Finished<B>> {
    let Held {
        response,
        mut scope,
        asked,
    } = held.take()?;
    Some(match result {
        Ok(()) => Finished::Passed(response, scope),
        Err(kind) => {
            scope.run(|| drop(response));
            Finished::Failed(kind, asked, scope)
        }
    })
}

#[pinned_drop]
impl<R> PinnedDrop for Finishing<R> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if let Some(Held {
            response,
            mut scope,
            ..
        }) = this.held.take()
        {
            scope.run(|| {
                *this.pending = None;
                drop(response);
            });
        }
    }
}
