//! The answers of a list's strategies, and whether the next one is asked.

use std::{
    borrow::Cow,
    fmt, mem,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use http::{HeaderValue, request::Parts};

use crate::{
    audit::{Audit, AuditEvent},
    clock::Clock,
    context::Identity,
    header_set::HeaderSet,
    outcome::{InvalidError, InvalidErrorKind, Outcome, UnavailableError},
    rejection::RejectionKind,
    strategy::{Facts, Strategy},
};

/// How several answers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    FirstMatch,
    Unanimous,
}

/// Why the list ended without an identity, and the challenge of the strategy that ended it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: RejectionKind,
    pub(crate) challenge: Option<HeaderValue>,
}

/// The answers so far.
pub struct Tally {
    rule: Rule,
    /// The names of the request's headers.
    sent: HeaderSet,
    asked: u8,
    /// One bit for each strategy whose credential was found good.
    believed: u64,
    result: Answer,
    /// When the wait for the strategy that is asked began, if an observer wants to know.
    waits_since: Option<Instant>,
}

/// What the answers amount to.
enum Answer {
    Nothing,
    Found(&'static str, Identity),
    Refused(Box<Refusal>),
}

impl Tally {
    /// How many strategies a list may have: there is one bit for each.
    pub(crate) const MAX_STRATEGIES: usize = 64;

    #[inline]
    pub(crate) fn new(rule: Rule, sent: HeaderSet) -> Self {
        Self {
            rule,
            sent,
            asked: 0,
            believed: 0,
            result: Answer::Nothing,
            waits_since: None,
        }
    }

    #[inline]
    pub(crate) fn sent(&self) -> HeaderSet {
        self.sent
    }

    /// How many strategies have answered: the place of the one that is waited for.
    pub(crate) fn asked(&self) -> usize {
        self.asked.into()
    }

    #[inline]
    pub(super) fn believed(&self, index: usize) -> bool {
        self.believed & (1 << index) != 0
    }

    /// Takes the identity, and the name of the strategy that found it.
    #[inline]
    pub(crate) fn take_found(&mut self) -> Option<(&'static str, Identity)> {
        match mem::replace(&mut self.result, Answer::Nothing) {
            Answer::Found(strategy, identity) => Some((strategy, identity)),
            other => {
                self.result = other;
                None
            }
        }
    }

    /// Takes the reason why there is no identity; `None` where every strategy was absent.
    pub(crate) fn take_refusal(&mut self) -> Option<Refusal> {
        match mem::replace(&mut self.result, Answer::Nothing) {
            Answer::Refused(refusal) => Some(*refusal),
            _ => None,
        }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally")
            .field("rule", &self.rule)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

/// One request, while its list of strategies is asked.
#[derive(Debug)]
pub struct Asking<'a> {
    pub(super) head: &'a Parts,
    pub(super) tally: &'a mut Tally,
    audit: &'a Audit,
    clock: &'a dyn Clock,
}

impl<'a> Asking<'a> {
    pub(crate) fn new(
        head: &'a Parts,
        tally: &'a mut Tally,
        audit: &'a Audit,
        clock: &'a dyn Clock,
    ) -> Self {
        Self {
            head,
            tally,
            audit,
            clock,
        }
    }

    /// Takes one strategy's answer; `Break` where no other strategy is asked.
    #[inline]
    pub(super) fn take<S: Strategy>(&mut self, strategy: &S, outcome: Outcome) -> ControlFlow<()> {
        let index = self.tally.asked;
        self.tally.asked += 1;
        let since = self.tally.waits_since.take();
        self.audit.consulted(strategy.name(), &outcome, since);
        match outcome {
            Outcome::Absent => ControlFlow::Continue(()),
            outcome => self.take_other(strategy, index, outcome),
        }
    }

    pub(crate) fn asked(&self) -> usize {
        self.tally.asked()
    }

    /// Notes that the strategy that is asked has to be waited for.
    pub(super) fn waits(&mut self) {
        self.tally.waits_since = self.audit.now();
    }

    /// Ends the list, because the strategy that is waited for has not answered in time.
    pub(crate) fn time_out(&mut self, strategy: &'static str, limit: Duration) {
        let unavailable = UnavailableError::timed_out(limit);
        let outcome = Outcome::Unavailable(unavailable.clone());
        let since = self.tally.waits_since.take();
        self.audit.consulted(strategy, &outcome, since);
        let reason = RejectionKind::Unavailable {
            strategy,
            unavailable,
        };
        let _ = self.refuse(reason, None);
    }

    fn take_other(
        &mut self,
        strategy: &dyn FactsAndOption,
        index: u8,
        outcome: Outcome,
    ) -> ControlFlow<()> {
        match outcome {
            Outcome::Absent => ControlFlow::Continue(()),
            Outcome::Found(identity) => {
                if identity.has_expired(self.clock) {
                    return self.take_invalid(strategy, InvalidErrorKind::Expired.into());
                }
                self.take_found(strategy.name(), index, identity)
            }
            Outcome::Invalid(invalid) => self.take_invalid(strategy, invalid),
            Outcome::Unavailable(unavailable) => self.refuse(
                RejectionKind::Unavailable {
                    strategy: strategy.name(),
                    unavailable,
                },
                None,
            ),
        }
    }

    #[inline]
    fn take_found(&mut self, name: &'static str, index: u8, identity: Identity) -> ControlFlow<()> {
        self.tally.believed |= 1 << index;
        let Answer::Found(found_by, found) = &mut self.tally.result else {
            self.tally.result = Answer::Found(name, identity);
            return match self.tally.rule {
                Rule::FirstMatch => ControlFlow::Break(()),
                Rule::Unanimous => ControlFlow::Continue(()),
            };
        };
        if found.agrees_with(&identity) {
            if found.corroborate(identity) {
                *found_by = name;
            }
            return ControlFlow::Continue(());
        }
        let (first, second) = (*found_by, name);
        self.audit.emit(&AuditEvent::Conflict { first, second });
        self.refuse(RejectionKind::Conflict { first, second }, None)
    }

    fn take_invalid(
        &mut self,
        strategy: &dyn FactsAndOption,
        invalid: InvalidError,
    ) -> ControlFlow<()> {
        if strategy.optional() {
            self.audit.emit(&AuditEvent::InvalidCredentialIgnored {
                strategy: strategy.name(),
                invalid: Cow::Borrowed(&invalid),
            });
            return ControlFlow::Continue(());
        }
        let challenge = strategy.challenge(Some(&invalid));
        let strategy = strategy.name();
        self.refuse(RejectionKind::Invalid { strategy, invalid }, challenge)
    }

    fn refuse(&mut self, reason: RejectionKind, challenge: Option<HeaderValue>) -> ControlFlow<()> {
        // A refused request has no header that was believed.
        self.tally.believed = 0;
        self.tally.result = Answer::Refused(Box::new(Refusal { reason, challenge }));
        ControlFlow::Break(())
    }
}

/// Keeps what is the same for every strategy from being compiled once for each.
trait FactsAndOption: Facts {
    fn optional(&self) -> bool;
}

impl<S: Strategy> FactsAndOption for S {
    fn optional(&self) -> bool {
        self.is_optional()
    }
}
