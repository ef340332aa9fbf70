//! Sets of keys: which key a token selects, and how keys that can't be used are treated.

use serde_json::{Value, json};
use tower_user_scope::jwt::{Algorithm, Key, KeyError, KeySet, TokenErrorKind};

use crate::tokens::{
    HS, asking, base64url, claims,
    jwk::{jwk, jwk_with, others},
    jwt, minted, refused, verifying,
};

const ED: Algorithm = Algorithm::EdDSA;
const ES: Algorithm = Algorithm::ES256;

fn jwks(keys: &[Value]) -> String {
    json!({"keys": keys, "other": 1}).to_string()
}

/// The number of usable keys, read leniently and strictly.
fn left(keys: &[Value]) -> [Result<usize, KeyError>; 2] {
    let set = jwks(keys);
    [KeySet::from_jwks(&set), KeySet::from_jwks_strict(&set)].map(|set| set.map(|set| set.len()))
}

fn secret(number: u8) -> Key {
    let mut secret = *b"a secret that has a number: 0000";
    secret[31] = number;
    Key::hmac(HS, secret).expect("long enough")
}

#[test]
fn sets_that_leave_open_which_key_is_meant_are_refused() {
    let set = |keys: Vec<Key>| KeySet::new(keys).map(|set| set.len());
    assert_eq!(set(vec![]), Err(KeyError::NoKey));
    assert_eq!(
        set(vec![verifying(ES), verifying(HS)]),
        Err(KeyError::MixedKeys)
    );
    assert_eq!(
        set(vec![secret(1).with_id("a"), secret(2).with_id("a")]),
        Err(KeyError::DuplicateKeyId)
    );
    assert_eq!(
        set(vec![secret(1).with_id("a"), secret(1).with_id("b")]),
        Ok(2)
    );
    assert_eq!(
        set(vec![secret(1).with_id("a"), secret(1).with_id("a")]),
        Ok(1),
        "the same"
    );
    assert_eq!(set((0..4).map(secret).collect()), Ok(4));
    assert!(matches!(
        set((0..5).map(secret).collect()),
        Err(KeyError::TooManyWithoutId { limit: 4, .. })
    ));
    let many = |count: u8| {
        let keys = (0..count).map(|number| secret(number).with_id(number.to_string()));
        set(keys.collect())
    };
    assert_eq!(many(100), Ok(KeySet::MAX_KEYS));
    assert_eq!(many(101), Err(KeyError::TooManyKeys(100)));
}

/// RFC 7517 section 4.5: keys of different kinds may share an id.
#[tokio::test]
async fn a_key_is_looked_up_by_its_id_and_its_algorithm() {
    let set = jwks(&[
        jwk(Algorithm::RS256, "a"),
        jwk(Algorithm::PS256, "a"),
        jwk(ES, "a"),
        jwk(ED, "b"),
        jwk_with(ES, "a", &json!({"use": "enc", "alg": "ECDH-ES"})),
    ]);
    for set in [KeySet::from_jwks(&set), KeySet::from_jwks_strict(&set)] {
        let asked = asking(jwt(set.expect("four keys")));
        for (algorithm, id, answer) in [
            (Algorithm::RS256, "a", Ok("alice".to_owned())),
            (Algorithm::PS256, "a", Ok("alice".to_owned())),
            (ES, "a", Ok("alice".to_owned())),
            (ED, "b", Ok("alice".to_owned())),
            (ED, "a", refused(TokenErrorKind::WrongAlgorithm)),
            (
                Algorithm::RS512,
                "a",
                refused(TokenErrorKind::WrongAlgorithm),
            ),
            (ES, "b", refused(TokenErrorKind::WrongAlgorithm)),
            (ES, "c", refused(TokenErrorKind::UnknownKey)),
        ] {
            let token = minted(algorithm, Some(id), &claims("alice"));
            assert_eq!(asked.user(&token).await, answer, "{algorithm} {id}");
        }
    }
}

