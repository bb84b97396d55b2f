//! The two certificate authorities over the admin socket: shown, exported, made anew. Their keys stay
//! in the daemon.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::api::{AuthorityReport, AuthorityRoot};
use super::authority_channels::{AuthorityCommand, AuthorityReply};
use super::context::AdminContext;
use super::problem::AdminError;
use crate::ca::AuthorityKind;

/// The body of `POST /v1/ca/export` and `POST /v1/ca/rotate`.
#[derive(Debug, Deserialize)]
pub(super) struct WhichAuthority {
    kind: AuthorityKind,
}

/// Handles `GET /v1/ca`.
pub(super) async fn list(State(context): State<Arc<AdminContext>>) -> Json<Vec<AuthorityReport>> {
    Json(context.authority_reports())
}

/// Handles `POST /v1/ca/export`: a POST, because it makes an authority that is not there yet.
pub(super) async fn export(
    State(context): State<Arc<AdminContext>>,
    body: Result<Json<WhichAuthority>, JsonRejection>,
) -> Result<Json<AuthorityRoot>, Response> {
    command(&context, body, AuthorityCommand::Ensure).await
}

/// Handles `POST /v1/ca/rotate`.
pub(super) async fn rotate(
    State(context): State<Arc<AdminContext>>,
    body: Result<Json<WhichAuthority>, JsonRejection>,
) -> Result<Json<AuthorityRoot>, Response> {
    command(&context, body, AuthorityCommand::Rotate).await
}

async fn command(
    context: &AdminContext,
    body: Result<Json<WhichAuthority>, JsonRejection>,
    command: impl FnOnce(AuthorityKind, AuthorityReply) -> AuthorityCommand,
) -> Result<Json<AuthorityRoot>, Response> {
    let invalid = |rejection: JsonRejection| {
        context.error_response(&AdminError::InvalidBody { why: rejection.body_text() })
    };
    let Json(WhichAuthority { kind }) = body.map_err(invalid)?;
    let (reply, result) = oneshot::channel();
    // A command that cannot be sent drops its reply, which ends `result`.
    let _ = context.authorities.commands.send(command(kind, reply)).await;
    match result.await {
        Ok(Ok(())) => {}
        Ok(Err(problem)) => return Err(context.problem_response(*problem)),
        Err(_) => return Err(AdminError::Stopping.into_response()),
    }
    let issuer = context.authorities.live.get(kind);
    let report = context.authority_reports().into_iter().find(|report| report.kind == kind);
    match issuer.zip(report) {
        Some((issuer, report)) => {
            Ok(Json(AuthorityRoot { report, pem: issuer.authority().root_pem() }))
        }
        None => Err(AdminError::Stopping.into_response()),
    }
}
