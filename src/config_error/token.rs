//! The error of a wrong configuration of `jwt::Jwt`; public as `jwt::TokenConfigError`.

use thiserror::Error;

use super::{KeyError, UrlProblem};

/// What is wrong with the configuration of a [`Jwt`](crate::jwt::Jwt), returned by `build()`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokenConfigError {
    /// Neither `aws-lc-rs` nor `rust-crypto` is on, and no provider was given.
    #[error(
        "no crypto provider: turn on the feature `aws-lc-rs` or `rust-crypto`, or give \
         one with `Jwt::crypto_provider`"
    )]
    NoCryptoProvider,
    /// Both `aws-lc-rs` and `rust-crypto` are on.
    #[error(
        "the features `aws-lc-rs` and `rust-crypto` are both on: choose one with \
         `Jwt::crypto_provider`"
    )]
    SeveralCryptoProviders,
    /// A key can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An issuer or an audience is the empty string.
    #[error("an issuer or an audience is empty")]
    EmptyName,
    /// There is no issuer, or two are of the same name.
    #[error("there is no issuer, or two have the same name")]
    Issuers,
    /// Several issuers, and nothing that tells one's users from another's.
    #[error(
        "two issuers may use the same id for different users: tell them apart with \
         `tenant_claim(\"iss\")` or `identity(..)`, or call `issuers_share_users()`"
    )]
    SameUsers,
    /// The claim has an empty name, or is one that is never text, such as `exp`.
    #[error("the claim `{name}` can't contain an id, an audience, a scope or a role")]
    ClaimName {
        /// The name, as it was given.
        name: String,
    },
    /// A claim is required without any value, or with an empty one.
    #[error("the claim `{name}` is required without any value, or with an empty one")]
    NoClaimValue {
        /// The name, as it was given.
        name: String,
    },
    /// The leeway is longer than five minutes.
    #[error("the leeway is longer than five minutes")]
    LongLeeway,
    /// The URL of a key set or an issuer can't be one.
    #[error("the URL `{url}` is not fetched: {problem}")]
    Url {
        /// The URL, without user name, password and query.
        url: String,
        /// What is wrong with it.
        problem: UrlProblem,
    },
    /// Tokens of one issuer are accepted, and keys are discovered from another: no token would
    /// ever be verified. Names are compared exactly: one slash more is another name.
    #[error("tokens of `{issuer}` are accepted, and keys are discovered from `{discovered}`")]
    OtherIssuer {
        /// The issuer whose tokens are accepted.
        issuer: String,
        /// The issuer whose keys are fetched.
        discovered: String,
    },
    /// The intervals of a remote key set don't fit each other: each has to be longer than zero,
    /// and keys have to be kept for at least as long as the time between two refreshes.
    #[error("the remote key set's intervals don't fit each other")]
    Intervals,
    /// The HTTPS client could not be created.
    #[error("the HTTPS client could not be created: {0}")]
    Client(String),
}
