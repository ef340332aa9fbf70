//! The response future: resolving, authorizing, building, calling, or rejected.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header, request::Parts};
use pin_project::{pin_project, pinned_drop};
use tower::Service;

use crate::{
    authorize::{Authorize, AuthorizeError},
    context::UserContext,
    factory::{MakeFactory, ProvideFactory},
    outcome::UnavailableError,
    policy::{Policy, Step, StepOf},
    resolve::{Asking, StrategyList, Tally, list::private::List},
    response::{Left, ResponseBody},
    scope::{Ending, InScope, InstrumentScope, OpenScope},
    time_limit::{Awaited, Deadline},
};

/// The response future of [`UserScope`](crate::middleware::UserScope).
///
/// It is `Send` where the inner service, its future, the request body and what the strategies
/// wait for are.
///
/// # Cancel safety
/// Dropping it at any point drops whatever was waited for, the request, and the ready instance
/// of the inner service with every permit that it holds.
#[pin_project]
pub struct ResponseFuture<S, L, M, A, B>
where
    S: Service<Request<B>>,
    L: StrategyList,
    M: MakeFactory,
    A: Authorize,
{
    #[pin]
    state: State<S, L, M, A, B>,
}

#[pin_project(project = StateProjection, project_replace = StateOwned)]
enum State<S, L, M, A, B>
where
    S: Service<Request<B>>,
    L: StrategyList,
    M: MakeFactory,
    A: Authorize,
{
    /// Boxed, so that a request that waits for nothing doesn't carry the room for it about.
    Waiting(BoxWaiting<S, L, M, A, B>),
    Calling {
        #[pin]
        call: Call<S::Future>,
        expects: Expects,
    },
    Rejected(Box<Response<Bytes>>),
    Done,
}

type BoxWaiting<S, L, M, A, B> = Pin<Box<Waiting<S, L, M, A, B>>>;

/// The inner service at work. What it holds is dropped in its scope, also where it is cancelled.
#[pin_project(PinnedDrop, project = CallProjection)]
struct Call<F> {
    #[pin]
    future: Option<F>,
    /// Taken by the response.
    scope: Option<OpenScope>,
}

impl<F: Future> Call<F> {
    /// Where it is ready, the scope may be taken.
    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let CallProjection { mut future, scope } = self.project();
        let Some(open) = scope.as_mut() else {
            unreachable!("`ResponseFuture` polled after it was ready")
        };
        open.run(|| {
            let running = future.as_mut().as_pin_mut();
            let result = running.map_or(Poll::Pending, |running| running.poll(cx));
            if result.is_ready() {
                future.set(None);
            }
            result
        })
    }
}

#[pinned_drop]
impl<F> PinnedDrop for Call<F> {
    fn drop(self: Pin<&mut Self>) {
        let CallProjection { mut future, scope } = self.project();
        if let Some(scope) = scope {
            scope.run(|| future.set(None));
        }
    }
}

/// A request before the inner service can be called.
#[pin_project]
struct Waiting<S, L, M, A, B>
where
    L: StrategyList,
    M: MakeFactory,
    A: Authorize,
{
    #[pin]
    stage: Stage<L::Pending, A::Future, M::Future>,
    #[pin]
    deadline: Deadline,
    policy: Arc<Policy<L, M, A>>,
    /// Taken by the call.
    request: Option<Waiter<S, B>>,
}

/// What is waited for.
#[pin_project(project = StageProjection)]
pub(crate) enum Stage<P, A, M> {
    Resolving {
        #[pin]
        pending: P,
        tally: Tally,
    },
    Authorizing {
        /// In its scope, also where it is dropped.
        #[pin]
        future: InScope<A>,
        context: UserContext,
    },
    Building {
        #[pin]
        future: InScope<M>,
        context: UserContext,
    },
}

/// What a request takes with it while it waits.
pub(crate) struct Waiter<S, B> {
    /// The instance that was polled ready.
    pub(crate) inner: S,
    pub(crate) head: Parts,
    pub(crate) body: B,
}

/// What comes of waiting.
type Resolved<S, B> = Result<(Waiter<S, B>, OpenScope), Box<Response<Bytes>>>;

/// What a request's method says of the response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expects {
    Body,
    /// A HEAD's response has none.
    NoBody,
    /// A CONNECT that succeeds is followed by a tunnel (RFC 9110 section 9.3.6), such as a
    /// WebSocket over HTTP/2 (RFC 8441).
    Tunnel,
}

