//! The steps of a request, without knowing who polls: resolve, authorize, build, call or refuse.
//!
//! `service.rs` takes the steps as far as they go at once, and `waiting.rs` those that have to
//! wait.

#[cfg(any(feature = "limit", feature = "open-scopes"))]
use std::borrow::Cow;
use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response, request::Parts};

#[cfg(any(feature = "limit", feature = "open-scopes"))]
use crate::audit::AuditEvent;
#[cfg(feature = "limit")]
use crate::limit::{Granted, Limits, Refusal as LimitRefusal};
#[cfg(feature = "open-scopes")]
use crate::open_scopes::OnFeedLost;
use crate::{
    audit::Audit,
    authorize::{Authorize, AuthorizeError},
    before_response::{Asked, BeforeResponse, FailedStep},
    context::{Handles, RequestIdHeader, UserContext},
    factory::{MakeFactory, ProvideFactory, failure},
    maybe_future::MaybeFuture,
    peer::peer_ip,
    rejection::{FactoryErrorKind, LayersChallenge, Rejection, RejectionKind, RespondToRejection},
    resolve::{Explanation, Progress, Refused, Resolver, StrategyList, Tally, list::private::List},
    scope::{Attached, Ending, Guard, OpenScope, checks_within_current, within},
    stage::Stage,
    time_limit::TimeLimits,
};
#[cfg(feature = "tokio")]
use crate::{
    ends::Ends,
    lifetime::{EndReason, Lifetime},
};

/// Everything that was configured; shared by all clones of a layer and its services.
pub(crate) struct Policy<L, M, A> {
    /// Whether requests are resolved, or let through.
    pub(crate) enabled: bool,
    pub(crate) resolver: Resolver<L>,
    pub(crate) make: M,
    pub(crate) authorize: A,
    pub(crate) respond: Box<dyn RespondToRejection + Send + Sync>,
    pub(crate) audit: Audit,
    pub(crate) guard: Guard,
    pub(crate) limits: TimeLimits,
    /// Where the request id goes to the inner service and back to the client.
    pub(crate) request_id: Option<RequestIdHeader>,
    pub(crate) before_response: BeforeResponse,
    #[cfg(feature = "tokio")]
    pub(crate) ends: Ends,
    #[cfg(feature = "limit")]
    pub(crate) subject_limits: Limits,
}

/// What comes next for a request.
pub(crate) enum Step<P, A, M> {
    Wait(Stage<P, A, M>),
    Call(OpenScope),
    /// Calls the inner service without a scope, because the layer is off.
    Pass,
    Reject(Box<Refused>),
}

impl<P, A, M> Step<P, A, M> {
    /// Refuses somebody who was found.
    pub(crate) fn refuse(context: &UserContext, rejection: Rejection) -> Self {
        Self::Reject(Box::new(Refused::of(context, rejection)))
    }

    /// Refuses somebody for whom no factory was built.
    pub(crate) fn not_built(context: &UserContext, kind: FactoryErrorKind) -> Self {
        Self::refuse(context, Rejection::new(RejectionKind::Factory(kind)))
    }
}

/// The step of a policy, by its parts.
pub(crate) type StepOf<L, M, A> =
    Step<<L as List>::Pending, <A as Authorize>::Future, <M as MakeFactory>::Future>;

impl<L, M, A> Policy<L, M, A> {
    /// Returns a handle to the policy if it does something before a response goes out. Most policies
    /// do not, and their requests don't pay for the handle.
    #[inline]
    pub(crate) fn of_responses(self: &Arc<Self>) -> Option<Arc<Self>> {
        let is_used = self.request_id.is_some() || !self.before_response.is_empty();
        #[cfg(feature = "limit")]
        let is_used = is_used || self.subject_limits.are_returned();
        is_used.then(|| Arc::clone(self))
    }

    /// Turns a response into a refusal, because a step before it has failed.
    pub(crate) fn fail(
        &self,
        failed: FailedStep,
        asked: Asked,
        mut scope: OpenScope,
    ) -> Response<Bytes> {
        let (peer, head) = (asked.peer, asked.into_head(failed.grpc));
        let rejection = Rejection::new(failed.kind);
        scope.ends(Ending::Failed);
        scope.responds(rejection.status());
        let refused = match scope.context() {
            Some(context) => Refused::of(context, rejection),
            None => Refused::of_nobody(rejection),
        };
        self.refuse(refused, &head, peer)
    }

