//! Steps after the inner service has answered and before the response goes out, which can still turn
//! it into an error.
//!
//! Knows nothing of how requests are resolved, and of the service that answers.

use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    marker::PhantomData,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header, request,
};
use pin_project::{pin_project, pinned_drop};

use crate::{
    context::UserContext,
    factory::{BoxError, Scoped},
    peer::peer_ip,
    rejection::{Protocol, RejectionKind},
    scope::{Handle, OpenScope},
    time_limit::{Awaited, Deadline},
};

/// A response that the inner service has made and that has not gone out: the argument of
/// [`LayerBuilder::before_response`](crate::middleware::LayerBuilder::before_response).
///
/// `H` is what the layer gives to handlers: a [`Scoped`], or a [`UserContext`] from a layer without a
/// factory.
///
/// ```
/// use std::convert::Infallible;
/// use tower_user_scope::{ExistingContext, Scoped, UserScopeLayer, middleware::Answered};
///
/// struct Orders;
///
/// fn log(answered: &Answered<'_, Scoped<Orders>>) -> Result<(), Infallible> {
///     let _orders: Scoped<Orders> = answered.scoped();
///     println!("{} for {:?}", answered.status(), answered.context().user_id());
///     Ok(())
/// }
///
/// let layer = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .factory(|_user| Orders)
///     .before_response(log)
///     .build()?;
/// # let _ = layer;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
pub struct Answered<'a, H = UserContext> {
    response: &'a Untyped<'a>,
    of_layer: PhantomData<fn() -> H>,
}

/// An [`Answered`] without the type of the layer's factory, so that a layer's type doesn't depend on its
/// steps.
struct Untyped<'a> {
    context: &'a UserContext,
    handle: Option<&'a Arc<dyn Handle>>,
    status: StatusCode,
    headers: &'a HeaderMap,
}

impl Untyped<'_> {
    fn typed<H>(&self) -> Answered<'_, H> {
        Answered {
            response: self,
            of_layer: PhantomData,
        }
    }
}

impl<F: Send + Sync + 'static> Answered<'_, Scoped<F>> {
    /// Returns the factory of the request.
    #[must_use]
    pub fn scoped(&self) -> Scoped<F> {
        let handle = self.response.handle.map(Arc::clone);
        let Some(scoped) = handle.and_then(Scoped::from_handle) else {
            unreachable!("the step was added to a builder of this factory")
        };
        scoped
    }
}

impl<H> Answered<'_, H> {
    /// Returns the context of the request.
    #[must_use]
    pub fn context(&self) -> &UserContext {
        self.response.context
    }

    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status
    }

    /// Returns the headers of the response.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers
    }

    /// Whether the response says that the request succeeded: its status is 2xx, and its head has no
    /// `grpc-status` other than 0.
    ///
    /// A gRPC stream that fails after its first message says so in the trailers, which come later.
    #[must_use]
    pub fn is_success(&self) -> bool {
        let grpc = self.headers().get(GRPC_STATUS).map(HeaderValue::as_bytes);
        self.status().is_success() && grpc.is_none_or(|status| status == b"0")
    }
}

impl<H> fmt::Debug for Answered<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answered")
            .field("context", self.context())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

type StepFuture = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

type StepFn<T> = Box<dyn Fn(&Untyped<'_>) -> T + Send + Sync>;

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

    /// `H` has to be the handle of the layer's factory.
    pub(crate) fn add<H: 'static, E: Into<BoxError>>(
        &mut self,
        step: impl Fn(&Answered<'_, H>) -> Result<(), E> + Send + Sync + 'static,
    ) {
        let step = move |response: &Untyped<'_>| step(&response.typed()).map_err(Into::into);
        self.0.push(Step::Sync(Box::new(step)));
    }

    /// As [`add`](Self::add), for a step that is waited for.
    pub(crate) fn add_async<H: 'static, F, Fut, E>(&mut self, step: F)
    where
        F: Fn(&Answered<'_, H>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let step = move |response: &Untyped<'_>| {
            let work = step(&response.typed());
            Box::pin(async move { work.await.map_err(Into::into) }) as StepFuture
        };
        self.0.push(Step::Async(Box::new(step)));
    }

    /// Takes the steps in the scope, up to one that has to be waited for.
    pub(crate) fn begin<B>(&self, scope: &mut OpenScope, response: Response<B>) -> Taken<B> {
        self.take(0, scope, response)
    }

    /// Takes the steps from `first` on. If one fails or panics, the response is dropped in the scope.
    fn take<B>(&self, first: usize, scope: &mut OpenScope, response: Response<B>) -> Taken<B> {
        let Some(context) = scope.context().cloned() else {
            unreachable!("nothing of the scope is polled")
        };
        scope.run_with_handle(|handle| {
            let head = Untyped {
                context: &context,
                handle,
                status: response.status(),
                headers: response.headers(),
            };
            for (index, step) in self.0.iter().enumerate().skip(first) {
                match step {
                    Step::Sync(step) => {
                        if let Err(error) = step(&head) {
                            return Taken::Failed(FailedStep::new(failed(error), &response));
                        }
                    }
                    Step::Async(step) => {
                        let (future, next) = (step(&head), index + 1);
                        return Taken::Waits(response, Pending { future, next });
                    }
                }
            }
            Taken::Passed(response)
        })
    }
}

