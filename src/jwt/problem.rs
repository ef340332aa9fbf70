//! What can be wrong with a token, and with what is to verify it.

use std::borrow::Cow;

use thiserror::Error;

use super::Algorithm;
use crate::context::IdError;

/// Why a token was refused, without the values that were compared, which
/// [`TokenError`](super::TokenError) has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokenErrorKind {
    /// It is longer than is looked at.
    #[error("the token has more than {limit} bytes")]
    #[non_exhaustive]
    TooLong {
        /// How many bytes are looked at.
        limit: usize,
    },
    /// It is not three parts of strict base64url (RFC 7515 section 7.1), or the header is no
    /// JSON object with unique members.
    #[error("the token is not a signed JWT in compact form")]
    Malformed,
    /// The header has `crit`, or `b64`: nothing that may be critical is understood (RFC 7515
    /// section 4.1.11, RFC 7797).
    #[error("the token has a critical header parameter")]
    CriticalHeader,
    /// The header's `alg` is none that is ever accepted, such as `none`.
    #[error("the token's algorithm is not supported")]
    UnsupportedAlgorithm,
    /// The key is not for the header's `alg`.
    #[error("the token's key is not for its algorithm")]
    WrongAlgorithm,
    /// The header's `typ` is not the one that was asked for (RFC 8725 section 3.11).
    #[error("the token is of another type")]
    WrongType,
    /// No key has the header's `kid`, or none is for its `alg`.
    #[error("no key is known for the token")]
    UnknownKey,
    /// The header has no `kid` and more than one key could be meant.
    #[error("more than one key could be meant by the token")]
    AmbiguousKey,
    /// The signature is not the key's over this token.
    #[error("the token's signature is wrong")]
    Signature,
    /// The payload is not a JSON object in UTF-8 (RFC 7519 section 7.2) with unique members.
    #[error("the token's claims are malformed")]
    Claims,
    /// A claim that has to be there is not, or is `null`.
    #[error("the token has no claim `{0}`")]
    MissingClaim(Cow<'static, str>),
    /// A claim that is read has another type than it needs: `iss`, and what names a user, tenant,
    /// thread or run, are strings; `aud` is a string or an array of strings.
    #[error("the token's claim `{0}` is not of the type that it needs")]
    ClaimType(Cow<'static, str>),
    /// A time is not a number, or not one of seconds between the years 1970 and 9999 (RFC 7519
    /// section 2); milliseconds are beyond that.
    #[error("the token's claim `{0}` is not a number of seconds between the years 1970 and 9999")]
    NumericDate(&'static str),
    /// The claim for the user's id is a number: whether `7`, `7.0` and `"7"` are one user is for
    /// the application to decide, by [`identity`](super::Jwt::identity).
    #[error("the token's claim `{0}` is a number: say by `Jwt::identity` which user it is")]
    NumericId(Cow<'static, str>),
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` is none of the issuers.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// `aud` names none of the audiences.
    #[error("the token is for another audience")]
    WrongAudience,
    /// The claim for an id holds none.
    #[error("a claim of the token holds an id that is none: {0}")]
    Id(#[source] IdError),
    /// The claims are not the application's type.
    #[error("the token's claims are not of the application's type")]
    ApplicationClaims,
    /// Only the holder of a key may use it (`cnf`, RFC 7800), which no bearer is known to be.
    #[error("the token is bound to a key, and nothing shows that its sender has it")]
    SenderConstrained,
    /// The revocation check knows the token.
    #[error("the token was revoked")]
    Revoked,
}

impl TokenErrorKind {
    /// One lower-case word that stays the same, for metrics and for the audit event.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "token_too_long",
            Self::Malformed => "token_malformed",
            Self::CriticalHeader => "token_critical_header",
            Self::UnsupportedAlgorithm => "token_unsupported_algorithm",
            Self::WrongAlgorithm => "token_wrong_algorithm",
            Self::WrongType => "token_wrong_type",
            Self::UnknownKey => "token_unknown_key",
            Self::AmbiguousKey => "token_ambiguous_key",
            Self::Signature => "token_signature",
            Self::Claims => "token_claims",
            Self::MissingClaim(_) => "token_missing_claim",
            Self::ClaimType(_) => "token_claim_type",
            Self::NumericDate(_) => "token_numeric_date",
            Self::NumericId(_) => "token_numeric_id",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::WrongIssuer => "token_wrong_issuer",
            Self::WrongAudience => "token_wrong_audience",
            Self::Id(_) => "token_id",
            Self::ApplicationClaims => "token_application_claims",
            Self::SenderConstrained => "token_sender_constrained",
            Self::Revoked => "token_revoked",
        }
    }
}

/// Why a key can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It can't be read: no PEM, DER or JWK of the kind that its algorithm needs.
    #[error("the key can't be read as one for {algorithm}")]
    #[non_exhaustive]
    Unreadable {
        /// The algorithm that it was meant for.
        algorithm: Algorithm,
    },
    /// The text is no JSON Web Key, or no set of them (RFC 7517).
    #[error("the text is not a JSON Web Key or a set of them")]
    NotJwk,
    /// A member of a JWK that is needed is missing, or is not what RFC 7517 or 7518 says.
    #[error("the JWK's member `{0}` is missing or malformed")]
    Member(&'static str),
    /// A certificate was given for a key. Whether it is trusted and has not ended is not checked
    /// here, so it is not taken for the key that it holds.
    #[error(
        "a certificate is not checked here: give the public key that it holds (`openssl x509 \
         -pubkey -noout`)"
    )]
    Certificate,
    /// A private key was given, which a service that only verifies must not have. One that is
    /// published belongs to everybody.
    #[error("a private key doesn't belong here: give its public key (`openssl pkey -pubout`)")]
    PrivateKey,
    /// A secret is in a set that is published, so it is not a secret.
    #[error("a secret that is published is not a secret")]
    PublishedSecret,
    /// A JWK is of a type, curve or algorithm that is not supported.
    #[error("the JWK is of a kind that is not supported")]
    Unsupported,
    /// A JWK is for something else than verifying: its `use` or `key_ops` says so.
    #[error("the JWK is not for verifying signatures")]
    NotForVerifying,
    /// A JWK's own algorithm is for another kind of key, or another of the JWK's parameters
    /// doesn't fit it.
    #[error("the JWK's parameters don't fit each other")]
    Mismatched,
    /// An HMAC secret is shorter than the hash (RFC 7518 section 3.2).
    #[error("the secret has {len} bytes and {algorithm} needs at least {least}")]
    #[non_exhaustive]
    ShortSecret {
        /// The algorithm.
        algorithm: Algorithm,
        /// How long it is, in bytes.
        len: usize,
        /// How long it has to be, in bytes.
        least: usize,
    },
    /// An HMAC secret that is long enough and can be guessed: a short piece over and over, such as
    /// zeros, a count, fewer than six different bytes, or one that a document shows.
    #[error("the secret can be guessed: make one of random bytes")]
    GuessableSecret,
    /// An RSA modulus of fewer than 2,048 bits (RFC 7518 section 3.3), or of more than 8,192 or
    /// than the crypto provider verifies with.
    #[error("the RSA key has {bits} bits and needs 2048 to {most}")]
    #[non_exhaustive]
    RsaSize {
        /// How many it has.
        bits: usize,
        /// How many it may have.
        most: usize,
    },
    /// An RSA modulus whose factors are found at once: it is even, has another small factor, or
    /// two that are close together.
    #[error("the RSA key's modulus can be factored")]
    RsaModulus,
    /// An RSA exponent that is even, below 65,537, or longer than 32 bits.
    #[error("the RSA key's public exponent is not safe")]
    RsaExponent,
    /// An RSA key made by a generator whose keys can be factored (CVE-2017-15361, ROCA).
    #[error("the RSA key is of a family that can be factored (ROCA)")]
    RsaRoca,
    /// A point that is not on the curve of the algorithm, or not written in the one way that
    /// RFC 8032 section 5.1.3 allows.
    #[error("the key is not a point on the curve of {0}")]
    NotOnCurve(Algorithm),
    /// An Ed25519 key of small order, for which anybody can write signatures.
    #[error("the key is a point of small order, for which anybody can sign")]
    SmallOrder,
    /// Algorithms of different kinds for one key.
    #[error("{0} is for another kind of key")]
    OtherFamily(Algorithm),
    /// Two different keys of one set have the same id and the same algorithm.
    #[error("two different keys of one set have the same key id and algorithm")]
    DuplicateKeyId,
    /// Secrets and public keys in one set: a public key might be taken for a secret.
    #[error("a set can't have both secrets and public keys")]
    MixedKeys,
    /// More keys without an id for one algorithm than are tried.
    #[error("more than {limit} keys without an id are for {algorithm}")]
    #[non_exhaustive]
    TooManyWithoutId {
        /// The algorithm.
        algorithm: Algorithm,
        /// How many are tried.
        limit: usize,
    },
    /// More keys than a set may have, which is this many.
    #[error("the set has more than {0} keys")]
    TooManyKeys(usize),
    /// A set has no key that can be used.
    #[error("the set has no key that can be used")]
    NoKey,
}

/// What is wrong with the configuration of a [`Jwt`](super::Jwt); told by `build()`.
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
    #[error("each issuer has to be named once")]
    Issuers,
    /// Several issuers, and nothing that tells one's users from another's.
    #[error(
        "a user of one issuer would be another issuer's of the same id: tell them apart with \
         `tenant_claim(\"iss\")` or `identity(..)`, or say `issuers_share_users()`"
    )]
    SameUsers,
    /// A claim that is no string, or has no name, can't hold an id.
    #[error("the claim `{name}` can't hold an id")]
    ClaimName {
        /// The name, as it was given.
        name: String,
    },
    /// The name of a cookie, a query parameter or a sub-protocol is empty or not a token
    /// (RFC 9110 section 5.6.2).
    #[error("`{name}` can't be where a token is found")]
    SourceName {
        /// The name, as it was given.
        name: String,
    },
    /// The leeway is longer than five minutes.
    #[error("a leeway of more than five minutes keeps expired tokens alive")]
    LongLeeway,
    /// The URL of a key set or an issuer can't be one.
    #[error("the URL `{url}` can't be fetched from: {problem}")]
    Url {
        /// The URL, without user name, password and query.
        url: String,
        /// What is wrong with it.
        problem: super::UrlProblem,
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
    /// The HTTPS client could not be made.
    #[error("the HTTPS client could not be made: {0}")]
    Client(String),
}
