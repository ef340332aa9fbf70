//! The public keys of these tests as JSON Web Keys.

use serde_json::{Value, json};
use tower_user_scope::jwt::Algorithm;

use crate::tokens::{base64url, public_der};

/// The public key of an algorithm that is not HMAC.
pub(crate) fn jwk(algorithm: Algorithm, id: &str) -> Value {
    let der = public_der(algorithm);
    // The key itself is the end of a `SubjectPublicKeyInfo`.
    let point = |len: usize| &der[der.len() - len..];
    match algorithm {
        Algorithm::EdDSA => json!({
            "kty": "OKP", "crv": "Ed25519", "kid": id, "use": "sig", "alg": "EdDSA",
            "x": base64url(point(32)),
        }),
        Algorithm::ES256 => json!({
            "kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "alg": "ES256",
            "x": base64url(&point(64)[..32]), "y": base64url(point(32)),
        }),
        Algorithm::ES384 => json!({
            "kty": "EC", "crv": "P-384", "kid": id, "use": "sig", "alg": "ES384",
            "x": base64url(&point(96)[..48]), "y": base64url(point(48)),
        }),
        // 256 bytes of modulus, and an exponent of three with its tag and length.
        _ => json!({
            "kty": "RSA", "kid": id, "use": "sig", "alg": algorithm.as_str(),
            "n": base64url(&point(261)[..256]), "e": base64url(point(3)),
        }),
    }
}

/// The key with these members replaced; `null` removes a member.
pub(crate) fn jwk_with(algorithm: Algorithm, id: &str, members: &Value) -> Value {
    let mut key = jwk(algorithm, id);
    let all = key.as_object_mut().expect("an object");
    for (name, value) in members.as_object().expect("an object") {
        if value.is_null() {
            all.remove(name);
        } else {
            all.insert(name.clone(), value.clone());
        }
    }
    key
}

/// Five more keys for ES256: multiples of the base point, whose private keys are 1 to 5.
pub(crate) fn others(id: &str) -> [Value; 5] {
    [
        [
            "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
            "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
        ],
        [
            "fPJ7GI0DT36KUjgDBLUaw8CJaeJ38hs1pgtI_EdmmXg",
            "B3dVENuO0EApPZrGn3Qw27p9reY86YIpngS3nSJ4c9E",
        ],
        [
            "Xsvk0aYzCkTI9--VHUvxZebGtyHvramF-0FmG8bn_Ww",
            "hzRkDEmY_343SwbOGmSi7NgqsDY4T7g9mnmxJ6J9UDI",
        ],
        [
            "4lNKNTLQj7ugLd5lnuYr0AMf4tt4VZbvUJMCRGsDCFI",
            "4PFXWkxjPMcZ3-5f2oYtdk78lsPzDuAFXELCPxhO2MY",
        ],
        [
            "UVkLelFRQNLXhMhWCGaP3--Mgv0fW-UkIVVKDcPQM-0",
            "4MF9qJBKcn2K4b82v4p5Jg0BLwDU2AiI0dC7RP2hbaQ",
        ],
    ]
    .map(|[x, y]| jwk_with(Algorithm::ES256, id, &json!({"x": x, "y": y})))
}