impl Expects {
    pub(crate) fn of(method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::NoBody,
            Method::CONNECT => Self::Tunnel,
            _ => Self::Body,
        }
    }
}

impl<S, L, M, A, B> ResponseFuture<S, L, M, A, B>
where
    S: Service<Request<B>>,
    L: StrategyList,
    M: MakeFactory,
    A: Authorize,
{
    #[inline]
    pub(crate) fn calling(future: S::Future, scope: Option<OpenScope>, expects: Expects) -> Self {
        Self {
            state: State::Calling {
                call: Call {
                    future: Some(future),
                    scope,
                },
                expects,
            },
        }
    }

    pub(crate) fn rejected(response: Box<Response<Bytes>>) -> Self {
        Self {
            state: State::Rejected(response),
        }
    }

    pub(crate) fn waiting(
        stage: Stage<L::Pending, A::Future, M::Future>,
        policy: Arc<Policy<L, M, A>>,
        request: Waiter<S, B>,
    ) -> Self {
        Self {
            state: State::Waiting(Box::pin(Waiting {
                stage,
                deadline: Deadline::default(),
                policy,
                request: Some(request),
            })),
        }
    }
}

impl<P, A, M> Stage<P, A, M> {
    pub(crate) fn authorizing(future: A, context: UserContext) -> Self {
        Self::Authorizing {
            future: future.in_scope(context.clone()),
            context,
        }
    }

    pub(crate) fn building(future: M, context: UserContext) -> Self {
        Self::Building {
            future: future.in_scope(context.clone()),
            context,
        }
    }

    /// Waits for the one thing that the stage is about, as long as it may take, and takes the
    /// next step.
    fn poll_step<L, F, Z>(
        self: Pin<&mut Self>,
        deadline: Pin<&mut Deadline>,
        policy: &Policy<L, F, Z>,
        head: &mut Parts,
        cx: &mut Context<'_>,
    ) -> Poll<StepOf<L, F, Z>>
    where
        L: StrategyList + List<Pending = P>,
        F: ProvideFactory<Future = M>,
        Z: Authorize<Future = A>,
        A: Future<Output = Result<(), AuthorizeError>>,
        M: Future<Output = Result<F::Factory, F::Error>>,
    {
        Poll::Ready(match self.project() {
            StageProjection::Resolving { pending, tally } => {
                let mut asking = Asking::new(head, tally, &policy.audit, &*policy.clock);
                ready!(policy.poll_list(pending, deadline, cx, &mut asking));
                policy.asked(head, tally)
            }
            StageProjection::Authorizing { future, context } => {
                let answer = match future.poll(cx) {
                    Poll::Ready(answer) => answer,
                    Poll::Pending => {
                        let limit = || policy.limits.authorize();
                        let limit = ready!(deadline.poll(Awaited::Authorize, cx, limit));
                        Err(UnavailableError::timed_out(limit).into())
                    }
                };
                policy.authorized(head, context.clone(), answer)
            }
            StageProjection::Building { future, context } => match future.poll(cx) {
                Poll::Ready(built) => policy.built(head, context.clone(), context.clone(), built),
                Poll::Pending => {
                    let limit = || policy.limits.factory();
                    let limit = ready!(deadline.poll(Awaited::Factory, cx, limit));
                    policy.not_built(head, context, limit)
                }
            },
        })
    }
}

impl<S, L, M, A, B> Waiting<S, L, M, A, B>
where
    S: Service<Request<B>>,
    L: StrategyList,
    M: ProvideFactory,
    A: Authorize,
{
    /// Goes on until the request may be called, or is refused, or has to wait for something else.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Resolved<S, B>> {
        let mut this = self.project();
        loop {
            let Some(Waiter { head, .. }) = this.request else {
                unreachable!("`ResponseFuture` polled after it was ready")
            };
            let deadline = this.deadline.as_mut();
            let step = this
                .stage
                .as_mut()
                .poll_step(deadline, this.policy, head, cx);
            match ready!(step) {
                Step::Resolve(pending, tally) => {
                    this.stage.set(Stage::Resolving { pending, tally });
                }
                Step::Authorize(future, context) => {
                    this.stage.set(Stage::authorizing(future, context));
                }
                Step::Build(future, context) => this.stage.set(Stage::building(future, context)),
                Step::Call(scope) => {
                    if let (Some(request), Some(scope)) = (this.request.take(), scope) {
                        return Poll::Ready(Ok((request, scope)));
                    }
                }
                Step::Reject(response) => return Poll::Ready(Err(response)),
            }
        }
    }
}