#[tokio::test]
async fn a_key_that_comes_twice_is_one_key() {
    let without_id = jwk_with(ES, "", &json!({"kid": null}));
    for (keys, count) in [
        (vec![jwk(ED, "a"), jwk(ED, "a")], 1),
        // The same key in another form.
        (
            vec![
                jwk(ED, "a"),
                jwk_with(ED, "a", &json!({"alg": "Ed25519", "x5t": 7})),
            ],
            1,
        ),
        (
            vec![jwk(ED, "a"), jwk_with(ED, "a", &json!({"use": null}))],
            1,
        ),
        // More keys than are tried.
        (vec![without_id; 5], 1),
        (vec![jwk(ED, "a"), jwk(ED, "b")], 2),
    ] {
        assert_eq!(left(&keys), [Ok(count), Ok(count)], "{keys:?}");
    }
    let asked = asking(jwt(
        KeySet::from_jwks(jwks(&vec![jwk(ES, "a"); 3])).expect("a key")
    ));
    for id in [Some("a"), None] {
        let token = minted(ES, id, &claims("alice"));
        assert_eq!(asked.user(&token).await, Ok("alice".to_owned()), "{id:?}");
    }
}

fn other(id: &str) -> Value {
    let [one, ..] = others(id);
    one
}

/// Neither key is used, because an attacker that gets a key into the set could take another key's id.
#[tokio::test]
async fn of_two_different_keys_of_one_id_and_algorithm_neither_is_used() {
    let keys = [jwk(ES, "a"), other("a"), jwk(ED, "a"), other("b")];
    assert_eq!(left(&keys), [Ok(2), Err(KeyError::DuplicateKeyId)]);
    let asked = asking(jwt(KeySet::from_jwks(jwks(&keys)).expect("two keys")));
    for (algorithm, answer) in [
        (ES, refused(TokenErrorKind::WrongAlgorithm)),
        (ED, Ok("alice".to_owned())),
    ] {
        let token = minted(algorithm, Some("a"), &claims("alice"));
        assert_eq!(asked.user(&token).await, answer, "{algorithm}");
    }
}

#[tokio::test]
async fn an_odd_member_of_one_key_of_a_fixed_set_harms_that_key_alone() {
    let rsa = |members| jwk_with(Algorithm::RS256, "odd", &members);
    let member = |name| Some(KeyError::Member(name));
    let token = minted(ES, Some("good"), &claims("alice"));
    for (odd, strict) in [
        (rsa(json!({"e": "Aw"})), Some(KeyError::RsaExponent)),
        (rsa(json!({"n": 7})), member("n")),
        (rsa(json!({"n": "???"})), member("n")),
        (rsa(json!({"kid": 7})), member("kid")),
        (rsa(json!({"use": 7})), member("use")),
        (rsa(json!({"d": "AQAB"})), Some(KeyError::PrivateKey)),
        (rsa(json!({"alg": "ES256"})), Some(KeyError::Mismatched)),
        (json!(7), Some(KeyError::NotJwk)),
        (json!(["RSA"]), Some(KeyError::NotJwk)),
        (json!(null), Some(KeyError::NotJwk)),
        // Keys that the RFC says to ignore.
        (rsa(json!({"alg": "RSA-OAEP"})), None),
        (rsa(json!({"use": "enc"})), None),
        (rsa(json!({"key_ops": ["encrypt"]})), None),
        (json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}), None),
        (json!({}), None),
    ] {
        for keys in [
            [odd.clone(), jwk(ES, "good")],
            [jwk(ES, "good"), odd.clone()],
        ] {
            let strict = strict.clone().map_or(Ok(1), Err);
            assert_eq!(left(&keys), [Ok(1), strict], "{odd}");
            let set = KeySet::from_jwks(jwks(&keys)).expect("the good key");
            assert_eq!(
                asking(jwt(set)).user(&token).await,
                Ok("alice".to_owned()),
                "{odd}"
            );
        }
    }
}

