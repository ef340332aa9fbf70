//! An identity header that is believed only from somewhere.
//!
//! RFC 9110 knows no such header: it is a contract between a proxy and a service, and worth
//! exactly what keeps everybody else from sending it.

use std::{fmt, future::Ready, marker::PhantomData};

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use super::{InvalidError, InvalidErrorKind, Outcome, Presence, Strategy, header_name};
use crate::{
    config_error::ConfigError,
    context::{IdErrorKind, IdRules, Identity},
    header_set::HeaderSet,
    maybe_future::MaybeFuture,
    stripped::{Stripped, UntrustedReason},
};

mod strip;
mod trust;

use self::{
    strip::{fold_alike, strip_alike},
    trust::{Condition, Distrust},
};

/// Takes the user's id from a header that a trusted proxy set.
///
/// It is no strategy until it says whom it trusts; each thing that is said has to hold. From
/// the safest to the least safe:
///
/// 1. `from_proxies(..)` *and* `shared_secret(..)`: the right address and the right secret.
/// 2. `from_proxies(..)`: the peer's address is in one of these networks.
/// 3. `shared_secret(..)` alone: whoever knows the secret is believed.
/// 4. [`only_if`](Self::only_if): what the application checks, such as a client certificate.
/// 5. [`dangerously_trust_any_peer`](Self::dangerously_trust_any_peer): anybody can be anybody.
///
/// From anybody else the header is removed before the inner service sees it, and an audit event
/// says so; so are names that a CGI-style upstream would fold into it (`x_user_id`), and the
/// header itself wherever it is not what identified the request. Where no server says the
/// peer's address, nobody is trusted by address.
///
/// No identity is read from trailers, which are a part of the body. A request that announces one
/// of these names in its `Trailer` field (RFC 9110 section 6.6.2) is refused with 400. One that
/// sends such a trailer without announcing it reaches the inner service with it, unless its body
/// is wrapped in a [`WithoutTrailers`](crate::middleware::WithoutTrailers).
///
/// A value that comes twice, as a comma-separated list, empty, or not as UTF-8 is
/// [`InvalidError`], equal or not. Optional white space around it is no part of it (RFC 9110
/// section 5.5).
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
    name: Result<HeaderName, ConfigError>,
    tenant: Option<Result<HeaderName, ConfigError>>,
    conditions: Vec<Condition>,
    rules: IdRules,
    /// All names of this strategy, of which most headers have none.
    wanted: HeaderSet,
    _trust: PhantomData<T>,
}

