//! The control surface: health, metrics, status and events to read; a few acts to ask for.
//!
//! Over `admin.sock` the kernel vouches for the caller. Over TCP, if it is configured, there is
//! less to read and nothing to ask for, behind the shield against web pages that the API has too.
//! Nothing changes state on GET.

pub mod api;
pub mod client;
pub mod format;

mod access;
mod commands;
mod connection_slots;
mod events;
mod health;
mod metrics;
mod origin;
mod problem;
mod status;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Router, response::IntoResponse as _};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tower::ServiceExt as _;

pub use self::access::AccessControl;
use self::api::{Lifecycle, Problem, ReloadResult, StopResult};
use self::connection_slots::{ConnectionSlots, EndlessBody, IsOperator};
pub use self::health::{Heartbeat, HeartbeatResponder, LIVENESS_TIMEOUT, readiness};
use self::problem::problem_response;
use crate::clients::Clients;
use crate::config::with_profile_flag;
use crate::credentials::Credentials;
use crate::listen::{InFlightCounter, Peer, SandboxIo, Stream, insert_sandbox_headers};
use crate::session::Session;
use crate::telemetry::Telemetry;
use crate::throttle::Throttle;

/// The control surface. Clones share it.
#[derive(Clone, Debug)]
pub struct Admin {
    shared: Arc<AdminContext>,
    control_router: Router,
    readonly_router: Router,
}

/// What never changes while the daemon runs.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// The profile.
    pub profile: String,
    /// Since when it runs.
    pub started: Instant,
    /// Where it listens.
    pub listening: api::Listening,
    /// Where requests go.
    pub upstream: String,
    /// By which proxy, without its password.
    pub proxy: String,
    /// Who is believed there, beside whom the system believes.
    pub ca_file: Option<PathBuf>,
    /// The configuration file.
    pub config: PathBuf,
}

/// What changes.
#[derive(Clone, Debug)]
pub struct RuntimeState {
    /// What the daemon is doing.
    pub lifecycle: Lifecycle,
    /// The keys that decide what is let through.
    pub settings: BTreeMap<String, serde_json::Value>,
    /// Keys that were changed by a reload and take a restart.
    pub restart_needed: Vec<String>,
}

/// What only the daemon as a whole can do.
#[derive(Debug)]
pub enum DaemonCommand {
    /// Drain and end.
    Stop(Reply<StopResult>),
    /// The same, where another daemon is to have the place: only a `run` gives it.
    HandOver(Reply<StopResult>),
    /// Read the configuration again.
    Reload(Reply<ReloadResult>),
}

/// How an order is answered.
pub type Reply<T> = oneshot::Sender<Result<T, Box<Problem>>>;

/// What the surface looks at.
#[derive(Debug)]
pub struct AdminState {
    /// The token.
    pub session: Session,
    /// Where the login is read.
    pub credentials: Credentials,
    /// How fast the API may be asked.
    pub throttle: Throttle,
    /// The same for each `[[host]]`.
    pub host_throttles: Vec<Throttle>,
    /// The named clients.
    pub clients: Clients,
    /// What requests leave behind.
    pub telemetry: Arc<Telemetry>,
    /// How many are being answered.
    pub in_flight: InFlightCounter,
    /// What the daemon is doing.
    pub runtime: watch::Receiver<RuntimeState>,
    /// Whether the data path runs.
    pub heartbeat: Heartbeat,
    /// Where the daemon takes orders.
    pub commands: mpsc::Sender<DaemonCommand>,
    /// Who may call.
    pub access: AccessControl,
}

#[derive(Debug)]
struct AdminContext {
    server: ServerInfo,
    state: AdminState,
    operator_slots: ConnectionSlots,
    /// Whoever may do nothing here, or only read, takes no place of those who may act.
    readonly_slots: ConnectionSlots,
}

impl std::ops::Deref for AdminContext {
    type Target = AdminState;

    fn deref(&self) -> &AdminState {
        &self.state
    }
}

impl AdminContext {
    fn operator_slots(&self, is_operator: bool) -> &ConnectionSlots {
        if is_operator { &self.operator_slots } else { &self.readonly_slots }
    }

    fn runtime_state(&self) -> RuntimeState {
        self.runtime.borrow().clone()
    }

    fn readiness(&self, phase: Lifecycle) -> api::Readiness {
        let mut readiness = readiness(&self.session, phase);
        readiness.reasons.iter_mut().for_each(|reason| reason.hint = self.in_profile(&reason.hint));
        readiness
    }

    /// Returns what is so of the session.
    fn session_status(&self) -> api::SessionStatus {
        let mut session = status::session(&self.session.status());
        let hints = session.error.iter_mut().map(|trouble| &mut trouble.hint);
        hints.chain(&mut session.advice).for_each(|hint| *hint = self.in_profile(hint));
        session
    }

    /// Returns the same with what the sources of the login hold now: nobody else sees this process's
    /// environment.
    async fn session_status_with_sources(&self) -> api::SessionStatus {
        let mut session = self.session_status();
        session.sources =
            self.credentials.sources_beside_keychain().iter().map(ToString::to_string).collect();
        session.halves =
            self.credentials.incomplete_sources().iter().map(ToString::to_string).collect();
        if session.resumed {
            let standing =
                tokio::time::timeout(CREDENTIALS_TIMEOUT, self.credentials.active_source()).await;
            session.source = standing.ok().flatten().map(|origin| origin.to_string());
        }
        session
    }