/// What comes of steps, up to one that has to be waited for.
pub(crate) enum Taken<B> {
    Passed(Response<B>),
    Waits(Response<B>, Pending),
    Failed(FailedStep),
}

/// Why a step has failed, and what the refusal needs to know of the response that it replaces.
pub(crate) struct FailedStep {
    pub(crate) kind: RejectionKind,
    /// The content type of the response, if it speaks gRPC: the refusal does so too.
    pub(crate) grpc: Option<HeaderValue>,
}

impl FailedStep {
    #[cold]
    fn new<B>(kind: RejectionKind, replaced: &Response<B>) -> Self {
        let headers = replaced.headers();
        let is_grpc = Protocol::of(headers).is_some();
        let grpc = headers.get(header::CONTENT_TYPE).filter(|_| is_grpc);
        Self {
            kind,
            grpc: grpc.cloned(),
        }
    }
}

/// A step that is waited for.
pub(crate) struct Pending {
    future: StepFuture,
    /// The step after it.
    next: usize,
}

/// What a refusal needs of the request's head, which the inner service has taken.
pub(crate) struct Asked {
    method: Method,
    uri: Uri,
    pub(crate) peer: Option<IpAddr>,
}

impl Asked {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            peer: peer_ip(request.extensions()),
        }
    }

    /// Returns a head with the method and the URI of the request, and the content type of gRPC if there
    /// is one.
    pub(crate) fn into_head(self, grpc: Option<HeaderValue>) -> request::Parts {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = self.method;
        head.uri = self.uri;
        if let Some(value) = grpc {
            head.headers.insert(header::CONTENT_TYPE, value);
        }
        head
    }
}

/// A response while a step is waited for. It is dropped in its scope, as what the step waits for is.
#[pin_project(PinnedDrop)]
pub(crate) struct Finishing<R> {
    /// Taken when the result is known.
    held: Option<Held<R>>,
    pending: Option<Pending>,
    #[pin]
    deadline: Deadline,
}

pub(crate) struct Held<R> {
    pub(crate) response: R,
    pub(crate) scope: OpenScope,
    pub(crate) asked: Box<Asked>,
}

impl<B> Finishing<Response<B>> {
    pub(crate) fn new(held: Held<Response<B>>, pending: Pending) -> Self {
        Self {
            held: Some(held),
            pending: Some(pending),
            deadline: Deadline::default(),
        }
    }

    /// Waits for the step, and takes those after it.
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
            let Some(Held {
                response,
                mut scope,
                asked,
            }) = this.held.take()
            else {
                unreachable!("it was there above")
            };
            let taken = match result {
                Ok(()) => steps.take(next, &mut scope, response),
                Err(kind) => {
                    let failed = FailedStep::new(kind, &response);
                    scope.run(|| drop(response));
                    Taken::Failed(failed)
                }
            };
            return Poll::Ready(match taken {
                Taken::Passed(response) => Finished::Passed(response, scope),
                Taken::Failed(failed) => Finished::Failed(failed, scope, asked),
                Taken::Waits(response, pending) => {
                    *this.pending = Some(pending);
                    *this.held = Some(Held {
                        response,
                        scope,
                        asked,
                    });
                    continue;
                }
            });
        }
    }
}

/// The result of all steps.
pub(crate) enum Finished<B> {
    Passed(Response<B>, OpenScope),
    Failed(FailedStep, OpenScope, Box<Asked>),
}

fn failed(error: BoxError) -> RejectionKind {
    RejectionKind::BeforeResponse(Arc::<dyn StdError + Send + Sync>::from(error))
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
