//! What a person or a service manager asks the daemon to do: each answers once the effect is there.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use tokio::sync::oneshot;

use super::{Order, Reply, Shared, json, origin, problem};

pub(super) async fn stop(State(shared): State<Arc<Shared>>) -> Response<Body> {
    obey(&shared, Order::Stop).await
}

pub(super) async fn give_way(State(shared): State<Arc<Shared>>) -> Response<Body> {
    obey(&shared, Order::Yield).await
}

pub(super) async fn reload(State(shared): State<Arc<Shared>>) -> Response<Body> {
    obey(&shared, Order::Reload).await
}

/// Passes an order on and waits until it was taken.
async fn obey<T: Serialize>(
    shared: &Shared,
    order: impl FnOnce(Reply<T>) -> Order,
) -> Response<Body> {
    let (reply, answer) = oneshot::channel();
    // An order that cannot be sent drops its reply, which is an answer too.
    let _ = shared.orders.send(order(reply)).await;
    match answer.await {
        Ok(Ok(done)) => json(StatusCode::OK, &done),
        Ok(Err(refused)) => shared.refuse(*refused),
        Err(_) => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "daemon.draining",
            "the daemon is stopping already",
        ),
    }
}

pub(super) async fn refresh(State(shared): State<Arc<Shared>>) -> Response<Body> {
    match shared.session.refresh().await {
        Ok(()) => session_now(&shared),
        Err(error) => problem::session(&error, &shared),
    }
}

/// The stored login has changed. One that another origin has accepted is none of ours.
pub(super) async fn login(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    if let Err(refusal) = origin::check(&shared, query.as_deref()) {
        return *refusal;
    }
    shared.session.credentials_changed().await;
    session_now(&shared)
}

pub(super) async fn forget(State(shared): State<Arc<Shared>>) -> Response<Body> {
    shared.session.forget().await;
    json(StatusCode::OK, &shared.session_and_sources().await)
}

pub(super) async fn lock(State(shared): State<Arc<Shared>>) -> Response<Body> {
    shared.session.lock().await;
    session_now(&shared)
}

pub(super) async fn unlock(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let mut changes = shared.session.subscribe();
    shared.session.unlock().await;
    // The effect is a token, or the reason why there is none.
    while shared.session.view().renewing && changes.changed().await.is_ok() {}
    session_now(&shared)
}

fn session_now(shared: &Shared) -> Response<Body> {
    json(StatusCode::OK, &shared.session_now())
}