    fn in_profile(&self, hint: &str) -> String {
        with_profile_flag(hint, &self.server.profile)
    }

    /// Answers with what is wrong.
    fn problem_response(&self, mut problem: Problem) -> Response<Body> {
        let flaws = problem.problems.iter_mut().filter_map(|flaw| flaw.hint.as_mut());
        flaws.chain(&mut problem.hint).for_each(|hint| *hint = self.in_profile(hint));
        problem::render(&problem)
    }
}

impl Admin {
    /// Makes the surface; nothing is served before [`Admin::serve`].
    pub fn new(facts: ServerInfo, sources: AdminState) -> Self {
        let (places, places_for_others) = (ConnectionSlots::new(), ConnectionSlots::new());
        let shared = Arc::new(AdminContext {
            server: facts,
            state: sources,
            operator_slots: places,
            readonly_slots: places_for_others,
        });
        let read_only = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/v1/events", get(events::stream));
        let everything = read_only
            .clone()
            .route("/v1/status", get(status))
            .route("/v1/upstream", get(origin::upstream))
            .route("/v1/stop", post(commands::stop))
            .route("/v1/handover", post(commands::hand_over))
            .route("/v1/reload", post(commands::reload))
            .route("/v1/refresh", post(commands::refresh))
            .route("/v1/login", post(commands::login))
            .route("/v1/forget", post(commands::forget))
            .route("/v1/lock", post(commands::lock))
            .route("/v1/unlock", post(commands::unlock));
        let finish = |router: Router<Arc<AdminContext>>| {
            router
                .fallback(async || {
                    problem_response(StatusCode::NOT_FOUND, "admin.path", "no such path")
                })
                .method_not_allowed_fallback(async || {
                    let detail = "this path takes another method";
                    problem_response(StatusCode::METHOD_NOT_ALLOWED, "admin.method", detail)
                })
                .with_state(shared.clone())
        };
        Self { readonly_router: finish(read_only), control_router: finish(everything), shared }
    }

    /// Serves one connection to its end: everything over a unix socket, reading over TCP.
    pub async fn serve(self, stream: Stream, peer: Peer) {
        let shield = &self.shared.access;
        let is_operator = shield.is_operator(&peer);
        let place = &self.shared.operator_slots(is_operator).acquire();
        let (router, is_tcp) = match &peer {
            Peer::Unix { .. } => (self.control_router, false),
            Peer::Tcp { .. } => (self.readonly_router, true),
        };
        let answer = tower::service_fn(|mut request: Request<Incoming>| {
            place.mark_busy();
            request.extensions_mut().insert(IsOperator(is_operator));
            let admitted = shield.check(&request, &peer, is_tcp);
            let router = router.clone();
            async move {
                let mut response = match admitted {
                    Ok(()) => router.oneshot(request).await?,
                    Err(refusal) => refusal.into_response(),
                };
                if response.extensions().get::<EndlessBody>().is_none() {
                    place.mark_idle();
                }
                let headers = response.headers_mut();
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                insert_sandbox_headers(headers);
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_TIMEOUT)
            .max_header_size(8 << 10)
            .serve_connection(
                TokioIo::new(SandboxIo::new(stream)),
                TowerToHyperService::new(answer),
            );
        tokio::select! {
            biased;
            ended = connection => match ended {
                // One that only looked whether somebody is here is no trouble.
                Err(error) if !error.is_incomplete_message() => {
                    tracing::debug!(%error, "an admin connection ended early");
                }
                Ok(()) | Err(_) => {}
            },
            () = place.evicted() => tracing::debug!("an idle admin connection made room"),
        }
    }
}

async fn healthz(State(shared): State<Arc<AdminContext>>) -> Response<Body> {
    match shared.heartbeat.responds_within(LIVENESS_TIMEOUT).await {
        true => json(StatusCode::OK, &serde_json::json!({ "alive": true })),
        false => problem_response(
            StatusCode::SERVICE_UNAVAILABLE,
            "daemon.stuck",
            "the data path does not answer",
        ),
    }
}

async fn readyz(State(shared): State<Arc<AdminContext>>) -> Response<Body> {
    let readiness = shared.readiness(shared.runtime_state().lifecycle);
    let status = match readiness.ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    json(status, &readiness)
}

async fn metrics(State(shared): State<Arc<AdminContext>>) -> Response<Body> {
    let mut response = Response::new(Body::from(metrics::metrics(&shared)));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

async fn status(State(shared): State<Arc<AdminContext>>) -> Response<Body> {
    let session = shared.session_status_with_sources().await;
    json(StatusCode::OK, &api::Status { session, ..status::status(&shared) })
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let Ok(mut text) = serde_json::to_vec(value) else {
        return problem_response(
            StatusCode::INTERNAL_SERVER_ERROR,
            "daemon.internal",
            "the answer could not be written",
        );
    };
    text.push(b'\n');
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Longest look into the keychain, for a status that does not depend on it.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time for a request head, and without any request.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
