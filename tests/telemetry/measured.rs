//! Caches of tokens, key sets and singletons are measured without an observer, and a real endpoint shows
//! it.

use std::{future::ready, sync::Arc, sync::atomic::Ordering};

use axum::{Router, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tower_user_scope::{
    audit::{Metrics, UserIdTelemetry},
    migration::Singleton,
};

use crate::support::{
    self,
    credentials::{Issuer, service},
    program::{run, succeeds},
    replicas,
};

/// Does everything that is measured, and returns what shows it.
pub(crate) fn recorded() -> PrometheusHandle {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &[0.001, 0.1, 1.0, 10.0])
        .expect("buckets")
        .build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        support::block_on(async {
            support::run(vec![Arc::new(Metrics::new())]).await;
            let issuer = Issuer::default();
            let up = service(
                &issuer,
                vec![Arc::new(Metrics::new())],
                UserIdTelemetry::Omitted,
            );
            up.await.run().await;
            issuer.is_down.store(true, Ordering::Relaxed);
            let down = service(&issuer, Vec::new(), UserIdTelemetry::Omitted).await;
            let (head, ()) = down.requests[0].1.clone().into_parts();
            assert!(down.layer.explain(&head).await.answer().is_err());
            replicas::revoke_on_another_replica().await;
        });
        let shared = Singleton::new(7_u32);
        for _ in 0..3 {
            assert_eq!(*shared, 7);
        }
    });
    handle
}

/// The value of the series whose line begins like this.
fn value(scrape: &str, series: &str) -> f64 {
    let line = scrape.lines().find_map(|line| line.strip_prefix(series));
    let value = line.unwrap_or_else(|| panic!("no {series} in {scrape}"));
    value.trim().parse().expect("a number")
}

#[test]
fn caches_and_key_sets_are_measured() {
    let scrape = recorded().render();
    for (series, expected) in [
        // Each request is sent, and then explained.
        (
            r#"user_scope_token_cache_lookups_total{cache="jwt",result="hit"}"#,
            3.0,
        ),
        (
            r#"user_scope_token_cache_lookups_total{cache="jwt",result="miss"}"#,
            12.0,
        ),
        (
            r#"user_scope_token_cache_lookups_total{cache="api_key",result="hit"}"#,
            3.0,
        ),
        (
            r#"user_scope_token_cache_lookups_total{cache="api_key",result="miss"}"#,
            5.0,
        ),
        (
            r#"user_scope_key_set_fetches_total{key_set="https://id.example/keys..",result="succeeded"}"#,
            1.0,
        ),
        (
            r#"user_scope_key_set_fetches_total{key_set="https://id.example/keys..",result="failed"}"#,
            1.0,
        ),
    ] {
        assert!(
            (value(&scrape, series) - expected).abs() < 0.5,
            "{series}: {scrape}"
        );
    }
    let fetched =
        r#"user_scope_key_set_fetched_timestamp_seconds{key_set="https://id.example/keys.."}"#;
    assert!(value(&scrape, fetched) > 1.7e9, "{scrape}");
}

#[test]
fn the_feed_of_revocations_is_measured() {
    let scrape = recorded().render();
    for (series, expected) in [
        // Neither the replica's own, nor what was revoked before a replica began.
        ("user_scope_revocation_lag_seconds_count", 1.0),
        // The replicas are gone.
        ("user_scope_revocation_feed_connected", 0.0),
    ] {
        let found = value(&scrape, series);
        assert!((found - expected).abs() < 0.5, "{series}: {scrape}");
    }
}

#[test]
fn b41_each_place_that_uses_a_singleton_is_a_series() {
    let scrape = recorded().render();
    let line = scrape
        .lines()
        .find(|line| line.starts_with("user_scope_singleton_uses_total{"));
    let line = line.expect("a series");
    let place = format!("place=\"{}:", file!());
    assert!(
        line.contains(r#"singleton="u32""#) && line.contains(&place),
        "{line}"
    );
    assert!(line.ends_with(" 3"), "{line}");
}

#[test]
fn a_scrape_of_an_endpoint_follows_the_conventions() {
    let scrape = support::block_on(async {
        let handle = recorded_elsewhere().await;
        let app = Router::new().route("/metrics", get(move || ready(handle.render())));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(axum::serve(listener, app).into_future());
        let response = reqwest::get(format!("http://{address}/metrics")).await;
        let text = response.expect("an answer").text().await.expect("text");
        server.abort();
        text
    });
    assert!(
        scrape.contains("user_scope_key_set_fetches_total"),
        "{scrape}"
    );
    if let Some(output) = run("promtool", ["check", "metrics"], &scrape) {
        succeeds(&output);
    }
}

/// Recorders are of a thread, and the runtime of a test can't start another one.
async fn recorded_elsewhere() -> PrometheusHandle {
    let work = tokio::task::spawn_blocking(recorded);
    work.await.expect("no panic")
}
