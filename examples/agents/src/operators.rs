//! Metrics and health, on an address of their own that users don't reach.

use axum::{Router, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tower_user_scope::open_scopes::OpenScopes;

use crate::database::Database;

/// Where the layer's metrics go, which has to be there before the first one.
pub(crate) fn recorder() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new().install_recorder()
}

pub(crate) fn routes(recorder: PrometheusHandle, open: OpenScopes, database: Database) -> Router {
    let metrics = async move || {
        // Old samples would pile up otherwise.
        recorder.run_upkeep();
        recorder.render()
    };
    let open = async move || format!("{} scopes are open\n", open.total());
    let health = async move || match sqlx::query("SELECT 1").execute(&database.pool).await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/open", get(open))
        .route("/health", get(health))
}
