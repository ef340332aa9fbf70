//! Where one strategy looks for its token.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, request::Parts};

use super::TokenSource;
use crate::{
    config_error::ConfigError,
    outcome::{InvalidError, InvalidErrorKind, Presence},
    stripped::Stripped,
};

/// All places where a strategy looks for its token. A request has at most one.
#[derive(Clone, Debug)]
pub(crate) struct TokenPlaces(Vec<TokenSource>);

impl TokenPlaces {
    pub(crate) fn new(source: TokenSource) -> Self {
        Self(vec![source])
    }

    pub(crate) fn add(&mut self, source: TokenSource) {
        self.0.push(source);
    }

    /// Returns the only token of the request; a second one is an error.
    pub(crate) fn token<'h>(&self, head: &'h Parts) -> Result<Option<Cow<'h, str>>, InvalidError> {
        let mut token = None;
        for source in &self.0 {
            source.find(head, &mut |found| match token.replace(found) {
                None => Ok(()),
                Some(_) => Err(InvalidErrorKind::Repeated.into()),
            })?;
        }
        Ok(token)
    }

    /// Returns whether there is a token in one of the places, valid or not.
    pub(crate) fn presence(&self, head: &Parts) -> Presence {
        self.0.iter().any(|source| source.is_present(head)).into()
    }

    /// Returns the headers that the places are in; `None` if one is not in a header.
    pub(crate) fn headers(&self) -> Option<Vec<HeaderName>> {
        self.0.iter().map(TokenSource::header_name).collect()
    }

    /// Hides the token from the inner service; see [`TokenSource::scrub`].
    pub(crate) fn scrub(
        &self,
        head: &mut Parts,
        believed: bool,
        stripped: &mut dyn FnMut(Stripped<'_>),
    ) {
        for source in &self.0 {
            source.scrub(head, believed, stripped);
        }
    }

    /// Returns the challenge of the first scheme of `Authorization` among the places: for `Bearer`, with
    /// the error of RFC 6750 section 3.1.
    pub(crate) fn challenge(&self, refused: Option<&InvalidError>) -> Option<HeaderValue> {
        let scheme = self.0.iter().find_map(TokenSource::scheme)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return HeaderValue::from_str(scheme).ok();
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

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.0.iter().try_for_each(TokenSource::validate)
    }
}
