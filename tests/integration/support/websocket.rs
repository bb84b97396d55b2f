//! A WebSocket client, and a daemon that lets WebSockets through.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use nexudus_proxy::admin::api::Status;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message, http};

use crate::support::raw_upstream::RawUpstream;
use crate::support::{Daemon, DaemonSetup, EVENT_TIMEOUT, daemon_before};

pub type Socket = WebSocketStream<TcpStream>;

/// A daemon that lets WebSockets through.
pub fn switching(upstream: &RawUpstream) -> DaemonSetup {
    daemon_before(upstream.address.port(), &upstream.ca)
        .set(|config| config.upstream.upgrade = true)
}

pub async fn open(daemon: &Daemon, path: &str) -> Result<(Socket, http::HeaderMap), Error> {
    open_at(daemon.address(), path, "").await
}

pub async fn open_at(
    address: SocketAddr,
    path: &str,
    key: &str,
) -> Result<(Socket, http::HeaderMap), Error> {
    let stream = TcpStream::connect(address).await.unwrap();
    let address = format!("ws://localhost:{}{path}", address.port());
    let mut request = address.into_client_request().unwrap();
    let mut say = |name: &'static str, value: &str| {
        request.headers_mut().insert(name, value.parse().unwrap());
    };
    say("authorization", "Bearer theirs");
    if !key.is_empty() {
        say("nexudus-proxy-key", key);
    }
    say("cookie", "theirs=1");
    say("sec-websocket-protocol", "chat");
    let opening = tokio_tungstenite::client_async(request, stream);
    let (socket, answer) = tokio::time::timeout(EVENT_TIMEOUT, opening).await.unwrap()?;
    Ok((socket, answer.headers().clone()))
}

pub fn handshake() -> Vec<u8> {
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";
    let asks = "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket";
    format!("GET /live HTTP/1.1\r\n{asks}\r\n{key}\r\n\r\n").into_bytes()
}

pub async fn next(socket: &mut Socket) -> Option<Result<Message, Error>> {
    tokio::time::timeout(EVENT_TIMEOUT, socket.next()).await.expect("nothing comes")
}

pub async fn said_back(socket: &mut Socket, message: Message) -> Message {
    socket.send(message).await.unwrap();
    next(socket).await.unwrap().unwrap()
}

pub async fn status(daemon: &Daemon) -> Status {
    daemon.admin().await.get("/v1/status").await.unwrap()
}

pub async fn nothing_is_open(daemon: &Daemon) {
    let gone = async {
        loop {
            let requests = status(daemon).await.requests;
            if (requests.in_flight, requests.connections) == (0, 0) {
                return;
            }
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, gone).await.expect("something is left open");
}
