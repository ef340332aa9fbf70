//! The memory that a flood of distinct valid tokens takes.

mod tokens;

use std::alloc::System;

use serde::Deserialize;
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tower_user_scope::{
    MaybeFuture, Outcome,
    jwt::{HasAudience, HasIssuer, Jwt, TokenCache},
    strategy::Strategy,
};

use crate::tokens::{HS, bearer, claims_with, jwt, minted, verifying};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn live_bytes() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Claims of the application's own, which are kept with what was verified.
#[derive(Clone, Deserialize)]
struct Profile {
    #[expect(dead_code, reason = "it takes room")]
    about: Value,
}

/// Each of another user, of one to two thousand bytes.
fn is_good(strategy: &Jwt<HasIssuer, HasAudience>, user: usize) -> bool {
    let about: Vec<_> = (0..20 + user % 30)
        .map(|n| format!("{n}-{user:-<40}"))
        .collect();
    let claims = claims_with(json!({"sub": format!("user-{user}"), "about": about}));
    let (head, ()) = bearer(&minted(HS, None, &claims)).into_parts();
    let answer = strategy.resolve(&head);
    matches!(answer, MaybeFuture::Ready(Outcome::Found(_)))
}

#[test]
fn a_flood_of_good_tokens_takes_no_more_room_than_the_cache_may() {
    const ROOM: usize = 1 << 20;
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
