//! Keys that are there, and keys that have to be fetched.

use std::{ops::Deref, sync::Arc, time::SystemTime};

use super::{CryptoProvider, KeyError, KeySet, TokenConfigError};
use super::{RemoteKeys, remote::Asked};
use crate::clock::Clock;

/// The keys of one issuer: a [`Key`](super::Key), several, a [`KeySet`], or [`RemoteKeys`].
#[derive(Clone, Debug)]
pub struct Keys(Where);

#[derive(Clone, Debug)]
enum Where {
    Here(Result<Arc<KeySet>, KeyError>),
    There(RemoteKeys),
}

/// The keys as they are now.
pub(super) enum Current<'k> {
    Here(&'k KeySet),
    There(Arc<KeySet>),
}

impl Deref for Current<'_> {
    type Target = KeySet;

    fn deref(&self) -> &KeySet {
        match self {
            Self::Here(keys) => keys,
            Self::There(keys) => keys,
        }
    }
}

impl Keys {
    pub(super) fn fixed(set: Result<KeySet, KeyError>) -> Self {
        Self(Where::Here(set.map(Arc::new)))
    }

    pub(super) fn remote(keys: RemoteKeys) -> Self {
        Self(Where::There(keys))
    }

    /// `None` where they have to be waited for, or where `build()` has told that there are none.
    #[cfg_attr(
        not(feature = "jwt"),
        expect(unused_variables, reason = "fixed keys don't grow old")
    )]
    pub(super) fn current(&self, now: SystemTime) -> Option<Current<'_>> {
        match &self.0 {
            Where::Here(keys) => keys.as_deref().ok().map(Current::Here),
            Where::There(keys) => keys.current(now).map(Current::There),
        }
    }

    /// Whether a key that is not there may come.
    pub(super) fn can_grow(&self) -> bool {
        matches!(self.0, Where::There(_))
    }

    /// The keys after they were fetched, as far as that is allowed for this token.
    pub(super) async fn asked(&self) -> Asked {
        match &self.0 {
            Where::Here(set) => Asked {
                keys: set.as_ref().ok().cloned(),
                result: Ok(()),
            },
            Where::There(keys) => keys.asked().await,
        }
    }

    #[cfg_attr(
        not(feature = "jwt"),
        expect(unused_variables, reason = "fixed keys don't grow old")
    )]
    pub(super) fn use_clock(&self, clock: &Arc<dyn Clock>) {
        match &self.0 {
            Where::Here(_) => {}
            Where::There(keys) => keys.use_clock(clock),
        }
    }

    /// The issuer that the keys are discovered from.
    pub(super) fn discovered_from(&self) -> Option<&str> {
        match &self.0 {
            Where::Here(_) => None,
            Where::There(keys) => keys.discovered_from(),
        }
    }

    pub(super) fn validate(&self, provider: CryptoProvider) -> Result<(), TokenConfigError> {
        match &self.0 {
            Where::Here(set) => Ok(set.as_ref().map_err(Clone::clone)?.check(provider)?),
            Where::There(keys) => keys.validate(),
        }
    }
}
