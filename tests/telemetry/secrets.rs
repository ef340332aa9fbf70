//! B32: with all telemetry on, no byte of it has a credential, and none has a user's id unless the
//! settings ask for it.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusBuilder;
use tower_user_scope::audit::{AuditLog, Metrics, Observer, UserIdTelemetry};
use tracing_subscriber::fmt::format::FmtSpan;

use crate::support::{self, Lines};

/// Returns all bytes that are written when every kind of request is sent.
fn written(ids: &UserIdTelemetry) -> String {
    let (log, audit) = (Lines::default(), Lines::default());
    let (to_log, to_audit) = (log.clone(), audit.clone());
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_writer(move || to_log.clone())
        .finish();
    let recorder = PrometheusBuilder::new().build_recorder();
    let audit_log = AuditLog::new(ids.clone(), move || to_audit.clone()).expect("no key");
    let display = Lines::default();
    let to_display = display.clone();
    tracing::subscriber::with_default(subscriber, || {
        // Other tests may have reached a line before there was a subscriber.
        tracing::callsite::rebuild_interest_cache();
        metrics::with_local_recorder(&recorder, || {
            let observers: Vec<Arc<dyn Observer + Send + Sync>> = vec![
                Arc::new(audit_log),
                Arc::new(Metrics::new()),
                Arc::new(move |event: &tower_user_scope::audit::AuditEvent<'_>| {
                    use std::io::Write;
                    writeln!(to_display.clone(), "{event}").expect("memory");
                }),
            ];
            support::block_on(support::run_with(observers, ids.clone()));
        });
    });
    let scrape = recorder.handle().render();
    let all = [log.text(), audit.text(), display.text(), scrape];
    for (part, word) in all.iter().zip([
        "request refused",
        "\"refused\"",
        "refused with",
        "refused_total",
    ]) {
        assert!(part.contains(word), "it was captured: {part}");
    }
    all.concat()
}

#[test]
fn b32_no_byte_of_telemetry_has_a_credential_or_an_id_that_was_not_asked_for() {
    for (ids, has_ids) in [
        (UserIdTelemetry::Plain, true),
        (UserIdTelemetry::Omitted, false),
    ] {
        let written = written(&ids);
        for line in written.lines() {
            assert!(!line.contains("canary"), "a credential got out: {line}");
            let has_id = ["alice", "bob", "\"support\""]
                .iter()
                .any(|id| line.contains(id));
            assert!(has_ids || !has_id, "a user's id got out: {line}");
        }
        assert_eq!(written.contains("alice"), has_ids);
    }
}
