//! One local connection: its requests in order, its patience, its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, Parts};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::contain::contain;
use super::tunnel::Switch;
use super::visitor::Visitor;
use super::{Body, Error, Gateway, respond};
use crate::clients::loggable_path;
use crate::config::Limits;
use crate::listen::{
    Canned, ConnectionLimiter, ConnectionPermit, Draining, InFlight, Patience, Peer, Phase,
    Standing, Stream, Wire,
};
use crate::telemetry::{Access, Record, Spent};

/// Serves the connections of one or more listeners. Clones share the bounds.
#[derive(Clone, Debug)]
pub struct Connections {
    http: http1::Builder,
    patience: Patience,
    canned: Arc<Canned>,
    limiter: ConnectionLimiter,
    draining: Draining,
    record: Arc<Record>,
}

impl Connections {
    /// Serves at most `limits.connections` at once, until `draining`.
    pub fn new(limits: &Limits, draining: Draining, record: Arc<Record>) -> Self {
        let mut http = http1::Builder::new();
        // Answers wait in memory for a slow reader up to this size, whatever their length.
        let most = limits.header_bytes.max(MOST_BUFFERED);
        // The wire sees by itself when a caller leaves.
        http.max_header_size(limits.header_bytes).max_buf_size(most).half_close(true);
        // Asked for by number, its own bound too costs hyper a table that is filled per request.
        if limits.headers != HYPERS_HEADERS {
            http.max_headers(limits.headers);
        }
        Self {
            http,
            patience: Patience {
                first: limits.keep_alive,
                head: limits.header_timeout,
                idle: limits.keep_alive,
                whole: None,
            },
            canned: Arc::new(respond::canned(limits)),
            limiter: ConnectionLimiter::new(limits.connections),
            draining,
            record,
        }
    }

    /// Returns the same with other bounds for the connections to come; those on how many there
    /// are stay.
    pub fn renewed(&self, limits: &Limits) -> Self {
        let fresh = Self::new(limits, self.draining.clone(), self.record.clone());
        Self { limiter: self.limiter.clone(), ..fresh }
    }

    /// Logs what happens too often for a line each, for ever.
    pub fn report(&self) -> impl Future<Output = ()> + use<> {
        let record = self.record.clone();
        async move { record.report().await }
    }

    /// Finds a place for a connection; without one it is closed. What is returned serves it to its
    /// end.
    ///
    /// Who calls is known before anything is kept for the connection: another user takes no place of
    /// the owner's.
    pub fn open(
        &self,
        gateway: &Arc<ArcSwap<Gateway>>,
        stream: Stream,
        peer: Peer,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let standing = gateway.load().standing(&peer);
        let permit = self.acquire(&peer, standing)?;
        let (this, gateway) = (self.clone(), gateway.clone());
        Some(async move {
            let (mut permit, mut standing) = (permit, standing);
            if let Standing::Unsettled(uid) = standing {
                standing = gateway.load_full().settle(uid).await;
                let Some(settled) = this.acquire(&peer, standing) else { return };
                permit = settled;
            }
            if standing == Standing::Guest {
                stream.end_as_usual();
            }
            let may_stay = permit.may_stay();
            let visitor = Visitor::new(peer, standing, this.record.clone());
            let mut serving = pin!(this.serve(gateway, stream, visitor, permit));
            match may_stay {
                true => serving.await,
                // However slowly a refusal is read, or the body that it leaves unread is sent.
                false => {
                    tokio::time::timeout(LONGEST_REFUSAL, &mut serving).await.ok();
                }
            }
        })
    }

    fn acquire(&self, peer: &Peer, standing: Standing) -> Option<ConnectionPermit> {
        let acquired = self.limiter.acquire(peer, standing);
        if let Err(limit) = &acquired
            && self.record.turned_away.is_first(limit)
        {
            // Of the first connection in a minute.
            let uid = peer.uid();
            tracing::warn!(limit, uid, "connections are turned away: too many are open");
        }
        acquired.ok()
    }

