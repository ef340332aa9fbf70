//! The keys of an issuer, fixed or fetched.

use std::{ops::Deref, sync::Arc, time::SystemTime};

use super::{CryptoProvider, KeyError, KeySet, RemoteKeys, TokenConfigError, remote::Refreshed};
use crate::clock::Clock;

/// The keys of one issuer: a [`Key`](super::Key), several, a [`KeySet`], or [`RemoteKeys`].
#[derive(Clone, Debug)]
pub struct Keys(KeySource);

#[derive(Clone, Debug)]
enum KeySource {
    Fixed(Result<Arc<KeySet>, KeyError>),
    Remote(RemoteKeys),
}

/// The keys that are loaded.
pub(super) enum CurrentKeys<'k> {
    Fixed(&'k KeySet),
    Remote(Arc<KeySet>),
}

impl Deref for CurrentKeys<'_> {
    type Target = KeySet;

    fn deref(&self) -> &KeySet {
        match self {
            Self::Fixed(keys) => keys,
            Self::Remote(keys) => keys,
        }
    }
}

impl Keys {
    pub(super) fn fixed(set: Result<KeySet, KeyError>) -> Self {
        Self(KeySource::Fixed(set.map(Arc::new)))
    }

    pub(super) fn remote(keys: RemoteKeys) -> Self {
        Self(KeySource::Remote(keys))
    }

    /// Returns the keys; `None` if they have to be fetched first.
    pub(super) fn current(&self, now: SystemTime) -> Option<CurrentKeys<'_>> {
        match &self.0 {
            KeySource::Fixed(keys) => keys.as_deref().ok().map(CurrentKeys::Fixed),
            KeySource::Remote(keys) => keys.current(now).map(CurrentKeys::Remote),
        }
    }

    /// Whether a fetch may bring new keys.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self.0, KeySource::Remote(_))
    }

    /// Returns the keys after a fetch, unless one was made a moment ago.
    pub(super) async fn refreshed(&self) -> Refreshed {
        match &self.0 {
            KeySource::Fixed(set) => Refreshed {
                keys: set.as_ref().ok().cloned(),
                result: Ok(()),
            },
            KeySource::Remote(keys) => keys.refreshed().await,
        }
    }

    pub(super) fn use_clock(&self, clock: &Arc<dyn Clock>) {
        match &self.0 {
            KeySource::Fixed(_) => {}
            KeySource::Remote(keys) => keys.use_clock(clock),
        }
    }

    /// Returns the issuer whose metadata names the keys.
    pub(super) fn discovered_from(&self) -> Option<&str> {
        match &self.0 {
            KeySource::Fixed(_) => None,
            KeySource::Remote(keys) => keys.discovered_from(),
        }
    }

    pub(super) fn validate(&self, provider: CryptoProvider) -> Result<(), TokenConfigError> {
        match &self.0 {
            KeySource::Fixed(set) => Ok(set.as_ref().map_err(Clone::clone)?.check(provider)?),
            KeySource::Remote(keys) => keys.validate(),
        }
    }
}
