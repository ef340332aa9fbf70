//! What a request may cost in instructions, where there is a valgrind to count them.
//!
//! The budgets leave room for plainer code: what counts is what `benches/run` sees end to end, in
//! requests a second and CPU a request. They hold for release builds only (`cargo test --release`).

use std::path::Path;

use tower_user_scope_benches::{callgrind, documents, served};

fn instructions(case: &str) -> u64 {
    callgrind::instructions(Path::new(env!("CARGO_BIN_EXE_count")), case)
}

/// Instructions of one case beyond those of another, at most so many.
fn assert_beyond(cases: &[(&str, &str, u64, u64)]) {
    if !callgrind::is_there() {
        eprintln!("SKIPPED: there is no valgrind");
        return;
    }
    for (case, than, per, budget) in cases {
        let beyond = instructions(case).saturating_sub(instructions(than)) / per;
        eprintln!("{case} beyond {than}: {beyond} of {budget}");
        assert!(
            beyond <= *budget,
            "{case} takes {beyond} instructions more than {than}, the budget is {budget}"
        );
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "budgets are of release builds")]
fn the_layer_keeps_to_its_instructions_beyond_a_service_written_by_hand() {
    assert_beyond(&[
        // 6,170 for a list of six, of which the service by hand takes 3,130. The bar was 6,000, before
        // there were tenants, limits and scopes that end with their identity.
        ("header_alone", "by_hand", 1, 3_060),
        ("six_header", "by_hand", 1, 3_060),
        // An allocation for what a refusal says of the request, and an entry into the scope.
        ("header_before_response", "header_alone", 1, 730),
    ]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "budgets are of release builds")]
fn a_strategy_that_has_nothing_to_say_keeps_to_its_instructions() {
    assert_beyond(&[
        ("header_after_5", "header_alone", 5, 125),
        ("six_header", "header_alone", 5, 10),
    ]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "budgets are of release builds")]
fn limits_and_what_ends_scopes_keep_to_their_instructions_and_cost_nothing_unused() {
    assert_beyond(&[
        // An identity without an end.
        ("header_at_expiry", "header_alone", 1, 10),
        // 2,960, 1,400, 2,030 and 8,110. The bars, 60 ns for the registry and 80 ns for a limit, would be
        // about 650 and 850.
        ("header_open_scopes", "header_alone", 1, 3_100),
        ("header_rate", "header_alone", 1, 1_500),
        ("header_concurrency", "header_alone", 1, 2_150),
        ("header_rate_returned", "header_alone", 1, 8_300),
    ]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "budgets are of release builds")]
fn telemetry_keeps_to_its_instructions() {
    assert_beyond(&[
        // An observer that does nothing: 1,280.
        ("header_observed", "header_alone", 1, 1_350),
        // 500. The bar, 40 ns with the observer, would be about 420 for both.
        ("header_metrics", "header_observed", 1, 530),
        // 8,650 for each of two lines, without the file's own. The bar of 300 ns would be about 3,200.
        ("header_audit_log", "header_observed", 2, 9_100),
    ]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "budgets are of release builds")]
fn what_is_remembered_of_a_key_costs_about_what_it_does_of_a_token() {
    if !callgrind::is_there() {
        eprintln!("SKIPPED: there is no valgrind");
        return;
    }
    let token = instructions("hs256_ours_hit");
    for case in ["api_key_hit", "introspection_hit"] {
        let hit = instructions(case);
        eprintln!("{case}: {hit}, a token {token}");
        assert!(
            hit * 10 <= token * 11,
            "{case} takes {hit} instructions, a token {token}"
        );
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "budgets are of release builds")]
fn what_there_is_more_of_costs_little_each() {
    assert_beyond(&[
        // The request is cloned with its headers: that is a part of it.
        ("headers_100", "headers_0", 100, 320),
        ("cookies_50", "cookies_0", 50, 390),
        ("networks_1000", "networks_1", 1, 250),
        ("networks_10000", "networks_1", 1, 350),
        ("keys_100", "keys_1", 99, 60),
        ("issuers_100", "issuers_1", 99, 10),
        ("strategies_50", "strategies_0", 50, 125),
    ]);
}

/// The time of a thread that a hostile issuer gets for each fetch: the longest document takes 200 million
/// instructions at the most, a fifteenth of a second, and one of an eighth takes an eighth.
#[test]
#[cfg_attr(debug_assertions, ignore = "budgets are of release builds")]
fn a_hostile_issuers_document_takes_instructions_in_proportion_to_its_length() {
    if !callgrind::is_there() {
        eprintln!("SKIPPED: there is no valgrind");
        return;
    }
    let count = Path::new(env!("CARGO_BIN_EXE_count"));
    for (name, ..) in documents::FILLINGS {
        let [short, long] = documents::SIZES
            .map(|size| callgrind::instructions_of(count, &format!("document_{name}_{size}"), 1));
        eprintln!("{name}: {short}, {long}");
        assert!(long < 200_000_000, "{name} takes {long} instructions");
        assert!(
            long < 10 * short,
            "{name}: eight times as long, {short} and {long}"
        );
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "budgets are of release builds")]
fn a_server_with_the_layer_keeps_to_its_instructions_beyond_one_by_hand() {
    if !callgrind::is_there() {
        eprintln!("SKIPPED: there is no valgrind");
        return;
    }
    let of = |kind| {
        let bench = Path::new(env!("CARGO_BIN_EXE_bench"));
        served::instructions(bench, kind).expect("a server under valgrind")
    };
    let (layer, by_hand) = (of("scope"), of("by_hand"));
    eprintln!("a request with the layer: {layer}, by hand: {by_hand}");
    assert!(
        layer <= by_hand + 2_300,
        "a request with the layer takes {layer} instructions, by hand {by_hand}"
    );
}
