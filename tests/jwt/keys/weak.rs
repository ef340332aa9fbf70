//! Weak keys, for which everybody can sign: refused in each form that an application can pass, and
//! ignored in the set of an issuer.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use tower_user_scope::{
    ConfigError,
    jwt::{
        Algorithm, FetchDocument, FetchError, HasAudience, HasIssuer, Jwt, Key, KeyError, KeySet,
        RemoteKeys, TokenConfigError, TokenErrorKind,
    },
    strategy::Strategy,
};

use crate::tokens::{
    asking, base64url, claims,
    jwk::{jwk, jwk_with},
    jwt, jwt_on, minted,
    providers::each,
    public_der, refused,
};

/// A weak key as a number or as several numbers.
enum Weak {
    Ed25519([u8; 32]),
    P256([u8; 64]),
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

impl Weak {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDSA,
            Self::P256(_) => Algorithm::ES256,
            Self::Rsa { .. } => Algorithm::RS256,
        }
    }

    fn jwk(&self, id: &str) -> Value {
        let members = match self {
            Self::Ed25519(x) => json!({"x": base64url(x)}),
            Self::P256(point) => {
                json!({"x": base64url(&point[..32]), "y": base64url(&point[32..])})
            }
            Self::Rsa { n, e } => json!({"n": base64url(n), "e": base64url(e)}),
        };
        jwk_with(self.algorithm(), id, &members)
    }

    /// A `SubjectPublicKeyInfo`.
    fn der(&self) -> Vec<u8> {
        // The algorithm of a good key with another key.
        let info = |good: &[u8], key: &[u8]| {
            let key = tlv(3, &[&[0], key].concat());
            tlv(0x30, &[good, &key].concat())
        };
        let good = public_der(self.algorithm());
        match self {
            Self::Ed25519(x) => info(&good[2..9], x),
            Self::P256(point) => info(&good[2..23], &[&[4], &point[..]].concat()),
            Self::Rsa { n, e } => info(&good[4..19], &pkcs_1(n, e)),
        }
    }
}

fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let len = contents.len();
    let bytes = len.to_be_bytes();
    let head = match len {
        0..0x80 => vec![tag, bytes[7]],
        0x80..0x100 => vec![tag, 0x81, bytes[7]],
        _ => vec![tag, 0x82, bytes[6], bytes[7]],
    };
    [head, contents.to_vec()].concat()
}

fn pkcs_1(n: &[u8], e: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let sign: &[u8] = if number[0] >= 0x80 { &[0] } else { &[] };
        tlv(2, &[sign, number].concat())
    };
    tlv(0x30, &[integer(n), integer(e)].concat())
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn hexadecimal(digits: &str) -> [u8; 32] {
    std::array::from_fn(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("hex"))
}

/// All encodings of the eight points of small order. Some have a number above the field's prime, or
/// a zero with a sign.
fn small_order() -> Vec<[u8; 32]> {
    [
        // 0 and the prime, of order 4.
        "0000000000000000000000000000000000000000000000000000000000000000",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        // 1 and one more than the prime: the identity.
        "0100000000000000000000000000000000000000000000000000000000000000",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        // -1, of order 2.
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        // Of order 8.
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ]
    .into_iter()
    .flat_map(|digits| {
        let key = hexadecimal(digits);
        let mut signed = key;
        signed[31] |= 0x80;
        [key, signed]
    })
    .collect()
}

fn modulus() -> Vec<u8> {
    let der = public_der(Algorithm::RS256);
    der[der.len() - 261..][..256].to_vec()
}

