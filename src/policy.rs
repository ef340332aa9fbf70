//! What every request goes through, step by step, without knowing who polls.
//!
//! `service.rs` runs the steps as far as they go at once; `future.rs` goes on where one had to
//! wait. Both meet here.

use std::{
    borrow::Cow,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, header, request::Parts};

use crate::{
    audit::{Audit, AuditEvent, loggable},
    authorize::{Authorize, AuthorizeError},
    clock::Clock,
    context::{
        CorrelationError, CorrelationSources, IdSource, Identity, Ids, RequestId, Subject,
        UserContext,
    },
    factory::{MakeFactory, ProvideFactory, failure},
    header_set::{HeaderSet, fold_alike},
    maybe_future::MaybeFuture,
    outcome::InvalidErrorKind,
    peer::peer_ip,
    rejection::{FactoryErrorKind, Rejection, RejectionKind, RespondToRejection, challenges},
    resolve::{
        Asking, Explanation, Progress, Removed, Rule, Steps, StrategyList, Tally,
        list::private::List,
    },
    scope::{Guard, OpenScope, within_and_back},
    strategy::{ExistingContext, Fallback, Presence},
    time_limit::{Awaited, Deadline, TimeLimits},
};

/// Takes out of the request what outer layers left. A middleware in between may have replaced
/// their context; where this is polled in an outer layer's scope, that one's is asked too.
#[inline]
fn remove_outer(head: &mut Parts) {
    UserContext::remove_from(&mut head.extensions);
    // A clone: what goes may be the application's, and its end may enter a scope.
    if let Some(outer) = UserContext::current() {
        outer.remove_handles(&mut head.extensions);
    }
}

/// Everything that was configured; shared by all clones of a layer and its services.
pub(crate) struct Policy<L, M, A> {
    pub(crate) list: L,
    pub(crate) make: M,
    pub(crate) authorize: A,
    pub(crate) rule: Rule,
    pub(crate) fallbacks: Vec<Fallback>,
    pub(crate) correlation: CorrelationSources,
    pub(crate) ids: IdSource,
    pub(crate) require_proved: bool,
    pub(crate) keep_existing: bool,
    pub(crate) respond: Box<dyn RespondToRejection + Send + Sync>,
    pub(crate) audit: Audit,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) guard: Guard,
    pub(crate) limits: TimeLimits,
}

/// A refusal, and what was known of the request by then.
struct Refused {
    rejection: Rejection,
    subject: Option<Subject>,
    request_id: Option<RequestId>,
}

impl Refused {
    fn of_nobody(rejection: Rejection) -> Self {
        Self {
            rejection,
            subject: None,
            request_id: None,
        }
    }

    fn of(context: &UserContext, rejection: Rejection) -> Self {
        Self {
            rejection,
            subject: Some(context.subject().clone()),
            request_id: Some(context.request_id().clone()),
        }
    }
}

