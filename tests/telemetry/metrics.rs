//! What happens is counted under stable names, and no label has a value that a client chooses.

use std::{convert::Infallible, sync::Arc};

use http::{Request, Response};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, Identity, InvalidError, Outcome, UserId, UserScopeLayer,
    audit::{AuditEvent, Metrics, Observer},
    from_fn,
    strategy::{InvalidErrorKind, Strategy},
};

use crate::support;

/// Returns what a scrape shows after this work.
pub(crate) fn scrape_of<F: Future<Output = ()>>(work: impl FnOnce() -> F) -> String {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &[0.001, 0.1, 1.0, 10.0])
        .expect("buckets")
        .build_recorder();
    metrics::with_local_recorder(&recorder, || support::block_on(work()));
    recorder.handle().render()
}

/// A scrape after every kind of request.
pub(crate) fn scrape() -> String {
    scrape_of(|| support::run(vec![Arc::new(Metrics::new())]))
}

/// Returns the series of a scrape and their values, without those that depend on the time.
fn series(scrape: &str) -> Vec<String> {
    let lines = scrape
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut series: Vec<_> = lines
        .filter(|line| !line.contains("_bucket{") && !line.contains("_sum"))
        .map(str::to_owned)
        .collect();
    series.sort();
    series
}

#[test]
fn each_kind_of_event_is_counted() {
    let expected = [
        r#"user_scope_accepted_total{strategy="key",evidence="proved"} 6"#,
        r#"user_scope_accepted_total{strategy="trusted_header",evidence="asserted"} 1"#,
        "user_scope_conflicts_total 1",
        "user_scope_factories_retained_total 1",
        r#"user_scope_headers_removed_total{reason="look_alike"} 1"#,
        r#"user_scope_headers_removed_total{reason="peer_not_listed"} 1"#,
        r#"user_scope_headers_removed_total{reason="secret_mismatch"} 1"#,
        r#"user_scope_headers_removed_total{reason="unused"} 2"#,
        r#"user_scope_invalid_ignored_total{strategy="old_key"} 1"#,
        r#"user_scope_isolation_violations_total{kind="no_scope"} 0"#,
        r#"user_scope_isolation_violations_total{kind="other_user"} 1"#,
        r#"user_scope_isolation_violations_total{kind="scope_closed"} 0"#,
        "user_scope_limits_skipped_total 0",
        "user_scope_open_scopes 0",
        r#"user_scope_refused_total{reason="conflict",status="401"} 1"#,
        r#"user_scope_refused_total{reason="factory_failed",status="500"} 1"#,
        r#"user_scope_refused_total{reason="key_unknown",status="401"} 1"#,
        r#"user_scope_refused_total{reason="no_credential",status="401"} 1"#,
        r#"user_scope_refused_total{reason="not_accepted",status="401"} 2"#,
        r#"user_scope_refused_total{reason="not_the_owner",status="403"} 1"#,
        r#"user_scope_refused_total{reason="repeated",status="400"} 1"#,
        r#"user_scope_refused_total{reason="unavailable",status="503"} 1"#,
        r#"user_scope_reported_uses_total{kind="no_scope"} 0"#,
        r#"user_scope_reported_uses_total{kind="scope_closed"} 0"#,
        r#"user_scope_resolution_wait_seconds_count{strategy="key"} 15"#,
        r#"user_scope_resolution_wait_seconds_count{strategy="old_key"} 15"#,
        r#"user_scope_resolutions_total{strategy="key",outcome="absent"} 4"#,
        r#"user_scope_resolutions_total{strategy="key",outcome="found"} 9"#,
        r#"user_scope_resolutions_total{strategy="key",outcome="invalid"} 1"#,
        r#"user_scope_resolutions_total{strategy="key",outcome="unavailable"} 1"#,
        r#"user_scope_resolutions_total{strategy="old_key",outcome="absent"} 14"#,
        r#"user_scope_resolutions_total{strategy="old_key",outcome="found"} 0"#,
        r#"user_scope_resolutions_total{strategy="old_key",outcome="invalid"} 1"#,
        r#"user_scope_resolutions_total{strategy="old_key",outcome="unavailable"} 0"#,
        r#"user_scope_resolutions_total{strategy="trusted_header",outcome="absent"} 13"#,
        r#"user_scope_resolutions_total{strategy="trusted_header",outcome="found"} 2"#,
        r#"user_scope_resolutions_total{strategy="trusted_header",outcome="invalid"} 1"#,
        r#"user_scope_resolutions_total{strategy="trusted_header",outcome="unavailable"} 0"#,
        "user_scope_revocations_unknown_total 0",
        r#"user_scope_scope_duration_seconds_count{ending="completed"} 7"#,
        r#"user_scope_step_wait_seconds_count{step="authorize"} 9"#,
        r#"user_scope_step_wait_seconds_count{step="factory"} 8"#,
    ];
    assert_eq!(series(&scrape()), expected);
}

