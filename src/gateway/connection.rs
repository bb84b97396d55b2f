//! One local connection: its requests in order, its patience, its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tower::{Layer, service_fn};

use super::contain::Contain;
use super::{Body, Error, Gateway, respond};
use crate::config::Limits;
use crate::listen::{Canned, Draining, InFlight, Patience, Peer, Phase, Stream, Wire};
use crate::telemetry::{Access, Record};

/// Serves the connections of one or more listeners. Clones share the bounds.
#[derive(Clone, Debug)]
pub struct Connections {
    http: http1::Builder,
    patience: Patience,
    canned: Arc<Canned>,
    free: Arc<Semaphore>,
    draining: Draining,
    record: Arc<Record>,
}

impl Connections {
    /// Serves at most `limits.connections` at once, until `draining`.
    pub fn new(limits: &Limits, draining: Draining, record: Arc<Record>) -> Self {
        let mut http = http1::Builder::new();
        // Answers wait in memory for a slow reader up to this size, whatever their length.
        let most = limits.header_bytes.max(MOST_BUFFERED);
        http.max_headers(limits.headers).max_header_size(limits.header_bytes).max_buf_size(most);
        Self {
            http,
            patience: Patience { head: limits.header_timeout, idle: limits.keep_alive },
            canned: Arc::new(respond::canned(limits)),
            free: Arc::new(Semaphore::new(limits.connections)),
            draining,
            record,
        }
    }

    /// Returns the same with other bounds for the connections to come; those on how many there
    /// are stay.
    pub fn renewed(&self, limits: &Limits) -> Self {
        let fresh = Self::new(limits, self.draining.clone(), self.record.clone());
        Self { free: self.free.clone(), ..fresh }
    }

    /// Serves one connection to its end.
    ///
    /// Each request is answered by the gateway of its moment: a reload ends no connection.
    pub async fn serve(self, gateway: Arc<ArcSwap<Gateway>>, stream: Stream, peer: Peer) {
        let _open = self.record.tally.connection();
        let room = self.free.clone().try_acquire_owned().ok();
        let has_room = room.is_some();
        let phase = Arc::new(Phase::new());
        let wire = Wire::new(stream, phase.clone(), self.patience, self.canned.clone());
        let visitor = Arc::new(gateway.load_full().meet(peer).await);
        let answer = service_fn(|request: Request<Incoming>| {
            phase.busy();
            let access = Access::begin(&self.record, &request, || visitor.who());
            let answering =
                Answering { phase: phase.clone(), access, _in_flight: self.draining.enter() };
            let (gateway, visitor) = (gateway.load_full(), visitor.clone());
            let draining = self.draining.clone();
            // It is large, and handed on by value several times before it is first polled.
            Box::pin(async move {
                let response = match has_room {
                    true => unless_over(&draining, pin!(gateway.respond(request, &visitor))).await,
                    false => respond::render(&Error::Overloaded),
                };
                Ok::<_, Infallible>(answering.finish(response))
            })
        });
        let contained = Contain(|| respond::render(&Error::Internal)).layer(answer);
        let connection =
            self.http.serve_connection(TokioIo::new(wire), TowerToHyperService::new(contained));
        let mut connection = pin!(connection);
        let mut draining = self.draining.clone();
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = draining.begun() => {
                // The request in flight is answered, with `Connection: close`.
                connection.as_mut().graceful_shutdown();
                // Looked at again when the time is over, so that `unless_over` sees it.
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = draining.over() => connection.await,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a local connection ended early");
        }
    }
}

/// Answers with a 503 once the time to finish is over. Costs a read per wake-up, not a wait: the
/// connection that carries this request is woken at that moment.
async fn unless_over(
    draining: &Draining,
    mut answer: Pin<&mut impl Future<Output = Response<Body>>>,
) -> Response<Body> {
    poll_fn(|cx| match draining.is_over() {
        true => Poll::Ready(respond::render(&Error::Draining)),
        false => answer.as_mut().poll(cx),
    })
    .await
}

/// A request that is being answered: its connection is busy, and it counts as in flight.
#[derive(Debug)]
pub(super) struct Answering {
    phase: Arc<Phase>,
    access: Access,
    _in_flight: InFlight,
}

impl Answering {
    fn finish(mut self, response: Response<Body>) -> Response<Body> {
        self.access.answered(&response);
        response.map(|body| body.during(self))
    }

    /// Counts a part of the answer's body.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.access.sent(bytes);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.phase.idle();
    }
}

/// What is buffered of one answer before its upstream is asked to wait: a few TLS records.
const MOST_BUFFERED: usize = 64 << 10;
