//! The upstream: reads strictly, records what arrived, and answers each request with its number.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::self_signed::self_signed;
use super::strict::{self, Message, Read};

/// The token that a login receives and that every later request must carry.
pub const TOKEN: &str = "marker-token-2b91";

/// An upstream on the current runtime.
pub struct Upstream {
    pub port: u16,
    pub ca: String,
    shared: Arc<Mutex<UpstreamRecord>>,
}

#[derive(Default)]
struct UpstreamRecord {
    arrived: Vec<Message>,
    is_logged_in: bool,
    wild: Vec<u8>,
    is_broken: bool,
}

/// Records that a task panicked, which tokio does not report.
struct Watch(Arc<Mutex<UpstreamRecord>>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.0).is_broken = true;
        }
    }
}

/// Locks, whatever a panic has left behind.
fn lock(shared: &Mutex<UpstreamRecord>) -> MutexGuard<'_, UpstreamRecord> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstream {
    /// Starts the upstream.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (config, ca) = self_signed();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let shared = Arc::<Mutex<UpstreamRecord>>::default();
        let kept = shared.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), kept.clone());
                tokio::spawn(async move {
                    let watch = Watch(shared);
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        serve(tls, &watch.0, port).await;
                    }
                });
            }
        });
        Self { port, ca, shared }
    }

    /// Returns every request that has arrived whole.
    ///
    /// # Panics
    ///
    /// When anything else has arrived.
    pub fn arrived(&self) -> Vec<Message> {
        let shared = lock(&self.shared);
        assert!(!shared.is_broken, "what arrived was not a request of ours");
        shared.arrived.clone()
    }

    /// Fails the test at every login from now on.
    pub fn logged_in(&self) {
        lock(&self.shared).is_logged_in = true;
    }

    /// Responds to the next requests for `/wild` with these bytes.
    pub fn answers_with(&self, bytes: &[u8]) {
        let mut shared = lock(&self.shared);
        shared.wild = bytes.to_vec();
        shared.arrived.clear();
    }
}

async fn serve(mut tls: TlsStream<TcpStream>, shared: &Mutex<UpstreamRecord>, port: u16) {
    let mut buffer = vec![];
    loop {
        let request = loop {
            match strict::request(&buffer) {
                Read::Message(request) => break request,
                Read::Partial => {}
                Read::Wrong(why) => panic!("{why}: {:?}", String::from_utf8_lossy(&buffer)),
            }
            // A truncated message is not a request.
            if !matches!(tls.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
        };
        buffer.drain(..request.length);
        assert!(buffer.is_empty(), "a second request behind {:?}", request.start);
        let answer = answer(&request, &mut lock(shared), port);
        let is_wild = request.target() == "/wild";
        tls.write_all(&answer).await.ok();
        if tls.flush().await.is_err() || is_wild {
            tls.shutdown().await.ok();
            return;
        }
    }
}

fn answer(request: &Message, shared: &mut UpstreamRecord, port: u16) -> Vec<u8> {
    if request.one("authorization").is_none() && request.start.starts_with("POST /api/token ") {
        assert!(!shared.is_logged_in, "an unexpected login");
        let token = format!(
            r#"{{"access_token":"{TOKEN}","token_type":"bearer","expires_in":604799,"refresh_token":"r"}}"#
        );
        return format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{token}", token.len()).into();
    }
    // The daemon probes whether its token is alive.
    if request.target() == "/api/auth/me" && request.one("via").is_none() {
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".into();
    }
    check(request, port);
    if request.target() == "/wild" {
        return shared.wild.clone();
    }
    let number = shared.arrived.len();
    shared.arrived.push(request.clone());
    let body = if request.method() == "HEAD" { "" } else { "arrived" };
    format!("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX-Arrived: {number}\r\n\r\n{body}").into()
}

/// Asserts that this is a request of ours, and nothing else.
fn check(request: &Message, port: u16) {
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    assert!(methods.contains(&request.method()), "{request:?}");
    assert!(request.start.ends_with(" HTTP/1.1"), "{request:?}");
    let target = request.target();
    assert!(target.starts_with('/') && target.is_ascii(), "{request:?}");
    let path = target.split('?').next().unwrap_or_default();
    assert!(!path.eq_ignore_ascii_case("/api/token"), "{request:?}");
    assert_eq!(request.one("host"), Some(format!("localhost:{port}").as_str()), "{request:?}");
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(request.one("authorization"), Some(bearer.as_str()), "{request:?}");
    assert_eq!(request.one("via"), Some("1.1 nexudus-proxy"), "{request:?}");
    // A request for a WebSocket is exactly what RFC 6455 wants.
    let switches = request.one("upgrade") == Some("websocket");
    if switches {
        assert_eq!(request.one("connection"), Some("Upgrade"), "{request:?}");
        assert_eq!(request.method(), "GET", "{request:?}");
        assert!(request.body.is_empty(), "{request:?}");
        assert_eq!(request.one("sec-websocket-version"), Some("13"), "{request:?}");
        assert_eq!(request.one("sec-websocket-key").map(str::len), Some(24), "{request:?}");
    }
    for (name, _) in &request.fields {
        let name = name.to_ascii_lowercase();
        let folded = name.replace('_', "-");
        let ours = ["host", "authorization", "via", "content-length", "transfer-encoding"];
        assert!(!ours.contains(&folded.as_str()) || ours.contains(&name.as_str()), "{request:?}");
        let is_theirs = matches!(
            folded.as_str(),
            "connection"
                | "keep-alive"
                | "te"
                | "trailer"
                | "upgrade"
                | "expect"
                | "cookie"
                | "client-id"
                | "origin"
                | "referer"
                | "forwarded"
                | "nexudus-proxy-key"
                | "proxy"
                | "proxy-connection"
        );
        let is_told =
            ["x-forwarded-", "sec-fetch-", "proxy-auth"].iter().any(|it| folded.starts_with(it));
        let is_asked = switches && matches!(folded.as_str(), "connection" | "upgrade");
        assert!(is_asked || !is_theirs && !is_told, "{name}: {request:?}");
    }
}
