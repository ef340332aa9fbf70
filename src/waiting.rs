//! A request that has to wait before the inner service can be called.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{Response, request::Parts};
use pin_project::pin_project;

use crate::{
    audit::WaitedStep,
    authorize::{Authorize, AuthorizeError},
    factory::{MakeFactory, ProvideFactory},
    outcome::UnavailableError,
    policy::{Policy, Step, StepOf},
    rejection::FactoryErrorKind,
    resolve::{StrategyList, list::private::List},
    scope::OpenScope,
    stage::{Stage, StageProjection},
    time_limit::{Awaited, Deadline},
};

/// A request before the inner service can be called.
#[pin_project]
pub(crate) struct Waiting<S, L, M, A, B>
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
    /// When the wait for the stage's step began, if an observer wants to know.
    since: Option<Instant>,
    /// Taken by the call.
    request: Option<Waiter<S, B>>,
}

/// What a request takes with it while it waits.
pub(crate) struct Waiter<S, B> {
    /// The instance that was polled ready.
    pub(crate) inner: S,
    pub(crate) head: Parts,
    pub(crate) body: B,
}

/// What comes of waiting.
pub(crate) type Resolved<S, B, P> = Result<(Waiter<S, B>, OpenScope, P), Box<Response<Bytes>>>;

/// The policy, if it has to do with responses.
type OfResponses<L, M, A> = Option<Arc<Policy<L, M, A>>>;

impl<S, L, M, A, B> Waiting<S, L, M, A, B>
where
    L: StrategyList,
    M: MakeFactory,
    A: Authorize,
{
    pub(crate) fn new(
        stage: Stage<L::Pending, A::Future, M::Future>,
        policy: Arc<Policy<L, M, A>>,
        request: Waiter<S, B>,
    ) -> Self {
        Self {
            stage,
            deadline: Deadline::default(),
            since: policy.audit.now(),
            policy,
            request: Some(request),
        }
    }

    /// The stage in one word, for `Debug`.
    pub(crate) fn stage(&self) -> &'static str {
        match self.stage {
            Stage::Resolving { .. } => "resolving",
            Stage::Authorizing { .. } => "authorizing",
            #[cfg(feature = "limit")]
            Stage::Counting { .. } => "counting",
            Stage::Building { .. } => "building",
        }
    }
}

impl<P, A, M> Stage<P, A, M> {
    /// Waits for the one thing that the stage is about, as long as it may take, and takes the
    /// next step.
    pub(crate) fn poll_step<L, F, Z>(
        self: Pin<&mut Self>,
        deadline: Pin<&mut Deadline>,
        since: Option<Instant>,
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
                let audit = &policy.audit;
                let list = (policy.resolver).poll(pending, tally, head, audit, deadline, cx);
                ready!(list);
                policy.resolved(head, tally)
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
                policy.audit.waited(WaitedStep::Authorize, since);
                policy.authorized(head, context.clone(), answer)
            }
            #[cfg(feature = "limit")]
            StageProjection::Counting { future, context } => {
                let counted = ready!(future.poll(cx));
                policy.audit.waited(WaitedStep::Limit, since);
                policy.counted(head, context.clone(), counted)
            }
            StageProjection::Building {
                future,
                context,
                attached,
            } => match future.poll(cx) {
                Poll::Ready(built) => {
                    policy.audit.waited(WaitedStep::Factory, since);
                    policy.built(head, context.clone(), built, mem::take(attached))
                }
                Poll::Pending => {
                    let limit = || policy.limits.factory();
                    let limit = ready!(deadline.poll(Awaited::Factory, cx, limit));
                    policy.audit.waited(WaitedStep::Factory, since);
                    Step::not_built(context, FactoryErrorKind::TimedOut { limit })
                }
            },
        })
    }
}

impl<S, L, M, A, B> Waiting<S, L, M, A, B>
where
    L: StrategyList,
    M: ProvideFactory,
    A: Authorize,
{
    /// Goes on until the request may be called, or is refused, or has to wait for something else.
    pub(crate) fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Resolved<S, B, OfResponses<L, M, A>>> {
        let mut this = self.project();
        loop {
            let Some(Waiter { head, .. }) = this.request else {
                unreachable!("`ResponseFuture` polled after it was ready")
            };
            let deadline = this.deadline.as_mut();
            let stage = this.stage.as_mut();
            let step = stage.poll_step(deadline, *this.since, this.policy, head, cx);
            match ready!(step) {
                Step::Wait(next) => {
                    *this.since = this.policy.audit.now();
                    this.stage.set(next);
                }
                Step::Call(scope) => {
                    if let Some(request) = this.request.take() {
                        return Poll::Ready(Ok((request, scope, this.policy.of_responses())));
                    }
                }
                Step::Pass => unreachable!("a layer that is off waits for nothing"),
                Step::Reject(refused) => {
                    let response = this.policy.reject(*refused, head);
                    return Poll::Ready(Err(Box::new(response)));
                }
            }
        }
    }
}
