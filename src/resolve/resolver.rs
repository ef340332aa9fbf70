//! From a request's head to the context that it goes on with, or to the reason why it does not.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, request::Parts};

use super::{
    Asking, Explanation, Progress, Refused, Removed, Rule, Steps, Tally,
    list::private::List,
    tenant::{NotAdmitted, TenantRule},
    trailer,
};
use crate::{
    audit::{Audit, AuditEvent},
    clock::Clock,
    context::{
        CorrelationError, CorrelationSources, Handles, IdSource, Identity, Ids, UserContext,
    },
    header_set::HeaderSet,
    outcome::{InvalidErrorKind, Presence},
    peer::peer_ip,
    rejection::{BearerChallenge, Rejection, RejectionKind, challenges},
    strategy::{ExistingContext, Fallback},
    time_limit::{Awaited, Deadline},
};

/// Removes what outer layers left in the extensions.
///
/// A middleware in between may have replaced their context, so that of the current scope is asked
/// for its handles too.
fn remove_outer(head: &mut Parts) {
    UserContext::remove_from(&mut head.extensions);
    // Cloned, because dropping the application's values may enter a scope.
    if let Some(outer) = UserContext::current() {
        outer.remove_handles(&mut head.extensions);
    }
}

/// The configuration of who a request acts for.
pub(crate) struct Resolver<L> {
    pub(crate) list: L,
    pub(crate) rule: Rule,
    pub(crate) fallbacks: Vec<Fallback>,
    pub(crate) correlation: CorrelationSources,
    pub(crate) ids: IdSource,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) require_proved: bool,
    pub(crate) tenant: Option<TenantRule>,
    /// Whether a strategy reads the context that an outer layer left.
    pub(crate) keep_existing: bool,
    /// What every `Bearer` challenge says.
    pub(crate) bearer: Arc<BearerChallenge>,
    /// How long a strategy without a limit of its own is waited for.
    pub(crate) time_limit: Option<Duration>,
}

impl<L: List> Resolver<L> {
    /// Asks the strategies in order, up to the first one that has to be waited for.
    pub(crate) fn begin(
        &self,
        head: &mut Parts,
        tally: &mut Tally,
        audit: &Audit,
    ) -> Progress<L::Pending> {
        if !self.keep_existing {
            remove_outer(head);
        }
        (self.list).ask(&mut Asking::new(head, tally, audit, &*self.clock))
    }

    /// Returns the tally of a request of which no strategy was asked.
    #[inline]
    pub(crate) fn tally(&self, head: &Parts) -> Tally {
        Tally::new(self.rule, HeaderSet::sent(&head.headers))
    }

    /// Waits for the strategy that is asked, and asks those after it.
    pub(crate) fn poll(
        &self,
        pending: Pin<&mut L::Pending>,
        tally: &mut Tally,
        head: &Parts,
        audit: &Audit,
        deadline: Pin<&mut Deadline>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut asking = Asking::new(head, tally, audit, &*self.clock);
        self.poll_list(pending, deadline, cx, &mut asking)
    }

