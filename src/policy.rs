//! What every request goes through, step by step, without knowing who polls.
//!
//! `service.rs` runs the steps as far as they go at once; `future.rs` goes on where one had to
//! wait. Both meet here.

use std::{future::poll_fn, pin::pin, sync::Arc};

use bytes::Bytes;
use http::{Response, request::Parts};

use crate::{
    authorize::{Authorize, Denied},
    context::{Correlation, CorrelationIds, IdSource, Identity, UserContext},
    eventually::Eventually,
    factory::{MakeFactory, ProvideFactory, failure},
    observe::{Audit, AuditEvent, Explanation, Steps},
    peer::peer_ip,
    rejection::{Reason, Rejection, RespondToRejection, challenges},
    scope::{Guard, OpenScope, with_current, within},
    strategy::{
        Asking, ExistingContext, Fallback, Presence, Progress, Rule, StrategyList, Tally,
        list::private::List,
    },
};

/// How many headers of one request and strategy have an event of their own: nobody can fill a
/// log with one request.
const MOST_STRIPPED: usize = 8;

/// Takes out of the request what outer layers left. A middleware in between may have replaced
/// their context; where this is polled in an outer layer's scope, that one's is asked too.
fn remove_outer(head: &mut Parts) {
    UserContext::remove_from(&mut head.extensions);
    with_current(|current| {
        if let Some(outer) = current {
            outer.remove_handles(&mut head.extensions);
        }
    });
}

/// Everything that was configured; shared by all clones of a layer and its services.
pub(crate) struct Policy<L, M, A> {
    pub(crate) list: L,
    pub(crate) make: M,
    pub(crate) authorize: A,
    pub(crate) rule: Rule,
    pub(crate) fallbacks: Vec<Fallback>,
    pub(crate) correlation: CorrelationIds,
    pub(crate) ids: IdSource,
    pub(crate) require_proved: bool,
    pub(crate) keep_existing: bool,
    pub(crate) respond: Box<dyn RespondToRejection + Send + Sync>,
    pub(crate) audit: Audit,
    pub(crate) guard: Guard,
}

/// What comes next for a request.
pub(crate) enum Step<P, A, M> {
    Resolve(P, Tally),
    Authorize(A, UserContext),
    Build(M, UserContext),
    Call(OpenScope),
    Reject(Response<Bytes>),
}

/// The step of a policy, by its parts.
pub(crate) type StepOf<L, M, A> =
    Step<<L as List>::Pending, <A as Authorize>::Future, <M as MakeFactory>::Future>;

