//! The response future: resolving, authorizing, building, calling, or rejected.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use pin_project::pin_project;
use tower::Service;

use crate::{
    authorize::Authorize,
    before_response::{Asked, FailedStep, Finished, Finishing, Held, Taken},
    factory::{MakeFactory, ProvideFactory},
    policy::Policy,
    resolve::StrategyList,
    response::{Expects, ResponseBody, close_with_body},
    scope::{Ending, OpenScope, Running},
    stage::Stage,
    waiting::{Waiter, Waiting},
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
        call: Running<S::Future>,
        expects: Expects,
        /// `Some` if the layer has something to do before the response goes out.
        policy: Option<Arc<Policy<L, M, A>>>,
        /// `Some` if a step before the response may refuse it.
        asked: Option<Box<Asked>>,
    },
    /// Boxed, as few layers have a step that waits.
    Finishing {
        finishing: Pin<Box<Finishing<S::Response>>>,
        policy: Arc<Policy<L, M, A>>,
        expects: Expects,
    },
    Rejected(Box<Response<Bytes>>),
    Done,
}

type BoxWaiting<S, L, M, A, B> = Pin<Box<Waiting<S, L, M, A, B>>>;

impl<S, L, M, A, B> ResponseFuture<S, L, M, A, B>
where
    S: Service<Request<B>>,
    L: StrategyList,
    M: MakeFactory,
    A: Authorize,
{
    pub(crate) fn calling(
        request: Request<B>,
        inner: &mut S,
        scope: OpenScope,
        policy: Option<Arc<Policy<L, M, A>>>,
    ) -> Self {
        Self {
            state: State::call(request, inner, scope, policy),
        }
    }

    /// Calls the inner service without a scope.
    pub(crate) fn passing(request: Request<B>, inner: &mut S) -> Self {
        Self {
            state: State::Calling {
                expects: Expects::of(request.method()),
                call: Running::without_scope(inner.call(request)),
                policy: None,
                asked: None,
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
            state: State::Waiting(Box::pin(Waiting::new(stage, policy, request))),
        }
    }
}

impl<S, L, M, A, B> State<S, L, M, A, B>
where
    S: Service<Request<B>>,
    L: StrategyList,
    M: MakeFactory,
    A: Authorize,
{
    /// Calls the instance that was polled ready, in the request's scope.
    fn call(
        request: Request<B>,
        inner: &mut S,
        mut scope: OpenScope,
        policy: Option<Arc<Policy<L, M, A>>>,
    ) -> Self {
        let expects = Expects::of(request.method());
        let has_steps = (policy.as_ref()).is_some_and(|policy| !policy.before_response.is_empty());
        let asked = has_steps.then(|| Box::new(Asked::of(&request)));
        let future = scope.run(|| inner.call(request));
        Self::Calling {
            call: Running::new(future, scope),
            expects,
            policy,
            asked,
        }
    }
}

impl<L, M, A> Policy<L, M, A> {
    /// Makes the refusal where a step before the response has failed.
    fn failed<B>(
        &self,
        failed: FailedStep,
        asked: Asked,
        scope: OpenScope,
    ) -> Response<ResponseBody<B>> {
        (self.fail(failed, asked, scope)).map(ResponseBody::rejection)
    }

    /// Completes a response that goes out, and closes the scope with its body.
    fn answered<B>(
        &self,
        mut response: Response<B>,
        mut scope: Option<OpenScope>,
        expects: Expects,
    ) -> Response<ResponseBody<B>> {
        if let Some(fields) = scope.as_mut().and_then(OpenScope::take_fields) {
            // An inner layer may have limits of its own: the fields are lists.
            for (name, value) in &*fields {
                response.headers_mut().append(name, value.clone());
            }
        }
        if let Some(context) = scope.as_ref().and_then(OpenScope::context) {
            self.complete(response.headers_mut(), context);
        }
        close_with_body(response, scope, expects)
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
                        Ok((mut waiter, scope, policy)) => {
                            let request = Request::from_parts(waiter.head, waiter.body);
                            State::call(request, &mut waiter.inner, scope, policy)
                        }
                        Err(response) => State::Rejected(response),
                    });
                }
                StateProjection::Calling {
                    mut call,
                    expects,
                    policy,
                    asked,
                } => {
                    let result = ready!(call.as_mut().poll(cx));
                    let scope = call.take_scope();
                    let (expects, policy, asked) = (*expects, policy.take(), asked.take());
                    let response = match result {
                        Ok(response) => response,
                        Err(error) => {
                            if let Some(mut scope) = scope {
                                scope.ends(Ending::Failed);
                            }
                            state.set(State::Done);
                            return Poll::Ready(Err(error));
                        }
                    };
                    let response = match (policy, scope, asked) {
                        (Some(policy), Some(mut scope), Some(asked)) => {
                            match policy.before_response.begin(&mut scope, response) {
                                Taken::Passed(response) => {
                                    policy.answered(response, Some(scope), expects)
                                }
                                Taken::Failed(failed) => policy.failed(failed, *asked, scope),
                                Taken::Waits(response, pending) => {
                                    let held = Held {
                                        response,
                                        scope,
                                        asked,
                                    };
                                    state.set(State::Finishing {
                                        finishing: Box::pin(Finishing::new(held, pending)),
                                        policy,
                                        expects,
                                    });
                                    continue;
                                }
                            }
                        }
                        (Some(policy), scope, _) => policy.answered(response, scope, expects),
                        (None, scope, _) => close_with_body(response, scope, expects),
                    };
                    state.set(State::Done);
                    return Poll::Ready(Ok(response));
                }
                StateProjection::Finishing {
                    finishing,
                    policy,
                    expects,
                } => {
                    let limit = policy.limits.before_response();
                    let steps = &policy.before_response;
                    let response = match ready!(finishing.as_mut().poll(steps, limit, cx)) {
                        Finished::Passed(response, scope) => {
                            policy.answered(response, Some(scope), *expects)
                        }
                        Finished::Failed(failed, scope, asked) => {
                            policy.failed(failed, *asked, scope)
                        }
                    };
                    state.set(State::Done);
                    return Poll::Ready(Ok(response));
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
                    State::Waiting(waiting) => waiting.stage(),
                    State::Calling { .. } => "calling",
                    State::Finishing { .. } => "finishing",
                    State::Rejected { .. } => "rejected",
                    State::Done => "done",
                },
            )
            .finish()
    }
}
