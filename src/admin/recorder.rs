//! Records the last day, and reports it.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::api::HistoryReport;
use super::context::AdminContext;
use super::history::{Readings, STEP};
use super::problem::AdminError;

/// Records for ever: once a minute, and with each change of the session.
pub(super) async fn record(context: &AdminContext) {
    let mut changes = context.session.subscribe();
    let mut next = context.clock.boot() + STEP;
    loop {
        context.history.observe(context.clock.now().wall, &context.session_report().status);
        tokio::select! {
            () = context.clock.wait_until(next) => {
                let now = context.clock.now();
                context.history.end_minute(now.wall, readings(context));
                // After a suspend the minutes in between are left out, and not made up for.
                next = now.boot + STEP;
            }
            changed = changes.changed() => if changed.is_err() {
                return std::future::pending().await;
            },
        }
    }
}

/// The query of `GET /v1/history`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct HistoryParams {
    after: Option<u64>,
}

/// Handles `GET /v1/history`.
pub(super) async fn history(
    State(context): State<Arc<AdminContext>>,
    params: Result<Query<HistoryParams>, QueryRejection>,
) -> Result<Json<HistoryReport>, AdminError> {
    let Query(HistoryParams { after }) = params.map_err(|_| AdminError::UnknownTime)?;
    let readings = readings(&context);
    Ok(Json(context.history.report(after, context.clock.now().wall, &readings)))
}

fn readings(context: &AdminContext) -> Readings {
    Readings::take(&context.telemetry.metrics, &context.throttle.status())
}
