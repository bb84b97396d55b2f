//! A whole daemon between a caller and an upstream of which every byte is known, and what must hold
//! whatever either of them sends.
//!
//! Both fuzz targets and the replay of their seeds in `tests/integration/fuzz_corpus.rs` use it. It shares
//! no parser with the daemon: [`strict`] reads both ends by itself, and refuses what can be read in
//! two ways.

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

/// A running daemon, its upstream, and the runtime that both callers and upstream live on.
pub struct Stage {
    runtime: Runtime,
    upstream: Upstream,
    socket: std::path::PathBuf,
    /// Whether a caller has left early: its last request may still arrive.
    left: std::cell::Cell<usize>,
    _daemon: Daemon,
    _home: tempfile::TempDir,
}

impl Stage {
    /// Starts it and waits until it is logged in.
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
            config.listen.tcp = vec![];
            config.listen.unix = UnixSocket::Path(socket.clone());
            config.session.store = SessionStore::Memory;
            // What an upstream says to a token or a pace costs the next one no time.
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
        // Until it is logged in each waits for a moment.
        let served = (0..100).any(|_| {
            stage.request(first);
            stage.upstream.arrived().len() == 1
        });
        assert!(served, "it does not serve");
        stage.upstream.logged_in();
        stage
    }

    /// Plays a caller that sends `bytes`.
    ///
    /// # Panics
    ///
    /// When something does not hold: the upstream got what is not one whole request of ours for
    /// each that it got, the caller got what is not HTTP, or either got what was not meant for it.
    pub fn request(&self, bytes: &[u8]) {
        let before = self.upstream.arrived().len();
        let sent = strict::requests(bytes);
        let whole = sent.iter().map(|request| request.length).sum::<usize>() == bytes.len();
        let said = self.runtime.block_on(self.exchange(bytes, &sent, whole));

        let answers = answers(&said.bytes, &sent);
        let arrived = self.upstream.arrived();
        let most = answers.len() + self.left.replace(usize::from(said.is_unfinished));
        for request in &arrived[before..] {
            let fields = request.fields.iter().flat_map(|(name, value)| [name, value]);
            for text in fields.chain([&request.start]) {
                assert!(!has_key(text), "a client key in {text:?}");
            }
        }
        let count = arrived.len() - before;
        assert!(
            count <= most + usize::from(said.is_unfinished),
            "{count} arrived, {most} answered"
        );
        for (nth, answer) in answers.iter().enumerate() {
            let Some(index) = answer.one("x-arrived") else { continue };
            let request = &arrived[index.parse::<usize>().unwrap()];
            let Some(sent) = sent.get(nth) else { continue };
            assert_eq!(request.method(), sent.method(), "the method");
            assert_eq!(request.target(), path_of(sent.target()), "the target");
            assert_eq!(request.body, sent.body, "the body");
        }
        for word in [TOKEN, "daemon.internal"] {
            let found = said.bytes.windows(word.len()).any(|part| part == word.as_bytes());
            assert!(!found, "{word} in an answer");
        }
    }

    /// Plays an upstream that answers with `bytes`, and a caller with a second request behind.
    ///
    /// # Panics
    ///
    /// When the caller gets what is not HTTP, the token, or an answer that is not to its request.
    pub fn answer(&self, bytes: &[u8]) {
        self.upstream.answers_with(bytes);
        let lines = "HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let requests = format!("GET /wild {lines}GET /tame {lines}");
        let sent = strict::requests(requests.as_bytes());
        let said = self.runtime.block_on(self.exchange(requests.as_bytes(), &sent, true));

        let answers = answers(&said.bytes, &sent);
        if let Some(second) = answers.get(1) {
            let relayed = second.one("x-arrived").is_some() && second.body == b"arrived";
            let refused = second.all("proxy-status").iter().any(|value| value.contains("; error="));
            assert!(relayed || refused, "{second:?} to the second request");
        }
        for answer in &answers {
            is_without_token(answer);
        }
        self.answer_to_a_handshake(bytes);
        self.upstream.arrived();
    }

    /// The same bytes may switch a connection where that was asked for: then what follows them comes
    /// through, and nothing else.
    fn answer_to_a_handshake(&self, bytes: &[u8]) {
        let handshake = format!("GET /wild HTTP/1.1\r\nHost: localhost\r\n{HANDSHAKE}\r\n");
        let sent = strict::requests(handshake.as_bytes());
        let said = self.runtime.block_on(self.exchange(handshake.as_bytes(), &sent, true));
        let answers = answers(&said.bytes, &sent);
        if let Some(switched) = answers.first().filter(|answer| is_switch(answer)) {
            assert_eq!(switched.one("upgrade"), Some("websocket"), "{switched:?}");
            assert_eq!(switched.one("connection"), Some("Upgrade"), "{switched:?}");
            for name in ["content-length", "transfer-encoding"] {
                assert_eq!(switched.all(name), Vec::<&str>::new(), "{switched:?}");
            }
            assert!(bytes.ends_with(&said.bytes[switched.length..]), "more than was said");
        }
        for answer in &answers {
            is_without_token(answer);
        }
    }

    /// Sends `bytes` and reads until the daemon closes, until all that was `sent` is answered if
    /// that is the `whole` of it, or until nothing more comes.
    async fn exchange(&self, bytes: &[u8], sent: &[Message], whole: bool) -> Said {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let writing = async {
            // A daemon that has refused the request reads no more of it.
            writer.write_all(bytes).await.ok();
            writer
        };
        let mut said = Said { bytes: vec![], is_unfinished: false };
        let reading = async {
            loop {
                if whole && answers(&said.bytes, sent).len() >= sent.len() {
                    return;
                }
                let quiet = if whole { PATIENCE } else { QUIET };
                match tokio::time::timeout(quiet, reader.read_buf(&mut said.bytes)).await {
                    Ok(Ok(1..)) => {}
                    Ok(_) => return,
                    Err(_) => {
                        assert!(!whole, "a whole request is not answered");
                        said.is_unfinished = true;
                        return;
                    }
                }
            }
        };
        let (writer, ()) = tokio::join!(writing, reading);
        // The end of what is sent ends a connection that waits for more.
        drop(writer);
        while matches!(reader.read_buf(&mut said.bytes).await, Ok(1..)) {}
        said
    }
}

