//! One key in all forms that real issuers and files use.

use serde_json::{Value, json};
use tower_user_scope::jwt::{Algorithm, Key, KeyError, KeySet};

use crate::tokens::{
    asking, claims,
    jwk::{jwk, jwk_with},
    jwt, minted, public_der, signed,
};

const PUBLIC: [Algorithm; 4] = [
    Algorithm::RS256,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

fn bytes(key: &Value, member: &str) -> Vec<u8> {
    use base64::Engine as _;
    let text = key[member].as_str().expect("base64url");
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .expect("base64url")
}

fn base64url(bytes: &[u8]) -> String {
    crate::tokens::base64url(bytes)
}

/// `aws-lc-rs` refuses every signature of a key whose modulus has a leading zero; `rust-crypto`
/// doesn't.
#[tokio::test]
async fn leading_zeros_make_no_other_key() {
    let rsa = jwk(Algorithm::RS256, "a");
    let (n, e) = (bytes(&rsa, "n"), bytes(&rsa, "e"));
    let ec = jwk(Algorithm::ES256, "a");
    let (x, y) = (bytes(&ec, "x"), bytes(&ec, "y"));
    let zeros = |number: &[u8]| base64url(&[&[0, 0], number].concat());
    let mut cases = vec![
        (Algorithm::RS256, json!({"n": zeros(&n)})),
        (Algorithm::PS512, json!({"n": zeros(&n), "e": zeros(&e)})),
        (Algorithm::RS256, json!({"e": zeros(&e)})),
        (Algorithm::ES256, json!({"x": zeros(&x), "y": zeros(&y)})),
    ];
    // Padded base64url. RFC 7515 section 2 does not allow it, but some issuers write it.
    for algorithm in PUBLIC {
        let mut members = json!({});
        for (name, value) in jwk(algorithm, "a").as_object().expect("an object") {
            if matches!(&**name, "n" | "e" | "x" | "y") {
                let text = value.as_str().expect("base64url");
                members[name] = json!(format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4)));
            }
        }
        cases.push((algorithm, members));
    }
    for (algorithm, members) in cases {
        let key = Key::from_jwk(jwk_with(algorithm, "a", &members).to_string());
        let asked = asking(jwt(key.expect("a key")));
        let token = minted(algorithm, None, &claims("alice"));
        assert_eq!(
            asked.user(&token).await,
            Ok("alice".to_owned()),
            "{algorithm} {members}"
        );
    }
}

/// One key of 128 has a coordinate with a leading zero, which some writers omit.
#[test]
fn a_coordinate_without_its_leading_zeros_is_the_same_coordinate() {
    // The point 43 G.
    let x = "mGriUG8f8QTQQjCGHY9LSY9LxMbQCbMPdUTcEpuC0o0";
    let key = |y: &[u8]| jwk_with(Algorithm::ES256, "a", &json!({"x": x, "y": base64url(y)}));
    let shortened = bytes(
        &json!({"y": "PMzApkYOCuMopNl9PHth2G_GKJwYnyUlEQxEG7B-lw"}),
        "y",
    );
    assert_eq!(shortened.len(), 31);
    let full = [&[0], &shortened[..]].concat();
    let longer = [&[0], &full[..]].concat();
    let set = json!({"keys": [key(&shortened), key(&full), key(&longer)]});
    let set = KeySet::from_jwks_strict(set.to_string()).expect("a key");
    assert_eq!(set.len(), 1, "three times the same");
}

#[tokio::test]
async fn ed25519_has_two_names_in_keys_and_tokens() {
    for key in ["EdDSA", "Ed25519"] {
        let members = json!({"alg": key});
        let jwk = jwk_with(Algorithm::EdDSA, "a", &members).to_string();
        let asked = asking(jwt(Key::from_jwk(jwk).expect("RFC 9864")));
        for token in ["EdDSA", "Ed25519"] {
            let header = json!({"alg": token, "kid": "a"}).to_string();
            let token = signed(Algorithm::EdDSA, &header, &claims("alice").to_string());
            assert_eq!(asked.user(&token).await, Ok("alice".to_owned()), "{key}");
        }
    }
    let other = jwk_with(Algorithm::ES256, "a", &json!({"alg": "Ed25519"}));
    assert_eq!(
        Key::from_jwk(other.to_string()).map(|_| ()),
        Err(KeyError::Mismatched)
    );
}

#[test]
fn members_that_do_not_describe_the_key_are_ignored() {
    let odd = json!({
        "x5t": 7, "x5c": {"a": [1]}, "x5u": false, "iat": "now", "ext": "true", "exp": {},
        "x5t#S256": [], "oth": 1,
    });
    for algorithm in PUBLIC {
        let key = Key::from_jwk(jwk_with(algorithm, "a", &odd).to_string());
        assert_eq!(key.expect("a key").id(), Some("a"), "{algorithm}");
    }
}

