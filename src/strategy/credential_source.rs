//! Where the credential of a closure's strategy is, told apart from resolving it.

use std::{fmt, sync::Arc};

use http::{HeaderName, request::Parts};

use super::{Predicate, Presence, header_name};
use crate::config_error::ConfigError;

/// Says where a closure looks for its credential, so that the list knows whether one was sent
/// even if the closure gets it wrong.
#[derive(Clone)]
pub struct CredentialSource {
    place: Place,
    /// Whether the closure has nothing to say where nothing is in its place.
    only: bool,
}

#[derive(Clone)]
enum Place {
    Header(Result<HeaderName, ConfigError>),
    Predicate(Predicate),
}

impl CredentialSource {
    /// The credential is the value of this header. A name that HTTP doesn't allow is an error
    /// of `build()`.
    pub fn header(name: impl AsRef<str>) -> Self {
        Self::at(Place::Header(header_name(name)))
    }

    /// As [`header`](Self::header), and the closure need not be asked about requests that can't
    /// have the header, which is quicker: it has nothing to say of them, and refuses none of them.
    #[must_use]
    pub fn only_header(name: impl AsRef<str>) -> Self {
        Self {
            only: true,
            ..Self::header(name)
        }
    }

    /// The credential is a value of this type in the request's extensions.
    #[must_use]
    pub fn extension<T: Send + Sync + 'static>() -> Self {
        Self::predicate(|head| head.extensions.get::<T>().is_some())
    }

    /// The credential is there where this says so.
    pub fn predicate(sent: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self::at(Place::Predicate(Arc::new(sent)))
    }

    fn at(place: Place) -> Self {
        Self { place, only: false }
    }

    pub(super) fn headers(&self) -> Option<Vec<HeaderName>> {
        match &self.place {
            Place::Header(Ok(name)) if self.only => Some(vec![name.clone()]),
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
