//! Whose identity headers are believed.

use std::fmt;

use http::{HeaderName, request::Parts};

use self::condition::Condition;
use crate::{
    config_error::ConfigError,
    strategy::{Untrusted, strip_alike},
    stripped::{Stripped, UntrustedReason},
};

mod condition;
#[cfg(feature = "proxies")]
mod networks;
#[cfg(feature = "proxies")]
mod secrets;

/// Which senders of a header are trusted: those that meet all of its conditions.
///
/// [`TrustedHeader`](crate::TrustedHeader) has it built in. A strategy of your own that reads a header
/// which a proxy sets uses it for the same three things: [`check`](Self::check) the sender before the
/// header is read, [`strip`](Self::strip) the headers of others, and
/// [`validate`](Self::validate) the configuration. Where only the header's *value* needs reading of
/// its own, [`TrustedHeader::read_with`](crate::TrustedHeader::read_with) is enough.
///
/// ```
/// use std::future::Ready;
/// use http::{HeaderName, request::Parts};
/// use tower_user_scope::{
///     ConfigError, Identity, MaybeFuture, Outcome, UserId,
///     strategy::{Presence, Strategy, Stripped, Trust},
/// };
///
/// const USER: HeaderName = HeaderName::from_static("x-remote-user");
///
/// struct RemoteUser {
///     trust: Trust,
/// }
///
/// impl Strategy for RemoteUser {
///     type Future = Ready<Outcome>;
///
///     fn name(&self) -> &'static str {
///         "remote_user"
///     }
///
///     fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future> {
///         let sent = head.headers.get(USER).filter(|_| self.trust.check(head).is_ok());
///         MaybeFuture::Ready(match sent.map(|value| value.to_str().unwrap_or("").parse()) {
///             None => Outcome::Absent,
///             Some(Ok::<UserId, _>(user)) => Identity::asserted(user).into(),
///             Some(Err(error)) => Outcome::Invalid(error.into()),
///         })
///     }
///
///     fn presence(&self, head: &Parts) -> Presence {
///         head.headers.contains_key(USER).into()
///     }
///
///     fn scrub(&self, head: &mut Parts, believed: bool, stripped: &mut dyn FnMut(Stripped<'_>)) {
///         self.trust.strip(head, &[USER], believed, stripped);
///     }
///
///     fn validate(&self) -> Result<(), ConfigError> {
///         self.trust.validate()
///     }
/// }
///
/// let strategy = RemoteUser { trust: Trust::proxies(["10.0.0.0/8"])? };
/// # let _ = strategy;
/// # Ok::<(), ConfigError>(())
/// ```
#[must_use]
pub struct Trust {
    conditions: Vec<Condition>,
}

impl Trust {
    /// Trusts peers whose address is in one of these networks; see
    /// [`TrustedHeader::from_proxies`](crate::TrustedHeader::from_proxies).
    ///
    /// # Errors
    /// [`ConfigError::Network`] for a text that is not a network, [`ConfigError::NoNetwork`] for an empty
    /// list, [`ConfigError::EveryAddress`] for a network that has every address in it.
    #[cfg(feature = "proxies")]
    #[cfg_attr(docsrs, doc(cfg(feature = "proxies")))]
    pub fn proxies<I>(networks: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        Ok(Self::of(Condition::proxies(networks)?))
    }

    /// Trusts requests that have one of these secrets in the header `name`, which is always removed;
    /// see [`TrustedHeader::shared_secrets`](crate::TrustedHeader::shared_secrets).
    #[cfg(feature = "proxies")]
    #[cfg_attr(docsrs, doc(cfg(feature = "proxies")))]
    pub fn shared_secrets<I>(name: impl AsRef<str>, secrets: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let secrets = secrets.into_iter();
        let secrets = secrets.map(|secret| secrecy::SecretString::from(secret.into()));
        Self::of(Condition::secrets(
            crate::strategy::header_name(name),
            secrets,
        ))
    }

    /// Trusts requests that meet a condition of the application, such as a client certificate.
    pub fn only_if(condition: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self::of(Condition::predicate(condition))
    }

    fn of(condition: Condition) -> Self {
        Self {
            conditions: vec![condition],
        }
    }

    /// Trusts every peer: the start of a list of conditions.
    pub(super) fn anyone() -> Self {
        Self {
            conditions: Vec::new(),
        }
    }

    /// Trusts only senders that meet these conditions too.
    pub fn and(mut self, other: Self) -> Self {
        self.conditions.extend(other.conditions);
        self
    }

    /// Checks the sender of a request. Call it before anything is read of the header.
    ///
    /// # Errors
    /// Returns the first condition that does not hold.
    #[inline]
    pub fn check(&self, head: &Parts) -> Result<(), UntrustedReason> {
        self.conditions
            .iter()
            .try_for_each(|condition| condition.check(head))
    }

    /// As [`check`](Self::check), with what an operator compares.
    #[cold]
    pub(super) fn explain(&self, head: &Parts) -> Result<(), Untrusted<'_>> {
        let mut conditions = self.conditions.iter();
        conditions.try_for_each(|condition| condition.explain(head))
    }

    /// Removes these headers unless `believed` is true, names that a CGI-style upstream treats as
    /// equal to one of them, and the secrets' headers. Calls `stripped` for each but the secrets.
    ///
    /// For [`Strategy::scrub`](crate::strategy::Strategy::scrub).
    pub fn strip(
        &self,
        head: &mut Parts,
        names: &[HeaderName],
        believed: bool,
        stripped: &mut dyn FnMut(Stripped<'_>),
    ) {
        for name in names {
            strip_alike(head, name, believed, |head| self.explain(head), stripped);
        }
        for name in self.secret_headers() {
            // Sending the secret is right, so its removal is not reported.
            strip_alike(head, name, false, |_| Ok(()), &mut |_| {});
        }
    }

    /// Returns the names of the headers that have a secret.
    pub fn secret_headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.conditions.iter().filter_map(Condition::secret_header)
    }

    /// Checks the configuration. For
    /// [`Strategy::validate`](crate::strategy::Strategy::validate).
    ///
    /// # Errors
    /// Returns what is wrong with a condition: a secret that is too short, two secrets in one header.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for condition in &self.conditions {
            condition.validate()?;
        }
        let names: Vec<&HeaderName> = self.secret_headers().collect();
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                return Err(ConfigError::SecretsApart {
                    name: name.to_string(),
                });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.conditions).finish()
    }
}
