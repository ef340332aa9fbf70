//! A view of a strategy of any type.

use std::time::Duration;

use http::{HeaderName, HeaderValue, request::Parts};

use super::{InvalidError, Presence, Strategy, Stripped};
use crate::config_error::ConfigError;

/// The methods of [`Strategy`] that don't depend on its future, so that lists can visit strategies of
/// any type.
pub trait Facts {
    fn name(&self) -> &'static str;
    fn presence(&self, head: &Parts) -> Presence;
    fn headers(&self) -> Option<Vec<HeaderName>>;
    fn scrub(&self, head: &mut Parts, believed: bool, stripped: &mut dyn FnMut(Stripped<'_>));
    fn challenge(&self, refused: Option<&InvalidError>) -> Option<HeaderValue>;
    fn validate(&self) -> Result<(), ConfigError>;
    fn reads_existing_context(&self) -> bool;
    fn time_limit(&self) -> Option<Duration>;
}

impl<S: Strategy> Facts for S {
    fn name(&self) -> &'static str {
        Strategy::name(self)
    }

    fn presence(&self, head: &Parts) -> Presence {
        Strategy::presence(self, head)
    }

    fn headers(&self) -> Option<Vec<HeaderName>> {
        Strategy::headers(self)
    }

    fn scrub(&self, head: &mut Parts, believed: bool, stripped: &mut dyn FnMut(Stripped<'_>)) {
        Strategy::scrub(self, head, believed, stripped);
    }

    fn challenge(&self, refused: Option<&InvalidError>) -> Option<HeaderValue> {
        Strategy::challenge(self, refused)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        Strategy::validate(self)
    }

    fn reads_existing_context(&self) -> bool {
        Strategy::reads_existing_context(self)
    }

    fn time_limit(&self) -> Option<Duration> {
        Strategy::time_limit(self)
    }
}
