//! A whole daemon between a client and an upstream whose every byte is known, and what must hold
//! whatever either of them sends.
//!
//! Two fuzz targets and the replay of their seeds in `tests/integration/fuzz_corpus.rs` use this stage.
//! The stage shares no parser with the daemon: [`strict`] reads both ends by itself, and rejects bytes
//! that can be read in two ways.

pub mod self_signed;
mod strict;
mod upstream;

use std::time::Duration;

use nexudus_proxy::clock::Clock;
use nexudus_proxy::config::{Config, Origin, Paths, SessionStore, UnixSocket};
use nexudus_proxy::credentials::{Credentials, Login};
use nexudus_proxy::daemon::{Daemon, Deps};
use nexudus_proxy::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use self::strict::{Message, Read};
use self::upstream::{TOKEN, Upstream};

/// A running daemon, its upstream, and the runtime of both clients and upstream.
pub struct Stage {
    runtime: Runtime,
    upstream: Upstream,
    socket: std::path::PathBuf,
    /// 1 if the last client has left early: its last request may still arrive.
    left: std::cell::Cell<usize>,
    _daemon: Daemon,
    _home: tempfile::TempDir,
}

impl Stage {
    /// Starts the daemon and waits until it is logged in.
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join("s");
        let (upstream, daemon) = runtime.block_on(async {
            let upstream = Upstream::start().await;
            let mut config = Config::default();
            let ca_file = home.path().join("ca.pem");
            std::fs::write(&ca_file, &upstream.ca).unwrap();
            config.upstream.origin = Origin::new("localhost", upstream.port);
            config.upstream.ca_file = Some(ca_file);
            config.upstream.header_timeout = Duration::from_secs(1);
            config.upstream.upgrade = true;
            // Tells the requests of clients from the daemon's own.
            config.upstream.via = true;
            config.listen.tcp = vec![];
            config.listen.unix = UnixSocket::Path(socket.clone());
            config.session.store = SessionStore::Memory;
            // A wait for a token or a permit would cost the next input time.
            config.session.wait = Duration::from_millis(200);
            config.throttle.wait = Duration::ZERO;
            let login = Login {
                email: "ada@example.test".to_owned(),
                password: Secret::new("secret"),
                second_factor: None,
            };
            let credentials = Credentials::in_memory(Some(login));
            let setting = Deps { clock: Clock::system(), credentials };
            let paths = Paths::rooted_at(home.path());
            (upstream, Daemon::start(&config, &paths, setting).await.unwrap())
        });
        let left = std::cell::Cell::new(0);
        let stage = Self { runtime, upstream, socket, left, _daemon: daemon, _home: home };
        let first = b"GET /first HTTP/1.1\r\nHost: localhost\r\n\r\n";
        // Each request waits for a moment until the daemon is logged in.
        let served = (0..100).any(|_| {
            stage.request(first);
            stage.upstream.arrived().len() == 1
        });
        assert!(served, "the daemon does not serve");
        stage.upstream.logged_in();
        stage
    }

    /// Plays a client that sends `bytes`.
    ///
    /// # Panics
    ///
    /// When the upstream got bytes that are not whole requests of ours, the client got bytes that are
    /// not HTTP, or either got what was not meant for it.
    pub fn request(&self, bytes: &[u8]) {
        let before = self.upstream.arrived().len();
        let sent = strict::requests(bytes);
        let whole = sent.iter().map(|request| request.length).sum::<usize>() == bytes.len();
        let received = self.runtime.block_on(self.exchange(bytes, &sent, whole));

        let responses = responses(&received.bytes, &sent);
        let arrived = self.upstream.arrived();
        let most = responses.len() + self.left.replace(usize::from(received.is_unfinished));
        for request in &arrived[before..] {
            let headers = request.fields.iter().flat_map(|(name, value)| [name, value]);
            for text in headers.chain([&request.start]) {
                assert!(!has_key(text), "a client key in {text:?}");
            }
        }
        let count = arrived.len() - before;
        assert!(
            count <= most + usize::from(received.is_unfinished),
            "{count} arrived, {most} answered"
        );
        for (nth, response) in responses.iter().enumerate() {
            let Some(index) = response.one("x-arrived") else { continue };
            let request = &arrived[index.parse::<usize>().unwrap()];
            let Some(sent) = sent.get(nth) else { continue };
            assert_eq!(request.method(), sent.method(), "the method");
            assert_eq!(request.target(), path_of(sent.target()), "the target");
            assert_eq!(request.body, sent.body, "the body");
        }
        for word in [TOKEN, "daemon.internal"] {
            let found = received.bytes.windows(word.len()).any(|part| part == word.as_bytes());
            assert!(!found, "{word} in a response");
        }
    }

    /// Plays an upstream that responds with `bytes`, and a client that sends a second request.
    ///
    /// # Panics
    ///
    /// When the client gets bytes that are not HTTP, the token, or a response to another request.
    pub fn answer(&self, bytes: &[u8]) {
        self.upstream.answers_with(bytes);
        let lines = "HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let requests = format!("GET /wild {lines}GET /tame {lines}");
        let sent = strict::requests(requests.as_bytes());
        let received = self.runtime.block_on(self.exchange(requests.as_bytes(), &sent, true));

        let responses = responses(&received.bytes, &sent);
        if let Some(second) = responses.get(1) {
            let relayed = second.one("x-arrived").is_some() && second.body == b"arrived";
            let refused = second.all("proxy-status").iter().any(|value| value.contains("; error="));
            assert!(relayed || refused, "{second:?} to the second request");
        }
        for response in &responses {
            is_without_token(response);
        }
        self.answer_to_a_handshake(bytes);
        self.upstream.arrived();
    }

    /// The same bytes may upgrade a connection if the client asked for that: then the bytes that follow
    /// are forwarded, and nothing else.
    fn answer_to_a_handshake(&self, bytes: &[u8]) {
        let handshake = format!("GET /wild HTTP/1.1\r\nHost: localhost\r\n{HANDSHAKE}\r\n");
        let sent = strict::requests(handshake.as_bytes());
        let received = self.runtime.block_on(self.exchange(handshake.as_bytes(), &sent, true));
        let responses = responses(&received.bytes, &sent);
        if let Some(upgraded) = responses.first().filter(|response| is_upgrade(response)) {
            assert_eq!(upgraded.one("upgrade"), Some("websocket"), "{upgraded:?}");
            assert_eq!(upgraded.one("connection"), Some("Upgrade"), "{upgraded:?}");
            for name in ["content-length", "transfer-encoding"] {
                assert_eq!(upgraded.all(name), Vec::<&str>::new(), "{upgraded:?}");
            }
            assert!(bytes.ends_with(&received.bytes[upgraded.length..]), "more than was received");
        }
        for response in &responses {
            is_without_token(response);
        }
    }

    /// Sends `bytes` and reads until the daemon closes, until all `sent` requests are answered if they
    /// are `whole`, or until nothing more comes.
    async fn exchange(&self, bytes: &[u8], sent: &[Message], whole: bool) -> Received {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let writing = async {
            // A daemon that has rejected the request reads no more of it.
            writer.write_all(bytes).await.ok();
            writer
        };
        let mut received = Received { bytes: vec![], is_unfinished: false };
        let reading = async {
            loop {
                if whole && responses(&received.bytes, sent).len() >= sent.len() {
                    return;
                }
                let quiet = if whole { RESPONSE_TIMEOUT } else { QUIET_TIMEOUT };
                match tokio::time::timeout(quiet, reader.read_buf(&mut received.bytes)).await {
                    Ok(Ok(1..)) => {}
                    Ok(_) => return,
                    Err(_) => {
                        assert!(!whole, "a whole request is not answered");
                        received.is_unfinished = true;
                        return;
                    }
                }
            }
        };
        let (writer, ()) = tokio::join!(writing, reading);
        // The end of what is sent ends a connection that waits for more.
        drop(writer);
        while matches!(reader.read_buf(&mut received.bytes).await, Ok(1..)) {}
        received
    }
}