/// What a caller was told.
struct Said {
    bytes: Vec<u8>,
    /// Whether more could have come, had the caller waited.
    is_unfinished: bool,
}

/// Reads what a caller was told as answers to `sent`, as far as those are known.
fn answers(said: &[u8], sent: &[Message]) -> Vec<Message> {
    let mut left = said;
    let mut answers: Vec<Message> = vec![];
    while !left.is_empty() {
        let to_head = sent.get(answers.len()).map(|request| request.method() == "HEAD");
        match strict::response(left, to_head) {
            Read::Message(answer) => {
                left = &left[answer.length..];
                let is_switch = is_switch(&answer);
                if is_switch || !answer.start.starts_with("HTTP/1.1 1") {
                    answers.push(answer);
                }
                // What follows is no HTTP.
                if is_switch {
                    return answers;
                }
            }
            // Cut short, and the caller can see it: the connection has ended.
            Read::Partial => return answers,
            Read::Wrong(why) => {
                panic!("{why} in an answer: {:?}", String::from_utf8_lossy(left))
            }
        }
    }
    answers
}

fn is_switch(answer: &Message) -> bool {
    answer.start.starts_with("HTTP/1.1 101 ")
}

/// Asserts that the head of an answer holds no token; a body is the upstream's own, and what it says
/// there its own business.
fn is_without_token(answer: &Message) {
    let fields = answer.fields.iter().flat_map(|(name, value)| [name, value]);
    for text in fields.chain([&answer.start]) {
        assert!(!text.to_ascii_lowercase().contains(TOKEN), "the token in {text:?}");
    }
}

/// Says whether a text holds what has the shape of a client key, and is no part of a longer word.
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

/// Returns what is forwarded of a target: of an absolute one, its path and query; of a fragment,
/// which no target has, nothing.
fn path_of(target: &str) -> String {
    let target = target.split('#').next().unwrap_or_default();
    let Some(rest) = target.strip_prefix("http://") else { return target.to_owned() };
    match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('/') => rest[at..].to_owned(),
        Some(at) => format!("/{}", &rest[at..]),
        None => "/".to_owned(),
    }
}

/// Asks for a WebSocket; the key is the example of RFC 6455 §1.2.
const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// After so long without a byte nothing more will come: the request is not complete. There is no
/// event for that.
const QUIET: Duration = Duration::from_millis(4);

/// A whole request is answered long before, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);
