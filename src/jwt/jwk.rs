//! Reads JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037).
//!
//! Members that are not needed are ignored, valid or not.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use jsonwebtoken::AlgorithmFamily;
use serde_json::{Map, Value};

use super::{Algorithm, Key, KeyError};

/// Base64url (RFC 7515 section 2), with padding or without: some issuers write padding, and it can't
/// change the number.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Key {
    /// Reads a JSON Web Key (RFC 7517), bound to its `alg`. A key without `alg` is bound to the
    /// algorithm of its curve, an RSA key to `RS256`; see [`also_for`](Self::also_for).
    /// `Ed25519` and `EdDSA` are the same (RFC 9864). Unknown members are ignored, and a member that is
    /// `null` counts as missing.
    ///
    /// # Errors
    /// [`KeyError`] for a key that is not for verifying, is private or weak, or doesn't fit its
    /// `alg`.
    pub fn from_jwk(json: impl AsRef<str>) -> Result<Self, KeyError> {
        let value = serde_json::from_str(json.as_ref()).map_err(|_| KeyError::NotJwk)?;
        Jwk::new(&value)?.key()
    }
}

/// A JSON Web Key that is not checked yet.
#[derive(Clone, Copy)]
pub(super) struct Jwk<'j>(&'j Map<String, Value>);

impl<'j> Jwk<'j> {
    pub(super) fn new(value: &'j Value) -> Result<Self, KeyError> {
        value.as_object().map(Self).ok_or(KeyError::NotJwk)
    }

    /// Returns `kid`.
    pub(super) fn id(self) -> Result<Option<&'j str>, KeyError> {
        self.text("kid")
    }

    pub(super) fn key(self) -> Result<Key, KeyError> {
        if !self.is_for_verifying()? {
            return Err(KeyError::NotForVerifying);
        }
        let id = self.id()?;
        let declared = match self.text("alg")? {
            Some(name) => Some(Algorithm::from_name(name).ok_or(KeyError::Unsupported)?),
            None => None,
        };
        let checked = |algorithm: Algorithm, family| {
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
                let declared = declared.ok_or(KeyError::Unsupported)?;
                Key::hmac(checked(declared, AlgorithmFamily::Hmac)?, self.bytes("k")?)
            }
            Some("RSA") => {
                let declared = declared.unwrap_or(Algorithm::RS256);
                let algorithm = checked(declared, AlgorithmFamily::Rsa)?;
                Key::rsa(algorithm, &self.bytes("n")?, &self.bytes("e")?)
            }
            Some("EC") => {
                let algorithm = match self.required("crv")? {
                    "P-256" => Algorithm::ES256,
                    "P-384" => Algorithm::ES384,
                    _ => return Err(KeyError::Unsupported),
                };
                check_declared(declared, algorithm)?;
                Key::ec(algorithm, &self.bytes("x")?, &self.bytes("y")?)
            }
            Some("OKP") => {
                let "Ed25519" = self.required("crv")? else {
                    return Err(KeyError::Unsupported);
                };
                check_declared(declared, Algorithm::EdDSA)?;
                Key::ed25519(&self.bytes("x")?)
            }
            _ => Err(KeyError::Unsupported),
        }?;
        Ok(match id {
            Some(id) => key.with_id(id),
            None => key,
        })
    }

    /// Whether `use` and `key_ops` allow verifying (RFC 7517 sections 4.2 and 4.3).
    fn is_for_verifying(self) -> Result<bool, KeyError> {
        let by_use = self.text("use")?.is_none_or(|usage| usage == "sig");
        let by_operations = match self.get("key_ops") {
            None => true,
            Some(Value::Array(operations)) => operations.iter().any(|one| one == "verify"),
            Some(_) => return Err(KeyError::Member("key_ops")),
        };
        Ok(by_use && by_operations)
    }

    /// Returns a member. Many issuers write `null` for a missing one.
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

    fn required(self, name: &'static str) -> Result<&'j str, KeyError> {
        self.text(name)?.ok_or(KeyError::Member(name))
    }

    fn bytes(self, name: &'static str) -> Result<Vec<u8>, KeyError> {
        BASE64URL
            .decode(self.required(name)?)
            .map_err(|_| KeyError::Member(name))
    }
}

/// Checks that a declared `alg` is the only one of the curve.
fn check_declared(declared: Option<Algorithm>, algorithm: Algorithm) -> Result<(), KeyError> {
    match declared {
        Some(declared) if declared != algorithm => Err(KeyError::Mismatched),
        _ => Ok(()),
    }
}
