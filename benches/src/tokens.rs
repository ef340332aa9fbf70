//! Tokens to verify: one key and one token for each algorithm, made when first asked for.

use std::{sync::OnceLock, time::SystemTime};

use http::{Request, header::AUTHORIZATION};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    jwk::{Jwk, JwkSet},
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use serde::{Deserialize, Serialize};

use crate::requests;

/// Who issued it.
pub const ISSUER: &str = "https://id.example";
/// For whom.
pub const AUDIENCE: &str = "api";
/// With which key.
pub const KEY_ID: &str = "key-1";

/// The algorithms that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HMAC with SHA-256.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits.
    Rs256,
    /// ECDSA on P-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// In names of cases.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "hs256",
            Self::Rs256 => "rs256",
            Self::Es256 => "es256",
            Self::EdDsa => "eddsa",
        }
    }

    /// As `jsonwebtoken` 11 calls it.
    #[must_use]
    pub fn algorithm(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }

    /// The key and the token.
    #[must_use]
    pub fn material(self) -> &'static Material {
        static MADE: [OnceLock<Material>; 4] = [const { OnceLock::new() }; 4];
        MADE[self as usize].get_or_init(|| Material::new(self))
    }

    /// A request that carries the token.
    #[must_use]
    pub fn request(self) -> Request<()> {
        requests::with_header(AUTHORIZATION, &format!("Bearer {}", self.material().token))
    }
}

/// What a token says; each verifier checks `iss`, `aud` and `exp` and reads all of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Claims {
    /// Who.
    pub sub: String,
    /// Who says so.
    pub iss: String,
    /// To whom.
    pub aud: String,
    /// Until when.
    pub exp: u64,
    /// Since when.
    pub iat: u64,
    /// The token's own id.
    pub jti: String,
    /// What for.
    pub scope: String,
}

/// What verifiers are made of.
pub struct Material {
    /// The shared secret, for HMAC.
    pub secret: &'static str,
    /// The public key as PEM, for the others.
    pub public_pem: String,
    /// The public key (or the secret) as a JWK set.
    pub jwk_set: String,
    /// For `jsonwebtoken` 11.
    pub key: DecodingKey,
    /// For `jsonwebtoken` 11.
    pub validation: Validation,
    /// The token.
    pub token: String,
    signer: EncodingKey,
    header: Header,
}

impl Material {
    fn new(kind: Kind) -> Self {
        let secret = "a secret of more than thirty-two bytes, shared";
        let pair = match kind {
            Kind::Hs256 => None,
            Kind::Rs256 => Some(&PKCS_RSA_SHA256),
            Kind::Es256 => Some(&PKCS_ECDSA_P256_SHA256),
            Kind::EdDsa => Some(&PKCS_ED25519),
        }
        .map(|algorithm| KeyPair::generate_for(algorithm).expect("a key pair"));
        let private_pem = pair
            .as_ref()
            .map(KeyPair::serialize_pem)
            .unwrap_or_default();
        let public_pem = pair
            .as_ref()
            .map(KeyPair::public_key_pem)
            .unwrap_or_default();
        let (private, public) = (private_pem.as_bytes(), public_pem.as_bytes());
        let (signer, key) = match kind {
            Kind::Hs256 => (
                Ok(EncodingKey::from_secret(secret.as_bytes())),
                Ok(DecodingKey::from_secret(secret.as_bytes())),
            ),
            Kind::Rs256 => (
                EncodingKey::from_rsa_pem(private),
                DecodingKey::from_rsa_pem(public),
            ),
            Kind::Es256 => (
                EncodingKey::from_ec_pem(private),
                DecodingKey::from_ec_pem(public),
            ),
            Kind::EdDsa => (
                EncodingKey::from_ed_pem(private),
                DecodingKey::from_ed_pem(public),
            ),
        };
        let (signer, key) = (signer.expect("a signer"), key.expect("a key"));
        let algorithm = kind.algorithm();
        let mut jwk = Jwk::from_decoding_key(&key, Some(algorithm)).expect("a JWK");
        jwk.common.key_id = Some(KEY_ID.to_owned());
        let jwk_set = serde_json::to_string(&JwkSet { keys: vec![jwk] }).expect("JSON");
        let mut header = Header::new(algorithm);
        header.kid = Some(KEY_ID.to_owned());
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        let mut material = Self {
            secret,
            public_pem,
            jwk_set,
            key,
            validation,
            token: String::new(),
            signer,
            header,
        };
        material.token = material.token_of("alice");
        material
    }

    /// A token of this user.
    ///
    /// # Panics
    /// Where it can't be signed.
    #[must_use]
    pub fn token_of(&self, user: &str) -> String {
        let now = SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("a time since 1970")
            .as_secs();
        let claims = Claims {
            sub: user.to_owned(),
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            exp: now + 24 * 3600,
            iat: now,
            jti: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
            scope: "openid profile agents:run agents:read".to_owned(),
        };
        jsonwebtoken::encode(&self.header, &claims, &self.signer).expect("a token")
    }
}
