//! The algorithms that a key can be bound to.

use std::fmt;

use jsonwebtoken::{Algorithm as Jwa, AlgorithmFamily};

/// A signature algorithm of RFC 7518 section 3.1 or RFC 8037.
///
/// `none` is not among them, and no option adds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-256; the secret has at least 32 bytes.
    HS256,
    /// HMAC with SHA-384; the secret has at least 48 bytes.
    HS384,
    /// HMAC with SHA-512; the secret has at least 64 bytes.
    HS512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// EdDSA on Ed25519, which tokens and keys also call `Ed25519` (RFC 9864 section 2.2).
    EdDSA,
}

impl Algorithm {
    const ALL: [(&'static str, Self, Jwa); 12] = [
        ("HS256", Self::HS256, Jwa::HS256),
        ("HS384", Self::HS384, Jwa::HS384),
        ("HS512", Self::HS512, Jwa::HS512),
        ("RS256", Self::RS256, Jwa::RS256),
        ("RS384", Self::RS384, Jwa::RS384),
        ("RS512", Self::RS512, Jwa::RS512),
        ("PS256", Self::PS256, Jwa::PS256),
        ("PS384", Self::PS384, Jwa::PS384),
        ("PS512", Self::PS512, Jwa::PS512),
        ("ES256", Self::ES256, Jwa::ES256),
        ("ES384", Self::ES384, Jwa::ES384),
        ("EdDSA", Self::EdDSA, Jwa::EdDSA),
    ];

    /// Compared exactly, as names of algorithms are (RFC 7515 section 4.1.1).
    pub(super) fn named(name: &str) -> Option<Self> {
        // Ed25519 is the only curve of `EdDSA` here, so that both names mean the same.
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Self::ALL
            .iter()
            .find_map(|(known, algorithm, _)| (*known == name).then_some(*algorithm))
    }

    fn row(self) -> &'static (&'static str, Self, Jwa) {
        // The table is in the order of the variants.
        &Self::ALL[self as usize]
    }

    /// The name that stands in a token's `alg`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    pub(super) fn jwa(self) -> Jwa {
        self.row().2
    }

    pub(super) fn family(self) -> AlgorithmFamily {
        self.jwa().family()
    }

    pub(super) fn is_symmetric(self) -> bool {
        self.family() == AlgorithmFamily::Hmac
    }

    /// The least bytes of an HMAC secret (RFC 7518 section 3.2).
    pub(super) fn least_secret(self) -> usize {
        match self {
            Self::HS384 => 48,
            Self::HS512 => 64,
            _ => 32,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_exactly_and_one_algorithm_has_two() {
        for (name, algorithm) in [
            ("EdDSA", Some(Algorithm::EdDSA)),
            ("Ed25519", Some(Algorithm::EdDSA)),
            ("ed25519", None),
            ("Ed448", None),
            ("none", None),
            ("rs256", None),
            ("", None),
        ] {
            assert_eq!(Algorithm::named(name), algorithm, "{name:?}");
        }
    }

    #[test]
    fn the_table_is_in_the_order_of_the_variants() {
        for (name, algorithm, jwa) in Algorithm::ALL {
            assert_eq!(algorithm.as_str(), name);
            assert_eq!(format!("{jwa:?}"), name, "the row of {name}");
        }
    }
}
