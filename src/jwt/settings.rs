//! What was said of a [`Jwt`](super::Jwt), and how a token fares by it.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::request::Parts;

use super::{
    CryptoProvider, JwtFuture, KeySet, TokenConfigError, TokenErrorKind, TokenSource,
    cache::{Fingerprint, Remembered},
    identify::Identify,
    issuer::Rules,
    revocation::{Revocation, admitted},
    verify::{Checks, Refused, Unverified, Verdict},
};
use super::{FetchError, remote::Asked};
use crate::strategy::{Outcome, UnavailableError};
use crate::{
    clock::Clock,
    maybe_future::MaybeFuture,
    strategy::{InvalidError, InvalidErrorKind},
};

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) issuers: Vec<Rules>,
    pub(super) sources: Vec<TokenSource>,
    pub(super) identify: Identify,
    /// Whether one id is one user, whichever issuer says it.
    pub(super) share_users: bool,
    pub(super) accept_bound: bool,
    pub(super) token_type: Option<Cow<'static, str>>,
    pub(super) leeway: Duration,
    pub(super) longest: usize,
    pub(super) provider: Option<CryptoProvider>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) revocation: Revocation,
    pub(super) remembered: Option<Arc<Remembered>>,
}

impl Settings {
    const MAX_LEEWAY: Duration = Duration::from_secs(300);

    fn provider(&self) -> Result<CryptoProvider, TokenConfigError> {
        self.provider.map_or_else(CryptoProvider::only_one, Ok)
    }

    pub(super) fn use_clock(&mut self, clock: &Arc<dyn Clock>) {
        self.clock = Arc::clone(clock);
        for rules in &self.issuers {
            rules.keys.use_clock(clock);
        }
    }

    pub(super) fn validate(&self) -> Result<(), TokenConfigError> {
        let provider = self.provider()?;
        if self.leeway > Self::MAX_LEEWAY {
            return Err(TokenConfigError::LongLeeway);
        }
        for (index, rules) in self.issuers.iter().enumerate() {
            rules.validate()?;
            rules.keys.validate(provider)?;
            rules.validate_discovery()?;
            let others = &self.issuers[index + 1..];
            if others.iter().any(|other| other.name == rules.name) {
                return Err(TokenConfigError::Issuers);
            }
        }
        if self.issuers.is_empty() {
            return Err(TokenConfigError::Issuers);
        }
        self.identify.validate()?;
        if self.issuers.len() > 1 && !self.share_users && !self.identify.tells_issuers_apart() {
            return Err(TokenConfigError::SameUsers);
        }
        self.sources.iter().try_for_each(TokenSource::validate)
    }

