//! One condition on the sender of a header.

use std::{fmt, sync::Arc};

use http::{HeaderName, request::Parts};

#[cfg(feature = "proxies")]
use super::{networks::Networks, secrets::Secrets};
#[cfg(feature = "proxies")]
use crate::peer::peer_ip;
use crate::{
    config_error::ConfigError,
    strategy::{Predicate, Untrusted},
    stripped::UntrustedReason,
};

pub(super) enum Condition {
    #[cfg(feature = "proxies")]
    Proxies(Networks),
    #[cfg(feature = "proxies")]
    Secrets(Secrets),
    Predicate(Predicate),
}

impl Condition {
    #[cfg(feature = "proxies")]
    pub(super) fn proxies<I>(networks: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        Networks::new(networks).map(Self::Proxies)
    }

    #[cfg(feature = "proxies")]
    pub(super) fn secrets(
        header: Result<HeaderName, ConfigError>,
        secrets: impl Iterator<Item = secrecy::SecretString>,
    ) -> Self {
        Self::Secrets(Secrets::new(header, secrets))
    }

    pub(super) fn predicate(holds: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self::Predicate(Arc::new(holds))
    }

    #[inline]
    pub(super) fn check(&self, head: &Parts) -> Result<(), UntrustedReason> {
        match self {
            #[cfg(feature = "proxies")]
            Self::Proxies(networks) => {
                let peer = peer_ip(&head.extensions).ok_or(UntrustedReason::UnknownPeer)?;
                let listed = networks.contains(peer);
                listed.then_some(()).ok_or(UntrustedReason::PeerNotListed)
            }
            #[cfg(feature = "proxies")]
            Self::Secrets(secrets) => secrets.check(head),
            Self::Predicate(holds) => holds(head).then_some(()).ok_or(UntrustedReason::Condition),
        }
    }

    /// As [`check`](Self::check), with what an operator compares.
    pub(super) fn explain(&self, head: &Parts) -> Result<(), Untrusted<'_>> {
        self.check(head).map_err(|reason| Untrusted {
            reason,
            wanted: match self {
                #[cfg(feature = "proxies")]
                Self::Proxies(networks) => Some(networks.shown()),
                _ => None,
            },
        })
    }

    pub(super) fn secret_header(&self) -> Option<&HeaderName> {
        match self {
            #[cfg(feature = "proxies")]
            Self::Secrets(secrets) => secrets.header(),
            _ => None,
        }
    }

    #[cfg_attr(
        not(feature = "proxies"),
        expect(clippy::unnecessary_wraps, reason = "only a secret can be wrong")
    )]
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        match self {
            #[cfg(feature = "proxies")]
            Self::Secrets(secrets) => secrets.validate(),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "proxies")]
            Self::Proxies(networks) => f.debug_tuple("Proxies").field(networks).finish(),
            #[cfg(feature = "proxies")]
            Self::Secrets(secrets) => secrets.fmt(f),
            Self::Predicate(_) => f.write_str("Predicate(..)"),
        }
    }
}