/// The bytes that a client has received.
struct Received {
    bytes: Vec<u8>,
    /// Whether more could have come, had the client waited.
    is_unfinished: bool,
}

/// Parses received bytes as responses to `sent`, as far as those are known.
fn responses(received: &[u8], sent: &[Message]) -> Vec<Message> {
    let mut left = received;
    let mut responses: Vec<Message> = vec![];
    while !left.is_empty() {
        let to_head = sent.get(responses.len()).map(|request| request.method() == "HEAD");
        match strict::response(left, to_head) {
            Read::Message(response) => {
                left = &left[response.length..];
                let is_upgrade = is_upgrade(&response);
                if is_upgrade || !response.start.starts_with("HTTP/1.1 1") {
                    responses.push(response);
                }
                // The following bytes are no HTTP.
                if is_upgrade {
                    return responses;
                }
            }
            // Truncated, which the client can see: the connection has ended.
            Read::Partial => return responses,
            Read::Wrong(why) => {
                panic!("{why} in a response: {:?}", String::from_utf8_lossy(left))
            }
        }
    }
    responses
}

fn is_upgrade(response: &Message) -> bool {
    response.start.starts_with("HTTP/1.1 101 ")
}

/// Asserts that the head of a response contains no token. The upstream may write what it likes into the
/// body.
fn is_without_token(response: &Message) {
    let headers = response.fields.iter().flat_map(|(name, value)| [name, value]);
    for text in headers.chain([&response.start]) {
        assert!(!text.to_ascii_lowercase().contains(TOKEN), "the token in {text:?}");
    }
}

/// Says whether a text contains what looks like a client key and is not part of a longer word.
fn has_key(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.match_indices("nxp_").any(|(at, prefix)| {
        let is_inside =
            text[..at].ends_with(|it: char| it.is_ascii_alphanumeric() || "_-".contains(it));
        let letters = text[at + prefix.len()..].chars();
        let letters = letters.take_while(|it| matches!(it, 'a'..='z' | '2'..='7')).count();
        !is_inside && letters >= 38
    })
}

/// Returns the part of a target that is forwarded: the path and the query of an absolute one, and no
/// fragment.
fn path_of(target: &str) -> String {
    let target = target.split('#').next().unwrap_or_default();
    let Some(rest) = target.strip_prefix("http://") else { return target.to_owned() };
    match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('/') => rest[at..].to_owned(),
        Some(at) => format!("/{}", &rest[at..]),
        None => "/".to_owned(),
    }
}

/// The headers that open a WebSocket, with the key from the example of RFC 6455 §1.2.
const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// Longest pause before a response to an incomplete request: no event marks its end.
const QUIET_TIMEOUT: Duration = Duration::from_millis(4);

/// Longest time to the response to a whole request, on the slowest machine.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);
