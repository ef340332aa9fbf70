//! Whom a header is believed from.

use std::{fmt, sync::Arc};

use http::{HeaderName, request::Parts};

#[cfg(feature = "proxies")]
use crate::peer::peer_ip;
use crate::{config_error::ConfigError, strategy::Predicate, stripped::Untrusted};

#[cfg(feature = "proxies")]
mod networks;

pub(super) enum Condition {
    #[cfg(feature = "proxies")]
    Proxies(networks::Networks),
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
        networks::Networks::new(networks).map(Self::Proxies)
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

    #[inline]
    pub(super) fn check(&self, head: &Parts) -> Result<(), Untrusted> {
        match self {
            #[cfg(feature = "proxies")]
            Self::Proxies(networks) => {
                let peer = peer_ip(&head.extensions).ok_or(Untrusted::UnknownPeer)?;
                let listed = networks.contains(peer);
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

    #[cfg_attr(
        not(feature = "shared-secret"),
        expect(clippy::unnecessary_wraps, reason = "only a secret can be wrong")
    )]
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        match self {
            #[cfg(feature = "shared-secret")]
            Self::Secret { header, secret } => {
                use secrecy::ExposeSecret;

                header.as_ref().map_err(Clone::clone)?;
                // What a header can't carry, or a server trims, never matches.
                let text = secret.expose_secret();
                if text.trim() != text || http::HeaderValue::from_str(text).is_err() {
                    return Err(ConfigError::UnsendableSecret);
                }
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
