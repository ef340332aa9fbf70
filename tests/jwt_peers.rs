//! Tokens that other libraries minted: accepted as they are, refused with one byte changed.

mod tokens;

use serde::Deserialize;

use crate::tokens::{ALGORITHMS, asking, is_before_claims, jwt, verifying};

#[derive(Deserialize)]
struct Minted {
    peer: String,
    algorithm: String,
    token: String,
}

/// What the peers mint today, where `PEER_TOKENS` names a file of it, else what was kept.
fn minted() -> Vec<Minted> {
    let text = match std::env::var_os("PEER_TOKENS") {
        Some(path) => std::fs::read_to_string(path).expect("`PEER_TOKENS` names a file"),
        None => include_str!("vectors/peer_tokens.jsonl").to_owned(),
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
            // One in each part, wherever the part is not at its end.
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
