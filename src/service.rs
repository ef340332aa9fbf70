//! The service: readiness, and the call as far as it goes without waiting.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower::Service;

use crate::{
    authorize::Authorize,
    factory::ProvideFactory,
    future::ResponseFuture,
    policy::{Policy, Step},
    resolve::StrategyList,
    response::ResponseBody,
    waiting::Waiter,
};

/// Resolves the user of each request, then calls the inner service; made by
/// [`UserScopeLayer`](crate::UserScopeLayer).
///
/// # Readiness and permits
/// Its readiness is the inner service's. Where nothing has to be waited for, the instance that
/// was polled ready is called at once and in place; where something has to, that very instance
/// waits with the request and a clone takes its place. It keeps what it was given to be ready,
/// such as the permit of an inner [`ConcurrencyLimit`](https://docs.rs/tower/0.5/tower/limit/concurrency/struct.ConcurrencyLimit.html), which
/// nobody else can use meanwhile: Tower has no way to give it back and to ask again. No strategy
/// and no step is waited for longer than its [time limit](crate::middleware::LayerBuilder::time_limit). Where that
/// is too long for permits that others need, put the limit of concurrency outside of this layer
/// too, or instead.
pub struct UserScope<S, L, M, A> {
    inner: S,
    pub(crate) policy: Arc<Policy<L, M, A>>,
}

impl<S, L, M, A> UserScope<S, L, M, A> {
    pub(crate) fn new(inner: S, policy: Arc<Policy<L, M, A>>) -> Self {
        Self { inner, policy }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, mutably.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Gives the inner service back.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, L, M, A> UserScope<S, L, M, A>
where
    S: Clone,
{
    /// Takes the instance that was polled ready and leaves one that was not
    /// (<https://docs.rs/tower/latest/tower/trait.Service.html#be-careful-when-cloning-inner-services>).
    fn take_ready_inner(&mut self) -> S {
        let not_ready_inner = self.inner.clone();
        mem::replace(&mut self.inner, not_ready_inner)
    }
}

impl<S, L, M, A, ReqBody, ResBody> Service<Request<ReqBody>> for UserScope<S, L, M, A>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    L: StrategyList,
    M: ProvideFactory,
    A: Authorize,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, L, M, A, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let stage = match self.policy.enter(&mut head) {
            Step::Wait(stage) => stage,
            Step::Call(scope) => {
                let request = Request::from_parts(head, body);
                let policy = self.policy.of_responses();
                return ResponseFuture::calling(request, &mut self.inner, scope, policy);
            }
            Step::Pass => {
                let request = Request::from_parts(head, body);
                return ResponseFuture::passing(request, &mut self.inner);
            }
            Step::Reject(refused) => {
                let response = Box::new(self.policy.reject(*refused, &head));
                // Whatever the ready instance holds, such as a permit, goes back at once.
                drop(self.take_ready_inner());
                return ResponseFuture::rejected(response);
            }
        };
        let request = Waiter {
            inner: self.take_ready_inner(),
            head,
            body,
        };
        ResponseFuture::waiting(stage, Arc::clone(&self.policy), request)
    }
}

impl<S: Clone, L, M, A> Clone for UserScope<S, L, M, A> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            policy: Arc::clone(&self.policy),
        }
    }
}

impl<S: fmt::Debug, L, M, A> fmt::Debug for UserScope<S, L, M, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserScope")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
