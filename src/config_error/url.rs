//! The error of a URL that is not fetched; public as `jwt::UrlProblem`.

use thiserror::Error;

/// What is wrong with the URL of a key set or an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UrlProblem {
    /// It is not an absolute URL with a host.
    #[error("it is not an absolute URL")]
    NotAUrl,
    /// It is not `https`: otherwise an attacker on the network could replace the keys. Plain `http` is
    /// for loopback addresses only, and never where an `https` issuer's metadata says so.
    #[error("it is not an https URL; plain http is for loopback only")]
    NotHttps,
    /// It has a user name or a password (RFC 3986 section 3.2.1), which would be logged.
    #[error("it has a user name or a password")]
    UserInfo,
    /// It has a query, which an issuer's identifier can't have (RFC 8414 section 2).
    #[error("an issuer's URL has no query")]
    Query,
    /// It has a fragment, which no server gets to see.
    #[error("it has a fragment")]
    Fragment,
    /// It has a placeholder in braces, such as `{tenantid}`, that was not replaced.
    #[error("it has a placeholder in braces")]
    Placeholder,
    /// The metadata of an `https` issuer names an IP address or `localhost` that is not its own
    /// host: such a request would reach what only this machine can reach.
    #[error("it names an internal host that is not the issuer's own")]
    InternalHost,
}