    /// The only token of the request.
    pub(super) fn token<'h>(&self, head: &'h Parts) -> Result<Option<Cow<'h, str>>, InvalidError> {
        let mut token = None;
        for source in &self.sources {
            source.find(head, &mut |found| match token.replace(found) {
                None => Ok(()),
                Some(_) => Err(InvalidErrorKind::Repeated.into()),
            })?;
        }
        Ok(token)
    }

    /// What was found out about the token before, where that still holds.
    pub(super) fn recall(
        &self,
        fingerprint: Option<&Fingerprint>,
        now: SystemTime,
    ) -> Option<Arc<Verdict>> {
        let (remembered, fingerprint) = (self.remembered.as_ref()?, fingerprint?);
        let verdict = remembered.get(fingerprint)?;
        let keys = self.issuers.get(verdict.issuer)?.keys.current(now)?;
        // The identity ends with the token, or before.
        if keys.holds(&verdict.key) && !verdict.identity.has_ended_by(now) {
            return Some(verdict);
        }
        remembered.remove(fingerprint);
        None
    }

    /// Verifies the token with the keys that are there.
    pub(super) fn verify(&self, token: &str, now: SystemTime) -> Result<Verified, InvalidError> {
        let unverified = Unverified::split(token)?;
        let issuer = unverified.issuer(&self.issuers)?;
        let keys = &self.issuers[issuer].keys;
        let verdict = match keys.current(now) {
            Some(keys) => self.verdict(&unverified, issuer, &keys, now),
            None => Err(Refused::UnknownKey),
        };
        match verdict {
            Err(Refused::UnknownKey) if keys.can_grow() => Ok(Verified::KeysWanted { issuer }),
            verdict => Ok(Verified::Known(Arc::new(verdict?))),
        }
    }

    fn verdict(
        &self,
        unverified: &Unverified<'_>,
        issuer: usize,
        keys: &KeySet,
        now: SystemTime,
    ) -> Result<Verdict, Refused> {
        // Told by `build()` where there is none.
        let provider = self.provider().map_err(|_| TokenErrorKind::UnknownKey)?;
        let signed = unverified.signed_by(keys, provider)?;
        Ok(signed.verdict(&Checks {
            issuers: &self.issuers,
            issuer,
            token_type: self.token_type.as_deref(),
            accept_bound: self.accept_bound,
            revocable: !matches!(self.revocation, Revocation::Nobody),
            leeway: self.leeway.as_secs(),
            now,
            identify: &self.identify,
        })?)
    }

    pub(super) fn remember(&self, fingerprint: Option<Fingerprint>, verdict: &Arc<Verdict>) {
        if let (Some(remembered), Some(fingerprint)) = (&self.remembered, fingerprint) {
            remembered.insert(fingerprint, Arc::clone(verdict));
        }
    }

    /// The token is good; whether it was revoked is asked each time.
    pub(super) fn admit(&self, verdict: Arc<Verdict>) -> MaybeFuture<JwtFuture> {
        match &self.revocation {
            Revocation::Nobody => MaybeFuture::Ready(admitted(&verdict, false)),
            Revocation::Now(is_revoked) => {
                MaybeFuture::Ready(admitted(&verdict, is_revoked(&verdict.token)))
            }
            Revocation::Later(is_revoked) => {
                let answer = is_revoked(verdict.token.clone());
                MaybeFuture::Future(JwtFuture::new(async move {
                    match answer.await {
                        Ok(is_revoked) => admitted(&verdict, is_revoked),
                        Err(unavailable) => unavailable.into(),
                    }
                }))
            }
        }
    }

    /// Goes on with a token whose key is not there yet.
    pub(super) async fn verify_later(
        &self,
        token: &str,
        issuer: usize,
        fingerprint: Option<Fingerprint>,
    ) -> Outcome {
        let unverified = match Unverified::split(token) {
            Ok(unverified) => unverified,
            Err(problem) => return Outcome::Invalid(problem.into()),
        };
        let asked = self.issuers[issuer].keys.asked().await;
        let verdict = match &asked.keys {
            Some(keys) => self.verdict(&unverified, issuer, keys, self.clock.now()),
            None => Err(Refused::UnknownKey),
        };
        let verdict = match (verdict, asked) {
            (Ok(verdict), _) => Arc::new(verdict),
            // Its key may be one that could not be fetched.
            (
                Err(Refused::UnknownKey),
                Asked {
                    result: Err(error), ..
                },
            ) => {
                return UnavailableError::new(error).into();
            }
            (Err(Refused::UnknownKey), Asked { keys: None, .. }) => {
                return UnavailableError::new(FetchError::TimedOut).into();
            }
            (Err(refused), _) => return Outcome::Invalid(refused.into()),
        };
        self.remember(fingerprint, &verdict);
        match self.admit(verdict) {
            MaybeFuture::Ready(outcome) => outcome,
            MaybeFuture::Future(future) => future.await,
        }
    }
}

/// How far a token got without waiting.
pub(super) enum Verified {
    Known(Arc<Verdict>),
    /// Its key is not among those that are there, and may be among those that could be fetched.
    KeysWanted {
        issuer: usize,
    },
}
