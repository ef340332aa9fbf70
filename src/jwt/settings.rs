//! The settings of a [`Jwt`](super::Jwt), and the verification of a token by them.
//!
//! Knows nothing of strategies or requests beyond where the token is.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    CryptoProvider, KeySet, TokenConfigError, TokenErrorKind,
    fetched::{NotVerified, with_fetched_keys, with_loaded_keys},
    identify::Identify,
    issuer::IssuerRules,
    issuers::AcceptedIssuers,
    requirement::Requirement,
    revocation::{Revocation, outcome_of},
    verify::{Checks, Refused, Unverified, Verdict},
};
use crate::{
    clock::Clock,
    maybe_future::MaybeFuture,
    strategy::{InvalidError, Outcome, OutcomeFuture},
    token::{Fingerprint, TokenPlaces, VerdictCache},
};

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) issuers: AcceptedIssuers,
    /// What tokens of every issuer need.
    pub(super) required: Vec<Requirement>,
    pub(super) places: TokenPlaces,
    /// Whether a token that does not look like a JWT is another strategy's.
    pub(super) leaves_other_tokens: bool,
    pub(super) identify: Identify,
    /// Whether the same id from two issuers is the same user.
    pub(super) issuers_share_users: bool,
    pub(super) accept_sender_constrained: bool,
    pub(super) token_type: Option<Cow<'static, str>>,
    pub(super) leeway: Duration,
    pub(super) max_len: usize,
    pub(super) provider: Option<CryptoProvider>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) revocation: Revocation,
    pub(super) cache: Option<Arc<VerdictCache<Verdict>>>,
}

impl Settings {
    const MAX_LEEWAY: Duration = Duration::from_secs(300);

    pub(super) fn provider(&self) -> Result<CryptoProvider, TokenConfigError> {
        self.provider.map_or_else(CryptoProvider::only_one, Ok)
    }

    pub(super) fn use_clock(&mut self, clock: &Arc<dyn Clock>) {
        self.clock = Arc::clone(clock);
        self.issuers.use_clock(clock);
    }

    pub(super) fn validate(&self) -> Result<(), TokenConfigError> {
        let provider = self.provider()?;
        if self.leeway > Self::MAX_LEEWAY {
            return Err(TokenConfigError::LongLeeway);
        }
        self.issuers.validate(provider)?;
        self.required.iter().try_for_each(Requirement::validate)?;
        self.identify.validate()?;
        if self.issuers.are_several()
            && !self.issuers_share_users
            && !self.identify.tells_issuers_apart()
        {
            return Err(TokenConfigError::SameUsers);
        }
        Ok(())
    }

    /// Returns the verdict of an earlier verification, if its key is still in the set and the token
    /// has not ended.
    pub(super) fn cached_verdict(
        &self,
        fingerprint: Option<&Fingerprint>,
        now: SystemTime,
    ) -> Option<Arc<Verdict>> {
        let (cache, fingerprint) = (self.cache.as_ref()?, fingerprint?);
        let verdict = self.usable_verdict(cache, fingerprint, now);
        cache.count(verdict.is_some());
        verdict
    }

    fn usable_verdict(
        &self,
        cache: &VerdictCache<Verdict>,
        fingerprint: &Fingerprint,
        now: SystemTime,
    ) -> Option<Arc<Verdict>> {
        let verdict = cache.get(fingerprint)?;
        let keys = verdict.issuer.keys.current(now);
        let has_key = keys.is_some_and(|keys| keys.contains(&verdict.key));
        if has_key && self.issuers.has(&verdict.issuer) && !verdict.identity.has_ended_by(now) {
            return Some(verdict);
        }
        cache.remove(fingerprint);
        None
    }

    /// Verifies the token with the keys that are loaded.
    pub(super) fn verify(
        &self,
        token: &str,
        now: SystemTime,
    ) -> Result<Verification, InvalidError> {
        let unverified = Unverified::split(token)?;
        let issuer = self.issuers.claimed_by(&unverified)?;
        let verdict = with_loaded_keys(&issuer, now, |keys| {
            self.verdict(&unverified, &issuer, keys, now)
        });
        match verdict {
            Err(Refused::UnknownKey) if issuer.keys.is_remote() => {
                Ok(Verification::KeyMissing { issuer })
            }
            verdict => Ok(Verification::Complete(Arc::new(verdict?))),
        }
    }

    fn verdict(
        &self,
        unverified: &Unverified<'_>,
        issuer: &Arc<IssuerRules>,
        keys: &KeySet,
        now: SystemTime,
    ) -> Result<Verdict, Refused> {
        // `build()` fails without a provider.
        let provider = self.provider().map_err(|_| TokenErrorKind::UnknownKey)?;
        let signed = unverified.signed_by(keys, provider)?;
        Ok(signed.verdict(&Checks {
            issuer,
            required: &self.required,
            token_type: self.token_type.as_deref(),
            accept_sender_constrained: self.accept_sender_constrained,
            revocable: !matches!(self.revocation, Revocation::None),
            leeway: self.leeway.as_secs(),
            now,
            identify: &self.identify,
        })?)
    }

    pub(super) fn cache_verdict(&self, fingerprint: Option<Fingerprint>, verdict: &Arc<Verdict>) {
        if let (Some(cache), Some(fingerprint)) = (&self.cache, fingerprint) {
            cache.insert(fingerprint, Arc::clone(verdict));
        }
    }

    /// Checks whether a verified token was revoked: for each request, also for a cached verdict.
    pub(super) fn check_revocation(&self, verdict: Arc<Verdict>) -> MaybeFuture<OutcomeFuture> {
        match &self.revocation {
            Revocation::None => MaybeFuture::Ready(outcome_of(&verdict, false)),
            Revocation::Sync(is_revoked) => {
                MaybeFuture::Ready(outcome_of(&verdict, is_revoked(&verdict.token)))
            }
            Revocation::Async(is_revoked) => {
                let answer = is_revoked(verdict.token.clone());
                MaybeFuture::Future(OutcomeFuture::new(async move {
                    match answer.await {
                        Ok(is_revoked) => outcome_of(&verdict, is_revoked),
                        Err(unavailable) => unavailable.into(),
                    }
                }))
            }
        }
    }

    /// Waits for a fetch of the keys, and verifies the token with them.
    pub(super) async fn verify_after_fetch(
        &self,
        token: &str,
        issuer: &Arc<IssuerRules>,
        fingerprint: Option<Fingerprint>,
    ) -> Outcome {
        let unverified = match Unverified::split(token) {
            Ok(unverified) => unverified,
            Err(problem) => return Outcome::Invalid(problem.into()),
        };
        let verdict = with_fetched_keys(issuer, |keys| {
            self.verdict(&unverified, issuer, keys, self.clock.now())
        });
        let verdict = match verdict.await {
            Ok(verdict) => Arc::new(verdict),
            Err(NotVerified::Invalid(invalid)) => return invalid.into(),
            Err(NotVerified::Unavailable(unavailable)) => return unavailable.into(),
        };
        self.cache_verdict(fingerprint, &verdict);
        match self.check_revocation(verdict) {
            MaybeFuture::Ready(outcome) => outcome,
            MaybeFuture::Future(future) => future.await,
        }
    }
}

/// What verification without waiting has led to.
pub(super) enum Verification {
    Complete(Arc<Verdict>),
    /// No loaded key fits, and a fetch may bring one that does.
    KeyMissing {
        issuer: Arc<IssuerRules>,
    },
}
