//! The named clients over the admin socket: a command of an operator need not be able to read or
//! write the daemon's files.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::Response;
use axum::{Extension, Json};

use super::api::{ClientChanged, ClientRecord};
use super::context::AdminContext;
use super::problem::AdminError;
use crate::audit::{AuditEvent, AuditRecord};
use crate::clients::{self, ClientChange, Clients};
use crate::peer::Peer;
use crate::redact::TableName;

/// Handles `GET /v1/clients`.
pub(super) async fn list(
    State(context): State<Arc<AdminContext>>,
) -> Result<Json<Vec<ClientRecord>>, Response> {
    // The error of reading says more than that the statuses are unknown.
    clients::list(context.clients.directory()).map_err(|error| context.error_response(&error))?;
    context.clients.refresh_counts().await;
    let statuses = context.clients.statuses().unwrap_or_default();
    Ok(Json(statuses.into_iter().map(ClientRecord::from).collect()))
}

/// Handles `POST /v1/clients`: makes one change. The next request sees it.
pub(super) async fn change(
    State(context): State<Arc<AdminContext>>,
    Extension(peer): Extension<Peer>,
    change: Result<Json<ClientChange>, JsonRejection>,
) -> Result<Json<ClientChanged>, Response> {
    let invalid = |rejection: JsonRejection| {
        context.error_response(&AdminError::InvalidBody { why: rejection.body_text() })
    };
    let Json(change) = change.map_err(invalid)?;
    let (clients, tokens) = (context.clients.clone(), context.tokens.clone());
    let (action, client) = change.action_and_client();
    let record = AuditRecord {
        event: AuditEvent::Keys,
        action: Some(action),
        client: Some(client.to_owned()),
        ..AuditRecord::default()
    };
    // The file is synced to the disk, and another command may hold its lock.
    let changed = tokio::task::spawn_blocking(move || {
        let changed = change.apply(clients.directory());
        tokens.retain(|name| is_table_used(&clients, name));
        // A fleet hears of the change as soon as the file is read.
        clients.reload_blocking();
        changed
    })
    .await;
    let keys = match changed {
        Ok(changed) => changed.map_err(|error| context.error_response(&error))?,
        Err(_) => return Err(context.error_response(&AdminError::Panic)),
    };
    context.record(&peer, record);
    let key = keys.new.map(|key| key.expose().to_owned());
    Ok(Json(ClientChanged { key, replaced: keys.replaced }))
}

/// Says whether a client is there whose tokens stand in this table. An unreadable list counts as one.
pub fn is_table_used(clients: &Clients, table: &TableName) -> bool {
    match table {
        TableName::Anonymous | TableName::Reader => true,
        TableName::Client(id) => clients.has(|it, _| it == id),
        TableName::Group(group) => clients.has(|_, it| it.share_tokens.as_ref() == Some(group)),
    }
}
