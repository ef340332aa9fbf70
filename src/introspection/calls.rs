//! The calls of the endpoint, and what is remembered of their answers.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::Semaphore;

use super::{answer::Refusal, endpoint::Discovered, under_way::UnderWay};
use crate::{
    clock::Moment,
    strategy::{InvalidError, Outcome},
    token::{Confirmed, ConfirmedIdentities, Fingerprint, TokenCache, VerdictCache, Weighed},
};

/// What is known of a token after a call.
pub(super) type Answered = Result<Arc<Confirmed>, Refusal>;

#[derive(Debug)]
pub(super) struct Calls {
    period: Duration,
    good: ConfirmedIdentities,
    /// Apart, so that a sender of many bad tokens does not evict good ones.
    bad: VerdictCache<Refused>,
    pub(super) under_way: UnderWay<Answered>,
    pub(super) permits: Semaphore,
    pub(super) discovered: Discovered,
}

/// A token that was found bad.
#[derive(Debug)]
struct Refused {
    invalid: InvalidError,
    asked: Moment,
}

impl Weighed for Refused {
    fn size(&self) -> usize {
        0
    }
}

impl Calls {
    /// How long a bad token is remembered at most.
    const BAD_PERIOD: Duration = Duration::from_secs(10);
    const BAD_LIMITS: TokenCache = TokenCache::new().max_entries(1_000).max_bytes(1 << 20);

    pub(super) fn new(period: Duration, limits: TokenCache, at_once: usize) -> Self {
        Self {
            period,
            good: ConfirmedIdentities::new("introspection", period, limits),
            bad: VerdictCache::new("introspection", Self::BAD_LIMITS),
            under_way: UnderWay::new(),
            permits: Semaphore::new(at_once),
            discovered: Discovered::new(),
        }
    }

    /// Returns what is remembered of a token.
    pub(super) fn remembered(&self, token: &Fingerprint, now: SystemTime) -> Option<Outcome> {
        let outcome = self.outcome(token, now);
        if !self.period.is_zero() {
            self.good.count(outcome.is_some());
        }
        outcome
    }

    fn outcome(&self, token: &Fingerprint, now: SystemTime) -> Option<Outcome> {
        if let Some(identity) = self.good.get(token, now) {
            return Some(identity.into());
        }
        let refused = self.bad.get(token)?;
        if refused.asked.elapsed(Moment::at(now)) < self.period.min(Self::BAD_PERIOD) {
            return Some(refused.invalid.clone().into());
        }
        self.bad.remove(token);
        None
    }

    /// Remembers what came of a call that began at this moment. That the endpoint gave no answer is
    /// not remembered.
    pub(super) fn remember(&self, token: Fingerprint, asked: Moment, answered: &Answered) {
        if self.period.is_zero() {
            return;
        }
        match answered {
            Ok(confirmed) => self.good.insert(token, Arc::clone(confirmed)),
            Err(Refusal::Invalid(invalid)) => {
                let invalid = invalid.clone();
                self.bad.insert(token, Arc::new(Refused { invalid, asked }));
            }
            Err(Refusal::Unavailable(_)) => {}
        }
    }
}
