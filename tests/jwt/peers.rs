//! Tokens of other libraries are accepted unchanged and refused with one byte changed.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::value::RawValue;
use tower_user_scope::jwt::TokenErrorKind;

use crate::tokens::{ALGORITHMS, Why, asking, hs, is_before_claims, jwt, verifying};

#[derive(Deserialize)]
struct Minted {
    peer: String,
    algorithm: String,
    token: String,
}

/// The tokens in the file that `PEER_TOKENS` names, minted today, or the ones in the repository.
fn minted() -> Vec<Minted> {
    let text = match std::env::var_os("PEER_TOKENS") {
        Some(path) => std::fs::read_to_string(path).expect("`PEER_TOKENS` names a file"),
        None => include_str!("tokens/vectors/peer_tokens.jsonl").to_owned(),
    };
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a token on each line"))
        .collect()
}

#[tokio::test]
async fn tokens_of_pyjwt_and_jose_are_accepted_and_changed_ones_are_not() {
    let all = minted();
    for peer in ["PyJWT", "jose"] {
        let theirs = all.iter().filter(|minted| minted.peer.starts_with(peer));
        assert_eq!(
            theirs.count(),
            ALGORITHMS.len(),
            "one of each algorithm by {peer}"
        );
    }
    for minted in &all {
        let name = format!("{}, {}", minted.peer, minted.algorithm);
        let algorithm = ALGORITHMS
            .into_iter()
            .find(|algorithm| algorithm.as_str() == minted.algorithm)
            .expect("a known algorithm");
        for key in [verifying(algorithm), verifying(algorithm).with_id("k")] {
            let asked = asking(jwt(key));
            assert_eq!(
                asked.user(&minted.token).await,
                Ok("grüße@example".to_owned()),
                "{name}"
            );
            // One byte in each part that is not the last one of the part.
            let ends = minted.token.match_indices('.').map(|(at, _)| at);
            for end in ends.chain([minted.token.len()]) {
                let mut changed = minted.token.clone().into_bytes();
                changed[end - 7] = if changed[end - 7] == b'x' { b'y' } else { b'x' };
                let changed = String::from_utf8(changed).expect("still ASCII");
                let why = asked.user(&changed).await.expect_err(&name);
                assert!(is_before_claims(&why), "{name}, byte {}: {why:?}", end - 7);
            }
        }
    }
}

/// A random token of `tests/tokens/peers/differ.py`, and the user that `PyJWT` takes from it.
#[derive(Deserialize)]
struct Read {
    token: String,
    user: Option<String>,
    #[serde(default)]
    why: String,
}

/// The verdicts in the file that `PEER_VERDICTS` names, made today, or the ones in the repository.
fn read_by_the_peer() -> Vec<Read> {
    let text = match std::env::var_os("PEER_VERDICTS") {
        Some(path) => std::fs::read_to_string(path).expect("`PEER_VERDICTS` names a file"),
        None => include_str!("tokens/vectors/peer_verdicts.jsonl").to_owned(),
    };
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a verdict on each line"))
        .collect()
}

/// Returns whether the claim is a number of seconds between the years 1970 and 9999.
fn is_time(token: &str, claim: &str) -> bool {
    let payload = token.split('.').nth(1).expect("it was read");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("it was read");
    // Raw, because Python reads numbers that an `f64` can't hold.
    let claims: BTreeMap<String, Box<RawValue>> =
        serde_json::from_slice(&payload).expect("it was read");
    let seconds = claims.get(claim).and_then(|raw| raw.get().parse().ok());
    // Negative numbers that are too small for an `f64` are read as `-0.0`.
    seconds.is_some_and(|seconds: f64| seconds.is_sign_positive() && seconds < 253_402_300_800.0)
}

/// The known reasons for a difference between two readers. Any other difference is a bug of one.
fn documented(ours: &Result<String, Why>, theirs: &Read) -> Option<&'static str> {
    let their_error = |text: &str| theirs.why.contains(text);
    Some(match ours {
        Err(Why::Token(problem)) if theirs.user.is_some() => match problem {
            TokenErrorKind::Id(_) => "ids keep to this crate's rules (`IdRules`)",
            TokenErrorKind::NumericDate(name) if !is_time(&theirs.token, name) => {
                "PyJWT takes what Python's `int()` takes: strings, booleans, negative numbers, \
                 numbers beyond the year 9999"
            }
            TokenErrorKind::CriticalHeader => {
                "PyJWT reads `b64: true`; here nothing that may be critical is understood"
            }
            TokenErrorKind::SenderConstrained => "PyJWT doesn't read `cnf`",
            _ => return None,
        },
        Ok(_) if their_error("Key ID header parameter must be a string") => {
            "a `kid` that is `null` counts as none"
        }
        Ok(_) if their_error("int() argument must be a string") => {
            "an `nbf` that is `null` counts as none"
        }
        _ => return None,
    })
}

#[tokio::test]
async fn random_tokens_are_read_as_pyjwt_reads_them_behind_strict_json() {
    let asked = hs();
    let all = read_by_the_peer();
    let (mut agreed, mut differ) = ([0, 0], BTreeMap::<_, usize>::new());
    let mut wrong = Vec::new();
    for theirs in &all {
        let ours = asked.user(&theirs.token).await;
        let ours_user = ours.as_ref().ok();
        if ours_user == theirs.user.as_ref() {
            agreed[usize::from(ours.is_ok())] += 1;
        } else if let Some(why) = documented(&ours, theirs) {
            *differ.entry(why).or_default() += 1;
        } else {
            let (token, peer, why) = (&theirs.token, &theirs.user, &theirs.why);
            wrong.push(format!("{ours:?}; the peer {peer:?} {why}\n  {token}"));
        }
    }
    println!(
        "{} tokens, {agreed:?} refused and accepted by both",
        all.len()
    );
    println!("{differ:#?}");
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
    let least = all.len() / 10;
    assert!(agreed.iter().all(|count| *count > least), "{agreed:?}");
}