    /// Serves one connection to its end.
    ///
    /// Each request is answered by the gateway of its moment: a reload ends no connection.
    async fn serve(
        self,
        gateway: Arc<ArcSwap<Gateway>>,
        stream: Stream,
        visitor: Visitor,
        permit: ConnectionPermit,
    ) {
        let _open = self.record.tally.connection();
        let phase = Arc::new(Phase::new());
        let (canned, record) = (self.canned.clone(), self.record.clone());
        let mut http = self.http.clone();
        let patience = match (permit.may_stay(), visitor.standing) {
            (false, _) => {
                http.keep_alive(false);
                BRIEF
            }
            // Whose key nobody has seen yet.
            (true, Standing::Remote) => Patience { first: self.patience.head, ..self.patience },
            (true, _) => self.patience,
        };
        // What a stranger does wrong is counted, and not a line each.
        let is_logged = visitor.is_let_in();
        let wire = Wire::new(stream, phase.clone(), patience, canned, record);
        let (has_room, draining) = (permit.has_room(), self.draining.clone());
        let met = Arc::new(Met { gateway, visitor, phase, draining, has_room });
        let switch = Switch::default();
        let answer = service_fn(|request: Request<Incoming>| {
            met.phase.busy();
            let who = || met.visitor.who_to_log();
            let access = Access::begin(&self.record, &request, loggable_path, who);
            let in_flight = met.draining.enter();
            let answering = Answering { met: met.clone(), access, _in_flight: in_flight };
            let failed = || Ok::<_, Infallible>(respond::render(&Error::Internal));
            // hyper has room for one per connection, so that none is allocated per request.
            contain(answering.answer(request, &switch), failed)
        });
        let mut connection = http.serve_connection(TokioIo::new(wire), answer);
        let mut draining = self.draining.clone();
        let ended = tokio::select! {
            // What has arrived is read before the end is looked at.
            biased;
            ended = &mut connection => ended,
            () = end_of(&mut draining, &met.phase) => {
                Pin::new(&mut connection).graceful_shutdown();
                tokio::select! {
                    ended = &mut connection => ended,
                    () = draining.over() => (&mut connection).await,
                }
            }
        };
        match ended {
            Ok(()) if switch.is_set() => {
                let Parts { io, read_buf, .. } = connection.into_parts();
                Box::pin(switch.run(io.into_inner().into_stream(), read_buf, draining)).await;
            }
            Ok(()) => {}
            Err(error) => {
                if is_logged {
                    tracing::debug!(%error, "a local connection ended early");
                }
                let Parts { io, read_buf, .. } = connection.into_parts();
                Box::pin(io.into_inner().explain(&error, &read_buf)).await;
            }
        }
    }
}

/// A connection and whoever is at its other end: what its requests share.
#[derive(Debug)]
struct Met {
    gateway: Arc<ArcSwap<Gateway>>,
    visitor: Visitor,
    phase: Arc<Phase>,
    draining: Draining,
    has_room: bool,
}

/// A request that is being answered: its connection is busy, and it counts as in flight.
#[derive(Debug)]
pub(super) struct Answering {
    met: Arc<Met>,
    access: Access,
    _in_flight: InFlight,
}

impl Answering {
    async fn answer(
        mut self,
        request: Request<Incoming>,
        switch: &Switch,
    ) -> Result<Response<Body>, Infallible> {
        let mut spent = Spent::default();
        let mut response = match self.met.has_room {
            true => {
                let gateway = self.met.gateway.load_full();
                let mut client = None;
                let answered = {
                    let Met { visitor, draining, .. } = &*self.met;
                    let answer = pin!(gateway.answer(request, visitor, &mut spent, &mut client));
                    unless_over(draining, answer).await
                };
                match answered {
                    Some(answered) => gateway.respond(answered, client, &spent),
                    None => respond::render(&Error::Draining),
                }
            }
            false => respond::render(&Error::Overloaded),
        };
        if self.met.visitor.must_leave(&response) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.access.answered(&response, &spent);
        if let Some(far) = response.body_mut().take_far() {
            switch.set(far, self, response.extensions_mut().remove());
            return Ok(response);
        }
        Ok(response.map(|body| body.during(self)))
    }

    /// Counts a part of the answer's body.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.access.sent(bytes);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.met.phase.idle();
    }
}

/// Waits until this connection is to end. Whoever has just connected may still ask: only on a
/// connection that was used before does a client expect to find it closed.
async fn end_of(draining: &mut Draining, phase: &Phase) {
    draining.begun().await;
    // What arrives wakes the connection, and with it this.
    let asked = poll_fn(|_| if phase.is_new() { Poll::Pending } else { Poll::Ready(()) });
    tokio::time::timeout(FIRST_WORDS, asked).await.ok();
}

/// Waits for an answer, but not once the time to finish is over. Costs a read per wake-up, not a
/// wait: the connection that carries this request is woken at that moment.
fn unless_over<F: Future>(
    draining: &Draining,
    mut answer: Pin<&mut F>,
) -> impl Future<Output = Option<F::Output>> {
    poll_fn(move |cx| match draining.is_over() {
        true => Poll::Ready(None),
        false => answer.as_mut().poll(cx).map(Some),
    })
}

/// How long a client may take from connecting to asking, when a stop comes in between.
const FIRST_WORDS: Duration = Duration::from_secs(1);

/// For whoever only hears that the daemon is not for it: a local caller sends its head at once.
const BRIEF: Patience = {
    let seconds = Duration::from_secs(2);
    Patience { first: seconds, head: seconds, idle: Duration::ZERO, whole: Some(seconds) }
};

/// Longest time from connecting to the end of a refusal.
const LONGEST_REFUSAL: Duration = Duration::from_secs(5);

/// What hyper takes unless told otherwise.
const HYPERS_HEADERS: usize = 100;

/// What is buffered of one answer before its upstream is asked to wait: a few TLS records.
const MOST_BUFFERED: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// It is moved once for each request, and wiped when it is given back.
    #[test]
    fn the_future_of_a_request_is_small() {
        fn size<'a, F>(_: fn(Answering, Request<Incoming>, &'a Switch) -> F) -> usize {
            size_of::<F>()
        }

        assert!(size(Answering::answer) <= 2_800, "{} bytes", size(Answering::answer));
    }
}
