//! A [`TrustedHeader`] and its settings. How a request is checked is not known here.

use std::{fmt, marker::PhantomData, sync::Arc};

use http::{HeaderName, request::Parts};

use super::{
    Trust,
    trusted_fields::{ReadIdentity, TrustedFields},
};
use crate::{
    config_error::ConfigError,
    context::{IdRules, Identity},
    header_set::HeaderSet,
    outcome::InvalidError,
    strategy::header_name,
};

/// Takes the user's id from a header that a trusted proxy set.
///
/// It is a [`Strategy`](crate::strategy::Strategy) once it has a condition on the sender. All its
/// conditions have to hold. From the safest to the least safe:
///
/// 1. `from_proxies(..)` *and* `shared_secret(..)`: the right address and the right secret.
/// 2. `from_proxies(..)`: the peer's address is in one of these networks.
/// 3. `shared_secret(..)` alone: every sender that knows the secret is trusted.
/// 4. [`only_if`](Self::only_if): a condition of the application, such as a client certificate.
/// 5. [`dangerously_trust_any_peer`](Self::dangerously_trust_any_peer): every sender can be any user.
///
/// The header of any other sender is removed before the inner service sees it, and an audit event
/// reports that. Removed too are names that a CGI-style upstream treats as equal (`x_user_id`), and
/// the header itself if it did not identify the request. If the peer's address is not known, it is
/// in no network.
///
/// No identity is read from trailers, which are a part of the body. A request that announces one
/// of these names in its `Trailer` field (RFC 9110 section 6.6.2) is refused with 400. One that
/// sends such a trailer without announcing it reaches the inner service with it, unless its body
/// is wrapped in a [`WithoutTrailers`](crate::middleware::WithoutTrailers).
///
/// A value that comes twice, as a comma-separated list, empty, or not as UTF-8 is
/// [`InvalidError`](crate::InvalidError), equal or not. Optional white space around it is ignored
/// (RFC 9110 section 5.5).
///
/// ```
/// use tower_user_scope::TrustedHeader;
///
/// let strategy = TrustedHeader::new("x-user-id")
///     .tenant_header("x-tenant-id")
///     .from_proxies(["10.0.0.0/8", "fd00::/8"])?
///     .shared_secret("x-proxy-secret", "correct horse battery staple");
/// # let _ = strategy;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
///
/// The header proves nothing of itself: its identity is *asserted*. Where a list also has a
/// token or a session, consider [`unanimous`](crate::middleware::LayerBuilder::unanimous), or the header that
/// comes first overrides the credential that was verified.
pub struct TrustedHeader<T = WantsTrust> {
    pub(super) name: Result<HeaderName, ConfigError>,
    pub(super) tenant: Option<Result<HeaderName, ConfigError>>,
    /// More headers, for the closure that reads them.
    pub(super) others: Result<Vec<HeaderName>, ConfigError>,
    pub(super) read: Option<ReadIdentity>,
    pub(super) trust: Trust,
    pub(super) rules: IdRules,
    /// The names of all headers of this strategy.
    pub(super) headers: HeaderSet,
    _trust: PhantomData<T>,
}

/// A [`TrustedHeader`] without a condition on the sender.
#[derive(Debug)]
pub struct WantsTrust {
    _private: (),
}

/// A [`TrustedHeader`] with a condition on the sender.
#[derive(Debug)]
pub struct Trusting {
    _private: (),
}

impl TrustedHeader {
    /// Reads the user's id from this header. A name that HTTP doesn't allow is an error of `build()`.
    #[must_use]
    pub fn new(name: impl AsRef<str>) -> Self {
        Self {
            name: header_name(name),
            tenant: None,
            others: Ok(Vec::new()),
            read: None,
            trust: Trust::anyone(),
            rules: IdRules::new(),
            headers: HeaderSet::NONE,
            _trust: PhantomData,
        }
    }
}

impl<T> TrustedHeader<T> {
    /// Reads the tenant's id from this header, if it is there. It is trusted and removed like the
    /// user's header.
    #[must_use]
    pub fn tenant_header(mut self, name: impl AsRef<str>) -> Self {
        self.tenant = Some(header_name(name));
        self.with_header_set()
    }

