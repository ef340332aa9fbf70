//! Project Wycheproof's vectors for JSON Web Signatures, through the layer, on both providers.
//!
//! Their payloads are not claims sets, so the tests check how far a token gets: `invalid` tokens are
//! refused before a claim is read, and `valid` tokens pass the check of the signature and are refused
//! for their claims.

use std::collections::{BTreeMap, BTreeSet};

use http::{Request, header};
use serde::Deserialize;
use serde_json::Value;
use tower_user_scope::jwt::{Key, KeyError, KeySet, TokenErrorKind};

use crate::tokens::{Why, asking, is_before_claims, jwt};

const GUESSABLE: &str = "the secret is all zeros, or a count";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    public: Option<Value>,
    private: Option<Value>,
    tests: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    tc_id: u32,
    comment: String,
    jws: Option<Value>,
    result: String,
}

/// The layer's result for a case.
#[derive(Debug, PartialEq)]
enum Got {
    /// The key is refused, so no token is verified.
    Key(KeyError),
    Refused(Why),
    Accepted,
}

fn keys(group: &Group) -> Result<KeySet, KeyError> {
    // For an `oct` key, `public` has the key that the vectors call `private`.
    let keys = group.public.as_ref().or(group.private.as_ref());
    let keys = keys.expect("a group has keys").to_string();
    if keys.contains("\"keys\"") {
        // The vectors require that each key is valid.
        KeySet::from_jwks_strict(keys)
    } else {
        KeySet::new([Key::from_jwk(keys)?])
    }
}

async fn verdict(group: &Group, jws: &Value) -> Got {
    let keys = match keys(group) {
        Ok(keys) => keys,
        Err(error) => return Got::Key(error),
    };
    let token = jws.as_str().map_or_else(|| jws.to_string(), str::to_owned);
    let request = Request::builder()
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(())
        .expect("the token can be in a header");
    match asking(jwt(keys)).send(request).await {
        Ok(_) => Got::Accepted,
        Err(rejection) => Got::Refused(rejection.into()),
    }
}

/// Runs all cases of a file. `refused` are the valid cases that the crate refuses on principle, and
/// `contradictions` are the invalid cases whose bytes are also a valid case.
async fn run(json: &str, refused: &[(u32, &str)], contradictions: &[u32]) {
    let file: File = serde_json::from_str(json).expect("the vectors can be read");
    let refused: BTreeMap<u32, &str> = refused.iter().copied().collect();
    let mut unused: BTreeSet<u32> = refused.keys().copied().collect();
    let mut wrong = Vec::new();
    let mut count = 0;
    for group in &file.test_groups {
        for case in &group.tests {
            let Some(jws) = &case.jws else { continue };
            count += 1;
            let got = verdict(group, jws).await;
            unused.remove(&case.tc_id);
            // Two cases with the same bytes and different results can't both be right.
            let contradicted = group.tests.iter().any(|other| {
                case.result == "invalid" && other.result == "valid" && other.jws == case.jws
            });
            let good = match (case.result.as_str(), &got) {
                ("invalid", _) if contradicted => contradictions.contains(&case.tc_id),
                ("invalid", Got::Refused(why)) => is_before_claims(why),
                ("invalid", Got::Key(_)) => true,
                ("valid", Got::Refused(Why::Token(TokenErrorKind::Claims))) => {
                    !refused.contains_key(&case.tc_id)
                }
                ("valid", Got::Key(_) | Got::Refused(_)) => refused.contains_key(&case.tc_id),
                _ => false,
            };
            if !good {
                wrong.push(format!(
                    "{} ({}, {}): {got:?}",
                    case.tc_id, case.comment, case.result
                ));
            }
        }
    }
    assert!(count > 0, "the file has cases");
    assert!(
        wrong.is_empty(),
        "{} of {count} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        unused.is_empty(),
        "no such case, or no exception: {unused:?}"
    );
}

#[tokio::test]
async fn signatures_get_the_verdicts_of_the_vectors() {
    const BOUND: &str =
        "the key's own `alg` is PS256 and the token's PS384: a key is bound to its alg";
    const P521: &str = "P-521 is no curve of `jsonwebtoken`";
    const LENIENT: &str = "the base64url has a character that it has not (RFC 7515 appendix C)";
    let refused = [
        (346, BOUND),
        (347, P521),
        (350, BOUND),
        (351, P521),
        (357, GUESSABLE),
        (358, GUESSABLE),
        (359, GUESSABLE),
        (372, LENIENT),
        (373, LENIENT),
        (376, GUESSABLE),
        (377, GUESSABLE),
    ];
    let json = include_str!("tokens/vectors/wycheproof_json_web_signature_test.json");
    run(json, &refused, &[367, 370]).await;
}

#[tokio::test]
async fn signatures_among_other_cryptography_get_the_verdicts_of_the_vectors() {
    let json = include_str!("tokens/vectors/wycheproof_json_web_crypto_test.json");
    run(json, &[], &[]).await;
}

#[tokio::test]
async fn key_sets_get_the_verdicts_of_the_vectors() {
    let json = include_str!("tokens/vectors/wycheproof_json_web_key_test.json");
    let refused = [(13, GUESSABLE), (14, GUESSABLE), (15, GUESSABLE)];
    run(json, &refused, &[]).await;
}
