//! [`Jwt`] as a [`Strategy`]: finds the token of a request and resolves it.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, request::Parts};

use super::{
    HasAudience, HasIssuer, Jwt, JwtFuture, TokenErrorKind, TokenSource, cache::VerdictCache,
    settings::Verification,
};
use crate::{
    clock::Clock,
    config_error::ConfigError,
    maybe_future::MaybeFuture,
    strategy::{InvalidError, InvalidErrorKind, Outcome, Presence, Strategy, Stripped},
};

impl Strategy for Jwt<HasIssuer, HasAudience> {
    type Future = JwtFuture;

    fn name(&self) -> &'static str {
        "jwt"
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<JwtFuture> {
        let settings = &self.settings;
        let token = match settings.token(head) {
            Ok(Some(token)) => token,
            Ok(None) => return MaybeFuture::Ready(Outcome::Absent),
            Err(invalid) => return MaybeFuture::Ready(invalid.into()),
        };
        if token.len() > settings.max_len {
            let limit = settings.max_len;
            return MaybeFuture::Ready(Outcome::Invalid(TokenErrorKind::TooLong { limit }.into()));
        }
        let fingerprint = settings
            .cache
            .is_some()
            .then(|| VerdictCache::fingerprint(&token));
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
                MaybeFuture::Future(JwtFuture::new(async move {
                    settings
                        .verify_after_fetch(&token, &issuer, fingerprint)
                        .await
                }))
            }
            Err(invalid) => MaybeFuture::Ready(invalid.into()),
        }
    }

    fn presence(&self, head: &Parts) -> Presence {
        let sources = &self.settings.sources;
        sources.iter().any(|source| source.is_present(head)).into()
    }

    fn headers(&self) -> Option<Vec<HeaderName>> {
        let sources = &self.settings.sources;
        sources.iter().map(TokenSource::header_name).collect()
    }

    fn scrub(&self, head: &mut Parts, believed: bool, stripped: &mut dyn FnMut(Stripped<'_>)) {
        for source in &self.settings.sources {
            source.scrub(head, believed, stripped);
        }
    }

    fn challenge(&self, refused: Option<&InvalidError>) -> Option<HeaderValue> {
        if !self.settings.sources.iter().any(TokenSource::is_bearer) {
            return None;
        }
        Some(HeaderValue::from_static(
            match refused.map(InvalidError::kind) {
                None => "Bearer",
                Some(InvalidErrorKind::Rejected(_) | InvalidErrorKind::Expired) => {
                    "Bearer error=\"invalid_token\""
                }
                Some(_) => "Bearer error=\"invalid_request\"",
            },
        ))
    }

    fn use_clock(&mut self, clock: &Arc<dyn Clock>) {
        self.settings_mut().use_clock(clock);
    }

    fn validate(&self) -> Result<(), ConfigError> {
        Ok(self.settings.validate()?)
    }
}