/// What comes next for a request.
pub(crate) enum Step<P, A, M> {
    Resolve(P, Tally),
    Authorize(A, UserContext),
    Build(M, UserContext),
    /// There until it is taken, so that it is moved once.
    Call(Option<OpenScope>),
    Reject(Box<Response<Bytes>>),
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
        let mut tally = Tally::new(self.rule, HeaderSet::sent(&head.headers));
        match self.list.ask(&mut Asking::new(
            head,
            &mut tally,
            &self.audit,
            &*self.clock,
        )) {
            Progress::Done(_) => self.asked(head, &mut tally),
            Progress::Waiting(pending) => Step::Resolve(pending, tally),
        }
    }

    /// Waits for the list, and for none of its strategies longer than it may take.
    pub(crate) fn poll_list(
        &self,
        pending: Pin<&mut L::Pending>,
        deadline: Pin<&mut Deadline>,
        cx: &mut Context<'_>,
        asking: &mut Asking<'_>,
    ) -> Poll<()> {
        if self.list.resume(pending, cx, asking).is_ready() {
            return Poll::Ready(());
        }
        let place = asking.asked();
        let limit = || self.strategy_at(place).1.or(self.limits.each);
        deadline
            .poll(Awaited::Strategy(place), cx, limit)
            .map(|limit| asking.gives_up(self.strategy_at(place).0, limit))
    }

    /// The name of a strategy, and its own time limit.
    fn strategy_at(&self, place: usize) -> (&'static str, Option<Duration>) {
        let (mut index, mut found) = (0, ("", None));
        self.list.each(&mut |strategy| {
            if index == place {
                found = (strategy.name(), strategy.time_limit());
            }
            index += 1;
        });
        found
    }

    /// The factory was not built in time.
    pub(crate) fn not_built(
        &self,
        head: &Parts,
        context: &UserContext,
        limit: Duration,
    ) -> StepOf<L, M, A> {
        let failure = FactoryErrorKind::TimedOut { limit };
        let rejection = Rejection::new(RejectionKind::Factory(failure));
        self.reject(head, &Refused::of(context, rejection))
    }

    /// The list has said all it has to say.
    #[inline]
    pub(crate) fn asked(&self, head: &mut Parts, tally: &mut Tally) -> StepOf<L, M, A> {
        let context = match self.identify(head, tally, &self.audit) {
            Ok(context) => context,
            Err(refused) => return self.reject(head, &refused),
        };
        // Both in one, because most factories are built as soon as they may be.
        let mut made = None;
        let ((), lent) = within_and_back(&context, || {
            made = Some(match self.authorize.authorize(&context, head) {
                MaybeFuture::Ready(Ok(())) => Ok(self.make.make(&context)),
                answer => Err(answer),
            });
        });
        match made {
            Some(Ok(MaybeFuture::Ready(built))) => self.built(head, context, lent, built),
            Some(Ok(MaybeFuture::Future(future))) => Step::Build(future, context),
            Some(Err(MaybeFuture::Ready(answer))) => self.authorized(head, context, answer),
            Some(Err(MaybeFuture::Future(future))) => Step::Authorize(future, context),
            None => unreachable!("it has been asked"),
        }
    }

    pub(crate) fn authorized(
        &self,
        head: &mut Parts,
        context: UserContext,
        answer: Result<(), AuthorizeError>,
    ) -> StepOf<L, M, A> {
        let reason = match answer {
            Ok(()) => {
                let (made, lent) = within_and_back(&context, || self.make.make(&context));
                return match made {
                    MaybeFuture::Ready(built) => self.built(head, context, lent, built),
                    MaybeFuture::Future(future) => Step::Build(future, context),
                };
            }
            Err(AuthorizeError::Forbidden(forbidden)) => RejectionKind::Forbidden {
                strategy: context.strategy(),
                authenticated: !context.evidence().is_fallback(),
                forbidden,
            },
            Err(AuthorizeError::Unavailable(unavailable)) => {
                RejectionKind::AuthorizationUnavailable(unavailable)
            }
        };
        let rejection = self.challenged(Rejection::new(reason));
        self.reject(head, &Refused::of(&context, rejection))
    }

    /// `lent` is one more reference to the context, which was somebody's before.
    #[inline]
    pub(crate) fn built(
        &self,
        head: &mut Parts,
        context: UserContext,
        lent: UserContext,
        built: Result<M::Factory, M::Error>,
    ) -> StepOf<L, M, A> {
        match built {
            Ok(factory) => {
                self.audit.accepted(&context);
                let span = self.audit.span(&context);
                let handle = self
                    .make
                    .insert(factory, lent, &self.guard, &mut head.extensions);
                let watch = self.guard.watch.as_ref();
                Step::Call(Some(OpenScope::new(
                    context, span, handle, watch, &head.uri,
                )))
            }
            Err(error) => {
                let rejection = Rejection::new(RejectionKind::Factory(failure(error)));
                self.reject(head, &Refused::of(&context, rejection))
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
            let mut tally = Tally::new(self.rule, HeaderSet::sent(&head.headers));
            let asked = self
                .list
                .ask(&mut Asking::new(&head, &mut tally, &audit, &*self.clock));
            if let Progress::Waiting(pending) = asked {
                let (mut pending, mut deadline) = (pin!(pending), pin!(Deadline::default()));
                poll_fn(|cx| {
                    let mut asking = Asking::new(&head, &mut tally, &audit, &*self.clock);
                    self.poll_list(pending.as_mut(), deadline.as_mut(), cx, &mut asking)
                })
                .await;
            }
            let identified = self.identify(&mut head, &mut tally, &audit);
            identified.map_err(|refused| refused.rejection)
        };
        Explanation::new(Arc::into_inner(steps).unwrap_or_default(), answer)
    }

    #[inline]
    fn identify(
        &self,
        head: &mut Parts,
        tally: &mut Tally,
        audit: &Audit,
    ) -> Result<UserContext, Refused> {
        if let Some(strategy) = self.announced_in_trailer(head, tally.sent()) {
            self.scrub(head, tally, audit);
            let invalid = InvalidErrorKind::Trailer.into();
            let rejection = Rejection::new(RejectionKind::Invalid { strategy, invalid });
            return Err(Refused::of_nobody(rejection));
        }
        let found = match tally.take_found() {
            Some((strategy, identity)) => {
                self.scrub(head, tally, audit);
                self.context(head, tally, audit, strategy, identity)
            }
            None => self.without_identity(head, tally, audit),
        };
        found.and_then(|context| match context.require_proved() {
            Err(required) if self.require_proved => {
                let rejection = self.challenged(Rejection::new(RejectionKind::Evidence(required)));
                Err(Refused::of(&context, rejection))
            }
            _ => Ok(context),
        })
    }

    /// The list was refused, or has nothing to say.
    #[inline(never)]
    fn without_identity(
        &self,
        head: &mut Parts,
        tally: &mut Tally,
        audit: &Audit,
    ) -> Result<UserContext, Refused> {
        if let Some(refusal) = tally.take_refusal() {
            self.scrub(head, tally, audit);
            let rejection = Rejection::new(refusal.reason);
            let rejection = challenges(rejection, refusal.challenge, |add| {
                self.each_challenge(add);
            });
            return Err(Refused::of_nobody(rejection));
        }
        // Before anything is removed: a fallback must know what was sent.
        let sent = self.first_sent(head);
        self.scrub(head, tally, audit);
        let reason = match sent {
            Some(strategy) => RejectionKind::NotBelieved { strategy },
            None => match self.stand_in(head).or_else(|| self.fall_back(head)) {
                Some((name, identity)) => return self.context(head, tally, audit, name, identity),
                None => RejectionKind::NoCredential,
            },
        };
        let rejection = self.challenged(Rejection::new(reason));
        Err(Refused::of_nobody(rejection))
    }

    #[inline]
    fn context(
        &self,
        head: &mut Parts,
        tally: &Tally,
        audit: &Audit,
        strategy: &'static str,
        mut identity: Identity,
    ) -> Result<UserContext, Refused> {
        let handles = self.make.handles();
        let refused = |error| self.challenged(Rejection::new(RejectionKind::Correlation(error)));
        if let Some(outer) = UserContext::take_continued(&mut identity) {
            let context = outer.continued(identity, strategy, handles);
            return context.map_err(|error| Refused::of(&outer, refused(error)));
        }
        if self.keep_existing {
            remove_outer(head);
        }
        match self.correlate(head, tally.sent(), audit, &identity) {
            Ok(ids) => Ok(UserContext::resolved(
                identity, strategy, ids, &self.ids, handles,
            )),
            Err(error) => Err(Refused {
                rejection: refused(error),
                subject: Some(identity.subject().clone()),
                request_id: None,
            }),
        }
    }

    #[inline]
    fn correlate(
        &self,
        head: &Parts,
        sent: HeaderSet,
        audit: &Audit,
        identity: &Identity,
    ) -> Result<Option<Box<Ids>>, CorrelationError> {
        let mut ids = self.correlation.read(head, sent)?;
        if let Some(problem) = ids.as_ref().and_then(|ids| ids.trace_ignored()) {
            let peer = peer_ip(&head.extensions);
            audit.emit(&AuditEvent::TraceIgnored { problem, peer });
        }
        if let Some(work) = identity.work() {
            ids.get_or_insert_default().bind(work)?;
        }
        Ok(ids)
    }

    /// The strategy that reads a header of a name which the request announces as a trailer field
    /// (RFC 9110 section 6.6.2), or of one that an upstream would fold into it. Trailers come when
    /// nothing can be removed from them any more.
    #[inline]
    fn announced_in_trailer(&self, head: &Parts, sent: HeaderSet) -> Option<&'static str> {
        if sent.meets(HeaderSet::TRAILER) && head.headers.contains_key(header::TRAILER) {
            self.reads_a_trailer(head)
        } else {
            None
        }
    }

    #[cold]
    fn reads_a_trailer(&self, head: &Parts) -> Option<&'static str> {
        let fields = head.headers.get_all(header::TRAILER).iter();
        let announced: Vec<Vec<u8>> = fields
            .flat_map(|field| field.as_bytes().split(|byte| *byte == b','))
            .map(|name| name.trim_ascii().to_ascii_lowercase())
            .collect();
        let mut first = None;
        self.list.each(&mut |strategy| {
            let names = strategy.headers().unwrap_or_default();
            let is_read = |name: &Vec<u8>| {
                let mut names = names.iter();
                names.any(|ours| fold_alike(ours.as_str().as_bytes(), name))
            };
            if first.is_none() && announced.iter().any(is_read) {
                first = Some(strategy.name());
            }
        });
        first
    }

    fn first_sent(&self, head: &Parts) -> Option<&'static str> {
        let mut first = None;
        self.list.each(&mut |strategy| {
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
            .then(|| (ExistingContext::NAME, context.continuing()))
    }

    fn fall_back(&self, head: &Parts) -> Option<(&'static str, Identity)> {
        self.fallbacks
            .iter()
            .find_map(|fallback| Some((fallback.name(), fallback.identity(head)?)))
    }

    #[inline]
    fn scrub(&self, head: &mut Parts, tally: &Tally, audit: &Audit) {
        let mut removed = Removed::default();
        self.list.scrub(head, tally, &mut removed);
        if !removed.is_empty() {
            removed.tell(audit, peer_ip(&head.extensions));
        }
    }

    fn challenged(&self, rejection: Rejection) -> Rejection {
        challenges(rejection, None, |add| self.each_challenge(add))
    }

    fn each_challenge(&self, add: &mut dyn FnMut(Option<http::HeaderValue>)) {
        self.list
            .each(&mut |strategy| add(strategy.challenge(None)));
    }

    fn reject(&self, head: &Parts, refused: &Refused) -> StepOf<L, M, A> {
        let rejection = &refused.rejection;
        let known = refused.request_id.clone();
        let request_id = known.or_else(|| self.correlation.readable_request_id(head));
        self.audit.emit(&AuditEvent::Refused {
            rejection: Cow::Borrowed(rejection),
            subject: refused.subject.as_ref().map(Cow::Borrowed),
            request_id: request_id.as_ref().map(Cow::Borrowed),
            method: Cow::Borrowed(&head.method),
            path: loggable(head.uri.path()),
            peer: peer_ip(&head.extensions),
        });
        let mut response = self.respond.respond(rejection, head);
        response.extensions_mut().insert(rejection.clone());
        Step::Reject(Box::new(response))
    }
}
