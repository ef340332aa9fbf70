//! [`Introspection`] as a [`Strategy`].

use std::sync::Arc;

use http::{HeaderName, HeaderValue, request::Parts};

use super::Introspection;
use crate::{
    clock::Clock,
    config_error::ConfigError,
    jwt::{HasAudience, TokenErrorKind},
    maybe_future::MaybeFuture,
    strategy::{InvalidError, Outcome, OutcomeFuture, Presence, Strategy, Stripped},
    token::fingerprint,
};

impl Strategy for Introspection<HasAudience> {
    type Future = OutcomeFuture;

    fn name(&self) -> &'static str {
        "introspection"
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<OutcomeFuture> {
        let settings = &self.settings;
        let token = match settings.places.token(head) {
            Ok(Some(token)) if settings.leaves(&token) => {
                return MaybeFuture::Ready(Outcome::Absent);
            }
            Ok(Some(token)) => token,
            Ok(None) => return MaybeFuture::Ready(Outcome::Absent),
            Err(invalid) => return MaybeFuture::Ready(invalid.into()),
        };
        if token.len() > Self::MAX_LEN {
            let limit = Self::MAX_LEN;
            return MaybeFuture::Ready(Outcome::Invalid(TokenErrorKind::TooLong { limit }.into()));
        }
        let fingerprint = fingerprint(&token);
        let calls = settings.calls();
        if let Some(outcome) = calls.remembered(&fingerprint, settings.clock.now()) {
            return MaybeFuture::Ready(outcome);
        }
        let (settings, token) = (Arc::clone(settings), token.into_owned());
        MaybeFuture::Future(OutcomeFuture::new(async move {
            settings.outcome(fingerprint, token).await
        }))
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
            self.settings_mut().clock = Arc::clone(clock);
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.settings.validate()
    }
}