    fn poll_list(
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
        let limit = || self.strategy_at(place).1.or(self.time_limit);
        deadline
            .poll(Awaited::Strategy(place), cx, limit)
            .map(|limit| asking.time_out(self.strategy_at(place).0, limit))
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

    /// Takes the steps up to the context for the sake of the answer.
    pub(crate) async fn explain(&self, head: &Parts, handles: Handles) -> Explanation {
        let mut head = head.clone();
        let steps = Arc::new(Steps::default());
        let answer = {
            let audit = Audit::hypothetical(Arc::clone(&steps) as _);
            let identified = self.resolve(&mut head, &audit, handles).await;
            identified.map_err(|refused| refused.rejection)
        };
        Explanation::new(Arc::into_inner(steps).unwrap_or_default(), answer)
    }

    /// Takes the steps up to the context.
    pub(crate) async fn resolve(
        &self,
        head: &mut Parts,
        audit: &Audit,
        handles: Handles,
    ) -> Result<UserContext, Refused> {
        let mut tally = self.tally(head);
        if let Progress::Waiting(pending) = self.begin(head, &mut tally, audit) {
            let (mut pending, mut deadline) = (pin!(pending), pin!(Deadline::default()));
            poll_fn(|cx| {
                let (pending, deadline) = (pending.as_mut(), deadline.as_mut());
                self.poll(pending, &mut tally, head, audit, deadline, cx)
            })
            .await;
        }
        self.identify(head, &mut tally, audit, handles)
    }

    /// Makes a context of the list's answer, or says why there is none; removes from the head what
    /// the inner service must not see.
    pub(crate) fn identify(
        &self,
        head: &mut Parts,
        tally: &mut Tally,
        audit: &Audit,
        handles: Handles,
    ) -> Result<UserContext, Refused> {
        self.refuse_trailers(head, tally, audit)?;
        let context = match tally.take_found() {
            Some((strategy, identity)) => {
                self.scrub(head, tally, audit);
                self.context(head, tally, audit, handles, strategy, identity)?
            }
            None => self.without_identity(head, tally, audit, handles)?,
        };
        match self.check_proof(&context) {
            Ok(()) => Ok(context),
            Err(rejection) => Err(Refused::of(&context, rejection)),
        }
    }

    fn check_proof(&self, context: &UserContext) -> Result<(), Rejection> {
        match context.require_proved() {
            Err(required) if self.require_proved => {
                Err(self.challenged(Rejection::new(RejectionKind::Evidence(required))))
            }
            _ => Ok(()),
        }
    }

    /// Checks a context that was not resolved from a request: its identity has not ended, and is
    /// proved where that is required.
    pub(crate) fn check(&self, context: &UserContext) -> Result<(), Rejection> {
        if context.identity().has_expired(&*self.clock) {
            let (strategy, invalid) = (context.strategy(), InvalidErrorKind::Expired.into());
            return Err(
                self.challenged(Rejection::new(RejectionKind::Invalid { strategy, invalid }))
            );
        }
        self.check_proof(context)
    }

    fn refuse_trailers(
        &self,
        head: &mut Parts,
        tally: &Tally,
        audit: &Audit,
    ) -> Result<(), Refused> {
        let announced = trailer::strategy_of_announced(&self.list, head, tally.sent());
        let Some(strategy) = announced else {
            return Ok(());
        };
        self.scrub(head, tally, audit);
        let invalid = InvalidErrorKind::Trailer.into();
        let rejection = Rejection::new(RejectionKind::Invalid { strategy, invalid });
        Err(Refused::of_nobody(rejection))
    }

    /// Removes from the head what strategies read, without asking them.
    pub(crate) fn believe_nobody(&self, head: &mut Parts, audit: &Audit) -> Result<(), Refused> {
        let tally = self.tally(head);
        self.refuse_trailers(head, &tally, audit)?;
        self.scrub(head, &tally, audit);
        Ok(())
    }

    /// Decides a request in which no strategy found anybody.
    fn without_identity(
        &self,
        head: &mut Parts,
        tally: &mut Tally,
        audit: &Audit,
        handles: Handles,
    ) -> Result<UserContext, Refused> {
        if let Some(refusal) = tally.take_refusal() {
            self.scrub(head, tally, audit);
            let rejection = Rejection::new(refusal.reason);
            let rejection = challenges(rejection, &self.bearer, refusal.challenge, |add| {
                self.each_challenge(add);
            });
            return Err(Refused::of_nobody(rejection));
        }
        // Looked at before headers are removed: a fallback acts only where nothing was sent.
        let sent = self.first_sent(head);
        self.scrub(head, tally, audit);
        let reason = match sent {
            Some(strategy) => RejectionKind::NotAccepted { strategy },
            None => match self.stand_in(head).or_else(|| self.fall_back(head)) {
                Some((name, identity)) => {
                    return self.context(head, tally, audit, handles, name, identity);
                }
                None => RejectionKind::NoCredential,
            },
        };
        let rejection = self.challenged(Rejection::new(reason));
        Err(Refused::of_nobody(rejection))
    }

    fn context(
        &self,
        head: &mut Parts,
        tally: &Tally,
        audit: &Audit,
        handles: Handles,
        strategy: &'static str,
        mut identity: Identity,
    ) -> Result<UserContext, Refused> {
        if let Some(rule) = &self.tenant {
            identity = self.in_tenant(rule, head, strategy, identity)?;
        }
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
            Err(error) => Err(Refused::of_identity(&identity, refused(error))),
        }
    }

    /// Puts the identity into the tenant that the request names.
    fn in_tenant(
        &self,
        rule: &TenantRule,
        head: &Parts,
        strategy: &'static str,
        identity: Identity,
    ) -> Result<Identity, Refused> {
        let rejection = match rule.tenant_of(head, &identity) {
            Ok(None) => return Ok(identity),
            Ok(Some(tenant)) => return Ok(identity.with_tenant_id(tenant)),
            Err(NotAdmitted::Unreadable(error)) => Rejection::new(RejectionKind::Tenant(error)),
            Err(NotAdmitted::Another(forbidden)) => {
                Rejection::forbidden(strategy, identity.evidence(), forbidden)
            }
        };
        let rejection = self.challenged(rejection);
        Err(Refused::of_identity(&identity, rejection))
    }

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

    fn first_sent(&self, head: &Parts) -> Option<&'static str> {
        let mut first = None;
        self.list.each(&mut |strategy| {
            if first.is_none() && strategy.presence(head) == Presence::Sent {
                first = Some(strategy.name());
            }
        });
        first
    }

    /// Returns the identity of an outer layer's fallback or development user: it goes on where
    /// nothing was sent to this layer's strategies either.
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

    fn scrub(&self, head: &mut Parts, tally: &Tally, audit: &Audit) {
        let mut removed = Removed::default();
        self.list.scrub(head, tally, &mut removed);
        if !removed.is_empty() {
            removed.report(audit, peer_ip(&head.extensions));
        }
    }

    pub(crate) fn challenged(&self, rejection: Rejection) -> Rejection {
        challenges(rejection, &self.bearer, None, |add| {
            self.each_challenge(add);
        })
    }

    fn each_challenge(&self, add: &mut dyn FnMut(Option<HeaderValue>)) {
        self.list
            .each(&mut |strategy| add(strategy.challenge(None)));
    }
}
