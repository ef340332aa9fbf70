//! The error of a key that can't be used; public as `jwt::KeyError`.

use thiserror::Error;

use super::Algorithm;

/// Why a key can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It is not PEM, DER or a JWK of the kind that its algorithm needs.
    #[error("the key can't be read as one for {algorithm}")]
    #[non_exhaustive]
    Unreadable {
        /// The algorithm that it was meant for.
        algorithm: Algorithm,
    },
    /// The text is not a JSON Web Key or a set of them (RFC 7517).
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
    #[error("the secret can be guessed: use random bytes")]
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
    /// An Ed25519 key of small order, for which signatures can be forged.
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