/// Removing these would break the request, or take another credential away.
const RESERVED: &[HeaderName] = &[
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A [`TrustedHeader`] that has not said yet whom it trusts.
#[derive(Debug)]
pub struct WantsTrust {
    _private: (),
}

/// A [`TrustedHeader`] that has said whom it trusts.
#[derive(Debug)]
pub struct Trusting {
    _private: (),
}

impl TrustedHeader {
    /// Names the header; a name that HTTP doesn't allow is an error of `build()`.
    #[must_use]
    pub fn new(name: impl AsRef<str>) -> Self {
        Self {
            name: header_name(name),
            tenant: None,
            conditions: Vec::new(),
            rules: IdRules::new(),
            wanted: HeaderSet::NONE,
            _trust: PhantomData,
        }
    }
}

impl<T> TrustedHeader<T> {
    /// Takes the user's tenant from this header, where it is there; it is believed and removed
    /// together with the user's.
    #[must_use]
    pub fn tenant_header(mut self, name: impl AsRef<str>) -> Self {
        self.tenant = Some(header_name(name));
        self.gathered()
    }

    /// Checks ids by other rules than [`IdRules::new`].
    #[must_use]
    pub fn id_rules(mut self, rules: IdRules) -> Self {
        self.rules = rules;
        self
    }

    /// Believes peers whose address is in one of these networks: `10.0.0.0/8`, `fd00::/8`, or
    /// a single address.
    ///
    /// The address is that of the connection ([`PeerAddr`](crate::PeerAddr), axum's
    /// `ConnectInfo`, tonic's `TcpConnectInfo`), never one from a header.
    ///
    /// # Errors
    /// [`ConfigError::Network`] for what is no network, [`ConfigError::NoNetwork`] for an empty
    /// list, [`ConfigError::EveryAddress`] for a network that has every address in it.
    #[cfg(feature = "proxies")]
    #[cfg_attr(docsrs, doc(cfg(feature = "proxies")))]
    pub fn from_proxies<I>(self, networks: I) -> Result<TrustedHeader<Trusting>, ConfigError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        Ok(self.trusting(Some(Condition::proxies(networks)?)))
    }

    /// Believes requests that carry this secret in the header `name`, which is always removed.
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
    /// Two `TrustedHeader`s of one header, with a secret each, are no substitute: the one that
    /// does not believe a request removes the header and reports it.
    #[cfg(feature = "proxies")]
    #[cfg_attr(docsrs, doc(cfg(feature = "proxies")))]
    pub fn shared_secrets<I>(self, name: impl AsRef<str>, secrets: I) -> TrustedHeader<Trusting>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let secrets = secrets.into_iter();
        let secrets = secrets.map(|secret| secrecy::SecretString::from(secret.into()));
        let condition = Condition::secrets(header_name(name), secrets);
        self.trusting(Some(condition))
    }

    /// Believes requests that meet a condition of the application's.
    pub fn only_if(
        self,
        condition: impl Fn(&Parts) -> bool + Send + Sync + 'static,
    ) -> TrustedHeader<Trusting> {
        self.trusting(Some(Condition::predicate(condition)))
    }

    /// Believes everybody: whoever can reach this service can be any user.
    ///
    /// Right only where nothing but a proxy that removes the header can open a connection, such
    /// as on a Unix socket, where there is no address to check.
    pub fn dangerously_trust_any_peer(self) -> TrustedHeader<Trusting> {
        self.trusting(None)
    }

    fn trusting(mut self, condition: Option<Condition>) -> TrustedHeader<Trusting> {
        self.conditions.extend(condition);
        self.gathered()
    }

    /// Those that it is told the user, the tenant and secrets by.
    fn names(&self) -> impl Iterator<Item = &HeaderName> {
        let names = self.name.iter().chain(self.tenant_name());
        names.chain(self.conditions.iter().filter_map(Condition::secret_header))
    }

    fn gathered<U>(self) -> TrustedHeader<U> {
        TrustedHeader {
            wanted: self.names().fold(HeaderSet::NONE, HeaderSet::and),
            name: self.name,
            tenant: self.tenant,
            conditions: self.conditions,
            rules: self.rules,
            _trust: PhantomData,
        }
    }

    /// Whether it is a header that the identity is read from.
    fn is_own(&self, sent: &HeaderName) -> bool {
        self.name.as_ref() == Ok(sent) || self.tenant_name() == Some(sent)
    }

    #[cold]
    fn strip(&self, head: &mut Parts, believed: bool, stripped: &mut dyn FnMut(Stripped<'_>)) {
        let user = self.name.as_ref().ok();
        for name in user.into_iter().chain(self.tenant_name()) {
            let explain = |head: &Parts| self.explain(head);
            strip_alike(head, name, believed, explain, stripped);
        }
        for name in self.conditions.iter().filter_map(Condition::secret_header) {
            // The secret is nothing wrong to send, and nothing for the inner service to see.
            strip_alike(head, name, false, |_| Ok(()), &mut |_| {});
        }
    }

    fn tenant_name(&self) -> Option<&HeaderName> {
        self.tenant.as_ref()?.as_ref().ok()
    }

    #[inline]
    fn trust(&self, head: &Parts) -> Result<(), UntrustedReason> {
        self.conditions
            .iter()
            .try_for_each(|condition| condition.check(head))
    }

    #[cold]
    fn explain(&self, head: &Parts) -> Result<(), Distrust<'_>> {
        let mut conditions = self.conditions.iter();
        conditions.try_for_each(|condition| condition.explain(head))
    }

    #[inline]
    fn identity(&self, head: &Parts, name: &HeaderName) -> Result<Option<Identity>, InvalidError> {
        let user = Sent::of(&head.headers, name);
        let tenant = match self.tenant_name() {
            Some(name) => Sent::of(&head.headers, name),
            None => Sent::Nothing,
        };
        // Nothing is read of a header before its sender is trusted.
        let sent = !matches!((&user, &tenant), (Sent::Nothing, Sent::Nothing));
        if !sent || self.trust(head).is_err() {
            return Ok(None);
        }
        let Some(user) = user.text()? else {
            // A tenant, and no user in it.
            return Err(InvalidErrorKind::Malformed.into());
        };
        let identity = Identity::asserted(self.rules.user_id(user)?);
        match tenant.text()? {
            Some(tenant) => Ok(Some(identity.with_tenant_id(self.rules.tenant_id(tenant)?))),
            None => Ok(Some(identity)),
        }
    }
}

