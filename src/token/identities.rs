//! Identities whose credential somebody was asked about, until they have to be asked again.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Fingerprint, TokenCache, VerdictCache, Weighed};
use crate::{clock::Moment, context::Identity};

/// An identity that a store or an issuer has confirmed.
#[derive(Debug)]
pub(crate) struct Confirmed {
    pub(crate) identity: Identity,
    /// When the question was asked, and not when the answer came: what is said is not older.
    pub(crate) asked: Moment,
    /// The length of what was said about it, in bytes.
    pub(crate) size: usize,
}

impl Weighed for Confirmed {
    fn size(&self) -> usize {
        self.size
    }
}

/// Remembers confirmed identities for a period, and never beyond their end.
#[derive(Debug)]
pub(crate) struct ConfirmedIdentities {
    identities: VerdictCache<Confirmed>,
    period: Duration,
}

impl ConfirmedIdentities {
    /// Creates one of this name in metrics.
    pub(crate) fn new(name: &'static str, period: Duration, limits: TokenCache) -> Self {
        let identities = VerdictCache::new(name, limits);
        Self { identities, period }
    }

    /// Returns the identity of a credential, if it was confirmed within the period and has not ended.
    pub(crate) fn get(&self, credential: &Fingerprint, now: SystemTime) -> Option<Identity> {
        let confirmed = self.identities.get(credential)?;
        let is_fresh = confirmed.asked.elapsed(Moment::at(now)) < self.period;
        if is_fresh && !confirmed.identity.has_ended_by(now) {
            return Some(confirmed.identity.clone());
        }
        self.identities.remove(credential);
        None
    }

    /// Counts whether a look-up found what could be used.
    pub(crate) fn count(&self, is_hit: bool) {
        self.identities.count(is_hit);
    }

    pub(crate) fn insert(&self, credential: Fingerprint, confirmed: Arc<Confirmed>) {
        self.identities.insert(credential, confirmed);
    }
}
