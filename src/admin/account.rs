//! The account of the daemon's session: who is logged in, and the end of the login.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;

use super::api::LogoutResult;
use super::context::AdminContext;
use super::fleet_revocation::FleetRevocation;
use super::problem::AdminError;
use crate::audit::{AuditEvent, AuditRecord};
use crate::peer::Peer;
use crate::session::{self, BodyKind, CurrentUser};

/// Handles `GET /v1/whoami`: asks Nexudus, with the token that requests get.
pub(super) async fn whoami(
    State(context): State<Arc<AdminContext>>,
) -> Result<Json<CurrentUser>, Response> {
    let failed = |error| context.error_response(&error);
    let bearer = context.session.acquire(BodyKind::Replayable).await;
    let bearer = bearer.map_err(|error| failed(error.into()))?;
    CurrentUser::fetch(&context.session, &context.issuer, bearer).await.map(Json).map_err(failed)
}

/// The query of `POST /v1/logout`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct LogoutParams {
    /// Whether the refresh tokens of a fleet are to be deleted at Nexudus.
    #[serde(default)]
    revoke: bool,
}

/// Handles `POST /v1/logout`: forgets the session, then removes every login of the profile that this
/// process can remove.
pub(super) async fn logout(
    State(context): State<Arc<AdminContext>>,
    Extension(peer): Extension<Peer>,
    params: Result<Query<LogoutParams>, QueryRejection>,
) -> Result<Json<LogoutResult>, Response> {
    let (event, action) = (AuditEvent::Login, Some("logout"));
    context.record(&peer, AuditRecord { event, action, ..AuditRecord::default() });
    let directory = context.clients.directory();
    let mut origins: Vec<_> = session::origins_with_login(directory)
        .into_iter()
        .map(|origin| (origin.to_string(), origin))
        .collect();
    let LogoutParams { revoke } = params.map(|Query(params)| params).unwrap_or_default();
    // The token and the list are gone after that.
    let revocation = if revoke { FleetRevocation::prepare(&context).await } else { None };
    context.session.log_out().await;
    context.wipe_content().await;
    let mut result = LogoutResult::default();
    if let Some(revocation) = revocation {
        revocation.perform(&context, &mut result).await;
    }
    let files = session::remove_all(directory, &context.clock).await;
    let others: Vec<_> = origins.iter().map(|(_, origin)| origin.clone()).collect();
    let sealed = context.credentials.clear_files();
    let keychain = context.credentials.clear(&others).await;
    files.map_err(|cause| {
        context.error_response(&AdminError::SessionNotRemoved { cause: cause.to_string() })
    })?;
    let sealed = sealed.map_err(|error| context.error_response(&error))?;
    let (had_login, no_keychain) = match keychain {
        Ok(had_login) => (had_login || sealed.had_login, None),
        Err(error) => match error.keychain_absence() {
            Some(why) => (sealed.had_login, Some(why.to_string())),
            None => return Err(context.error_response(&error)),
        },
    };
    let mut cleared: Vec<_> = origins.drain(..).map(|(name, _)| name).collect();
    if had_login && cleared.is_empty() {
        // A login from before origins were recorded.
        cleared.push(context.server.upstream.clone());
    }
    let still = context.credentials.sources_beside_keychain();
    let still = still.iter().map(ToString::to_string).collect();
    let kept_key = sealed.kept_key;
    Ok(Json(LogoutResult { had_login, cleared, still, kept_key, no_keychain, ..result }))
}
