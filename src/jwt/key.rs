//! A key that verifies tokens, bound to its algorithms.
//!
//! Each constructor checks the key's strength. Knows nothing of key sets and how keys are fetched.

use std::fmt;

use jsonwebtoken::{AlgorithmFamily, DecodingKey, DecodingKeyKind};

use super::{
    Algorithm, CryptoProvider, KeyError, TokenErrorKind,
    der::{self, PublicKey},
    point, rsa, secret,
};

/// A key that verifies tokens, bound to its algorithms: a token's own `alg` chooses among
/// those and never beyond them (RFC 8725 section 3.1).
///
/// A weak key is an error in each format: an RSA key that is too short, too long or easily factored, a
/// point that is not on its curve or of small order, a secret that is too short or can be guessed.
/// Leading zeros of a number are ignored.
///
/// ```
/// use tower_user_scope::jwt::{Algorithm, Key};
///
/// # let secret_from_a_vault = b"5bLk0ukr1SgGyg4oJxSLHk9ooSPN7DdJ";
/// let key = Key::hmac(Algorithm::HS256, secret_from_a_vault)?.with_id("2026-11");
/// assert_eq!(key.id(), Some("2026-11"));
/// # Ok::<(), tower_user_scope::jwt::KeyError>(())
/// ```
pub struct Key {
    id: Option<Box<str>>,
    algorithms: Vec<Algorithm>,
    /// RSA keys as their numbers, the others as their bytes: what was checked.
    decoding: DecodingKey,
}

/// The identity of a key within a set: id, algorithms and key material.
pub(super) type Fingerprint<'k> = (Option<&'k str>, &'k [Algorithm], [&'k [u8]; 2]);

impl Key {
    /// Creates a key from a secret that issuer and service share.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`] for fewer bytes than the hash has, [`KeyError::GuessableSecret`]
    /// for one that is easy to guess, such as zeros, and
    /// [`KeyError::Unreadable`] for an algorithm that is not HMAC.
    pub fn hmac(algorithm: Algorithm, secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        if !algorithm.is_symmetric() {
            return Err(KeyError::Unreadable { algorithm });
        }
        let secret = secret.as_ref();
        let least = algorithm.min_secret_len();
        if secret.len() < least {
            return Err(KeyError::ShortSecret {
                algorithm,
                len: secret.len(),
                least,
            });
        }
        if secret::is_guessable(secret) {
            return Err(KeyError::GuessableSecret);
        }
        Ok(Self::new(algorithm, DecodingKey::from_secret(secret)))
    }

    /// Reads a public key in PEM: one block, `PUBLIC KEY` (RFC 7468 section 13), for RSA also
    /// `RSA PUBLIC KEY`.
    ///
    /// A certificate is refused, as its signature and validity are not checked here; so is a private
    /// key. `openssl x509 -pubkey -noout` and `openssl pkey -pubout` write
    /// the public key of either.
    ///
    /// # Errors
    /// [`KeyError::Certificate`] and [`KeyError::PrivateKey`] for those,
    /// [`KeyError::Unreadable`] for a text that is not a key for the algorithm, and another
    /// [`KeyError`] for a weak one.
    pub fn from_pem(algorithm: Algorithm, pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let refused = |error: Option<_>| error.unwrap_or(KeyError::Unreadable { algorithm });
        let (der, is_rsa) = der::decode_pem(pem.as_ref()).map_err(refused)?;
        let public = if is_rsa {
            der::rsa_public_key(&der)
        } else {
            der::public_key(&der)
        };
        Self::public(algorithm, &public.map_err(refused)?)
    }

    /// Reads a public key in DER: a `SubjectPublicKeyInfo` (RFC 5280 section 4.1).
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem).
    pub fn from_der(algorithm: Algorithm, der: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let public = der::public_key(der.as_ref())
            .map_err(|error| error.unwrap_or(KeyError::Unreadable { algorithm }))?;
        Self::public(algorithm, &public)
    }

    fn public(algorithm: Algorithm, public: &PublicKey<'_>) -> Result<Self, KeyError> {
        match (*public, algorithm) {
            (PublicKey::Rsa { n, e }, _) if algorithm.family() == AlgorithmFamily::Rsa => {
                Self::rsa(algorithm, n, e)
            }
            (PublicKey::P256(point), Algorithm::ES256)
            | (PublicKey::P384(point), Algorithm::ES384) => {
                point::check_ec(algorithm, point)?;
                Ok(Self::new(algorithm, DecodingKey::from_ec_der(point)))
            }
            (PublicKey::Ed25519(point), Algorithm::EdDSA) => Self::ed25519(point),
            _ => Err(KeyError::Unreadable { algorithm }),
        }
    }

    /// An RSA key of these numbers, with leading zeros or without.
    pub(super) fn rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let (n, e) = (rsa::without_leading_zeros(n), rsa::without_leading_zeros(e));
        rsa::check(n, e)?;
        let decoding = DecodingKey::from_rsa_raw_components(n, e);
        Ok(Self::new(algorithm, decoding))
    }

    pub(super) fn ec(algorithm: Algorithm, x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        let point = point::ec(algorithm, x, y)?;
        Ok(Self::new(algorithm, DecodingKey::from_ec_der(&point)))
    }

    pub(super) fn ed25519(point: &[u8]) -> Result<Self, KeyError> {
        point::check_ed25519(point)?;
        Ok(Self::new(Algorithm::EdDSA, DecodingKey::from_ed_der(point)))
    }

    fn new(algorithm: Algorithm, decoding: DecodingKey) -> Self {
        Self {
            id: None,
            algorithms: vec![algorithm],
            decoding,
        }
    }

    /// Sets the id: the `kid` of the tokens that the key verifies.
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

    /// Returns the key's id.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Returns the algorithms that the key is bound to.
    #[must_use]
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    pub(super) fn fingerprint(&self) -> Fingerprint<'_> {
        let material: [&[u8]; 2] = match self.decoding.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => [bytes, &[]],
            DecodingKeyKind::RsaModulusExponent { n, e } => [n, e],
        };
        (self.id(), self.algorithms(), material)
    }

    /// Checks that the provider can verify with the key.
    pub(super) fn check(&self, provider: CryptoProvider) -> Result<(), KeyError> {
        self.check_size(provider)?;
        for algorithm in &self.algorithms {
            (provider.get().verifier_factory)(&algorithm.jwa(), &self.decoding)
                .map_err(|_| self.unreadable())?;
        }
        Ok(())
    }

    fn check_size(&self, provider: CryptoProvider) -> Result<(), KeyError> {
        let most = provider.most_rsa_bits();
        match self.decoding.kind() {
            DecodingKeyKind::RsaModulusExponent { n, .. } if rsa::bits(n) > most => {
                Err(KeyError::RsaSize {
                    bits: rsa::bits(n),
                    most,
                })
            }
            _ => Ok(()),
        }
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
    ) -> Result<(), TokenErrorKind> {
        // `build()` checks fixed keys only.
        self.check_size(provider)
            .map_err(|_| TokenErrorKind::UnknownKey)?;
        (provider.get().verifier_factory)(&algorithm.jwa(), &self.decoding)
            .map_err(|_| TokenErrorKind::UnknownKey)?
            .verify(message, signature)
            .map_err(|_| TokenErrorKind::Signature)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}
