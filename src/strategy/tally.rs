//! What the list has heard so far, and when it has heard enough.

use std::{fmt, ops::ControlFlow};

use http::{HeaderValue, request::Parts};

use super::{Facts, Invalid, InvalidReason, Outcome, Strategy, Unavailable};
use crate::{
    context::Identity,
    observe::{Audit, AuditEvent},
};

/// How the answers of the list become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    FirstMatch,
    Unanimous,
}

/// Why the list ended without an identity.
#[derive(Debug)]
pub(crate) enum Refusal {
    Invalid {
        strategy: &'static str,
        invalid: Invalid,
        challenge: Option<HeaderValue>,
    },
    Unavailable {
        strategy: &'static str,
        unavailable: Unavailable,
    },
    Conflict {
        first: &'static str,
        second: &'static str,
    },
}

/// What the list has heard so far.
pub(crate) struct Tally {
    rule: Rule,
    asked: usize,
    /// One bit for each strategy whose credential was found good.
    believed: u64,
    found: Option<(&'static str, Identity)>,
    refusal: Option<Refusal>,
}

impl Tally {
    /// As many as there are bits for.
    pub(crate) const MAX_STRATEGIES: usize = 64;

    pub(crate) fn new(rule: Rule) -> Self {
        Self {
            rule,
            asked: 0,
            believed: 0,
            found: None,
            refusal: None,
        }
    }

    pub(crate) fn believed(&self, index: usize) -> bool {
        self.refusal.is_none() && self.believed & (1 << index) != 0
    }

    /// What was heard, leaving a tally that has heard nothing.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.rule))
    }

    /// Whether every strategy that was asked said that there is nothing.
    pub(crate) fn is_silent(&self) -> bool {
        self.refusal.is_none() && self.found.is_none()
    }

    pub(crate) fn conclude(self) -> Result<Option<(&'static str, Identity)>, Refusal> {
        match self.refusal {
            Some(refusal) => Err(refusal),
            None => Ok(self.found),
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
}

impl<'a> Asking<'a> {
    pub(crate) fn new(head: &'a Parts, tally: &'a mut Tally, audit: &'a Audit) -> Self {
        Self { head, tally, audit }
    }

    /// Takes one strategy's answer; `Break` where nobody else is to be asked.
    pub(super) fn hear<S: Strategy>(&mut self, strategy: &S, outcome: Outcome) -> ControlFlow<()> {
        let name = strategy.name();
        let index = self.tally.asked;
        self.tally.asked += 1;
        self.audit.consulted(name, outcome.verdict());
        match outcome {
            Outcome::Absent => ControlFlow::Continue(()),
            Outcome::Found(identity) if identity.has_expired() => {
                self.hear_invalid(strategy, InvalidReason::Expired.into())
            }
            Outcome::Found(identity) => self.hear_found(name, index, identity),
            Outcome::Invalid(invalid) => self.hear_invalid(strategy, invalid),
            Outcome::Unavailable(unavailable) => self.refuse(Refusal::Unavailable {
                strategy: name,
                unavailable,
            }),
        }
    }

    fn hear_found(
        &mut self,
        name: &'static str,
        index: usize,
        identity: Identity,
    ) -> ControlFlow<()> {
        self.tally.believed |= 1 << index;
        let Some((found_by, found)) = &mut self.tally.found else {
            self.tally.found = Some((name, identity));
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
        self.refuse(Refusal::Conflict { first, second })
    }

    fn hear_invalid(&mut self, strategy: &dyn FactsAndOption, invalid: Invalid) -> ControlFlow<()> {
        if strategy.optional() {
            self.audit.emit(&AuditEvent::CredentialPassedOver {
                strategy: strategy.name(),
                invalid: &invalid,
            });
            return ControlFlow::Continue(());
        }
        self.refuse(Refusal::Invalid {
            strategy: strategy.name(),
            challenge: strategy.challenge(Some(&invalid)),
            invalid,
        })
    }

    fn refuse(&mut self, refusal: Refusal) -> ControlFlow<()> {
        self.tally.refusal = Some(refusal);
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
