//! The upstream: reads strictly, records what arrives, and responds with its number.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::strict::{self, Message, Read};

/// The token that the upstream issues and then demands.
pub const TOKEN: &str = "marker-token-2b91";

/// An upstream on the current runtime.
pub struct Upstream {
    pub port: u16,
    pub ca: String,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    arrived: Vec<Message>,
    is_logged_in: bool,
    wild: Vec<u8>,
    is_broken: bool,
}

/// Reports a panic in a task, which tokio would hide.
struct Watch(Arc<Mutex<Shared>>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.0).is_broken = true;
        }
    }
}

/// Locks, also after a panic.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstream {
    /// Starts the upstream.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let shared = Arc::<Mutex<Shared>>::default();
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
        Self { port, ca: made.cert.pem(), shared }
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

    /// Fails on every login from now on.
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

async fn serve(mut tls: TlsStream<TcpStream>, shared: &Mutex<Shared>, port: u16) {
    let mut buffer = vec![];
    loop {
        let request = loop {
            match strict::request(&buffer) {
                Read::Message(request) => break request,
                Read::Partial => {}
                Read::Wrong(why) => panic!("{why}: {:?}", String::from_utf8_lossy(&buffer)),
            }
            // What is cut off is not a request.
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

fn answer(request: &Message, shared: &mut Shared, port: u16) -> Vec<u8> {
    if request.one("authorization").is_none() && request.start.starts_with("POST /api/token ") {
        assert!(!shared.is_logged_in, "an unexpected login");
        let token = format!(
            r#"{{"access_token":"{TOKEN}","token_type":"bearer","expires_in":604799,"refresh_token":"r"}}"#
        );
        return format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{token}", token.len()).into();
    }
    // The daemon itself checks whether its token is valid.
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
    // A request for a WebSocket is one as RFC 6455 describes, without a body.
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
