//! One key, bound to the algorithms that it verifies.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{
    AlgorithmFamily, DecodingKey, DecodingKeyKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};

use super::{Algorithm, CryptoProvider, KeyError, TokenProblem, rsa};

/// A key that verifies tokens, bound to its algorithms: a token's own `alg` chooses among
/// those and never beyond them (RFC 8725 section 3.1).
///
/// ```
/// use tower_user_scope::jwt::{Algorithm, Key};
///
/// # let secret_from_a_vault = [7_u8; 32];
/// let key = Key::hmac(Algorithm::HS256, secret_from_a_vault)?.with_id("2026-11");
/// assert_eq!(key.id(), Some("2026-11"));
/// # Ok::<(), tower_user_scope::jwt::KeyError>(())
/// ```
pub struct Key {
    id: Option<Box<str>>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
    /// What it was read from, to know it again after a refresh.
    #[cfg(feature = "jwks")]
    jwk: Option<serde_json::Value>,
}

impl Key {
    /// A secret that both sides know.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`] for fewer bytes than the hash has, [`KeyError::Unreadable`]
    /// for an algorithm that is not HMAC.
    pub fn hmac(algorithm: Algorithm, secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        if !algorithm.is_symmetric() {
            return Err(KeyError::Unreadable { algorithm });
        }
        let secret = secret.as_ref();
        let least = algorithm.least_secret();
        if secret.len() < least {
            return Err(KeyError::ShortSecret {
                algorithm,
                len: secret.len(),
                least,
            });
        }
        Ok(Self::new(algorithm, DecodingKey::from_secret(secret)))
    }

