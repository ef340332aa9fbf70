//! The algorithms in terms of `jsonwebtoken`, and which keys they need.

use jsonwebtoken::{Algorithm as Jwa, AlgorithmFamily};

use super::Algorithm;

impl Algorithm {
    const ALL: [(Self, Jwa); 12] = [
        (Self::HS256, Jwa::HS256),
        (Self::HS384, Jwa::HS384),
        (Self::HS512, Jwa::HS512),
        (Self::RS256, Jwa::RS256),
        (Self::RS384, Jwa::RS384),
        (Self::RS512, Jwa::RS512),
        (Self::PS256, Jwa::PS256),
        (Self::PS384, Jwa::PS384),
        (Self::PS512, Jwa::PS512),
        (Self::ES256, Jwa::ES256),
        (Self::ES384, Jwa::ES384),
        (Self::EdDSA, Jwa::EdDSA),
    ];

    /// Returns the algorithm of this name, compared exactly (RFC 7515 section 4.1.1).
    pub(super) fn from_name(name: &str) -> Option<Self> {
        // RFC 9864 names the algorithm `Ed25519`. Ed25519 is the only curve of `EdDSA` here, so both
        // names mean the same.
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        let mut all = Self::ALL.iter().map(|(algorithm, _)| *algorithm);
        all.find(|algorithm| algorithm.as_str() == name)
    }

    pub(super) fn jwa(self) -> Jwa {
        // The table is in the order of the variants.
        Self::ALL[self as usize].1
    }

    pub(super) fn family(self) -> AlgorithmFamily {
        self.jwa().family()
    }

    pub(super) fn is_symmetric(self) -> bool {
        self.family() == AlgorithmFamily::Hmac
    }

    /// Returns the minimum length of an HMAC secret in bytes (RFC 7518 section 3.2).
    pub(super) fn min_secret_len(self) -> usize {
        match self {
            Self::HS384 => 48,
            Self::HS512 => 64,
            _ => 32,
        }
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
            assert_eq!(Algorithm::from_name(name), algorithm, "{name:?}");
        }
    }

    #[test]
    fn the_table_is_in_the_order_of_the_variants() {
        for (algorithm, jwa) in Algorithm::ALL {
            assert_eq!(algorithm.jwa(), jwa);
            assert_eq!(format!("{jwa:?}"), algorithm.as_str());
        }
    }
}