impl<L, M, A> Policy<L, M, A>
where
    L: StrategyList,
    M: ProvideFactory,
    A: Authorize,
{
    #[inline]
    pub(crate) fn enter(&self, head: &mut Parts) -> StepOf<L, M, A> {
        if !self.keep_existing {
            remove_outer(head);
        }
        let mut tally = Tally::new(self.rule);
        match self
            .list
            .ask(&mut Asking::new(head, &mut tally, &self.audit))
        {
            Progress::Done(_) => self.asked(head, tally),
            Progress::Waiting(pending) => Step::Resolve(pending, tally),
        }
    }

    /// The list has said all it has to say.
    pub(crate) fn asked(&self, head: &mut Parts, tally: Tally) -> StepOf<L, M, A> {
        let context = match self.identify(head, tally, &self.audit) {
            Ok(context) => context,
            Err(rejection) => return self.reject(head, &rejection),
        };
        let mut made = None;
        // Both in one, because most factories are built as soon as they may be.
        let answer = within(&context, || {
            let answer = self.authorize.authorize(&context, head);
            if let Eventually::Now(Ok(())) = answer {
                made = Some(self.make.make(&context));
            }
            answer
        });
        match (answer, made) {
            (_, Some(made)) => self.made(head, context, made),
            (Eventually::Now(answer), None) => self.authorized(head, context, answer),
            (Eventually::Later(future), None) => Step::Authorize(future, context),
        }
    }

    fn made(
        &self,
        head: &mut Parts,
        context: UserContext,
        made: Eventually<M::Future>,
    ) -> StepOf<L, M, A> {
        match made {
            Eventually::Now(built) => self.built(head, context, built),
            Eventually::Later(future) => Step::Build(future, context),
        }
    }

    pub(crate) fn authorized(
        &self,
        head: &mut Parts,
        context: UserContext,
        answer: Result<(), Denied>,
    ) -> StepOf<L, M, A> {
        let reason = match answer {
            Ok(()) => {
                let made = within(&context, || self.make.make(&context));
                return self.made(head, context, made);
            }
            Err(Denied::Forbidden(forbidden)) => Reason::Forbidden {
                strategy: context.strategy(),
                authenticated: !context.evidence().is_fallback(),
                forbidden,
            },
            Err(Denied::Unavailable(unavailable)) => Reason::AuthorizationUnavailable(unavailable),
        };
        self.reject(head, &self.challenged(Rejection::new(reason)))
    }

    pub(crate) fn built(
        &self,
        head: &mut Parts,
        context: UserContext,
        built: Result<M::Factory, M::Error>,
    ) -> StepOf<L, M, A> {
        match built {
            Ok(factory) => {
                self.audit.emit(&AuditEvent::Accepted { context: &context });
                let span = self.audit.span(&context);
                let handle = self
                    .make
                    .insert(factory, &context, &self.guard, &mut head.extensions);
                let watch = self.guard.watch.clone();
                Step::Call(OpenScope::new(context, span, handle, watch, &head.uri))
            }
            Err(error) => {
                let rejection = Rejection::new(Reason::Factory(failure(error)));
                self.reject(head, &rejection)
            }
        }
    }

    /// The steps up to the context, for the sake of the answer: nothing is authorized or built.
    pub(crate) async fn explain(&self, head: &Parts) -> Explanation {
        let mut head = head.clone();
        if !self.keep_existing {
            remove_outer(&mut head);
        }
        let steps = Arc::new(Steps::default());
        let answer = {
            let audit = Audit::hypothetical(Arc::clone(&steps) as _);
            let mut tally = Tally::new(self.rule);
            let asked = self.list.ask(&mut Asking::new(&head, &mut tally, &audit));
            if let Progress::Waiting(pending) = asked {
                let mut pending = pin!(pending);
                let _ = poll_fn(|cx| {
                    let mut asking = Asking::new(&head, &mut tally, &audit);
                    self.list.resume(pending.as_mut(), cx, &mut asking)
                })
                .await;
            }
            self.identify(&mut head, tally, &audit)
        };
        Explanation::new(Arc::into_inner(steps).unwrap_or_default(), answer)
    }

    fn identify(
        &self,
        head: &mut Parts,
        tally: Tally,
        audit: &Audit,
    ) -> Result<UserContext, Rejection> {
        // Before anything is removed: a fallback must know what was sent.
        let sent = if tally.is_silent() {
            self.first_sent(head)
        } else {
            None
        };
        self.scrub(head, &tally, audit);
        let context = match tally.conclude() {
            Ok(Some((strategy, identity))) => self.context(head, strategy, identity),
            Ok(None) => match sent {
                Some(strategy) => Err(Rejection::new(Reason::NotBelieved { strategy })),
                None => match self.stand_in(head).or_else(|| self.fall_back(head)) {
                    Some((name, identity)) => self.context(head, name, identity),
                    None => Err(Rejection::new(Reason::Nobody)),
                },
            },
            Err(refusal) => {
                let (rejection, challenge) = Rejection::from_refusal(refusal);
                return Err(challenges(rejection, challenge, |add| {
                    self.each_challenge(add);
                }));
            }
        };
        let context = context.and_then(|context| {
            if self.require_proved {
                if let Err(required) = context.require_proved() {
                    return Err(Rejection::new(Reason::Evidence(required)));
                }
            }
            Ok(context)
        });
        context.map_err(|rejection| self.challenged(rejection))
    }

    fn context(
        &self,
        head: &mut Parts,
        strategy: &'static str,
        mut identity: Identity,
    ) -> Result<UserContext, Rejection> {
        if let Some(outer) = identity.take_continued() {
            return outer
                .continued(identity, strategy, self.make.handles())
                .map_err(|error| Rejection::new(Reason::Correlation(error)));
        }
        if self.keep_existing {
            remove_outer(head);
        }
        let correlation = self.correlate(head, &identity)?;
        Ok(UserContext::resolved(
            identity,
            strategy,
            correlation,
            self.make.handles(),
        ))
    }

    fn correlate(&self, head: &Parts, identity: &Identity) -> Result<Correlation, Rejection> {
        let sent = self.correlation.read(head, &self.ids);
        match identity.work() {
            Some(work) => sent.and_then(|sent| sent.bound_to(work)),
            None => sent,
        }
        .map_err(|error| Rejection::new(Reason::Correlation(error)))
    }

    fn first_sent(&self, head: &Parts) -> Option<&'static str> {
        let mut first = None;
        self.list.each(&mut |_, strategy| {
            if first.is_none() && strategy.presence(head) == Presence::Sent {
                first = Some(strategy.name());
            }
        });
        first
    }

    /// What an outer layer let act where nothing was sent goes on where nothing was sent to
    /// this one's strategies either.
    fn stand_in(&self, head: &Parts) -> Option<(&'static str, Identity)> {
        let context = head.extensions.get::<UserContext>()?;
        (self.keep_existing && context.evidence().is_stand_in())
            .then(|| (ExistingContext::NAME, Identity::continuing(context)))
    }

    fn fall_back(&self, head: &Parts) -> Option<(&'static str, Identity)> {
        self.fallbacks
            .iter()
            .find_map(|fallback| Some((fallback.name(), fallback.identity(head)?)))
    }

    fn scrub(&self, head: &mut Parts, tally: &Tally, audit: &Audit) {
        self.list.each(&mut |index, strategy| {
            let name = strategy.name();
            let mut removed = Vec::new();
            let mut more = 0;
            strategy.scrub(head, tally.believed(index), &mut |stripped| {
                if removed.len() < MOST_STRIPPED {
                    removed.push((stripped.header().clone(), stripped.reason()));
                } else {
                    more += 1;
                }
            });
            for (at, (header, reason)) in removed.iter().enumerate() {
                audit.emit(&AuditEvent::HeaderStripped {
                    strategy: name,
                    header,
                    reason: *reason,
                    peer: peer_ip(&head.extensions),
                    more: if at + 1 == removed.len() { more } else { 0 },
                });
            }
        });
    }

    fn challenged(&self, rejection: Rejection) -> Rejection {
        challenges(rejection, None, |add| self.each_challenge(add))
    }

    fn each_challenge(&self, add: &mut dyn FnMut(Option<http::HeaderValue>)) {
        self.list
            .each(&mut |_, strategy| add(strategy.challenge(None)));
    }

    fn reject(&self, head: &Parts, rejection: &Rejection) -> StepOf<L, M, A> {
        self.audit.emit(&AuditEvent::Refused {
            rejection,
            peer: peer_ip(&head.extensions),
        });
        let mut response = self.respond.respond(rejection, head);
        response.extensions_mut().insert(rejection.clone());
        Step::Reject(response)
    }
}