/// The member's type, its size, and whether its value can be represented do not matter.
#[test]
fn a_member_that_nobody_reads_may_be_anything() {
    let nested = "[".repeat(10_000) + &"]".repeat(10_000);
    let long = format!("\"{}\"", "x".repeat(100_000));
    let good = jwk(ES, "good").to_string();
    for value in [
        "7",
        "null",
        "1e999999",
        r#""\ud800""#,
        r#"{"a":1,"a":2}"#,
        &nested,
        &long,
    ] {
        let shown = &value[..value.len().min(20)];
        let odd = jwk(ES, "odd").to_string();
        let odd = odd.replacen('{', &format!("{{\"x5t\":{value},"), 1);
        assert!(Key::from_jwk(&odd).is_ok(), "{shown}");
        let set = format!(r#"{{"more":{value},"keys":[{odd},{good}]}}"#);
        let len = |set: Result<KeySet, KeyError>| set.map(|set| set.len());
        assert_eq!(len(KeySet::from_jwks_strict(&set)), Ok(2), "{shown}");
        assert_eq!(len(KeySet::from_jwks(&set)), Ok(2), "{shown}");
    }
}

/// A set in Yahoo's form.
#[test]
fn a_short_rsa_key_beside_good_ones_is_left_out() {
    let short = "rJBIp6T1YK-RtPyvYqFFlcucqewSAA_IReSFchE8qyiQrbARqRlXWkB2DR8j_pJQnIpYELbQWZC5Cd0PTGAU\
                 8rMbar2AW6zpmBbi7aQf17lUBdt8XI9M9rq7FPVQ1dDdUXm1SVH_9qqWhvMPR422SbfHBEzCAtzK0ANDRo6qz78";
    let short = jwk_with(Algorithm::RS256, "short", &json!({"n": short}));
    let [lenient, strict] = left(&[short, jwk(Algorithm::RS256, "good")]);
    assert_eq!(lenient, Ok(1));
    assert!(
        matches!(strict, Err(KeyError::RsaSize { bits: 1_024, .. })),
        "{strict:?}"
    );
}

#[test]
fn a_set_of_which_nothing_is_left_is_refused_for_its_first_reason() {
    for (keys, error) in [
        (vec![], KeyError::NoKey),
        (vec![json!(7), json!({})], KeyError::NotJwk),
        (
            vec![jwk_with(ES, "a", &json!({"x": "AA"}))],
            KeyError::NotOnCurve(ES),
        ),
        (vec![jwk(ES, "a"), other("a")], KeyError::DuplicateKeyId),
    ] {
        assert_eq!(left(&keys)[0], Err(error), "{keys:?}");
    }
    for text in [
        "",
        "7",
        "[]",
        "{}",
        r#"{"keys": {}}"#,
        r#"{"keys": null}"#,
        r#"{"keys": [}"#,
    ] {
        for set in [KeySet::from_jwks(text), KeySet::from_jwks_strict(text)] {
            assert_eq!(set.map(|_| ()), Err(KeyError::NotJwk), "{text}");
        }
    }
}

/// It is unknown whether the secret or the public key is there by mistake.
#[test]
fn secrets_beside_public_keys_are_refused_strictly_or_not() {
    let secret =
        json!({"kty": "oct", "alg": "HS256", "kid": "s", "k": base64url(crate::tokens::SECRET)});
    let mixed = [secret.clone(), jwk(ES, "a")];
    assert_eq!(
        left(&mixed),
        [Err(KeyError::MixedKeys), Err(KeyError::MixedKeys)]
    );
    assert_eq!(left(&[secret]), [Ok(1), Ok(1)]);
}

#[test]
fn of_a_set_that_is_too_large_the_first_keys_are_looked_at() {
    let keys = |count: usize| -> Vec<Value> {
        (0..count)
            .map(|number| jwk(ED, &number.to_string()))
            .collect()
    };
    assert_eq!(left(&keys(100)), [Ok(100), Ok(100)]);
    let error = Err(KeyError::TooManyKeys(KeySet::MAX_KEYS));
    assert_eq!(left(&keys(101)), [Ok(100), error.clone()]);
    assert_eq!(left(&keys(5_000)), [Ok(100), error]);
}
