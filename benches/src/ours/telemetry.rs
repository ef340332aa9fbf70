//! What telemetry costs: the header alone, with an observer.

use std::{
    fs::File,
    sync::{Arc, Once},
};

use metrics_exporter_prometheus::PrometheusBuilder;
use tower_layer::Layer;
use tower_user_scope::{
    UserScopeLayer,
    audit::{AuditEvent, AuditLog, Metrics, Observer, UserIdTelemetry},
};

use super::{header, make};
use crate::{case::Case, inner::Inner, requests};

fn observed(observer: impl Observer + Send + Sync + 'static) -> Case {
    let layer = UserScopeLayer::builder()
        .strategy(header())
        .factory(make)
        .observer(observer)
        .build()
        .expect("a valid layer");
    let service = layer.layer(Inner::<()>::new());
    Case::new(service, requests::same(requests::with_user()))
}

/// With an observer that does nothing: what the others cost beyond it is their own.
#[must_use]
pub fn nothing() -> Case {
    observed(|_: &AuditEvent<'_>| {})
}

/// With metrics, for Prometheus.
#[must_use]
pub fn metrics() -> Case {
    static RECORDER: Once = Once::new();
    RECORDER.call_once(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::set_global_recorder(recorder).expect("the only one of this process");
    });
    observed(Metrics::new())
}

/// With an audit log that is written to a file: two lines for each request.
///
/// # Panics
/// Where the file can't be written.
#[must_use]
pub fn audit_log() -> Case {
    let path = std::env::temp_dir().join(format!("audit-{}.log", std::process::id()));
    let file = Arc::new(File::create(&path).expect("a file"));
    // It is gone when the program ends.
    std::fs::remove_file(path).expect("the file");
    let log = AuditLog::new(UserIdTelemetry::Plain, move || Arc::clone(&file));
    observed(log.expect("no key"))
}
