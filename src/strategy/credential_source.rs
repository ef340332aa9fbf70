//! Where a closure's credential is.

use std::{fmt, sync::Arc};

use http::{HeaderName, request::Parts};

use super::{Predicate, Presence, header_name};
use crate::config_error::ConfigError;

/// Where the credential of a closure is in a request, so that the list can tell whether one was sent
/// whatever the closure returns.
#[derive(Clone)]
pub struct CredentialSource {
    place: Place,
    /// Whether the closure is skipped for requests without the header.
    skip_without: bool,
}

#[derive(Clone)]
enum Place {
    Header(Result<HeaderName, ConfigError>),
    Predicate(Predicate),
}

impl CredentialSource {
    /// A header of this name. A name that HTTP doesn't allow is an error
    /// of `build()`.
    pub fn header(name: impl AsRef<str>) -> Self {
        Self::at(Place::Header(header_name(name)))
    }

    /// As [`header`](Self::header), and skips the closure for requests without the header, which is
    /// faster. For closures that return [`Outcome::Absent`](crate::Outcome::Absent) for all of them.
    #[must_use]
    pub fn only_header(name: impl AsRef<str>) -> Self {
        Self {
            skip_without: true,
            ..Self::header(name)
        }
    }

    /// A value of this type in the request's extensions.
    #[must_use]
    pub fn extension<T: Send + Sync + 'static>() -> Self {
        Self::predicate(|head| head.extensions.get::<T>().is_some())
    }

    /// Whatever this predicate finds in a request.
    pub fn predicate(sent: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self::at(Place::Predicate(Arc::new(sent)))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            skip_without: false,
        }
    }

    pub(super) fn headers(&self) -> Option<Vec<HeaderName>> {
        match &self.place {
            Place::Header(Ok(name)) if self.skip_without => Some(vec![name.clone()]),
            _ => None,
        }
    }

    pub(super) fn presence(&self, head: &Parts) -> Presence {
        match &self.place {
            Place::Header(name) => name
                .as_ref()
                .is_ok_and(|name| head.headers.contains_key(name))
                .into(),
            Place::Predicate(sent) => sent(head).into(),
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        match &self.place {
            Place::Header(Err(error)) => Err(error.clone()),
            Place::Header(Ok(_)) | Place::Predicate(_) => Ok(()),
        }
    }
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Header(name) => f.debug_tuple("Header").field(name).finish(),
            Place::Predicate(_) => f.write_str("Predicate(..)"),
        }
    }
}