#[test]
fn members_that_describe_the_key_are_checked() {
    let member = |name| Err(KeyError::Member(name));
    for (members, answer) in [
        // Some writers write `null` for a missing member.
        (
            json!({"use": null, "key_ops": null, "alg": null, "kid": null}),
            Ok(()),
        ),
        (json!({"key_ops": ["verify", 7, "unknown"]}), Ok(())),
        (json!({"key_ops": []}), Err(KeyError::NotForVerifying)),
        (
            json!({"key_ops": ["VERIFY"]}),
            Err(KeyError::NotForVerifying),
        ),
        (
            json!({"use": "enc", "key_ops": ["verify"]}),
            Err(KeyError::NotForVerifying),
        ),
        (json!({"use": "other"}), Err(KeyError::NotForVerifying)),
        (json!({"key_ops": "verify"}), member("key_ops")),
        (json!({"use": ["sig"]}), member("use")),
        (json!({"kid": 7}), member("kid")),
        (json!({"alg": 7}), member("alg")),
        (json!({"kty": 7}), member("kty")),
        (json!({"crv": 7}), member("crv")),
        (json!({"x": 7}), member("x")),
        (json!({"x": "+/"}), member("x")),
        (json!({"x": "a b"}), member("x")),
        (json!({"alg": "unknown"}), Err(KeyError::Unsupported)),
        (json!({"alg": "ES512"}), Err(KeyError::Unsupported)),
        (json!({"kty": "AKP"}), Err(KeyError::Unsupported)),
        (json!({"kty": "ec"}), Err(KeyError::Unsupported)),
        (json!({"crv": "P-521"}), Err(KeyError::Unsupported)),
        (json!({"crv": "secp256k1"}), Err(KeyError::Unsupported)),
        (json!({"kty": "RSA"}), Err(KeyError::Mismatched)),
        (json!({"kty": "RSA", "alg": "RS256"}), member("n")),
        (json!({"d": "AAAA"}), Err(KeyError::PrivateKey)),
    ] {
        // Not with `jwk_with`, which removes members that are `null`.
        let mut key = jwk(Algorithm::ES256, "a");
        for (name, value) in members.as_object().expect("an object") {
            key[name] = value.clone();
        }
        let read = Key::from_jwk(key.to_string()).map(|_| ());
        assert_eq!(read, answer, "{members}");
    }
}

#[test]
fn the_error_names_what_was_given_instead_of_a_public_key() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let certified = certified.expect("a certificate");
    let certificate = certified.cert.pem();
    let private = certified.signing_key.serialize_pem();
    let relabelled = |pem: &str, from: &str| pem.replace(from, "PUBLIC KEY");
    let es = crate::tokens::public_pem(Algorithm::ES256);
    for (what, pem, answer) in [
        ("a certificate", certificate.clone(), KeyError::Certificate),
        (
            "a chain",
            format!("{certificate}{certificate}"),
            KeyError::Certificate,
        ),
        (
            "a key after a certificate",
            format!("{es}{certificate}"),
            KeyError::Certificate,
        ),
        ("a private key", private.clone(), KeyError::PrivateKey),
        ("both", format!("{private}{es}"), KeyError::PrivateKey),
        (
            "another label",
            relabelled(&certificate, "CERTIFICATE"),
            KeyError::Certificate,
        ),
        (
            "another label",
            relabelled(&private, "PRIVATE KEY"),
            KeyError::PrivateKey,
        ),
        (
            "encrypted",
            private.replace("PRIVATE", "ENCRYPTED PRIVATE"),
            KeyError::PrivateKey,
        ),
    ] {
        for algorithm in PUBLIC {
            let error = Key::from_pem(algorithm, &pem).map(|_| ());
            assert_eq!(error, Err(answer.clone()), "{what}, for {algorithm}");
        }
    }
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        for (der, answer) in [
            (certified.cert.der().to_vec(), KeyError::Certificate),
            (certified.signing_key.serialize_der(), KeyError::PrivateKey),
        ] {
            assert_eq!(Key::from_der(algorithm, der).map(|_| ()), Err(answer));
        }
    }
    for private in [
        include_str!("../tokens/keys/rsa.pem"),
        include_str!("../tokens/keys/ed25519.pem"),
        "-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----\n",
        "-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n",
    ] {
        let error = Key::from_pem(Algorithm::RS256, private).map(|_| ());
        assert_eq!(error, Err(KeyError::PrivateKey));
    }
}

#[test]
fn a_file_of_two_public_keys_is_refused() {
    let algorithm = Algorithm::EdDSA;
    let pem = crate::tokens::public_pem(algorithm).repeat(2);
    let error = Key::from_pem(algorithm, pem).map(|_| ());
    assert!(
        matches!(error, Err(KeyError::Unreadable { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_rsa_key_can_be_one_of_pkcs_1() {
    use base64::Engine as _;
    // The end of the `SubjectPublicKeyInfo`.
    let der = &public_der(Algorithm::RS256)[24..];
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let pem = format!("-----BEGIN RSA PUBLIC KEY-----\n{body}\n-----END RSA PUBLIC KEY-----\n");
    let key = Key::from_pem(Algorithm::RS256, &pem).expect("a key");
    let token = minted(Algorithm::RS256, None, &claims("alice"));
    assert_eq!(asking(jwt(key)).user(&token).await, Ok("alice".to_owned()));
    let error = Key::from_pem(Algorithm::ES256, &pem).map(|_| ());
    assert!(
        matches!(error, Err(KeyError::Unreadable { .. })),
        "{error:?}"
    );
}