/// Weak keys with their errors. The default error is the size.
fn cases() -> Vec<(String, Weak, Option<KeyError>)> {
    let mut cases = Vec::new();
    for key in small_order() {
        cases.push((
            format!("{key:x?}"),
            Weak::Ed25519(key),
            Some(KeyError::SmallOrder),
        ));
    }
    // No point of the curve has the y coordinate 2, and 2^255 - 16 is another form of 3.
    let mut above = [0xff; 32];
    (above[0], above[31]) = (0xf0, 0x7f);
    let mut two = [0; 32];
    two[0] = 2;
    for key in [two, above] {
        let algorithm = Algorithm::EdDSA;
        let error = Some(KeyError::NotOnCurve(algorithm));
        cases.push((format!("{key:x?}"), Weak::Ed25519(key), error));
    }
    let good = public_der(Algorithm::ES256);
    let good: [u8; 64] = good[good.len() - 64..].try_into().expect("a point");
    let (mut off, mut swapped) = (good, good);
    off[63] ^= 1;
    swapped.rotate_left(32);
    for point in [[0; 64], [0xff; 64], off, swapped] {
        let algorithm = Algorithm::ES256;
        let error = Some(KeyError::NotOnCurve(algorithm));
        cases.push((format!("{point:x?}"), Weak::P256(point), error));
    }
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut n = modulus();
        change(&mut n);
        n
    };
    let f4 = || vec![1, 0, 1];
    for (what, n, e, error) in [
        (
            "even",
            with(&|n| n[255] ^= 1),
            f4(),
            Some(KeyError::RsaModulus),
        ),
        (
            "2^2048 - 1",
            vec![0xff; 256],
            f4(),
            Some(KeyError::RsaModulus),
        ),
        ("1,024 bits", modulus()[128..].to_vec(), f4(), None),
        ("9,000 bits", [modulus(), vec![1; 870]].concat(), f4(), None),
        ("e = 1", modulus(), vec![1], Some(KeyError::RsaExponent)),
        ("e = 3", modulus(), vec![3], Some(KeyError::RsaExponent)),
        (
            "e is even",
            modulus(),
            vec![1, 0, 2],
            Some(KeyError::RsaExponent),
        ),
        (
            "e is long",
            modulus(),
            vec![1; 9],
            Some(KeyError::RsaExponent),
        ),
    ] {
        cases.push((what.to_owned(), Weak::Rsa { n, e }, error));
    }
    cases
}

#[test]
fn a_weak_key_is_refused_in_each_form() {
    for (what, weak, wanted) in cases() {
        let algorithm = weak.algorithm();
        let (json, der) = (weak.jwk("weak").to_string(), weak.der());
        let set = json!({"keys": [weak.jwk("weak")]}).to_string();
        let mut forms = vec![
            ("JWK", Key::from_jwk(json).map(|_| ())),
            ("DER", Key::from_der(algorithm, &der).map(|_| ())),
            (
                "PEM",
                Key::from_pem(algorithm, pem("PUBLIC KEY", &der)).map(|_| ()),
            ),
            ("set", KeySet::from_jwks(&set).map(|_| ())),
            ("strict set", KeySet::from_jwks_strict(&set).map(|_| ())),
        ];
        if let Weak::Rsa { n, e } = &weak {
            let pem = pem("RSA PUBLIC KEY", &pkcs_1(n, e));
            forms.push(("PKCS#1", Key::from_pem(algorithm, pem).map(|_| ())));
        }
        for (form, answer) in forms {
            let error = answer.expect_err(&what);
            let is_wanted = match &wanted {
                Some(wanted) => error == *wanted,
                None => matches!(error, KeyError::RsaSize { .. }),
            };
            assert!(is_wanted, "{what} as {form}: {error:?}");
        }
    }
}

/// Keys that a test publishes without a server.
struct Published(String);

impl FetchDocument for Published {
    async fn fetch(&self, _url: &str) -> Result<Bytes, FetchError> {
        Ok(Bytes::from(self.0.clone()))
    }
}

fn fetched(keys: &Value) -> Jwt<HasIssuer, HasAudience> {
    let published = Published(json!({"keys": keys}).to_string());
    jwt(RemoteKeys::from_url("https://id.example/keys").fetch_with(published))
}

#[tokio::test]
async fn a_weak_key_is_left_out_of_what_is_fetched() {
    let good = minted(Algorithm::ES384, Some("good"), &claims("alice"));
    for (what, weak, _) in cases() {
        let asked = asking(fetched(&json!([
            weak.jwk("weak"),
            jwk(Algorithm::ES384, "good")
        ])));
        assert_eq!(asked.user(&good).await, Ok("alice".to_owned()), "{what}");
        let token = minted(weak.algorithm(), Some("weak"), &claims("alice"));
        let answer = asked.user(&token).await;
        assert_eq!(answer, refused(TokenErrorKind::UnknownKey), "{what}");
    }
}

