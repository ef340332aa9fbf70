//! The memory that a flood of distinct valid tokens takes, and that a hostile issuer's document takes.

mod tokens;

use std::{
    alloc::System,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tower_user_scope::{
    MaybeFuture, Outcome,
    jwt::{
        Algorithm, FetchDocument, FetchError, HasAudience, HasIssuer, HttpsFetch, Jwt, RemoteKeys,
    },
    strategy::Strategy,
    token::TokenCache,
};

use crate::tokens::{HS, bearer, claims_with, jwk::jwk, jwt, minted, verifying};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn live_bytes() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// An application's own claims, which are cached with the verified token.
#[derive(Clone, Deserialize)]
struct Profile {
    #[expect(dead_code, reason = "it takes room")]
    about: Vec<String>,
}

/// Tokens of distinct users, of one to two thousand bytes.
fn is_good(strategy: &Jwt<HasIssuer, HasAudience>, user: usize) -> bool {
    let about: Vec<_> = (0..20 + user % 30)
        .map(|n| format!("{n}-{user:-<40}"))
        .collect();
    let claims = claims_with(json!({"sub": format!("user-{user}"), "about": about}));
    let (head, ()) = bearer(&minted(HS, None, &claims)).into_parts();
    let answer = strategy.resolve(&head);
    matches!(answer, MaybeFuture::Ready(Outcome::Found(_)))
}

/// Only one test at a time may use the heap.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_flood_of_good_tokens_takes_no_more_room_than_the_cache_may() {
    const ROOM: usize = 1 << 20;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let limits = TokenCache::new().max_bytes(ROOM);
    let strategy = jwt(verifying(HS)).claims::<Profile>().cache(limits);
    let before = live_bytes();
    let mut most = 0;
    for user in 0..5_000 {
        assert!(is_good(&strategy, user), "the token of user {user}");
        most = most.max(live_bytes() - before);
    }
    assert!(
        most > ROOM / 4,
        "only {most} bytes: nothing was kept to speak of"
    );
    assert!(most < ROOM, "{most} bytes, where {ROOM} were allowed");
}

/// An issuer that publishes this document.
struct Published(Bytes);

impl FetchDocument for Published {
    async fn fetch(&self, _: &str) -> Result<Bytes, FetchError> {
        Ok(self.0.clone())
    }
}

/// As many copies of an element as a document may have, between a prefix and a suffix.
fn filled(before: &str, element: &str, after: &str) -> String {
    let room = HttpsFetch::MAX_LEN - before.len() - after.len();
    let copies = room.saturating_sub(1) / element.len();
    format!("{before}{}{after}", element.repeat(copies))
}

/// The bytes and the number of all allocations while a document is read: an upper bound of its memory,
/// and a measure of its time that does not depend on the machine.
#[test]
fn a_document_of_a_megabyte_takes_a_bounded_number_of_bytes_and_allocations() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let key = |id: usize| jwk(Algorithm::EdDSA, &format!("k-{id}")).to_string();
    let keys: Vec<String> = (0..6_000).map(key).collect();
    let key = |id: usize| jwk(Algorithm::RS256, &format!("k-{id}")).to_string();
    let rsa: Vec<String> = (0..2_000).map(key).collect();
    let named = |name: usize| format!("\"{name}\":0");
    let members: Vec<String> = (0..90_000).map(named).collect();
    let good = |text: &str| text.replace("GOOD", &key(0));
    for (what, document, is_good) in [
        ("one good key", good(r#"{"keys":[GOOD]}"#), true),
        (
            "a good key, and numbers",
            filled(&good(r#"{"keys":[GOOD"#), ",1", "]}"),
            true,
        ),
        (
            "a good key, and one of numbers",
            filled(&good(r#"{"keys":[GOOD,{"x":[1"#), ",1", "]}]}"),
            true,
        ),
        (
            "a good key, and one of objects",
            filled(&good(r#"{"keys":[GOOD,{"x":[1"#), r#",{"":0}"#, "]}]}"),
            true,
        ),
        (
            "a good key, and one of many members",
            good(r#"{"keys":[GOOD,{MEMBERS}]}"#).replace("MEMBERS", &members.join(",")),
            true,
        ),
        (
            "a good key, and one with a long id",
            filled(&good(r#"{"keys":[GOOD,{"kid":""#), "x", r#""}]}"#),
            true,
        ),
        (
            "a good key, and one with a long modulus",
            filled(
                &good(r#"{"keys":[GOOD,{"kty":"RSA","e":"AQAB","n":""#),
                "x",
                r#""}]}"#,
            ),
            true,
        ),
        (
            "a good key, and one with an escaped id",
            filled(&good(r#"{"keys":[GOOD,{"kid":""#), "\\n", r#""}]}"#),
            true,
        ),
        (
            "a good key, and one for many operations",
            filled(&good(r#"{"keys":[GOOD,{"key_ops":[1"#), ",1", "]}]}"),
            true,
        ),
        (
            "RSA keys",
            format!(r#"{{"keys":[{}]}}"#, rsa.join(",")),
            true,
        ),
        (
            "good keys alone",
            format!(r#"{{"keys":[{}]}}"#, keys.join(",")),
            true,
        ),
        (
            "other members",
            filled(&good(r#"{"keys":[GOOD],"x":[1"#), ",1", "]}"),
            true,
        ),
        ("arrays in arrays", filled(r#"{"keys":["#, "[", ""), false),
    ] {
        assert!(document.len() <= HttpsFetch::MAX_LEN, "{what}");
        let published = Published(document.into());
        let remote = RemoteKeys::from_url("https://id.example/keys").fetch_with(published);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let before = HEAP.stats();
        let ready = runtime.block_on(remote.ready());
        let after = HEAP.stats();
        assert_eq!(ready.is_ok(), is_good, "{what}");
        let bytes = after.bytes_allocated - before.bytes_allocated;
        let times =
            after.allocations + after.reallocations - before.allocations - before.reallocations;
        assert!(bytes < 4 * HttpsFetch::MAX_LEN, "{what}: {bytes} bytes");
        assert!(times < 100_000, "{what}: {times} allocations");
    }
}
