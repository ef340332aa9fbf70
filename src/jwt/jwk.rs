//! What is read of a JSON Web Key (RFC 7517, RFC 7518 section 6, RFC 8037).
//!
//! Members that are not needed are not looked at, whatever they are: an odd `x5t` harms nobody.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use jsonwebtoken::AlgorithmFamily;
use serde_json::{Map, Value};

use super::{Algorithm, Key, KeyError};

/// Base64url as RFC 7515 section 2 has it, and also with padding: some issuers write that, and it
/// can't mean another number.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Clone, Copy)]
pub(super) struct Jwk<'j>(&'j Map<String, Value>);

impl<'j> Jwk<'j> {
    pub(super) fn new(value: &'j Value) -> Result<Self, KeyError> {
        value.as_object().map(Self).ok_or(KeyError::NotJwk)
    }

    /// Its `kid`.
    pub(super) fn id(self) -> Result<Option<&'j str>, KeyError> {
        self.text("kid")
    }

    pub(super) fn key(self) -> Result<Key, KeyError> {
        if !self.is_for_verifying()? {
            return Err(KeyError::NotForVerifying);
        }
        let id = self.id()?;
        let own = match self.text("alg")? {
            Some(name) => Some(Algorithm::named(name).ok_or(KeyError::Unsupported)?),
            None => None,
        };
        let fits = |algorithm: Algorithm, family| {
            Some(algorithm)
                .filter(|algorithm| algorithm.family() == family)
                .ok_or(KeyError::Mismatched)
        };
        let kind = self.text("kty")?;
        if kind != Some("oct") && self.has("d") {
            return Err(KeyError::PrivateKey);
        }
        let key = match kind {
            Some("oct") => {
                let own = own.ok_or(KeyError::Unsupported)?;
                Key::hmac(fits(own, AlgorithmFamily::Hmac)?, self.bytes("k")?)
            }
            Some("RSA") => {
                let own = own.unwrap_or(Algorithm::RS256);
                let algorithm = fits(own, AlgorithmFamily::Rsa)?;
                Key::rsa(algorithm, &self.bytes("n")?, &self.bytes("e")?)
            }
            Some("EC") => {
                let algorithm = match self.needed("crv")? {
                    "P-256" => Algorithm::ES256,
                    "P-384" => Algorithm::ES384,
                    _ => return Err(KeyError::Unsupported),
                };
                is_own(own, algorithm)?;
                Key::ec(algorithm, &self.bytes("x")?, &self.bytes("y")?)
            }
            Some("OKP") => {
                let "Ed25519" = self.needed("crv")? else {
                    return Err(KeyError::Unsupported);
                };
                is_own(own, Algorithm::EdDSA)?;
                Key::ed25519(&self.bytes("x")?)
            }
            _ => Err(KeyError::Unsupported),
        }?;
        Ok(match id {
            Some(id) => key.with_id(id),
            None => key,
        })
    }

    /// RFC 7517 sections 4.2 and 4.3: what it is for, where it says so.
    fn is_for_verifying(self) -> Result<bool, KeyError> {
        let by_use = self.text("use")?.is_none_or(|usage| usage == "sig");
        let by_operations = match self.get("key_ops") {
            None => true,
            Some(Value::Array(operations)) => operations.iter().any(|one| one == "verify"),
            Some(_) => return Err(KeyError::Member("key_ops")),
        };
        Ok(by_use && by_operations)
    }

    /// A member that is there. Many writers say `null` for one that is not.
    fn get(self, name: &str) -> Option<&'j Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn has(self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn text(self, name: &'static str) -> Result<Option<&'j str>, KeyError> {
        self.get(name)
            .map(|value| value.as_str().ok_or(KeyError::Member(name)))
            .transpose()
    }

    fn needed(self, name: &'static str) -> Result<&'j str, KeyError> {
        self.text(name)?.ok_or(KeyError::Member(name))
    }

    fn bytes(self, name: &'static str) -> Result<Vec<u8>, KeyError> {
        BASE64URL
            .decode(self.needed(name)?)
            .map_err(|_| KeyError::Member(name))
    }
}

/// A curve has one algorithm.
fn is_own(own: Option<Algorithm>, algorithm: Algorithm) -> Result<(), KeyError> {
    match own {
        Some(own) if own != algorithm => Err(KeyError::Mismatched),
        _ => Ok(()),
    }
}