#[test]
fn many_users_and_odd_names_are_a_bounded_number_of_series() {
    const NAMES: usize = 200;
    const USERS: usize = 100;
    let scrape = scrape_of(|| async {
        let metrics = Arc::new(Metrics::new());
        for n in 0..NAMES {
            // A program that makes names of strategies, and reasons, of what it gets.
            let odd: &'static str = format!("odd_{n}\n\"}}").leak();
            let metrics = Arc::clone(&metrics);
            let layer = UserScopeLayer::builder()
                .strategy(odd_strategy(odd).named(odd))
                .observer(move |event: &AuditEvent<'_>| metrics.observe(event))
                .context_only()
                .build()
                .expect("a valid configuration");
            let service = layer.layer(service_fn(async |_: Request<()>| {
                Ok::<_, Infallible>(Response::new(()))
            }));
            for k in 0..USERS {
                let user = format!("user-{}", n * USERS + k);
                let request = Request::builder()
                    .uri(format!("/{user}"))
                    .header("x-user", if k == 7 { "bad" } else { &user });
                let request = request.body(()).expect("a request");
                let answered = service.clone().oneshot(request).await;
                answered.expect("infallible");
            }
        }
    });
    // Each of 33 strategies has four outcomes and one kind of evidence; there are 97 reasons.
    let labelled = 33 * 5 + 97;
    let count = series(&scrape).len();
    assert!(count > labelled && count < labelled + 20, "{count} series");
    assert!(!scrape.contains("user-"), "a user's id is in a label");
    for other in [
        r#"user_scope_resolutions_total{strategy="other",outcome="found"}"#,
        r#"user_scope_refused_total{reason="other",status="401"}"#,
    ] {
        assert!(scrape.contains(other), "{scrape}");
    }
}

fn odd_strategy(word: &'static str) -> impl Strategy {
    from_fn(CredentialSource::header("x-user"), move |head| {
        match head
            .headers
            .get("x-user")
            .and_then(|user| user.to_str().ok())
        {
            None => Outcome::Absent,
            Some("bad") => InvalidError::new(InvalidErrorKind::Rejected(word)).into(),
            Some(user) => match UserId::try_from(user) {
                Ok(id) => Identity::proved(id).into(),
                Err(error) => Outcome::Invalid(error.into()),
            },
        }
    })
}

#[test]
fn a_scope_is_open_until_its_body_ends() {
    let scrape = scrape_of(|| async {
        let layer = UserScopeLayer::builder()
            .strategy(odd_strategy("odd"))
            .observer(Metrics::new())
            .context_only()
            .build()
            .expect("a valid configuration");
        let service = layer.layer(service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(String::from("body")))
        }));
        let request = || {
            Request::builder()
                .header("x-user", "alice")
                .body(())
                .expect("a request")
        };
        let open = service
            .clone()
            .oneshot(request())
            .await
            .expect("infallible");
        drop(service.oneshot(request()).await);
        // Its scope never closes.
        std::mem::forget(open);
    });
    assert!(scrape.contains("\nuser_scope_open_scopes 1\n"), "{scrape}");
    let cancelled = r#"user_scope_scope_duration_seconds_count{ending="cancelled"} 1"#;
    assert!(scrape.contains(cancelled), "{scrape}");
}

#[test]
fn without_a_recorder_nothing_is_counted_and_nothing_fails() {
    support::block_on(support::run(vec![Arc::new(Metrics::new())]));
}
