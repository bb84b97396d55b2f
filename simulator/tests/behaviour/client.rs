//! A small blocking HTTP/1.1 client over real TLS: it sends and shows bytes as they are.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use nexudus_simulator::{DEMO_EMAIL, DEMO_PASSWORD, Simulator};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

/// An answer, or what there is of one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The status; 0 when there was no head.
    pub(crate) status: u16,
    /// The reason phrase.
    pub(crate) reason: String,
    /// The headers in order.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, unchunked.
    pub(crate) body: Vec<u8>,
    /// Whether the body was as long as announced.
    pub(crate) whole: bool,
}

impl Answer {
    /// Returns the first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    }

    /// Returns the body as JSON, or null.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns the body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One connection.
pub(crate) struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    ahead: Vec<u8>,
}

/// Returns a client configuration that trusts the simulator.
pub(crate) fn trust(simulator: &Simulator) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(simulator.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

impl Connection {
    /// Connects to a simulator.
    pub(crate) fn to(simulator: &Simulator) -> Self {
        Self::with(simulator, trust(simulator)).unwrap()
    }

    /// Connects with a configuration, and finishes the handshake.
    pub(crate) fn with(simulator: &Simulator, config: ClientConfig) -> std::io::Result<Self> {
        let tcp = TcpStream::connect(simulator.address())?;
        tcp.set_read_timeout(Some(Duration::from_secs(5)))?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut tcp = tcp;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(Self { stream: StreamOwned::new(tls, tcp), ahead: Vec::new() })
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
        let _ = self.stream.flush();
    }

    /// Reads until the end of the connection.
    pub(crate) fn rest(&mut self) -> String {
        while self.fill() {}
        String::from_utf8_lossy(&self.ahead).into_owned()
    }

    /// Reads one answer to a request with this method; 1xx answers are answers too.
    pub(crate) fn read(&mut self, method: &str) -> Answer {
        let mut answer = Answer::default();
        let Some(head) = self.until(b"\r\n\r\n") else { return answer };
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap_or_default().splitn(3, ' ');
        answer.status = first.nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        answer.reason = first.next().unwrap_or_default().to_owned();
        answer.headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let length = answer.header("content-length").and_then(|l| l.parse::<usize>().ok());
        answer.whole = true;
        if method == "HEAD" || answer.status < 200 || matches!(answer.status, 204 | 304) {
        } else if answer.header("transfer-encoding").is_some() {
            answer.whole = self.chunks(&mut answer.body);
        } else if let Some(length) = length {
            while self.ahead.len() < length && self.fill() {}
            answer.whole = self.ahead.len() >= length;
            answer.body = self.ahead.drain(..length.min(self.ahead.len())).collect();
        } else {
            while self.fill() {}
            answer.body = std::mem::take(&mut self.ahead);
        }
        answer
    }

    /// Sends a request and reads its answer.
    pub(crate) fn ask(&mut self, method: &str, target: &str, headers: &str, body: &str) -> Answer {
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        self.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}\r\n{body}"
        ));
        self.read(method)
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> bool {
        loop {
            let Some(size) = self.until(b"\r\n") else { return false };
            let Ok(size) = usize::from_str_radix(&size, 16) else { return false };
            if size == 0 {
                while let Some(line) = self.until(b"\r\n") {
                    if line.is_empty() {
                        return true;
                    }
                }
                return false;
            }
            while self.ahead.len() < size + 2 && self.fill() {}
            if self.ahead.len() < size + 2 {
                return false;
            }
            body.extend(self.ahead.drain(..size));
            self.ahead.drain(..2);
        }
    }

    fn until(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|bytes| bytes == end) {
                let text = String::from_utf8_lossy(&self.ahead[..at]).into_owned();
                self.ahead.drain(..at + end.len());
                return Some(text);
            }
            if !self.fill() {
                return None;
            }
        }
    }

    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.ahead.extend_from_slice(&buffer[..read]);
                true
            }
        }
    }
}

/// Asks once, on a new connection.
pub(crate) fn ask(
    simulator: &Simulator,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> Answer {
    Connection::to(simulator).ask(method, target, headers, body)
}

/// GETs with a bearer token.
pub(crate) fn get(simulator: &Simulator, target: &str, token: &str) -> Answer {
    ask(simulator, "GET", target, &bearer(token), "")
}

/// Writes the header for a token.
pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Calls the token endpoint.
pub(crate) fn token(simulator: &Simulator, client_id: Option<&str>, form: &str) -> Answer {
    let mut headers = "Content-Type: application/x-www-form-urlencoded\r\n".to_owned();
    if let Some(client_id) = client_id {
        headers += &format!("client_id: {client_id}\r\n");
    }
    ask(simulator, "POST", "/api/token", &headers, form)
}

/// Logs the demo account in.
pub(crate) fn log_in(simulator: &Simulator, client_id: Option<&str>) -> Answer {
    let form = format!("grant_type=password&username={DEMO_EMAIL}&password={DEMO_PASSWORD}&totp=");
    token(simulator, client_id, &form)
}

/// Refreshes.
pub(crate) fn refresh(
    simulator: &Simulator,
    client_id: Option<&str>,
    refresh_token: &str,
) -> Answer {
    let form = format!("grant_type=refresh_token&refresh_token={refresh_token}");
    token(simulator, client_id, &form)
}

/// Returns a field of a token reply.
pub(crate) fn field(answer: &Answer, name: &str) -> String {
    answer.json()[name].as_str().unwrap_or_default().to_owned()
}

/// Logs in and returns an access token.
pub(crate) fn access(simulator: &Simulator) -> String {
    field(&log_in(simulator, Some("test")), "access_token")
}
