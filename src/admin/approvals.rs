//! The calls that wait for a person, over the admin socket.
//!
//! The names of the records that they are about are looked up when a person asks, with the session's
//! token: a client that sends calls causes no request by it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::{Extension, Json};

use super::api::{ApprovalDecision, ApprovalRecord, WaitingCalls};
use super::context::AdminContext;
use super::problem::AdminError;
use crate::approvals::{Decision, NameLookups, Subject};
use crate::audit::{AuditEvent, AuditRecord, mask_path};
use crate::peer::Peer;
use crate::session::Bearer;

/// Handles `GET /v1/approvals`.
pub(super) async fn list(State(context): State<Arc<AdminContext>>) -> Json<WaitingCalls> {
    look_names_up(&context).await;
    Json(context.approvals.list())
}

/// Handles `GET /v1/approvals/{id}`: one call, with its body.
pub(super) async fn show(
    State(context): State<Arc<AdminContext>>,
    Path(id): Path<String>,
) -> Result<Json<ApprovalRecord>, Response> {
    look_names_up(&context).await;
    context.approvals.show(&id).map(Json).map_err(|error| context.error_response(&error))
}

/// Handles `POST /v1/approvals`: the decision of a person. A client that is held hears of it at once.
pub(super) async fn decide(
    State(context): State<Arc<AdminContext>>,
    Extension(peer): Extension<Peer>,
    decision: Result<Json<ApprovalDecision>, JsonRejection>,
) -> Result<Json<ApprovalRecord>, Response> {
    let invalid = |rejection: JsonRejection| {
        context.error_response(&AdminError::InvalidBody { why: rejection.body_text() })
    };
    let Json(ApprovalDecision { id, approve, for_s, by_rule }) = decision.map_err(invalid)?;
    let during = for_s.map(Duration::from_secs);
    let decision = if approve { Decision::Approve { during, by_rule } } else { Decision::Deny };
    let detail = during.map(|_| {
        format!("for {}s{}", for_s.unwrap_or_default(), if by_rule { " by rule" } else { "" })
    });
    let record = |decided: &ApprovalRecord| {
        let path = decided.target.split('?').next().unwrap_or_default();
        let record = AuditRecord {
            event: AuditEvent::Approval,
            action: Some(if approve { "approve" } else { "deny" }),
            approval: Some(id.clone()),
            client: decided.client.clone(),
            method: (!decided.method.is_empty()).then(|| decided.method.clone()),
            path: (!path.is_empty()).then(|| mask_path(path)),
            rules: decided.rules.clone(),
            detail,
            ..AuditRecord::default()
        };
        context.record(&peer, record);
    };
    let decided = context.approvals.decide(&id, decision, record);
    let decided = decided.map_err(|error| context.error_response(&error))?;
    Ok(Json(decided))
}

/// Looks up the names that are not known yet, within [`LOOKUP_TIMEOUT`] for all of them. A person who
/// decides is told why a name is missing.
async fn look_names_up(context: &AdminContext) {
    let unnamed = context.approvals.unnamed();
    if unnamed.is_empty() {
        return;
    }
    let bearer = context.session.bearer();
    let looking = async {
        for (id, subject) in &unnamed {
            let name = match &bearer {
                Ok(bearer) => name_of(context, subject, bearer).await,
                Err(error) => Err(error.to_string()),
            };
            context.approvals.set_name(id, name);
        }
    };
    for (id, _) in &unnamed {
        context.approvals.set_name(id, Err(TIMED_OUT.to_owned()));
    }
    // What is not done in time keeps that reason.
    let _ = tokio::time::timeout(LOOKUP_TIMEOUT, looking).await;
}

/// Returns the names of the records of a call, with commas between.
async fn name_of(
    context: &AdminContext,
    subject: &Subject,
    bearer: &Bearer,
) -> Result<String, String> {
    let NameLookups { records, more, owners } = subject.lookups();
    let (mut names, mut of) = (vec![], vec![]);
    for (paths, names) in [(&records, &mut names), (&owners, &mut of)] {
        for path in paths {
            let record = context.issuer.record(path, bearer.header()).await;
            let record = record.map_err(|cause| cause.to_string())?;
            names.push(Subject::name_in(&record).ok_or("the record has no name")?);
        }
    }
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let own = (!names.is_empty()).then(|| format!("{}{more}", names.join(", ")));
    Ok(own.into_iter().chain(of).collect::<Vec<_>>().join(" of "))
}

/// Longest time for all names: a person waits.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

const TIMED_OUT: &str = "Nexudus did not say within 5 s";
