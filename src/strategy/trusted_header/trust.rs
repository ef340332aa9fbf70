//! Whom a header is believed from.

use std::{fmt, sync::Arc};

use http::{HeaderName, request::Parts};
use thiserror::Error;

#[cfg(feature = "proxies")]
use crate::peer::peer_ip;
use crate::{config_error::ConfigError, strategy::Predicate};

/// Why a header was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Untrusted {
    /// No server said what the peer's address is.
    #[error("the peer's address is not known")]
    UnknownPeer,
    /// The peer's address is in none of the trusted networks.
    #[error("the peer is not a trusted proxy")]
    PeerNotListed,
    /// The shared secret was not sent, or more than once.
    #[error("the shared secret is missing")]
    SecretMissing,
    /// Another secret was sent.
    #[error("the shared secret is not the right one")]
    SecretMismatch,
    /// The application's own condition does not hold.
    #[error("the application's condition does not hold")]
    Condition,
}

pub(super) enum Condition {
    #[cfg(feature = "proxies")]
    Proxies(Vec<ipnet::IpNet>),
    #[cfg(feature = "shared-secret")]
    Secret {
        header: Result<HeaderName, ConfigError>,
        secret: secrecy::SecretString,
    },
    Predicate(Predicate),
}

#[cfg(feature = "shared-secret")]
const MIN_SECRET_LEN: usize = 16;

impl Condition {
    #[cfg(feature = "proxies")]
    pub(super) fn proxies<I>(networks: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let networks = networks
            .into_iter()
            .map(|text| network(text.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        if networks.is_empty() {
            return Err(ConfigError::NoNetwork);
        }
        Ok(Self::Proxies(networks))
    }

    #[cfg(feature = "shared-secret")]
    pub(super) fn secret(
        header: Result<HeaderName, ConfigError>,
        secret: secrecy::SecretString,
    ) -> Self {
        Self::Secret { header, secret }
    }

    pub(super) fn predicate(holds: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self::Predicate(Arc::new(holds))
    }

    pub(super) fn check(&self, head: &Parts) -> Result<(), Untrusted> {
        match self {
            #[cfg(feature = "proxies")]
            Self::Proxies(networks) => {
                let peer = peer_ip(&head.extensions).ok_or(Untrusted::UnknownPeer)?;
                let listed = networks.iter().any(|network| network.contains(&peer));
                listed.then_some(()).ok_or(Untrusted::PeerNotListed)
            }
            #[cfg(feature = "shared-secret")]
            Self::Secret { header, secret } => {
                use secrecy::ExposeSecret;
                use subtle::ConstantTimeEq;

                let header = header.as_ref().map_err(|_| Untrusted::SecretMissing)?;
                let mut sent = head.headers.get_all(header).iter();
                let (Some(value), None) = (sent.next(), sent.next()) else {
                    return Err(Untrusted::SecretMissing);
                };
                let same = value.as_bytes().ct_eq(secret.expose_secret().as_bytes());
                bool::from(same)
                    .then_some(())
                    .ok_or(Untrusted::SecretMismatch)
            }
            Self::Predicate(holds) => holds(head).then_some(()).ok_or(Untrusted::Condition),
        }
    }

    pub(super) fn secret_header(&self) -> Option<&HeaderName> {
        match self {
            #[cfg(feature = "shared-secret")]
            Self::Secret { header, .. } => header.as_ref().ok(),
            _ => None,
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        match self {
            #[cfg(feature = "shared-secret")]
            Self::Secret { header, secret } => {
                use secrecy::ExposeSecret;

                header.as_ref().map_err(Clone::clone)?;
                let len = secret.expose_secret().len();
                if len < MIN_SECRET_LEN {
                    return Err(ConfigError::WeakSecret {
                        len,
                        min: MIN_SECRET_LEN,
                    });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(feature = "proxies")]
fn network(text: &str) -> Result<ipnet::IpNet, ConfigError> {
    let network = text
        .parse::<ipnet::IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from))
        .map_err(|_| ConfigError::Network {
            network: text.to_owned(),
        })?;
    if network.prefix_len() == 0 {
        return Err(ConfigError::EveryAddress {
            network: text.to_owned(),
        });
    }
    Ok(network)
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "proxies")]
            Self::Proxies(networks) => f.debug_tuple("Proxies").field(networks).finish(),
            #[cfg(feature = "shared-secret")]
            Self::Secret { header, .. } => f
                .debug_struct("Secret")
                .field("header", header)
                .field("secret", &"[REDACTED]")
                .finish(),
            Self::Predicate(_) => f.write_str("Predicate(..)"),
        }
    }
}
