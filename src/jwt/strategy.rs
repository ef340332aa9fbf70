//! [`Jwt`] as a [`Strategy`]: finds the token of a request and resolves it.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, request::Parts};

use super::{HasAudience, HasIssuer, Jwt, TokenErrorKind, settings::Verification};
use crate::{
    clock::Clock,
    config_error::ConfigError,
    maybe_future::MaybeFuture,
    strategy::{InvalidError, Outcome, OutcomeFuture, Presence, Strategy, Stripped},
    token::{fingerprint, looks_like_jwt},
};

impl Strategy for Jwt<HasIssuer, HasAudience> {
    type Future = OutcomeFuture;

    fn name(&self) -> &'static str {
        "jwt"
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<OutcomeFuture> {
        let settings = &self.settings;
        let token = match settings.places.token(head) {
            Ok(Some(token)) => token,
            Ok(None) => return MaybeFuture::Ready(Outcome::Absent),
            Err(invalid) => return MaybeFuture::Ready(invalid.into()),
        };
        if settings.leaves_other_tokens && !looks_like_jwt(token.as_bytes()) {
            return MaybeFuture::Ready(Outcome::Absent);
        }
        if token.len() > settings.max_len {
            let limit = settings.max_len;
            return MaybeFuture::Ready(Outcome::Invalid(TokenErrorKind::TooLong { limit }.into()));
        }
        let fingerprint = settings.cache.is_some().then(|| fingerprint(&token));
        let now = settings.clock.now();
        if let Some(verdict) = settings.cached_verdict(fingerprint.as_ref(), now) {
            return settings.check_revocation(verdict);
        }
        match settings.verify(&token, now) {
            Ok(Verification::Complete(verdict)) => {
                settings.cache_verdict(fingerprint, &verdict);
                settings.check_revocation(verdict)
            }
            Ok(Verification::KeyMissing { issuer }) => {
                let (settings, token) = (Arc::clone(settings), token.into_owned());
                MaybeFuture::Future(OutcomeFuture::new(async move {
                    settings
                        .verify_after_fetch(&token, &issuer, fingerprint)
                        .await
                }))
            }
            Err(invalid) => MaybeFuture::Ready(invalid.into()),
        }
    }

    fn presence(&self, head: &Parts) -> Presence {
        self.settings.places.presence(head)
    }

    fn headers(&self) -> Option<Vec<HeaderName>> {
        self.settings.places.headers()
    }

    fn scrub(&self, head: &mut Parts, believed: bool, stripped: &mut dyn FnMut(Stripped<'_>)) {
        self.settings.places.scrub(head, believed, stripped);
    }

    fn challenge(&self, refused: Option<&InvalidError>) -> Option<HeaderValue> {
        self.settings.places.challenge(refused)
    }

    fn use_clock(&mut self, clock: &Arc<dyn Clock>) {
        // Another clock starts with an empty cache.
        if !Arc::ptr_eq(&self.settings.clock, clock) {
            self.settings_mut().use_clock(clock);
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.settings.places.validate()?;
        Ok(self.settings.validate()?)
    }
}