/// How often a header was sent.
enum Sent<'a> {
    Nothing,
    Once(&'a HeaderValue),
    Repeatedly,
}

impl<'a> Sent<'a> {
    #[inline]
    fn of(headers: &'a HeaderMap, name: &HeaderName) -> Self {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Nothing,
            (Some(value), None) => Self::Once(value),
            (Some(_), Some(_)) => Self::Repeatedly,
        }
    }

    #[inline]
    fn text(&self) -> Result<Option<&'a str>, InvalidError> {
        let value = match self {
            Self::Nothing => return Ok(None),
            Self::Once(value) => value,
            Self::Repeatedly => return Err(InvalidErrorKind::Repeated.into()),
        };
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b',';
        match value.to_str() {
            Ok(text) if !text.is_empty() && text.as_bytes().iter().all(is_plain) => Ok(Some(text)),
            _ => Self::unusual_text(value).map(Some),
        }
    }

    #[cold]
    fn unusual_text(value: &HeaderValue) -> Result<&str, InvalidError> {
        let text = std::str::from_utf8(value.as_bytes())
            .map_err(|error| InvalidError::new(InvalidErrorKind::NotText).with_source(error))?;
        let text = text.trim_matches([' ', '\t']);
        if text.is_empty() {
            return Err(InvalidErrorKind::Id(IdErrorKind::Empty).into());
        }
        // Recipients may join field lines with commas (RFC 9110 section 5.3), so a comma can be
        // two values.
        if text.contains(',') {
            return Err(InvalidErrorKind::Repeated.into());
        }
        Ok(text)
    }
}

impl Strategy for TrustedHeader<Trusting> {
    type Future = Ready<Outcome>;

    fn name(&self) -> &'static str {
        "trusted_header"
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future> {
        let outcome = match &self.name {
            Ok(name) => match self.identity(head, name) {
                Ok(Some(identity)) => identity.into(),
                Ok(None) => Outcome::Absent,
                Err(invalid) => invalid.into(),
            },
            Err(_) => Outcome::Absent,
        };
        MaybeFuture::Ready(outcome)
    }

    fn presence(&self, head: &Parts) -> Presence {
        let is_ours = |sent: &HeaderName| {
            let user = self.name.as_ref().ok();
            let mut names = user.into_iter().chain(self.tenant_name());
            names.any(|name| fold_alike(name, sent))
        };
        head.headers.keys().any(is_ours).into()
    }

    fn headers(&self) -> Option<Vec<HeaderName>> {
        Some(self.names().cloned().collect())
    }

    #[inline]
    fn scrub(&self, head: &mut Parts, believed: bool, stripped: &mut dyn FnMut(Stripped<'_>)) {
        let may_go =
            |sent: &HeaderName| self.wanted.may_have(sent) && !(believed && self.is_own(sent));
        if head.headers.keys().any(may_go) {
            self.strip(head, believed, stripped);
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let mut names = vec![self.name.as_ref()];
        names.extend(self.tenant.as_ref().map(Result::as_ref));
        let mut secret_headers: Vec<&HeaderName> = Vec::new();
        for condition in &self.conditions {
            condition.validate()?;
            secret_headers.extend(condition.secret_header());
        }
        for (at, name) in secret_headers.iter().enumerate() {
            if secret_headers[..at].contains(name) {
                return Err(ConfigError::SecretsApart {
                    name: name.to_string(),
                });
            }
        }
        names.extend(secret_headers.into_iter().map(Ok));
        let mut known: Vec<&HeaderName> = Vec::new();
        for name in names {
            let name = name.map_err(Clone::clone)?;
            if RESERVED.contains(name) {
                return Err(ConfigError::HeaderReserved {
                    name: name.to_string(),
                });
            }
            if known.iter().any(|other| fold_alike(other, name)) {
                return Err(ConfigError::HeaderReused {
                    name: name.to_string(),
                });
            }
            known.push(name);
        }
        Ok(())
    }
}

impl<T> fmt::Debug for TrustedHeader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustedHeader")
            .field("name", &self.name)
            .field("tenant", &self.tenant)
            .field("conditions", &self.conditions)
            .finish_non_exhaustive()
    }
}