/// A signature for the identity as the key, which needs no private key: R is the identity and S is
/// zero, for every message.
#[tokio::test]
async fn nobody_signs_for_a_key_of_small_order() {
    let identity = hexadecimal("0100000000000000000000000000000000000000000000000000000000000000");
    let header = base64url(r#"{"alg":"EdDSA","kid":"weak"}"#);
    let payload = base64url(claims("admin").to_string());
    let message = format!("{header}.{payload}");
    let mut signature = vec![0; 64];
    signature[0] = 1;
    // Each provider accepts such a signature, so the danger is real.
    for provider in [
        &jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER,
        &jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER,
    ] {
        let key = jsonwebtoken::DecodingKey::from_ed_der(&identity);
        let verifier = (provider.verifier_factory)(&jsonwebtoken::Algorithm::EdDSA, &key);
        let verifier = verifier.expect("any 32 bytes are a key");
        assert!(verifier.verify(message.as_bytes(), &signature).is_ok());
    }
    let token = format!("{message}.{}", base64url(signature));
    let weak = Weak::Ed25519(identity).jwk("weak");
    let asked = asking(fetched(&json!([weak, jwk(Algorithm::ES384, "good")])));
    assert_eq!(
        asked.user(&token).await,
        refused(TokenErrorKind::UnknownKey)
    );
}

#[test]
fn secrets_that_are_short_or_can_be_guessed_are_refused() {
    for (algorithm, len) in [
        (Algorithm::HS256, 31),
        (Algorithm::HS384, 47),
        (Algorithm::HS512, 63),
    ] {
        let error = Key::hmac(algorithm, vec![7; len]).expect_err("too short");
        assert!(
            matches!(error, KeyError::ShortSecret { .. }),
            "{algorithm}: {error:?}"
        );
    }
    let count: Vec<u8> = (0..64).collect();
    let down: Vec<u8> = (0..64).map(|byte| 255 - 3 * byte).collect();
    let guessable: [&[u8]; 12] = [
        &[0; 64],
        &[0xff; 64],
        b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"changemechangemechangemechangeme",
        b"secretsecretsecretsecretsecretsecretsec",
        b"0123456789abcde0123456789abcde012345",
        b"010011010111010001101010010110111010010100110101",
        &count,
        &down,
        b"a-string-secret-at-least-256-bits-long",
        b"your-super-secret-jwt-token-with-at-least-32-characters-long",
        b"Super-Secret-JWT-Token-With-At-Least-32-Characters-Long",
    ];
    for secret in guessable {
        let text = String::from_utf8_lossy(secret);
        let error = Key::hmac(Algorithm::HS256, secret).map(|_| ());
        assert_eq!(error, Err(KeyError::GuessableSecret), "{text}");
        let jwk = json!({"kty": "oct", "alg": "HS256", "k": base64url(secret)}).to_string();
        let error = Key::from_jwk(jwk).map(|_| ());
        assert_eq!(error, Err(KeyError::GuessableSecret), "{text}");
    }
    // Secrets as tools write them: bytes, hexadecimal, base64, decimal digits, words.
    let random: [&[u8]; 5] = [
        &hexadecimal("b07f3ac2a1a0e4c94b6f0fdd0a3bbf6e2b7a8e2f0f9c7d0e5d8ef3b12c4a6981"),
        b"b07f3ac2a1a0e4c94b6f0fdd0a3bbf6e",
        b"sH86wqGg5MlLbw/dCju/biuKji8PnH0O",
        b"84950173629105847362910584736291",
        b"correct horse battery staple zebra",
    ];
    for secret in random {
        let text = String::from_utf8_lossy(secret);
        assert!(Key::hmac(Algorithm::HS256, secret).is_ok(), "{text}");
    }
}

/// `rust-crypto` verifies with RSA keys of at most 4,096 bits. For a larger key it only reports that
/// every signature is wrong.
#[tokio::test]
async fn a_key_that_is_too_large_for_a_provider_is_not_taken_for_a_wrong_signature() {
    // 2^4096 + 1 has no small factor.
    let large = || {
        let mut n = [0; 513];
        (n[0], n[512]) = (1, 1);
        let members = json!({"n": base64url(n)});
        jwk_with(Algorithm::RS256, "large", &members)
    };
    let token = minted(Algorithm::RS256, Some("large"), &claims("alice"));
    for (name, provider) in each() {
        let is_small = name == "rust-crypto";
        let key = Key::from_jwk(large().to_string()).expect("a provider may take it");
        let built = jwt_on(provider, key).validate();
        match built {
            Err(ConfigError::Token(TokenConfigError::Key(KeyError::RsaSize { .. }))) => {
                assert!(is_small, "{name}");
            }
            built => assert!(built.is_ok() && !is_small, "{name}: {built:?}"),
        }
        let published = Published(json!({"keys": [large()]}).to_string());
        let keys = RemoteKeys::from_url("https://id.example/keys").fetch_with(published);
        let answer = asking(jwt_on(provider, keys)).user(&token).await;
        let problem = if is_small {
            TokenErrorKind::UnknownKey
        } else {
            TokenErrorKind::Signature
        };
        assert_eq!(answer, refused(problem), "{name}");
    }
}
