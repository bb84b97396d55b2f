//! What a person or a service manager asks the daemon to do: each answers once the effect is there.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use tokio::sync::oneshot;

use super::{AdminContext, DaemonCommand, Reply, json, origin, problem, problem_response};

pub(super) async fn stop(State(shared): State<Arc<AdminContext>>) -> Response<Body> {
    dispatch(&shared, DaemonCommand::Stop).await
}

pub(super) async fn hand_over(State(shared): State<Arc<AdminContext>>) -> Response<Body> {
    dispatch(&shared, DaemonCommand::HandOver).await
}

pub(super) async fn reload(State(shared): State<Arc<AdminContext>>) -> Response<Body> {
    dispatch(&shared, DaemonCommand::Reload).await
}

/// Passes an order on and waits until it was taken.
async fn dispatch<T: Serialize>(
    shared: &AdminContext,
    order: impl FnOnce(Reply<T>) -> DaemonCommand,
) -> Response<Body> {
    let (reply, answer) = oneshot::channel();
    // An order that cannot be sent drops its reply, which is an answer too.
    let _ = shared.commands.send(order(reply)).await;
    match answer.await {
        Ok(Ok(done)) => json(StatusCode::OK, &done),
        Ok(Err(refused)) => shared.problem_response(*refused),
        Err(_) => problem_response(
            StatusCode::SERVICE_UNAVAILABLE,
            "daemon.draining",
            "the daemon is stopping already",
        ),
    }
}

pub(super) async fn refresh(State(shared): State<Arc<AdminContext>>) -> Response<Body> {
    match shared.session.refresh().await {
        Ok(()) => session_response(&shared),
        Err(error) => problem::session_error_response(&error, &shared),
    }
}

/// The stored login has changed. One that another origin has accepted is none of ours.
pub(super) async fn login(
    State(shared): State<Arc<AdminContext>>,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    if let Err(refusal) = origin::check(&shared, query.as_deref()) {
        return *refusal;
    }
    shared.session.credentials_changed().await;
    session_response(&shared)
}

pub(super) async fn forget(State(shared): State<Arc<AdminContext>>) -> Response<Body> {
    shared.session.log_out().await;
    json(StatusCode::OK, &shared.session_status_with_sources().await)
}

pub(super) async fn lock(State(shared): State<Arc<AdminContext>>) -> Response<Body> {
    shared.session.lock().await;
    session_response(&shared)
}

pub(super) async fn unlock(State(shared): State<Arc<AdminContext>>) -> Response<Body> {
    let mut changes = shared.session.subscribe();
    shared.session.unlock().await;
    // The effect is a token, or the reason why there is none.
    while shared.session.status().renewing && changes.changed().await.is_ok() {}
    session_response(&shared)
}

fn session_response(shared: &AdminContext) -> Response<Body> {
    json(StatusCode::OK, &shared.session_status())
}
