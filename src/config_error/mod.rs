//! The errors of a wrong configuration, which `build()` returns.
//!
//! They are plain data, and know nothing of the rooms that report them.

use thiserror::Error;

#[cfg(feature = "jwt")]
mod algorithm;
#[cfg(feature = "jwt")]
mod key;
#[cfg(feature = "jwt")]
mod token;
#[cfg(feature = "jwt")]
mod url;

#[cfg(feature = "jwt")]
pub use self::{algorithm::Algorithm, key::KeyError, token::TokenConfigError, url::UrlProblem};
use crate::context::IdError;

/// Why a layer could not be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is neither a strategy nor a fallback: every request would be refused.
    #[error("the layer has no strategy and no fallback, so it would refuse every request")]
    NoStrategy,
    /// There are more strategies than one list may have.
    #[error("the list has {count} strategies and may have {limit}")]
    TooManyStrategies {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A header name that HTTP doesn't allow.
    #[error("`{name}` is not a header name")]
    HeaderName {
        /// The name, as it was given.
        name: String,
    },
    /// A network that is neither an address nor a CIDR range.
    #[error("`{network}` is not an address or a network such as 10.0.0.0/8")]
    Network {
        /// The network, as it was given.
        network: String,
    },
    /// A list of trusted networks with nothing in it.
    #[error("the list of trusted proxies is empty, so no header would be trusted")]
    NoNetwork,
    /// A network that has nearly every address in it: wider than `10.0.0.0/8` or `fc00::/7`, the
    /// widest private ones, by itself or together with its neighbours in the list.
    #[error(
        "`{network}` has too many addresses; to trust every peer, use \
         `dangerously_trust_any_peer()`"
    )]
    EveryAddress {
        /// The network, joined with its neighbours.
        network: String,
    },
    /// A network with bits beyond its prefix: one of the two is not what is meant.
    #[error(
        "`{network}` is an address and not a network: is `{meant}` meant, or `{network}` alone?"
    )]
    HostBits {
        /// The network, as it was given.
        network: String,
        /// The network without the bits beyond its prefix.
        meant: String,
    },
    /// A secret that can be guessed: a header's, or the key that user ids are hashed with.
    #[error("the secret has {len} bytes and needs at least {min}")]
    WeakSecret {
        /// How long it is, in bytes.
        len: usize,
        /// How long it has to be, in bytes.
        min: usize,
    },
    /// A shared secret that is longer than what is compared.
    #[error("the secret has {len} bytes and may have {max}")]
    LongSecret {
        /// How long it is, in bytes.
        len: usize,
        /// How long it may be, in bytes.
        max: usize,
    },
    /// A list of shared secrets with nothing in it.
    #[error("the list of shared secrets is empty, so no header would be trusted")]
    NoSecret,
    /// One header is to carry two shared secrets at once.
    #[error(
        "the header `{name}` can't have two secrets at once; to accept either, use \
         `shared_secrets(\"{name}\", [new, old])`"
    )]
    SecretsApart {
        /// The header's name.
        name: String,
    },
    /// A secret that no header can carry: with white space around it, or characters that
    /// are not visible ASCII.
    #[error("the secret has characters that a header can't carry")]
    UnsendableSecret,
    /// A header that HTTP itself, or every credential, uses (RFC 9110).
    #[error("`{name}` has a meaning of its own and can't be an identity header")]
    HeaderReserved {
        /// The header's name.
        name: String,
    },
    /// One header name serves two purposes of one strategy.
    #[error("the header `{name}` is used for two purposes")]
    HeaderReused {
        /// The header's name.
        name: String,
    },
    /// A cookie name that RFC 6265 doesn't allow, or that is percent-encoded where it is written.
    #[error("`{name}` is not a cookie name")]
    CookieName {
        /// The name, as it was given.
        name: String,
    },
    /// A cookie that is to be signed or encrypted twice.
    #[error(
        "the cookie is signed or encrypted twice; to accept an older key, use `also_accept(key)`"
    )]
    CookieSealedTwice,
    /// A key for a cookie that is neither signed nor encrypted.
    #[error("`also_accept(key)` needs `signed(key)` or `encrypted(key)`")]
    CookieKeyWithoutUse,
    /// A cookie key that is not 64 random bytes.
    #[error("the cookie key is not 64 random bytes: it is shorter, zeroes or a repeated word")]
    WeakCookieKey,
    /// One cookie key was given twice.
    #[error("the same cookie key was given twice")]
    CookieKeyReused,
    /// A session strategy that reads nothing of the session, or an empty key.
    #[error("the session strategy has no key to read, or an empty one")]
    NoSessionKey,
    /// The name of a scheme, a cookie, a header, a query parameter or a sub-protocol is empty or not a
    /// token (RFC 9110 section 5.6.2), or it is a header that another credential or HTTP itself needs.
    #[cfg(any(feature = "api-keys", feature = "jwt"))]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "api-keys", feature = "jwt"))))]
    #[error(
        "no token can be in a scheme, cookie, header, parameter or sub-protocol named `{name}`"
    )]
    TokenSource {
        /// The name, as it was given.
        name: String,
    },
    /// The prefix of API keys is empty, longer than 32 bytes, has a byte that is not an ASCII letter, a
    /// digit, `-` or `_`, or ends with `_`.
    #[cfg(feature = "api-keys")]
    #[cfg_attr(docsrs, doc(cfg(feature = "api-keys")))]
    #[error("`{prefix}` can't be the prefix of an API key")]
    ApiKeyPrefix {
        /// The prefix, as it was given.
        prefix: String,
    },
    /// A name or an id in the configuration is not valid.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A parameter of a challenge is empty, has characters that it can't have (RFC 6750 section 3), or is
    /// not a URL where one is needed.
    #[error("the challenge's `{parameter}` is empty or has characters that it can't have")]
    Challenge {
        /// The parameter's name.
        parameter: &'static str,
    },
    /// Where browsers log in is neither a path nor an `http` or `https` URL, or it has a fragment.
    #[error("`{url}` is not a path or a URL to which a browser can be redirected")]
    LoginUrl {
        /// The URL, as it was given.
        url: String,
    },
    /// A time limit of zero, which nothing can meet.
    #[error("a time limit of zero can't be met")]
    ZeroTimeLimit,
    /// The name of a [`Limit`](crate::limit::Limit) that is empty, longer than 64 bytes, or has
    /// characters other than letters, digits, `-`, `_` and `.`.
    #[cfg(feature = "limit")]
    #[cfg_attr(docsrs, doc(cfg(feature = "limit")))]
    #[error("`{name}` is not the name of a limit: 1 to 64 letters, digits, `-`, `_` or `.`")]
    LimitName {
        /// The name, as it was given.
        name: String,
    },
    /// Two limits of one layer have the same name.
    #[cfg(feature = "limit")]
    #[cfg_attr(docsrs, doc(cfg(feature = "limit")))]
    #[error("two limits have the name `{name}`")]
    LimitReused {
        /// The name.
        name: String,
    },
    /// A limit that no request can be within, or a rate of more than one request each nanosecond.
    #[cfg(feature = "limit")]
    #[cfg_attr(docsrs, doc(cfg(feature = "limit")))]
    #[error("the limit `{name}` allows no request, or more than one each nanosecond")]
    LimitQuota {
        /// The name of the limit.
        name: String,
    },
    /// The configuration of a [`Jwt`](crate::jwt::Jwt) is wrong.
    #[cfg(feature = "jwt")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
    #[error(transparent)]
    Token(#[from] TokenConfigError),
    /// An error of an application's own strategy.
    #[error("{0}")]
    Custom(String),
}
