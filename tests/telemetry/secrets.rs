//! B32: with all telemetry on, no byte of it has a credential, and none has a user's id unless the
//! settings ask for it.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusBuilder;
use tower_user_scope::{
    UserId,
    audit::{AuditEvent, AuditLog, Metrics, Observer, UserIdKey, UserIdTelemetry},
};
use tracing_subscriber::fmt::format::FmtSpan;

use crate::support::{
    self, Lines,
    credentials::{Issuer, service},
};

/// Returns all bytes that are written while this work goes on: the log with its spans, the audit log, the
/// text of each event, and a scrape.
fn written<F: Future>(
    ids: &UserIdTelemetry,
    work: impl FnOnce(Vec<Arc<dyn Observer + Send + Sync>>) -> F,
) -> (String, F::Output) {
    let (log, audit) = (Lines::default(), Lines::default());
    let (to_log, to_audit) = (log.clone(), audit.clone());
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_writer(move || to_log.clone())
        .finish();
    let recorder = PrometheusBuilder::new().build_recorder();
    let audit_log = AuditLog::new(ids.clone(), move || to_audit.clone()).expect("no weak key");
    let display = Lines::default();
    let to_display = display.clone();
    let output = tracing::subscriber::with_default(subscriber, || {
        // Other tests may have reached a line before there was a subscriber.
        tracing::callsite::rebuild_interest_cache();
        metrics::with_local_recorder(&recorder, || {
            let observers: Vec<Arc<dyn Observer + Send + Sync>> = vec![
                Arc::new(audit_log),
                Arc::new(Metrics::new()),
                Arc::new(move |event: &AuditEvent<'_>| {
                    use std::io::Write;
                    writeln!(to_display.clone(), "{event}").expect("memory");
                }),
            ];
            support::block_on(work(observers))
        })
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
    (all.concat(), output)
}

#[test]
fn b32_no_byte_of_telemetry_has_a_credential_or_an_id_that_was_not_asked_for() {
    for (ids, has_ids) in [
        (UserIdTelemetry::Plain, true),
        (UserIdTelemetry::Omitted, false),
    ] {
        let (written, ()) = written(&ids, |observers| support::run_with(observers, ids.clone()));
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

#[test]
fn b32_no_byte_has_a_token_a_cookie_a_session_or_a_key_through_their_own_strategies() {
    let key = UserIdKey::new([7; 32]);
    let hash_of_alice = key.hash(&"alice".parse::<UserId>().expect("an id"));
    for (ids, has_ids, has_hashes) in [
        (UserIdTelemetry::Plain, true, false),
        (UserIdTelemetry::Omitted, false, false),
        (UserIdTelemetry::Hashed(key), false, true),
    ] {
        let (written, (secrets, explained)) = written(&ids, |observers| async {
            let issuer = Issuer::default();
            let service = service(&issuer, observers, ids.clone()).await;
            let explained = service.run().await;
            (service.secrets, explained)
        });
        assert!(secrets.len() > 15);
        for line in written.lines().chain(explained.lines()) {
            for secret in &secrets {
                assert!(!line.contains(secret), "a credential got out: {line}");
            }
        }
        for line in written.lines() {
            let has_id = ["alice", "bob"].iter().any(|id| line.contains(id));
            assert!(has_ids || !has_id, "a user's id got out: {line}");
        }
        assert_eq!(written.contains("alice"), has_ids);
        assert_eq!(written.contains(&hash_of_alice), has_hashes);
        for word in ["token_signature", "session_unknown", "api_key_revoked"] {
            assert!(written.contains(word), "{word} was sent");
        }
    }
}
