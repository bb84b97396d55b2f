//! The handlers of GET requests: health, readiness, metrics, the status and the upstream.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::api::{Status, UpstreamInfo};
use super::context::AdminContext;
use super::health::LIVENESS_TIMEOUT;
use super::problem::AdminError;
use super::{metrics as prometheus, status as daemon_status};

/// Handles `GET /healthz`.
pub(super) async fn healthz(
    State(context): State<Arc<AdminContext>>,
) -> Result<Json<serde_json::Value>, AdminError> {
    let silent = context.heartbeat.silent_threads(LIVENESS_TIMEOUT).await;
    if silent.is_empty() {
        Ok(Json(serde_json::json!({ "alive": true })))
    } else {
        Err(AdminError::DaemonStuck { threads: silent.join(", ") })
    }
}

/// Handles `GET /readyz`: 503 with the reasons while no request could be served.
pub(super) async fn readyz(State(context): State<Arc<AdminContext>>) -> impl IntoResponse {
    let readiness = context.readiness(context.runtime_state().lifecycle);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

/// Handles `GET /metrics`.
pub(super) async fn metrics(State(context): State<Arc<AdminContext>>) -> impl IntoResponse {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, kind)], prometheus::metrics(&context))
}

/// Handles `GET /v1/status`.
pub(super) async fn status(State(context): State<Arc<AdminContext>>) -> Json<Status> {
    let session = context.session_report_with_sources().await;
    Json(Status { session, ..daemon_status::status(&context) })
}

/// Handles `GET /v1/upstream`.
pub(super) async fn upstream(State(context): State<Arc<AdminContext>>) -> Json<UpstreamInfo> {
    Json(UpstreamInfo { upstream: context.server.upstream.clone() })
}
