//! Listeners and connections: accept, TLS, then one of the two versions of HTTP.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::exchange::Exchange;
use crate::http1::{AfterResponse, Http1Stream};
use crate::http2;
use crate::request::RequestHead;
use crate::resettable_stream::TrackedStream;
use crate::response::Outcome;
use crate::settings::AcceptMode;
use crate::state::SharedState;

/// Serves one address for ever, closing and reopening the listener when told to.
pub(crate) async fn listen(shared: Arc<SharedState>, tls: Arc<ServerConfig>, first: TcpListener) {
    let Ok(address) = first.local_addr() else { return };
    let mut wanted = shared.listening.subscribe();
    let mut open = first;
    loop {
        while *wanted.borrow_and_update() {
            tokio::select! {
                accepted = open.accept() => if let Ok((stream, peer)) = accepted {
                    tokio::spawn(connection(Arc::clone(&shared), Arc::clone(&tls), stream, peer));
                },
                changed = wanted.changed() => if changed.is_err() { return },
            }
        }
        drop(open);
        shared.change(|state| state.listeners -= 1);
        if wanted.wait_for(|wanted| *wanted).await.is_err() {
            return;
        }
        open = bind_again(address).await;
        shared.change(|state| state.listeners += 1);
    }
}

/// The port may be taken for a moment by the end of an old connection.
async fn bind_again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(open) => return open,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Counts a connection as open for as long as it lives.
struct OpenConnection(Arc<SharedState>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.change(|state| state.recording.connections.open -= 1);
    }
}

async fn connection(
    shared: Arc<SharedState>,
    tls: Arc<ServerConfig>,
    mut stream: TcpStream,
    _: SocketAddr,
) {
    let (number, accept) = shared.change(|state| {
        state.recording.connections.accepted += 1;
        state.recording.connections.open += 1;
        (state.recording.connections.accepted, state.settings.transport.accept)
    });
    let _open = OpenConnection(Arc::clone(&shared));
    match accept {
        AcceptMode::Serve => {}
        AcceptMode::Close => return,
        AcceptMode::Reset => {
            let _ = stream.set_zero_linger();
            return;
        }
        AcceptMode::Stall => {
            let mut wire = Http1Stream::new(stream);
            return wire.drain().await;
        }
        AcceptMode::Nonsense => {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await;
            return;
        }
    }
    let _ = stream.set_nodelay(true);
    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else {
        shared.change(|state| state.recording.connections.tls_failures += 1);
        return;
    };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let reset = Arc::new(AtomicBool::new(false));
    let lane = TrackedStream { stream, reset: Arc::clone(&reset) };
    if is_http2 {
        http2::serve(&shared, lane, &reset, number).await;
    } else {
        serve(&shared, lane, number).await;
    }
}

/// Serves HTTP/1.1 until one side has had enough.
async fn serve(shared: &Arc<SharedState>, lane: TrackedStream, number: u64) {
    let reset = Arc::clone(&lane.reset);
    let mut wire = Http1Stream::new(lane);
    let mut sweep = shared.sweep.subscribe();
    let mut served = 0_u32;
    while let Some(head) = next_head(shared, &mut wire, &mut sweep).await {
        let exchange = Exchange::begin(shared, &head, number);
        let unread = exchange.respond_before_body(&head);
        let body_is_left = unread.is_some();
        let reply = match unread {
            Some(reply) => Some(reply),
            None => reply_after_body(&mut wire, &exchange, &head).await,
        };
        let Some(reply) = reply else { break };
        served += 1;
        let answered = matches!(reply, Outcome::Answer(_));
        let reply = close_after_limit(shared, reply, served);
        match deliver(&mut wire, &exchange, &head, reply).await {
            AfterResponse::KeepAlive if head.asks_to_close() => break,
            AfterResponse::KeepAlive => {}
            // Closing with unread bytes would be a reset, and the answer could be lost to it.
            AfterResponse::Close if body_is_left && answered => {
                wire.shutdown().await;
                let _ = tokio::time::timeout(LINGER_TIMEOUT, wire.drain()).await;
                return;
            }
            AfterResponse::Close => break,
            AfterResponse::Reset => {
                reset.store(true, Ordering::Relaxed);
                return;
            }
        }
    }
    wire.shutdown().await;
}

/// Returns the head of the next request, or `None` once the connection is over or idle for too long.
async fn next_head(
    shared: &SharedState,
    wire: &mut Http1Stream<TrackedStream>,
    sweep: &mut watch::Receiver<u64>,
) -> Option<RequestHead> {
    let idle = shared.read(|state| state.settings.transport.idle_close);
    let patience = async {
        match idle {
            Some(idle) => tokio::time::sleep(idle).await,
            None => std::future::pending().await,
        }
    };
    let head = tokio::select! {
        head = wire.read_head() => head,
        () = patience => return None,
        _ = sweep.changed() => return None,
    };
    head.ok().flatten()
}

/// Reads the body and returns the reply, or `None` when the body does not arrive.
async fn reply_after_body(
    wire: &mut Http1Stream<TrackedStream>,
    exchange: &Exchange,
    head: &RequestHead,
) -> Option<Outcome> {
    let Ok(intake) = wire.read_body(head).await else {
        exchange.abandon();
        return None;
    };
    let mut reply = pin!(exchange.reply(head.clone(), intake));
    tokio::select! {
        reply = reply.as_mut() => Some(reply),
        // As on a real server, a request once read is carried out.
        () = wire.wait_for_disconnect() => {
            exchange.client_left();
            Some(reply.await)
        }
    }
}

/// Lets the last answer that a connection may carry end it.
fn close_after_limit(shared: &SharedState, reply: Outcome, served: u32) -> Outcome {
    let Outcome::Answer(mut answer) = reply else { return reply };
    let (last, announce) = shared.read(|state| {
        let transport = &state.settings.transport;
        let limit = transport.requests_per_connection;
        (limit.is_some_and(|limit| served >= limit), transport.announce_close)
    });
    if last && announce {
        answer = answer.with_header("Connection", "close");
    }
    answer.delivery.close_after |= last;
    Outcome::Answer(answer)
}

/// Sends the reply and ends the exchange; returns what becomes of the connection.
async fn deliver(
    wire: &mut Http1Stream<TrackedStream>,
    exchange: &Exchange,
    head: &RequestHead,
    reply: Outcome,
) -> AfterResponse {
    let then = match reply {
        Outcome::Answer(answer) => match wire.send(head, answer).await {
            Ok(then) => {
                exchange.finish();
                return then;
            }
            Err(_) => AfterResponse::Close,
        },
        Outcome::Raw(bytes) => {
            let _ = wire.write_raw(&bytes).await;
            AfterResponse::Close
        }
        Outcome::Close => AfterResponse::Close,
        Outcome::Reset => AfterResponse::Reset,
        Outcome::Hang => {
            wire.drain().await;
            AfterResponse::Close
        }
    };
    exchange.abandon();
    then
}

/// Longest time the rest of an unread request is drained, in real time.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
