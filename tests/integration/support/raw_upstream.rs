//! An upstream whose every byte a test chooses and reads.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::fuzz_corpus::stage::self_signed::self_signed;

use super::tls_records::{Flood, flood};
use super::{Daemon, EVENT_TIMEOUT, daemon_before};

/// The reply to a request that has arrived.
#[derive(Clone, Debug)]
pub enum RawReply {
    /// These bytes; then the next request.
    Keep(String),
    /// These bytes; then a polite end.
    Close(String),
    /// These bytes, which may be no text; then a polite end.
    Bytes(Vec<u8>),
    /// These bytes; then the connection breaks.
    Cut(String),
    /// These bytes as soon as the head is there; the body is never read.
    Early(String),
    /// The same, and nothing is read: the connection ends in a reset.
    Slam(String),
    /// Nothing, and no more than the head is read.
    Deaf,
    /// These bytes as soon as the head is there, then those of the body as they come; then the next
    /// request.
    Echo(String),
    /// `100 Continue` first, then the body is read, then these bytes.
    Continue(String),
    /// These bytes once the semaphore allows; then the next request.
    Held(Arc<Semaphore>, String),
    /// These bytes, each on its own; then a polite end.
    Drip(String),
    /// The first bytes, then the others again and again while they are taken.
    Endless(String, String),
    /// These bytes; then TLS records that carry no answer, without end.
    Flood(String, Flood),
    /// The first bytes, and the others once the semaphore allows; the closed semaphore says that
    /// they are written. Then nothing more, and no end.
    Late(String, Arc<Semaphore>, String),
    /// The upgrade; then every message is echoed, and `bye` ends the connection.
    Switch,
    /// The upgrade once the semaphore allows; then nothing is read any more.
    Mute(Arc<Semaphore>),
}

/// The upstream. Answers `POST /api/token` by itself.
pub struct RawUpstream {
    pub address: SocketAddr,
    pub ca: String,
    requests: Arc<Mutex<Vec<ReceivedHead>>>,
    connections: Arc<Mutex<usize>>,
    ended: Arc<Mutex<usize>>,
}

/// A request, and the number of the connection that it came over.
type ReceivedHead = (usize, String);

/// Starts an upstream; `reply` chooses the reply to each request head.
pub async fn raw_upstream(reply: impl Fn(&str) -> RawReply + Send + Sync + 'static) -> RawUpstream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mut config, ca) = self_signed();
    // For records made by hand.
    config.enable_secret_extraction = true;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (seen, connections) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<usize>>::default());
    let (reply, kept, count) = (Arc::new(reply), seen.clone(), connections.clone());
    let ended = Arc::<Mutex<usize>>::default();
    let gone = ended.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let number = *count.lock().unwrap() + 1;
            *count.lock().unwrap() = number;
            // Each write leaves at once.
            tcp.set_nodelay(true).unwrap();
            let (acceptor, reply, kept) = (acceptor.clone(), reply.clone(), kept.clone());
            let gone = gone.clone();
            tokio::spawn(async move {
                if let Ok(tls) = acceptor.accept(tcp).await {
                    serve(tls, &*reply, number, &kept).await;
                }
                *gone.lock().unwrap() += 1;
            });
        }
    });
    RawUpstream { address, ca, requests: seen, connections, ended }
}

impl RawUpstream {
    /// Returns each request that has come, head and body, the token's left out.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(_, request)| request.clone()).collect()
    }

    /// Returns which connection each of them came over.
    pub fn connection_ids(&self) -> Vec<usize> {
        self.requests.lock().unwrap().iter().map(|(connection, _)| *connection).collect()
    }

    /// Returns how many connections have been opened.
    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    /// Returns how many of them are over.
    pub fn ended(&self) -> usize {
        *self.ended.lock().unwrap()
    }
}

