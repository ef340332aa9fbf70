//! Nothing is measured.

use std::panic::Location;
#[cfg(feature = "open-scopes")]
use std::time::Duration;
#[cfg(feature = "jwt")]
use std::{fmt, time::SystemTime};

#[cfg(feature = "open-scopes")]
pub(crate) fn revocation_arrived(_: Duration) {}

#[cfg(feature = "open-scopes")]
pub(crate) fn feed_is_connected(_: bool) {}

pub(crate) struct SingletonUses;

impl SingletonUses {
    pub(crate) fn at(_: &'static str, _: &Location<'_>, _: Option<&str>) -> Self {
        Self
    }

    pub(crate) fn of_others(_: &'static str) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "the other implementation has a counter")]
    pub(crate) fn add(&self) {}
}

#[cfg(any(feature = "api-keys", feature = "jwt"))]
pub(crate) struct TokenLookups;

#[cfg(any(feature = "api-keys", feature = "jwt"))]
#[expect(clippy::unused_self, reason = "the other implementation has counters")]
impl TokenLookups {
    pub(crate) const fn new(_: &'static str) -> Self {
        Self
    }

    pub(crate) fn add(&self, _: bool) {}
}

#[cfg(feature = "jwt")]
pub(crate) struct KeySetFetches;

#[cfg(feature = "jwt")]
#[expect(clippy::unused_self, reason = "the other implementation has counters")]
impl KeySetFetches {
    pub(crate) const fn new() -> Self {
        Self
    }

    pub(crate) fn succeeded(&self, _: &dyn fmt::Display, _: SystemTime) {}

    pub(crate) fn failed(&self, _: &dyn fmt::Display) {}
}
