//! What the list has heard so far, and when it has heard enough.

use std::{borrow::Cow, fmt, mem, ops::ControlFlow, time::Duration};

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

/// How the answers of the list become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    FirstMatch,
    Unanimous,
}

/// Why the list ended without an identity, and what its strategy challenges the client with.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: RejectionKind,
    pub(crate) challenge: Option<HeaderValue>,
}

/// What the list has heard so far.
pub struct Tally {
    rule: Rule,
    /// What the request has.
    sent: HeaderSet,
    asked: u8,
    /// One bit for each strategy whose credential was found good.
    believed: u64,
    heard: Heard,
}

/// What it comes to.
enum Heard {
    Nothing,
    Found(&'static str, Identity),
    Refused(Box<Refusal>),
}

impl Tally {
    /// As many as there are bits for.
    pub(crate) const MAX_STRATEGIES: usize = 64;

    #[inline]
    pub(crate) fn new(rule: Rule, sent: HeaderSet) -> Self {
        Self {
            rule,
            sent,
            asked: 0,
            believed: 0,
            heard: Heard::Nothing,
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

    /// Takes the identity, and by what strategy it was found.
    #[inline]
    pub(crate) fn take_found(&mut self) -> Option<(&'static str, Identity)> {
        match mem::replace(&mut self.heard, Heard::Nothing) {
            Heard::Found(strategy, identity) => Some((strategy, identity)),
            heard => {
                self.heard = heard;
                None
            }
        }
    }

    /// Takes the reason why there is none, unless every strategy said that there is nothing.
    pub(crate) fn take_refusal(&mut self) -> Option<Refusal> {
        match mem::replace(&mut self.heard, Heard::Nothing) {
            Heard::Refused(refusal) => Some(*refusal),
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

/// One request being asked about.
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

    /// Takes one strategy's answer; `Break` where nobody else is to be asked.
    #[inline]
    pub(super) fn hear<S: Strategy>(&mut self, strategy: &S, outcome: Outcome) -> ControlFlow<()> {
        let index = self.tally.asked;
        self.tally.asked += 1;
        self.audit.consulted(strategy.name(), &outcome);
        match outcome {
            Outcome::Absent => ControlFlow::Continue(()),
            outcome => self.hear_more(strategy, index, outcome),
        }
    }

    pub(crate) fn asked(&self) -> usize {
        self.tally.asked()
    }

    /// The strategy that is waited for has not answered in time.
    pub(crate) fn gives_up(&mut self, strategy: &'static str, limit: Duration) {
        let unavailable = UnavailableError::timed_out(limit);
        let outcome = Outcome::Unavailable(unavailable.clone());
        self.audit.consulted(strategy, &outcome);
        let reason = RejectionKind::Unavailable {
            strategy,
            unavailable,
        };
        let _ = self.refuse(reason, None);
    }

    fn hear_more(
        &mut self,
        strategy: &dyn FactsAndOption,
        index: u8,
        outcome: Outcome,
    ) -> ControlFlow<()> {
        match outcome {
            Outcome::Absent => ControlFlow::Continue(()),
            Outcome::Found(identity) if identity.has_expired(self.clock) => {
                self.hear_invalid(strategy, InvalidErrorKind::Expired.into())
            }
            Outcome::Found(identity) => self.hear_found(strategy.name(), index, identity),
            Outcome::Invalid(invalid) => self.hear_invalid(strategy, invalid),
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
    fn hear_found(&mut self, name: &'static str, index: u8, identity: Identity) -> ControlFlow<()> {
        self.tally.believed |= 1 << index;
        let Heard::Found(found_by, found) = &mut self.tally.heard else {
            self.tally.heard = Heard::Found(name, identity);
            return match self.tally.rule {
                Rule::FirstMatch => ControlFlow::Break(()),
                Rule::Unanimous => ControlFlow::Continue(()),
            };
        };
        if found.subject() == identity.subject() {
            if found.corroborate(identity) {
                *found_by = name;
            }
            return ControlFlow::Continue(());
        }
        let (first, second) = (*found_by, name);
        self.audit.emit(&AuditEvent::Conflict { first, second });
        self.refuse(RejectionKind::Conflict { first, second }, None)
    }

    fn hear_invalid(
        &mut self,
        strategy: &dyn FactsAndOption,
        invalid: InvalidError,
    ) -> ControlFlow<()> {
        if strategy.optional() {
            self.audit.emit(&AuditEvent::CredentialPassedOver {
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
        // Where anything was refused, nothing is believed.
        self.tally.believed = 0;
        self.tally.heard = Heard::Refused(Box::new(Refusal { reason, challenge }));
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