impl<S, B> Waiter<S, B> {
    /// Calls the instance that was polled ready.
    fn call<L, M, A>(self, mut scope: OpenScope) -> State<S, L, M, A, B>
    where
        S: Service<Request<B>>,
        L: StrategyList,
        M: MakeFactory,
        A: Authorize,
    {
        let Self {
            mut inner,
            head,
            body,
        } = self;
        let expects = Expects::of(&head.method);
        let request = Request::from_parts(head, body);
        let future = scope.run(|| inner.call(request));
        State::Calling {
            call: Call {
                future: Some(future),
                scope: Some(scope),
            },
            expects,
        }
    }
}

impl<S, L, M, A, B, ResBody> Future for ResponseFuture<S, L, M, A, B>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    L: StrategyList,
    M: ProvideFactory,
    A: Authorize,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProjection::Waiting(waiting) => {
                    let next = ready!(waiting.as_mut().poll(cx));
                    // What was waited for is gone before the inner service begins.
                    state.set(State::Done);
                    state.set(match next {
                        Ok((request, scope)) => request.call(scope),
                        Err(response) => State::Rejected(response),
                    });
                }
                StateProjection::Calling { mut call, expects } => {
                    let result = ready!(call.as_mut().poll(cx));
                    let closed = close_with_body(result, call.project().scope, *expects);
                    state.set(State::Done);
                    return Poll::Ready(closed);
                }
                StateProjection::Rejected(_) | StateProjection::Done => {
                    let StateOwned::Rejected(response) = state.project_replace(State::Done) else {
                        unreachable!("`ResponseFuture` polled after it was ready")
                    };
                    return Poll::Ready(Ok(response.map(ResponseBody::rejection)));
                }
            }
        }
    }
}

/// The scope goes on as long as the response's body does, or closes now.
fn close_with_body<B, E>(
    result: Result<Response<B>, E>,
    scope: &mut Option<OpenScope>,
    expects: Expects,
) -> Result<Response<ResponseBody<B>>, E> {
    let response = match result {
        Ok(response) => response,
        Err(error) => {
            if let Some(mut scope) = scope.take() {
                scope.ends(Ending::Failed);
            }
            return Err(error);
        }
    };
    let status = response.status();
    if let Some(scope) = scope.as_mut() {
        scope.responds(status);
    }
    let is_tunnel = expects == Expects::Tunnel && status.is_success();
    if is_tunnel || status == StatusCode::SWITCHING_PROTOCOLS {
        let scope = scope.take().map(OpenScope::outlive_response);
        return Ok(response.map(|body| ResponseBody::inner(body, scope, Left::Unknown)));
    }
    // No server reads a body that the response can't have (RFC 9110 section 6.4.1), and its
    // `Content-Length` is that of another response (section 8.6).
    let has_no_body = expects == Expects::NoBody
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    let left = match content_length(&response) {
        _ if has_no_body => Left::Unknown,
        Some(len) => Left::Exactly(len),
        None => Left::AsHinted,
    };
    if let (true, Some(scope)) = (has_no_body || left == Left::Exactly(0), scope.as_mut()) {
        scope.completes();
    }
    Ok(response.map(|body| ResponseBody::inner(body, scope.take(), left)))
}

/// What a server will stop at, whatever the body has after it. Nothing where there are several.
fn content_length<B>(response: &Response<B>) -> Option<u64> {
    let mut values = response.headers().get_all(header::CONTENT_LENGTH).iter();
    let value = values.next()?.to_str().ok()?;
    // `parse` would take a sign as well.
    (values.next().is_none() && value.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| value.parse().ok())
        .flatten()
}

impl<S, L, M, A, B> fmt::Debug for ResponseFuture<S, L, M, A, B>
where
    S: Service<Request<B>>,
    L: StrategyList,
    M: MakeFactory,
    A: Authorize,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field(
                "state",
                &match &self.state {
                    State::Waiting(waiting) => match &waiting.stage {
                        Stage::Resolving { .. } => "resolving",
                        Stage::Authorizing { .. } => "authorizing",
                        Stage::Building { .. } => "building",
                    },
                    State::Calling { .. } => "calling",
                    State::Rejected { .. } => "rejected",
                    State::Done => "done",
                },
            )
            .finish()
    }
}
