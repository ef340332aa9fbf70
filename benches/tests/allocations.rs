//! What a request may allocate.

use tower_user_scope_benches::{
    cases::named,
    counting::{Allocated, Counting, allocated},
    ours::growth::bytes_of_open_scope,
};

#[global_allocator]
static COUNTING: Counting = Counting;

/// Of one request, after the first ones have filled what is filled once.
fn of(name: &str) -> Allocated {
    let mut case = named(name);
    case.run(10);
    allocated(|| case.run(1))
}

fn times(name: &str) -> u64 {
    of(name).times
}

#[test]
fn the_layer_allocates_at_most_once_more_than_a_service_written_by_hand() {
    let by_hand = times("by_hand");
    for ours in ["header_alone", "six_header", "header_after_5"] {
        let allocations = times(ours);
        assert!(
            allocations <= by_hand + 1,
            "{ours} allocates {allocations} times, by hand it is {by_hand}"
        );
    }
}

#[test]
fn a_strategy_that_has_nothing_to_say_allocates_nothing() {
    let alone = of("header_alone");
    for list in [
        "header_after_extension",
        "header_after_existing",
        "header_after_session",
        "header_after_token",
        "header_after_api_key",
        "header_after_5",
    ] {
        assert_eq!(
            of(list),
            alone,
            "{list}: the strategies before the header allocate"
        );
    }
}

#[test]
fn a_strategy_that_is_not_reached_allocates_nothing() {
    for strategy in ["header", "existing", "extension", "session", "token"] {
        assert_eq!(
            of(&format!("six_{strategy}")),
            of(&format!("{strategy}_alone")),
            "{strategy} in the list of six allocates what it doesn't alone"
        );
    }
}

#[test]
fn a_fallback_allocates_no_more_than_a_header() {
    let (fallback, header) = (times("six_fallback"), times("six_header"));
    assert!(
        fallback <= header,
        "a fallback allocates {fallback} times, a header {header}"
    );
}

#[test]
fn an_access_to_the_factory_allocates_nothing() {
    // A hundred thousand accesses and the request around them.
    let (accesses, request) = (times("access_checked"), times("header_alone"));
    assert!(
        accesses <= request,
        "a request that uses its factory allocates {accesses} times, one that doesn't {request}"
    );
}

#[test]
fn each_of_a_hundred_thousand_open_scopes_takes_at_most_a_kibibyte() {
    let bytes = bytes_of_open_scope(100_000);
    assert!(bytes <= 1024, "an open scope takes {bytes} bytes");
}

#[test]
fn the_number_of_users_changes_nothing() {
    assert_eq!(
        of("header_users_1000000"),
        of("header_users_1"),
        "something is kept by user"
    );
}
