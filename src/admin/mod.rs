//! The control surface: health, metrics, status and events to read, and a few commands.
//!
//! Over `admin.sock` the kernel vouches for the peer. Over TCP, if it is configured, a peer can
//! read less and command nothing, and web pages are refused as they are on the API. No GET changes
//! state.

pub mod api;
pub mod client;
pub mod format;

mod access;
mod account;
mod approvals;
mod authorities;
mod authority_channels;
mod checks;
mod clients;
mod commands;
mod connection_slots;
mod content;
mod context;
mod events;
mod fleet;
mod fleet_revocation;
mod health;
mod health_probes;
mod history;
mod metrics;
mod problem;
mod queries;
mod recorder;
mod status;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tower::ServiceExt as _;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

pub use self::access::AccessControl;
pub use self::api::{Lifecycle, Problem, ReloadResult, StopResult};
pub use self::authority_channels::{Authorities, AuthorityCommand, AuthorityNote, AuthorityReply};
pub use self::clients::is_table_used;
use self::connection_slots::EndlessBody;
use self::context::AdminContext;
pub use self::context::{AdminState, DaemonCommand, Reply, RuntimeState, ServerInfo};
pub use self::health::{Heartbeat, HeartbeatResponder, LIVENESS_TIMEOUT, Pulse, readiness};
pub use self::health_probes::HealthProbes;
use self::problem::AdminError;
use crate::listen::{SandboxIo, Stream, insert_sandbox_headers};
use crate::peer::Peer;

/// The control surface. Clones share it.
#[derive(Clone, Debug)]
pub struct Admin {
    context: Arc<AdminContext>,
    control_router: Router,
    readonly_router: Router,
}

impl Admin {
    /// Makes the surface; nothing is served before [`Admin::serve`].
    pub fn new(server: ServerInfo, state: AdminState) -> Self {
        let context = Arc::new(AdminContext::new(server, state));
        let readonly = readonly_routes();
        let control = readonly.clone().merge(control_routes());
        let finish = |routes: Router<Arc<AdminContext>>| {
            let access = from_fn_with_state(context.access.clone(), access::require_access);
            harden(routes.layer(access)).with_state(context.clone())
        };
        Self {
            readonly_router: finish(with_fallbacks(readonly, AdminError::NotOverTcp)),
            control_router: finish(with_fallbacks(control, AdminError::UnknownPath)),
            context,
        }
    }

    /// Returns the two health probes, for a listener of their own.
    pub fn health_probes(&self) -> HealthProbes {
        let AdminState { session, runtime, heartbeat, .. } = &**self.context;
        HealthProbes::new(session.clone(), runtime.clone(), heartbeat.clone())
    }

    /// Records the last day of the daemon, for ever: once a minute, and with each change of the
    /// session. No request pays for it.
    pub async fn record_history(&self) {
        recorder::record(&self.context).await;
    }

    /// Waits until a reload takes the access away from an operator.
    pub async fn wait_revoked(&self, peer: &Peer) {
        self.context.access.wait_revoked(peer).await;
    }

    /// Serves one connection to its end: everything over a unix socket, reading over TCP.
    pub async fn serve(self, stream: Stream, peer: Peer) {
        let slot = &self.context.slots(&peer).acquire();
        let router = match &peer {
            Peer::Unix { .. } => self.control_router,
            Peer::Tcp { .. } => self.readonly_router,
        };
        let service = tower::service_fn(|mut request: Request<Incoming>| {
            slot.mark_busy();
            request.extensions_mut().insert(peer.clone());
            let response = router.clone().oneshot(request);
            async move {
                let response = response.await?;
                if response.extensions().get::<EndlessBody>().is_none() {
                    slot.mark_idle();
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_TIMEOUT)
            .max_header_size(8 << 10)
            .serve_connection(
                TokioIo::new(SandboxIo::new(stream)),
                TowerToHyperService::new(service),
            );
        tokio::select! {
            biased;
            ended = connection => match ended {
                // A peer that only checked whether a daemon is here is no error.
                Err(error) if !error.is_incomplete_message() => {
                    tracing::debug!(%error, "an admin connection ended early");
                }
                Ok(()) | Err(_) => {}
            },
            () = slot.evicted() => tracing::debug!("an idle admin connection made room"),
        }
    }
}

/// The routes of every peer.
fn readonly_routes() -> Router<Arc<AdminContext>> {
    Router::new()
        .route("/healthz", get(queries::healthz))
        .route("/readyz", get(queries::readyz))
        .route("/metrics", get(queries::metrics))
}

/// The routes of operators.
fn control_routes() -> Router<Arc<AdminContext>> {
    Router::new()
        .route("/v1/status", get(queries::status))
        .route("/v1/upstream", get(queries::upstream))
        .route("/v1/events", get(events::stream))
        .route("/v1/history", get(recorder::history))
        .route("/v1/captures/{id}", get(content::show))
        .route("/v1/clients", get(clients::list).post(clients::change))
        .route("/v1/approvals", get(approvals::list).post(approvals::decide))
        .route("/v1/approvals/{id}", get(approvals::show))
        .route("/v1/ca", get(authorities::list))
        .route("/v1/ca/export", post(authorities::export))
        .route("/v1/ca/rotate", post(authorities::rotate))
        .route("/v1/whoami", get(account::whoami))
        .route("/v1/config", get(queries::config))
        .route("/v1/doctor", post(checks::doctor))
        .route("/v1/logout", post(account::logout))
        .route("/v1/stop", post(commands::stop))
        .route("/v1/handover", post(commands::hand_over))
        .route("/v1/reload", post(commands::reload))
        .route("/v1/refresh", post(commands::refresh))
        .route("/v1/login", post(commands::login))
        .route("/v1/forget", post(commands::forget))
        .route("/v1/fleet", get(fleet::status))
        .route("/v1/fleet/leave", post(fleet::leave))
        .route("/v1/lock", post(commands::lock))
        .route("/v1/unlock", post(commands::unlock))
}

fn with_fallbacks<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    unknown: AdminError,
) -> Router<S> {
    routes
        .fallback(async move || unknown)
        .method_not_allowed_fallback(async || AdminError::WrongMethod)
}

/// Turns a panic into a response, and gives every response the headers that make it harmless in a
/// browser and keep it out of caches.
fn harden<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    let no_store = HeaderValue::from_static("no-store");
    router
        .layer(CatchPanicLayer::custom(|_| AdminError::Panic.into_response()))
        .layer(map_response(async |mut response: Response| {
            insert_sandbox_headers(response.headers_mut());
            response
        }))
        .layer(SetResponseHeaderLayer::overriding(CACHE_CONTROL, no_store))
}

/// Longest time for the head of a request, and between two requests.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::StatusCode;
    use http::header::{CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};

    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_response_with_every_safety_header() {
        let router = Router::new().route("/", get(async || -> () { panic!("a handler failed") }));
        let request = Request::new(Body::empty());

        let response = harden(router).oneshot(request).await.unwrap();

        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        for name in [CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS] {
            assert!(response.headers().contains_key(&name), "{name}");
        }
    }
}
