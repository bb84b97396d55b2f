//! Commands of a person or a service manager. Each response is sent once the command has taken
//! effect.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::api::{ReloadResult, SessionReport, StopResult};
use super::context::{AdminContext, DaemonCommand, Reply};
use super::problem::AdminError;
use crate::audit::{AuditEvent, AuditRecord};
use crate::peer::Peer;

pub(super) async fn stop(
    State(context): State<Arc<AdminContext>>,
) -> Result<Json<StopResult>, Response> {
    dispatch(&context, DaemonCommand::Stop).await
}

pub(super) async fn hand_over(
    State(context): State<Arc<AdminContext>>,
) -> Result<Json<StopResult>, Response> {
    dispatch(&context, DaemonCommand::HandOver).await
}

pub(super) async fn reload(
    State(context): State<Arc<AdminContext>>,
) -> Result<Json<ReloadResult>, Response> {
    dispatch(&context, DaemonCommand::Reload).await
}

/// Sends a command to the daemon and waits for its result.
async fn dispatch<T>(
    context: &AdminContext,
    command: impl FnOnce(Reply<T>) -> DaemonCommand,
) -> Result<Json<T>, Response> {
    let (reply, result) = oneshot::channel();
    // A command that cannot be sent drops its reply, which ends `result`.
    let _ = context.commands.send(command(reply)).await;
    match result.await {
        Ok(Ok(result)) => Ok(Json(result)),
        Ok(Err(problem)) => Err(context.problem_response(*problem)),
        Err(_) => Err(AdminError::Stopping.into_response()),
    }
}

pub(super) async fn refresh(
    State(context): State<Arc<AdminContext>>,
) -> Result<Json<SessionReport>, Response> {
    match context.session.refresh().await {
        Ok(()) => Ok(Json(context.session_report())),
        Err(error) => Err(context.error_response(&error)),
    }
}

/// The query of `POST /v1/login`.
#[derive(Debug, Deserialize)]
pub(super) struct LoginParams {
    /// The origin that has accepted the login; a command of an earlier version does not name it.
    upstream: Option<String>,
    /// Whether the command has proved a login that the daemon may have seen refused.
    #[serde(default)]
    proven: bool,
}

/// Reads the stored login again, if it is one of the daemon's own upstream.
pub(super) async fn login(
    State(context): State<Arc<AdminContext>>,
    Extension(peer): Extension<Peer>,
    params: Result<Query<LoginParams>, QueryRejection>,
) -> Result<Json<SessionReport>, Response> {
    let own = &context.server.upstream;
    let (origin, is_proven) = match params {
        Ok(Query(params)) => (params.upstream, params.proven),
        Err(_) => (Some("more than one".to_owned()), false),
    };
    if let Some(given) = origin.filter(|origin| origin != own) {
        let error = AdminError::OtherOrigin { own: own.clone(), given };
        return Err(context.error_response(&error));
    }
    if is_proven {
        context.session.forget_refusal();
    }
    context.session.credentials_changed().await;
    context.record(&peer, event(AuditEvent::Login, "login"));
    Ok(Json(context.session_report()))
}

pub(super) async fn forget(
    State(context): State<Arc<AdminContext>>,
    Extension(peer): Extension<Peer>,
) -> Json<SessionReport> {
    context.record(&peer, event(AuditEvent::Login, "logout"));
    context.session.log_out().await;
    context.wipe_content().await;
    Json(context.session_report_with_sources().await)
}

/// The query of `POST /v1/lock`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct LockParams {
    /// Whether this machine alone is locked, and not its fleet.
    #[serde(default)]
    here: bool,
}

pub(super) async fn lock(
    State(context): State<Arc<AdminContext>>,
    Extension(peer): Extension<Peer>,
    params: Result<Query<LockParams>, QueryRejection>,
) -> Json<SessionReport> {
    // What cannot be read asks for more, not for less.
    let LockParams { here } = params.map(|Query(params)| params).unwrap_or_default();
    context.record(&peer, event(AuditEvent::Lock, "lock"));
    context.session.set_locked(true, !here).await;
    context.wipe_content().await;
    Json(context.session_report())
}

pub(super) async fn unlock(
    State(context): State<Arc<AdminContext>>,
    Extension(peer): Extension<Peer>,
) -> Json<SessionReport> {
    context.record(&peer, event(AuditEvent::Lock, "unlock"));
    let mut changes = context.session.subscribe();
    context.session.unlock().await;
    // The effect is a token, or the reason why there is none.
    while context.session.status().renewing && changes.changed().await.is_ok() {}
    Json(context.session_report())
}

pub(super) fn event(event: AuditEvent, action: &'static str) -> AuditRecord {
    AuditRecord { event, action: Some(action), ..AuditRecord::default() }
}
