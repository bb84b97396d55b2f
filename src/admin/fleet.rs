//! `GET /v1/fleet` and `POST /v1/fleet/leave`: the machines that share this session.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use super::api::FleetStatus;
use super::commands::event;
use super::context::AdminContext;
use crate::audit::AuditEvent;
use crate::peer::Peer;

/// Returns what this member knows of the fleet.
pub(super) async fn status(State(context): State<Arc<AdminContext>>) -> Json<FleetStatus> {
    Json(context.fleet_status().unwrap_or_default())
}

/// Takes this machine off the list of members; it serves no token until a restart.
pub(super) async fn leave(
    State(context): State<Arc<AdminContext>>,
    Extension(peer): Extension<Peer>,
) -> Json<FleetStatus> {
    context.record(&peer, event(AuditEvent::Login, "fleet leave"));
    if context.fleet.is_some() {
        context.session.leave_fleet().await;
        context.tokens.wipe();
    }
    Json(context.fleet_status().unwrap_or_default())
}
