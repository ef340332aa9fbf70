//! The response future: resolving, authorizing, building, calling, or rejected.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use pin_project::pin_project;
use tower::Service;
use tracing::Span;

use crate::{
    authorize::{Authorize, Denied},
    body::ResponseBody,
    context::UserContext,
    factory::{MakeFactory, ProvideFactory},
    policy::{Policy, Step, StepOf},
    strategy::{Asking, StrategyList, Tally, list::private::List},
};

/// The response future of [`UserScope`](crate::UserScope).
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
#[expect(
    clippy::large_enum_variant,
    reason = "a request that waits keeps its head here rather than in an allocation"
)]
enum State<S, L, M, A, B>
where
    S: Service<Request<B>>,
    L: StrategyList,
    M: MakeFactory,
    A: Authorize,
{
    Waiting {
        #[pin]
        stage: Stage<L::Pending, A::Future, M::Future>,
        waiting: Waiting<S, L, M, A, B>,
    },
    Calling {
        #[pin]
        future: S::Future,
        span: Span,
    },
    Rejected {
        response: Response<Bytes>,
    },
    Done,
}

/// What is waited for before the inner service can be called.
#[pin_project(project = StageProjection)]
#[expect(
    clippy::large_enum_variant,
    reason = "what the list has heard so far waits here rather than in an allocation"
)]
pub(crate) enum Stage<P, A, M> {
    Resolving {
        #[pin]
        pending: P,
        tally: Tally,
    },
    Authorizing {
        #[pin]
        future: A,
        context: UserContext,
    },
    Building {
        #[pin]
        future: M,
        context: UserContext,
    },
}

/// What a request takes with it while it waits.
pub(crate) struct Waiting<S, L, M, A, B> {
    pub(crate) policy: Arc<Policy<L, M, A>>,
    /// The instance that was polled ready.
    pub(crate) inner: S,
    pub(crate) head: Parts,
    pub(crate) body: B,
}

impl<S, L, M, A, B> ResponseFuture<S, L, M, A, B>
where
    S: Service<Request<B>>,
    L: StrategyList,
    M: MakeFactory,
    A: Authorize,
{
    #[inline]
    pub(crate) fn calling(future: S::Future, span: Span) -> Self {
        Self {
            state: State::Calling { future, span },
        }
    }

    pub(crate) fn rejected(response: Response<Bytes>) -> Self {
        Self {
            state: State::Rejected { response },
        }
    }

    pub(crate) fn waiting(
        stage: Stage<L::Pending, A::Future, M::Future>,
        waiting: Waiting<S, L, M, A, B>,
    ) -> Self {
        Self {
            state: State::Waiting { stage, waiting },
        }
    }
}

impl<P, A, M> Stage<P, A, M> {
    /// Waits for the one thing that the stage is about, and takes the next step.
    fn poll_step<S, L, F, Z, B>(
        self: Pin<&mut Self>,
        waiting: &mut Waiting<S, L, F, Z, B>,
        cx: &mut Context<'_>,
    ) -> Poll<StepOf<L, F, Z>>
    where
        L: StrategyList + List<Pending = P>,
        F: ProvideFactory<Future = M>,
        Z: Authorize<Future = A>,
        A: Future<Output = Result<(), Denied>>,
        M: Future<Output = Result<F::Factory, F::Error>>,
    {
        let Waiting { policy, head, .. } = waiting;
        Poll::Ready(match self.project() {
            StageProjection::Resolving { pending, tally } => {
                let mut asking = Asking::new(head, tally, &policy.audit);
                let _ = ready!(policy.list.resume(pending, cx, &mut asking));
                policy.asked(head, tally.take())
            }
            StageProjection::Authorizing { future, context } => {
                let answer = ready!(future.poll(cx));
                policy.authorized(head, context.clone(), answer)
            }
            StageProjection::Building { future, context } => {
                let built = ready!(future.poll(cx));
                policy.built(head, context.clone(), built)
            }
        })
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
                StateProjection::Waiting { mut stage, waiting } => {
                    match ready!(stage.as_mut().poll_step(waiting, cx)) {
                        Step::Resolve(pending, tally) => {
                            stage.set(Stage::Resolving { pending, tally });
                        }
                        Step::Authorize(future, context) => {
                            stage.set(Stage::Authorizing { future, context });
                        }
                        Step::Build(future, context) => {
                            stage.set(Stage::Building { future, context });
                        }
                        Step::Call(span) => call(state.as_mut(), span),
                        Step::Reject(response) => state.set(State::Rejected { response }),
                    }
                }
                StateProjection::Calling { future, span } => {
                    let result = ready!(span.in_scope(|| future.poll(cx)));
                    return Poll::Ready(result.map(|response| response.map(ResponseBody::inner)));
                }
                StateProjection::Rejected { .. } | StateProjection::Done => {
                    let StateOwned::Rejected { response } = state.project_replace(State::Done)
                    else {
                        unreachable!("`ResponseFuture` polled after it was ready")
                    };
                    return Poll::Ready(Ok(response.map(ResponseBody::rejection)));
                }
            }
        }
    }
}

/// Calls the instance that was polled ready with the request that waited.
fn call<S, L, M, A, B>(mut state: Pin<&mut State<S, L, M, A, B>>, span: Span)
where
    S: Service<Request<B>>,
    L: StrategyList,
    M: ProvideFactory,
    A: Authorize,
{
    if let StateOwned::Waiting { mut waiting, .. } = state.as_mut().project_replace(State::Done) {
        let request = Request::from_parts(waiting.head, waiting.body);
        let future = span.in_scope(|| waiting.inner.call(request));
        state.set(State::Calling { future, span });
    }
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
                    State::Waiting { stage, .. } => match stage {
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