    /// Reads the identity with a closure, where the header's value is more than an id: it has to be
    /// decoded, or parts of it count.
    ///
    /// The closure sees the headers of trusted senders only. The header itself still has to be sent
    /// once; its value may be a list. Whatever the closure says, the identity is *asserted*. An error
    /// ends the list, as every invalid credential does.
    ///
    /// ```
    /// use tower_user_scope::{
    ///     ConfigError, Identity, InvalidError, TrustedHeader, UserId, strategy::InvalidErrorKind,
    /// };
    ///
    /// // Google's Identity-Aware Proxy: `accounts.google.com:alice@example.com`.
    /// let strategy = TrustedHeader::new("x-goog-authenticated-user-email")
    ///     .read_with(|fields| {
    ///         let (namespace, email) = fields.text()?.split_once(':').unwrap_or_default();
    ///         if namespace != "accounts.google.com" {
    ///             return Err(InvalidErrorKind::Malformed.into());
    ///         }
    ///         Ok(Identity::asserted(email.parse::<UserId>()?))
    ///     })
    ///     .from_proxies(["35.191.0.0/16", "130.211.0.0/22"])?;
    /// # let _ = strategy;
    /// # Ok::<(), ConfigError>(())
    /// ```
    #[must_use]
    pub fn read_with<F>(mut self, read: F) -> Self
    where
        F: Fn(&TrustedFields<'_>) -> Result<Identity, InvalidError> + Send + Sync + 'static,
    {
        self.read = Some(Arc::new(read));
        self
    }

    /// Lets the closure of [`read_with`](Self::read_with) read this header too, such as one with the
    /// user's groups. It is trusted and removed like the user's header, and is no credential by itself.
    #[must_use]
    pub fn also_header(mut self, name: impl AsRef<str>) -> Self {
        self.others = self.others.and_then(|mut others| {
            others.push(header_name(name)?);
            Ok(others)
        });
        self.with_header_set()
    }

    /// Checks ids by other rules than [`IdRules::new`].
    #[must_use]
    pub fn id_rules(mut self, rules: IdRules) -> Self {
        self.rules = rules;
        self
    }

    /// Trusts peers whose address is in one of these networks: `10.0.0.0/8`, `fd00::/8`, or
    /// a single address.
    ///
    /// The address is that of the connection ([`PeerAddr`](crate::PeerAddr), axum's
    /// `ConnectInfo`, tonic's `TcpConnectInfo`), never one from a header.
    ///
    /// # Errors
    /// [`ConfigError::Network`] for a text that is not a network, [`ConfigError::NoNetwork`] for an empty
    /// list, [`ConfigError::EveryAddress`] for a network that has every address in it.
    #[cfg(feature = "proxies")]
    #[cfg_attr(docsrs, doc(cfg(feature = "proxies")))]
    pub fn from_proxies<I>(self, networks: I) -> Result<TrustedHeader<Trusting>, ConfigError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        Ok(self.trust(Trust::proxies(networks)?))
    }

    /// Trusts requests that have this secret in the header `name`, which is always removed.
    ///
    /// The time that the comparison takes depends neither on the secret nor on its length. A
    /// secret has 16 to 256 bytes of visible ASCII; another one is an error of `build()`.
    #[cfg(feature = "proxies")]
    #[cfg_attr(docsrs, doc(cfg(feature = "proxies")))]
    pub fn shared_secret(
        self,
        name: impl AsRef<str>,
        secret: impl Into<String>,
    ) -> TrustedHeader<Trusting> {
        self.shared_secrets(name, [secret])
    }

    /// As [`shared_secret`](Self::shared_secret), with several secrets of which a request carries
    /// one, so that a secret can be changed while proxies still send the old one.
    ///
    /// ```
    /// use tower_user_scope::TrustedHeader;
    ///
    /// # let (new, old) = ("correct horse battery staple", "the one of last month");
    /// let strategy = TrustedHeader::new("x-user-id").shared_secrets("x-proxy-secret", [new, old]);
    /// # let _ = strategy;
    /// ```
    ///
    /// Two `TrustedHeader`s of one header, with a secret each, don't work instead: the one that
    /// does not accept a request removes the header and reports it.
    #[cfg(feature = "proxies")]
    #[cfg_attr(docsrs, doc(cfg(feature = "proxies")))]
    pub fn shared_secrets<I>(self, name: impl AsRef<str>, secrets: I) -> TrustedHeader<Trusting>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.trust(Trust::shared_secrets(name, secrets))
    }

    /// Trusts requests that meet a condition of the application.
    pub fn only_if(
        self,
        condition: impl Fn(&Parts) -> bool + Send + Sync + 'static,
    ) -> TrustedHeader<Trusting> {
        self.trust(Trust::only_if(condition))
    }

    /// Trusts every peer: each client that can reach this service can be any user.
    ///
    /// Right only where nothing but a proxy that removes the header can open a connection, such
    /// as on a Unix socket, where there is no address to check.
    pub fn dangerously_trust_any_peer(self) -> TrustedHeader<Trusting> {
        self.trust(Trust::anyone())
    }

    /// Trusts senders that meet these conditions: for conditions that several strategies share.
    pub fn trust(mut self, trust: Trust) -> TrustedHeader<Trusting> {
        self.trust = self.trust.and(trust);
        self.with_header_set()
    }

    /// Returns the names of the headers that the identity is read from.
    pub(super) fn own_names(&self) -> impl Iterator<Item = &HeaderName> {
        let names = self.name.iter().chain(self.tenant_name());
        names.chain(self.others.iter().flatten())
    }

    pub(super) fn tenant_name(&self) -> Option<&HeaderName> {
        self.tenant.as_ref()?.as_ref().ok()
    }

    /// Returns the names of all headers, with those of the secrets.
    pub(super) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.own_names().chain(self.trust.secret_headers())
    }

    fn with_header_set<U>(self) -> TrustedHeader<U> {
        TrustedHeader {
            headers: self.names().fold(HeaderSet::NONE, HeaderSet::and),
            name: self.name,
            tenant: self.tenant,
            others: self.others,
            read: self.read,
            trust: self.trust,
            rules: self.rules,
            _trust: PhantomData,
        }
    }
}

impl<T> fmt::Debug for TrustedHeader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustedHeader")
            .field("name", &self.name)
            .field("tenant", &self.tenant)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}