async fn serve(
    mut tls: TlsStream<TcpStream>,
    reply: &(impl Fn(&str) -> RawReply + Send + Sync),
    number: usize,
    seen: &Mutex<Vec<ReceivedHead>>,
) {
    while let Some(head) = read_to(&mut tls, "\r\n\r\n").await {
        if head.starts_with("POST /api/token ") {
            read_body(&mut tls, &head).await;
            let token = r#"{"access_token":"marker-token-5c1d","token_type":"bearer","expires_in":604799,"refresh_token":"r"}"#;
            write(&mut tls, &ok(token)).await;
            continue;
        }
        let reply = reply(&head);
        if let RawReply::Early(answer) = &reply {
            seen.lock().unwrap().push((number, head));
            write(&mut tls, answer).await;
            // What still comes is taken in, or the answer would be lost to a reset.
            tokio::io::copy(&mut tls, &mut tokio::io::sink()).await.ok();
            return;
        }
        if let RawReply::Slam(answer) = &reply {
            seen.lock().unwrap().push((number, head));
            write(&mut tls, answer).await;
            return;
        }
        if let RawReply::Deaf = &reply {
            seen.lock().unwrap().push((number, head));
            return std::future::pending().await;
        }
        if let RawReply::Echo(answer) = &reply {
            write(&mut tls, answer).await;
            if echo_body(&mut tls, &head).await.is_none() {
                return;
            }
            seen.lock().unwrap().push((number, head));
            continue;
        }
        if let RawReply::Continue(_) = &reply {
            write(&mut tls, "HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        // A body that breaks off is none: what has not arrived whole has not arrived.
        let Some(body) = read_body(&mut tls, &head).await else { return };
        seen.lock().unwrap().push((number, format!("{head}{body}")));
        match answer(tls, &head, reply).await {
            Some(more) => tls = more,
            None => return,
        }
    }
}

/// Answers a request that has come whole; returns what more requests may come over.
async fn answer(
    mut tls: TlsStream<TcpStream>,
    head: &str,
    reply: RawReply,
) -> Option<TlsStream<TcpStream>> {
    match reply {
        RawReply::Keep(answer)
        | RawReply::Continue(answer)
        | RawReply::Early(answer)
        | RawReply::Slam(answer)
        | RawReply::Echo(answer) => {
            write(&mut tls, &answer).await;
            return Some(tls);
        }
        RawReply::Held(word, answer) => {
            word.acquire().await.unwrap().forget();
            write(&mut tls, &answer).await;
            return Some(tls);
        }
        RawReply::Close(answer) => {
            write(&mut tls, &answer).await;
            tls.shutdown().await.ok();
        }
        RawReply::Bytes(answer) => write_last(tls, &answer).await,
        RawReply::Cut(answer) => write(&mut tls, &answer).await,
        RawReply::Drip(answer) => drip(tls, &answer).await,
        RawReply::Endless(first, again) => {
            write(&mut tls, &first).await;
            while tls.write_all(again.as_bytes()).await.is_ok() {}
        }
        RawReply::Late(first, word, rest) => write_late(tls, &first, &word, &rest).await,
        RawReply::Switch => {
            write(&mut tls, &upgrade_response(head)).await;
            echo(tls).await;
        }
        RawReply::Flood(first, kind) => {
            write(&mut tls, &first).await;
            flood(tls, kind).await;
        }
        RawReply::Deaf => {}
        RawReply::Mute(word) => {
            word.acquire().await.unwrap().forget();
            write(&mut tls, &upgrade_response(head)).await;
            word.acquire().await.unwrap().forget();
        }
    }
    None
}

/// Writes all, then closes.
async fn write_last(mut tls: TlsStream<TcpStream>, answer: &[u8]) {
    tls.write_all(answer).await.ok();
    tls.shutdown().await.ok();
}

/// Writes byte by byte, then closes.
async fn drip(mut tls: TlsStream<TcpStream>, answer: &str) {
    for byte in answer.bytes() {
        tls.write_all(&[byte]).await.ok();
        tls.flush().await.ok();
    }
    tls.shutdown().await.ok();
}

/// Writes the rest once `word` is given, then reads to the end.
async fn write_late(mut tls: TlsStream<TcpStream>, first: &str, word: &Semaphore, rest: &str) {
    write(&mut tls, first).await;
    word.acquire().await.unwrap().forget();
    write(&mut tls, rest).await;
    word.close();
    tokio::io::copy(&mut tls, &mut tokio::io::sink()).await.ok();
}

/// The answer of RFC 6455 §4.2.2.
fn upgrade_response(head: &str) -> String {
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key").then_some(value)
    });
    let key = derive_accept_key(key.unwrap().as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {key}\r\nSec-WebSocket-Protocol: chat\r\n\
         Set-Cookie: a=marker-token-5c1d\r\nX-Echo: Bearer marker-token-5c1d\r\n\r\n"
    )
}

async fn echo(tls: TlsStream<TcpStream>) {
    let mut socket = WebSocketStream::from_raw_socket(tls, Role::Server, None).await;
    // Pings are answered, and a close too, by reading on.
    while let Some(Ok(message)) = socket.next().await {
        let is_end = message.to_text().is_ok_and(|text| text == "bye");
        if is_end {
            socket.close(None).await.ok();
        } else if message.is_text() || message.is_binary() {
            socket.send(message).await.ok();
        }
    }
}

async fn write(tls: &mut TlsStream<TcpStream>, answer: &str) {
    tls.write_all(answer.as_bytes()).await.ok();
    tls.flush().await.ok();
}

async fn echo_body(tls: &mut TlsStream<TcpStream>, head: &str) -> Option<()> {
    let mut left = content_length(head);
    let mut piece = vec![0; 10_000];
    while left > 0 {
        let read = tls.read(&mut piece).await.ok().filter(|&read| read > 0)?;
        left -= read;
        tls.write_all(&piece[..read]).await.ok()?;
    }
    tls.flush().await.ok()
}

fn content_length(head: &str) -> usize {
    let lower = head.to_ascii_lowercase();
    let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    length.map_or(0, |length| length.parse().unwrap())
}

async fn read_body(tls: &mut TlsStream<TcpStream>, head: &str) -> Option<String> {
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return read_to(tls, "0\r\n\r\n").await;
    }
    let mut bytes = vec![0; content_length(head)];
    tls.read_exact(&mut bytes).await.ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

async fn read_to(stream: &mut (impl AsyncRead + Unpin), end: &str) -> Option<String> {
    let mut bytes = vec![];
    while !bytes.ends_with(end.as_bytes()) {
        bytes.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A plain answer with a body.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Starts a daemon in front of it.
pub async fn daemon_before_raw(upstream: &RawUpstream) -> Daemon {
    daemon_before(upstream.address.port(), &upstream.ca).run().await
}

/// A request that is the only one on its connection.
pub fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n{fields}\r\n")
}

/// Reads as far as `end`.
pub async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut bytes = vec![];
    let read = async {
        while !bytes.ends_with(end.as_bytes()) {
            bytes.push(stream.read_u8().await.unwrap());
        }
    };
    let done = tokio::time::timeout(EVENT_TIMEOUT, read).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    done.unwrap_or_else(|_| panic!("only this came: {text}"));
    text
}