    /// Audits the refusal of a request, and makes the response of it.
    pub(crate) fn reject(&self, mut refused: Refused, head: &Parts) -> Response<Bytes> {
        if refused.request_id.is_none() {
            refused.request_id = self.resolver.correlation.readable_request_id(head);
        }
        if self.request_id.is_some() {
            let ids = &self.resolver.ids;
            refused.request_id.get_or_insert_with(|| ids.make());
        }
        self.refuse(refused, head, peer_ip(&head.extensions))
    }

    fn refuse(&self, refused: Refused, head: &Parts, peer: Option<IpAddr>) -> Response<Bytes> {
        let request_id = refused.request_id.clone();
        let mut response = refuse(&self.audit, &*self.respond, refused, head, peer);
        if let (Some(header), Some(id)) = (&self.request_id, &request_id) {
            header.set_on_response(response.headers_mut(), id);
        }
        response
    }

    /// Adds the request's id to the headers of its response, if that was asked for.
    pub(crate) fn complete(&self, headers: &mut HeaderMap, context: &UserContext) {
        if let Some(header) = &self.request_id {
            header.set_on_response(headers, context.request_id());
        }
    }
}

impl<L, M, A> Policy<L, M, A>
where
    L: StrategyList,
    M: ProvideFactory,
    A: Authorize,
{
    /// Takes the first steps, as far as nothing has to be waited for.
    pub(crate) fn enter(&self, head: &mut Parts) -> StepOf<L, M, A> {
        if !self.enabled {
            return match self.resolver.believe_nobody(head, &self.audit) {
                Ok(()) => Step::Pass,
                Err(refused) => Step::Reject(Box::new(refused)),
            };
        }
        let mut tally = self.resolver.tally(head);
        match self.resolver.begin(head, &mut tally, &self.audit) {
            Progress::Done(_) => self.resolved(head, &mut tally),
            Progress::Waiting(pending) => Step::Wait(Stage::Resolving { pending, tally }),
        }
    }

    /// Goes on after the list has said everything.
    pub(crate) fn resolved(&self, head: &mut Parts, tally: &mut Tally) -> StepOf<L, M, A> {
        let handles = self.handles();
        match self.resolver.identify(head, tally, &self.audit, handles) {
            Ok(context) => self.identified(head, context),
            Err(refused) => Step::Reject(Box::new(refused)),
        }
    }

    /// Goes on with a context: asks whether its principal may.
    pub(crate) fn identified(&self, head: &mut Parts, context: UserContext) -> StepOf<L, M, A> {
        #[cfg(feature = "tokio")]
        self.ends.begin(&context, &self.resolver.clock);
        match within(&context, || self.authorize.authorize(&context, head)) {
            MaybeFuture::Ready(answer) => self.authorized(head, context, answer),
            MaybeFuture::Future(future) => Step::Wait(Stage::authorizing(future, context)),
        }
    }

    /// Goes on after the authorization has answered.
    pub(crate) fn authorized(
        &self,
        head: &mut Parts,
        context: UserContext,
        answer: Result<(), AuthorizeError>,
    ) -> StepOf<L, M, A> {
        let rejection = match answer {
            Ok(()) => return self.count(head, context),
            Err(AuthorizeError::Forbidden(forbidden)) => {
                Rejection::forbidden(context.strategy(), context.evidence(), forbidden)
            }
            Err(AuthorizeError::Unavailable(unavailable)) => {
                Rejection::new(RejectionKind::AuthorizationUnavailable(unavailable))
            }
        };
        Step::refuse(&context, self.resolver.challenged(rejection))
    }

    /// Counts the request against the limits of its subject.
    #[cfg(feature = "limit")]
    fn count(&self, head: &mut Parts, context: UserContext) -> StepOf<L, M, A> {
        if self.subject_limits.is_empty() {
            return self.make(head, context, Attached::default());
        }
        match (self.subject_limits).take(&context, head, self.limits.each) {
            MaybeFuture::Ready(counted) => self.counted(head, context, counted),
            MaybeFuture::Future(future) => Step::Wait(Stage::counting(future, context)),
        }
    }

    /// Goes on after the request was counted, or was too much.
    #[cfg(feature = "limit")]
    pub(crate) fn counted(
        &self,
        head: &mut Parts,
        context: UserContext,
        counted: Result<Granted, LimitRefusal>,
    ) -> StepOf<L, M, A> {
        let kind = match counted {
            Ok(Granted {
                slots,
                skipped,
                fields,
            }) => {
                for (limit, unavailable) in &skipped {
                    self.audit.emit(&AuditEvent::LimitSkipped {
                        context: Cow::Borrowed(&context),
                        limit: Cow::Borrowed(limit),
                        unavailable: Cow::Borrowed(unavailable),
                    });
                }
                return self.make(head, context, Attached::new(slots, fields));
            }
            Err(LimitRefusal::UsedUp(limited)) => RejectionKind::Limited(limited),
            Err(LimitRefusal::Unavailable(limit, unavailable)) => {
                RejectionKind::LimitUnavailable { limit, unavailable }
            }
        };
        Step::refuse(&context, Rejection::new(kind))
    }

    #[cfg(not(feature = "limit"))]
    fn count(&self, head: &mut Parts, context: UserContext) -> StepOf<L, M, A> {
        self.make(head, context, Attached::default())
    }

    /// Refuses a credential that may have been revoked without this replica knowing of it, or reports
    /// that it counts nevertheless.
    #[cfg(feature = "open-scopes")]
    pub(crate) fn check_feed(&self, context: &UserContext) -> Result<(), RejectionKind> {
        match self.ends.lost_feed() {
            None => Ok(()),
            Some(OnFeedLost::Allow) => {
                self.audit.emit(&AuditEvent::RevocationsUnknown {
                    context: Cow::Borrowed(context),
                });
                Ok(())
            }
            Some(OnFeedLost::Refuse) => Err(RejectionKind::RevocationsUnknown),
        }
    }

    /// Builds the factory. What is attached is dropped when the scope closes.
    fn make(&self, head: &mut Parts, context: UserContext, attached: Attached) -> StepOf<L, M, A> {
        #[cfg(feature = "open-scopes")]
        if let Err(kind) = self.check_feed(&context) {
            return Step::refuse(&context, Rejection::new(kind));
        }
        #[cfg(feature = "open-scopes")]
        let attached = match self.ends.register(&context, head, attached) {
            Ok(attached) => attached,
            Err(reason) => return self.has_ended(&context, reason),
        };
        match within(&context, || self.make.make(&context)) {
            MaybeFuture::Ready(built) => self.built(head, context, built, attached),
            MaybeFuture::Future(future) => Step::Wait(Stage::building(future, context, attached)),
        }
    }

    /// Goes on after the factory was built, or was not.
    pub(crate) fn built(
        &self,
        head: &mut Parts,
        context: UserContext,
        built: Result<M::Factory, M::Error>,
        attached: Attached,
    ) -> StepOf<L, M, A> {
        #[cfg(feature = "tokio")]
        if let Some(reason) = context.life().get().and_then(Lifetime::end) {
            return self.has_ended(&context, reason);
        }
        match built {
            Ok(factory) => {
                if let Err(unavailable) = self.audit.accepted(&context, head) {
                    within(&context, || drop(factory));
                    let rejection = Rejection::new(RejectionKind::NotAudited(unavailable));
                    return Step::refuse(&context, rejection);
                }
                let span = self.audit.span(&context);
                if let Some(header) = &self.request_id {
                    header.set_on_request(&mut head.headers, context.request_id());
                }
                let (extensions, bearer) = (&mut head.extensions, &self.resolver.bearer);
                if !bearer.is_empty() {
                    extensions.insert(LayersChallenge(Arc::clone(bearer)));
                }
                let handle = (self.make).insert(factory, context.clone(), &self.guard, extensions);
                let watch = self.guard.watch.as_ref();
                let mut scope = OpenScope::new(context, span, handle, watch, &head.uri);
                scope.attach(attached);
                Step::Call(scope)
            }
            Err(error) => Step::not_built(&context, failure(error)),
        }
    }

    /// Refuses a request whose identity has ended since it was resolved.
    #[cfg(feature = "tokio")]
    fn has_ended(&self, context: &UserContext, reason: EndReason) -> StepOf<L, M, A> {
        let rejection = Rejection::new(RejectionKind::IdentityEnded(reason));
        Step::refuse(context, self.resolver.challenged(rejection))
    }

    pub(crate) async fn explain(&self, head: &Parts) -> Explanation {
        self.resolver.explain(head, self.handles()).await
    }

    /// Returns what the layer puts into the extensions beside a context.
    pub(crate) fn handles(&self) -> Handles {
        let checks = checks_within_current(self.guard.checks);
        self.make.handles().with_checks(checks)
    }
}

/// Audits a refusal, and makes the response of it, which has the rejection in its extensions.
pub(crate) fn refuse(
    audit: &Audit,
    respond: &dyn RespondToRejection,
    refused: Refused,
    head: &Parts,
    peer: Option<IpAddr>,
) -> Response<Bytes> {
    audit.emit(&refused.event(Some(head), peer));
    let mut response = respond.respond(&refused.rejection, head);
    response.extensions_mut().insert(refused.rejection);
    response
}