    /// A public key in PEM: `PUBLIC KEY` (RFC 7468 section 13), for RSA also `RSA PUBLIC KEY`.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`] for what is no such key, or not one for the algorithm.
    pub fn from_pem(algorithm: Algorithm, pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let pem = pem.as_ref();
        let decoding = match algorithm.family() {
            AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem),
            AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem),
            AlgorithmFamily::Ed => DecodingKey::from_ed_pem(pem),
            AlgorithmFamily::Hmac => return Err(KeyError::Unreadable { algorithm }),
        };
        let key = Self::new(
            algorithm,
            decoding.map_err(|_| KeyError::Unreadable { algorithm })?,
        );
        key.check_point(algorithm)?;
        Ok(key)
    }

    /// A public key in DER: a `SubjectPublicKeyInfo` (RFC 5280 section 4.1).
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem).
    pub fn from_der(algorithm: Algorithm, der: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let body = STANDARD.encode(der);
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
        Self::from_pem(algorithm, pem)
    }

    /// A JSON Web Key (RFC 7517) with its own `alg`. One without takes that of its curve, an
    /// RSA key `RS256`; see [`also_for`](Self::also_for).
    ///
    /// # Errors
    /// [`KeyError`] for a key that is not for verifying, is weak, or doesn't fit its `alg`.
    pub fn from_jwk(json: impl AsRef<str>) -> Result<Self, KeyError> {
        let value = serde_json::from_str(json.as_ref()).map_err(|_| KeyError::NotJwk)?;
        Self::from_jwk_value(&value)
    }

    pub(super) fn from_jwk_value(value: &serde_json::Value) -> Result<Self, KeyError> {
        let jwk: Jwk = serde::Deserialize::deserialize(value).map_err(|_| KeyError::NotJwk)?;
        let key = Self::of_jwk(&jwk)?;
        Ok(Self {
            id: jwk.common.key_id.map(String::into_boxed_str),
            #[cfg(feature = "jwks")]
            jwk: Some(value.clone()),
            ..key
        })
    }

    fn of_jwk(jwk: &Jwk) -> Result<Self, KeyError> {
        let common = &jwk.common;
        let verifies = common
            .public_key_use
            .as_ref()
            .is_none_or(|usage| *usage == PublicKeyUse::Signature)
            && common
                .key_operations
                .as_ref()
                .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !verifies {
            return Err(KeyError::NotForVerifying);
        }
        let own = match common.key_algorithm {
            Some(algorithm) => Some(named(algorithm)?),
            None => None,
        };
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::OctetKey(_) => own.ok_or(KeyError::Unsupported)?,
            AlgorithmParameters::RSA(_) => own.unwrap_or(Algorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) => curve(&key.curve, own)?,
            AlgorithmParameters::OctetKeyPair(key) => curve(&key.curve, own)?,
            _ => return Err(KeyError::Unsupported),
        };
        let decoding =
            DecodingKey::from_jwk(jwk).map_err(|_| KeyError::Unreadable { algorithm })?;
        if decoding.family() != algorithm.family() {
            return Err(KeyError::Mismatched);
        }
        if let AlgorithmParameters::OctetKey(_) = jwk.algorithm {
            let secret = decoding.try_get_as_bytes().unwrap_or_default();
            return Self::hmac(algorithm, secret);
        }
        if let DecodingKeyKind::RsaModulusExponent { n, e } = decoding.kind() {
            rsa::check(n, e)?;
        }
        let key = Self::new(algorithm, decoding);
        key.check_point(algorithm)?;
        Ok(key)
    }

    fn new(algorithm: Algorithm, decoding: DecodingKey) -> Self {
        Self {
            id: None,
            algorithms: vec![algorithm],
            decoding,
            #[cfg(feature = "jwks")]
            jwk: None,
        }
    }

    /// Gives the key an id: it is for tokens whose `kid` is the same.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into().into_boxed_str());
        self
    }

    /// Binds the key to one more algorithm of its family, such as `RS512` and `PS256` beside
    /// `RS256`.
    ///
    /// # Errors
    /// [`KeyError::OtherFamily`] for an algorithm of another kind of key, and for a second one of
    /// a key that can have only one.
    pub fn also_for(mut self, algorithm: Algorithm) -> Result<Self, KeyError> {
        let family = algorithm.family();
        if self.decoding.family() != family || family != AlgorithmFamily::Rsa {
            return Err(KeyError::OtherFamily(algorithm));
        }
        if !self.algorithms.contains(&algorithm) {
            self.algorithms.push(algorithm);
        }
        Ok(self)
    }

    /// The key's id, where it has one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The algorithms that it is bound to.
    #[must_use]
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    #[cfg(feature = "jwks")]
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.jwk.is_some() && self.jwk == other.jwk && self.algorithms == other.algorithms
    }

    /// Keys on curves have one length; what isn't of that length, a provider may panic on.
    fn check_point(&self, algorithm: Algorithm) -> Result<(), KeyError> {
        let wanted = match algorithm {
            Algorithm::ES256 => 65,
            Algorithm::ES384 => 97,
            Algorithm::EdDSA => 32,
            _ => return Ok(()),
        };
        match self.decoding.try_get_as_bytes() {
            Ok(bytes) if bytes.len() == wanted => Ok(()),
            _ => Err(KeyError::Unreadable { algorithm }),
        }
    }

    /// What only the provider can tell, before the first request.
    pub(super) fn check(&self, provider: CryptoProvider) -> Result<(), KeyError> {
        let provider = provider.get();
        if self.decoding.family() == AlgorithmFamily::Rsa {
            if let DecodingKeyKind::SecretOrDer(der) = self.decoding.kind() {
                let (n, e) = (provider.key_utils.rsa_pub_components_from_public_key)(der)
                    .map_err(|_| self.unreadable())?;
                rsa::check(&n, &e)?;
            }
        }
        for algorithm in &self.algorithms {
            (provider.verifier_factory)(&algorithm.jwa(), &self.decoding)
                .map_err(|_| self.unreadable())?;
        }
        Ok(())
    }

    fn unreadable(&self) -> KeyError {
        KeyError::Unreadable {
            algorithm: self.algorithms[0],
        }
    }

    pub(super) fn verify(
        &self,
        provider: CryptoProvider,
        algorithm: Algorithm,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> Result<(), TokenProblem> {
        (provider.get().verifier_factory)(&algorithm.jwa(), &self.decoding)
            .map_err(|_| TokenProblem::UnknownKey)?
            .verify(message, signature)
            .map_err(|_| TokenProblem::Signature)
    }
}

fn named(algorithm: KeyAlgorithm) -> Result<Algorithm, KeyError> {
    Algorithm::named(&algorithm.to_string()).ok_or(KeyError::Unsupported)
}

fn curve(curve: &EllipticCurve, own: Option<Algorithm>) -> Result<Algorithm, KeyError> {
    let only = match curve {
        EllipticCurve::P256 => Algorithm::ES256,
        EllipticCurve::P384 => Algorithm::ES384,
        EllipticCurve::Ed25519 => Algorithm::EdDSA,
        _ => return Err(KeyError::Unsupported),
    };
    if own.is_some_and(|own| own != only) {
        return Err(KeyError::Mismatched);
    }
    Ok(only)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}
