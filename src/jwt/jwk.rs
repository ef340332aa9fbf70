//! Reads JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037).
//!
//! Members that are not needed are ignored, valid or not, and take no memory.

use std::{borrow::Cow, fmt};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use jsonwebtoken::AlgorithmFamily;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    Algorithm, Key, KeyError,
    json::{self, Text},
};

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
        Jwk::new(json.as_ref())?.key()
    }
}

/// The members that are read.
const READ: [&str; 11] = [
    "kty", "use", "key_ops", "alg", "kid", "crv", "n", "e", "x", "y", "k",
];

/// A JSON Web Key that is not checked yet.
#[derive(Default)]
pub(super) struct Jwk<'j> {
    /// The text of each member in [`READ`].
    members: [Option<&'j RawValue>; READ.len()],
    /// Whether there is a private part.
    is_private: bool,
}

impl<'j> Jwk<'j> {
    pub(super) fn new(json: &'j str) -> Result<Self, KeyError> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let key = reader.deserialize_map(Members);
        let key = key.and_then(|key| reader.end().map(|()| key));
        key.map_err(|_| KeyError::NotJwk)
    }

    /// Returns `kid`.
    pub(super) fn id(&self) -> Result<Option<Cow<'j, str>>, KeyError> {
        self.text("kid")
    }

    pub(super) fn key(&self) -> Result<Key, KeyError> {
        if !self.is_for_verifying()? {
            return Err(KeyError::NotForVerifying);
        }
        let id = self.id()?;
        let declared = match self.text("alg")? {
            Some(name) => Some(Algorithm::from_name(&name).ok_or(KeyError::Unsupported)?),
            None => None,
        };
        let checked = |algorithm: Algorithm, family| {
            Some(algorithm)
                .filter(|algorithm| algorithm.family() == family)
                .ok_or(KeyError::Mismatched)
        };
        let kind = self.text("kty")?;
        let kind = kind.as_deref();
        if kind != Some("oct") && self.is_private {
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
                let algorithm = match &*self.required("crv")? {
                    "P-256" => Algorithm::ES256,
                    "P-384" => Algorithm::ES384,
                    _ => return Err(KeyError::Unsupported),
                };
                check_declared(declared, algorithm)?;
                Key::ec(algorithm, &self.bytes("x")?, &self.bytes("y")?)
            }
            Some("OKP") => {
                if self.required("crv")? != "Ed25519" {
                    return Err(KeyError::Unsupported);
                }
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
    fn is_for_verifying(&self) -> Result<bool, KeyError> {
        let by_use = self.text("use")?.is_none_or(|usage| usage == "sig");
        let by_operations = match self.get("key_ops") {
            None => true,
            Some(operations) => serde_json::Deserializer::from_str(operations)
                .deserialize_seq(HasVerify)
                .map_err(|_| KeyError::Member("key_ops"))?,
        };
        Ok(by_use && by_operations)
    }

    /// Returns the text of a member. Many issuers write `null` for a missing one.
    fn get(&self, name: &'static str) -> Option<&'j str> {
        let place = READ.iter().position(|known| *known == name)?;
        let text = self.members[place]?.get();
        (text != "null").then_some(text)
    }

    fn text(&self, name: &'static str) -> Result<Option<Cow<'j, str>>, KeyError> {
        self.get(name)
            .map(|value| json::string(value).ok_or(KeyError::Member(name)))
            .transpose()
    }

    fn required(&self, name: &'static str) -> Result<Cow<'j, str>, KeyError> {
        self.text(name)?.ok_or(KeyError::Member(name))
    }

    fn bytes(&self, name: &'static str) -> Result<Vec<u8>, KeyError> {
        BASE64URL
            .decode(&*self.required(name)?)
            .map_err(|_| KeyError::Member(name))
    }
}

/// Sorts the members of a key; of two with one name the last one counts.
struct Members;

impl<'j> Visitor<'j> for Members {
    type Value = Jwk<'j>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<Jwk<'j>, A::Error> {
        let mut key = Jwk::default();
        while let Some(Text(name)) = map.next_key()? {
            if name == "d" {
                let value: &RawValue = map.next_value()?;
                key.is_private = value.get() != "null";
            } else if let Some(place) = READ.iter().position(|known| *known == name) {
                key.members[place] = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(key)
    }
}

/// Whether an array has the text `verify` among whatever else.
struct HasVerify;

impl<'j> Visitor<'j> for HasVerify {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of operations")
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut operations: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(operation) = operations.next_element::<&RawValue>()? {
            let text = Some(operation.get()).filter(|json| json.starts_with('"'));
            found |= text.and_then(json::string).is_some_and(|it| it == "verify");
        }
        Ok(found)
    }
}

/// Checks that a declared `alg` is the only one of the curve.
fn check_declared(declared: Option<Algorithm>, algorithm: Algorithm) -> Result<(), KeyError> {
    match declared {
        Some(declared) if declared != algorithm => Err(KeyError::Mismatched),
        _ => Ok(()),
    }
}
