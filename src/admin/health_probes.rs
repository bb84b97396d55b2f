//! Health for the probes of a machine that runs containers: `/healthz` and `/readyz` over TCP, to
//! whoever can connect.
//!
//! So there is nothing else: no body, no reason, no header that names this program, one request on
//! a connection. Old programs probe with HTTP/1.0.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

use super::context::RuntimeState;
use super::health::{Heartbeat, LIVENESS_TIMEOUT, note_stale_keys, readiness};
use crate::clients::Clients;
use crate::listen::Stream;
use crate::session::Session;

/// The two probes. Clones share what they look at.
#[derive(Clone, Debug)]
pub struct HealthProbes {
    session: Session,
    clients: Clients,
    runtime: watch::Receiver<RuntimeState>,
    heartbeat: Heartbeat,
}

impl HealthProbes {
    /// Looks at the session, the phase of the daemon's life and the data path.
    pub(super) fn new(
        (session, clients): (Session, Clients),
        runtime: watch::Receiver<RuntimeState>,
        heartbeat: Heartbeat,
    ) -> Self {
        Self { session, clients, runtime, heartbeat }
    }

    /// Responds to one request. The caller bounds the time.
    pub async fn serve(self, stream: Stream) {
        let respond = service_fn(|request| {
            let probes = &self;
            async move { Ok::<_, Infallible>(probes.respond(&request).await) }
        });
        let connection = http1::Builder::new()
            .keep_alive(false)
            .half_close(true)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), respond);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a health probe ended early");
        }
    }

    async fn respond<B>(&self, request: &Request<B>) -> Response<Empty<Bytes>> {
        let is_well = match request.uri().path() {
            _ if !matches!(*request.method(), Method::GET | Method::HEAD) => None,
            "/healthz" => {
                Some(self.heartbeat.silent_threads(LIVENESS_TIMEOUT / 2).await.is_empty())
            }
            "/readyz" => {
                let now = self.runtime.borrow();
                let mut readiness = readiness(&self.session, now.lifecycle);
                note_stale_keys(&mut readiness, &self.clients, now.needs_keys());
                Some(readiness.ready)
            }
            _ => None,
        };
        let mut response = Response::new(Empty::new());
        *response.status_mut() = match is_well {
            Some(true) => StatusCode::OK,
            Some(false) => StatusCode::SERVICE_UNAVAILABLE,
            None => StatusCode::NOT_FOUND,
        };
        response
    }
}

/// Largest head of a probe: the least that hyper takes.
const MAX_HEAD_BYTES: usize = 8 << 10;
