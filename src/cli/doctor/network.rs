//! Checks of the way to Nexudus, or to the proxy before it: name, TCP, TLS, and what one request
//! without a login tells.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{ACCEPT, CONNECTION, DATE, HOST, RETRY_AFTER};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Failure, Finding, Line, fail, failed, ok, skip, warn};
use crate::admin::wire::{Pace, Throttle};
use crate::config::{Config, Origin};
use crate::upstream::Via;
use crate::{daemon, upstream};

/// Checks one after the other, for each needs the one before it.
pub(super) async fn all(config: &Config) -> Vec<Line> {
    let origin = &config.upstream.origin;
    let via = match Via::configured(&config.upstream.proxy, origin) {
        Ok(via) => via,
        Err(error) => {
            let finding = failed(&Failure::Daemon(error.into()));
            return vec![Line::of("proxy", finding, Duration::ZERO)];
        }
    };
    let way = Way::new(origin, via);
    let shown = || ok(format!("{} (upstream.proxy)", config.upstream.proxy.redacted()));
    let proxy = way.via.as_ref().map_or_else(proxy, |_| shown());
    let mut lines = vec![Line::of("proxy", proxy, Duration::ZERO)];

    let (began, (finding, addresses)) = (Instant::now(), way.resolve().await);
    lines.push(Line::of("name", finding, began.elapsed()));

    let (began, (finding, stream)) = (Instant::now(), way.connect(&addresses).await);
    lines.push(Line::of("tcp", finding, began.elapsed()));

    let began = Instant::now();
    let (finding, stream) = match stream {
        None => (skip("there is no connection"), None),
        Some(stream) => match handshake(config, origin.host(), stream).await {
            Ok(stream) => (ok("verified"), Some(stream)),
            Err(finding) => (finding, None),
        },
    };
    lines.push(Line::of("tls", finding, began.elapsed()));

    let began = Instant::now();
    let answer = match stream {
        None => None,
        Some(stream) => ask(origin.host(), stream).await,
    };
    let elapsed = began.elapsed();
    let (clock, throttle) = match answer {
        None => (skip("Nexudus did not answer"), skip("Nexudus did not answer")),
        Some((status, headers)) => (clock(&headers), throttled(status, &headers)),
    };
    lines.push(Line::of("clock", clock, elapsed));
    lines.push(Line::of(THROTTLE, throttle, Duration::ZERO));
    lines
}

/// Where the first connection goes: to Nexudus, or to the proxy on the way there.
struct Way<'a> {
    origin: &'a Origin,
    via: Option<Via>,
    host: String,
    port: u16,
    /// What to look at when it ends here.
    fix: &'static str,
}

impl<'a> Way<'a> {
    fn new(origin: &'a Origin, via: Option<Via>) -> Self {
        let (host, port, fix) = match &via {
            Some(via) => (via.host(), via.port(), PROXY),
            None => (origin.host(), origin.port(), NETWORK),
        };
        Self { host: host.to_owned(), port, fix, origin, via }
    }

    async fn resolve(&self) -> (Finding, Vec<SocketAddr>) {
        let host = &self.host;
        match resolve(host, self.port).await {
            Ok(addresses) => {
                let shown: Vec<_> = addresses.iter().map(|it| it.ip().to_string()).collect();
                (ok(format!("{host} is {}", shown.join(", "))), addresses)
            }
            Err(why) => (fail(format!("{host} has no address: {why}"), self.fix), vec![]),
        }
    }

    /// Connects, and asks the proxy for a way through, if there is one.
    async fn connect(&self, addresses: &[SocketAddr]) -> (Finding, Option<TcpStream>) {
        let Self { host, port, origin, fix, .. } = self;
        if addresses.is_empty() {
            return (skip("there is no address"), None);
        }
        let (stream, address) = match connect(addresses).await {
            Ok(connected) => connected,
            Err(why) => {
                return (fail(format!("no connection to {host}:{port}: {why}"), *fix), None);
            }
        };
        let Some(via) = &self.via else {
            return (ok(format!("connected to {address}")), Some(stream));
        };
        if via.url().contains(UNKNOWN_LOGIN) {
            let told = "connected to the proxy; what lies behind it needs a login that only the \
                        daemon knows";
            return (ok(told), None);
        }
        let tunnel = tokio::time::timeout(LIMIT, via.tunnel(stream, origin)).await;
        let why = match tunnel {
            Ok(Ok(stream)) => {
                return (ok(format!("connected to {origin} through {address}")), Some(stream));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => LATE.to_owned(),
        };
        (fail(format!("no way through the proxy to {origin}: {why}"), *fix), None)
    }
}

/// The environment's proxies are a trap: other tools heed them.
fn proxy() -> Finding {
    let set: Vec<_> = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
        .into_iter()
        .filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
        .collect();
    match set.as_slice() {
        [] => ok("none is set"),
        names => warn(
            format!("{} is set and not used: upstream.proxy is none", names.join(", ")),
            "Nothing, if the checks below pass.",
        ),
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let looked_up = tokio::time::timeout(LIMIT, tokio::net::lookup_host((host, port))).await;
    let addresses: Vec<_> =
        looked_up.map_err(|_| LATE.to_owned())?.map_err(|error| error.to_string())?.collect();
    if addresses.is_empty() { Err("none was found".to_owned()) } else { Ok(addresses) }
}

async fn connect(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), String> {
    let mut why = String::new();
    for address in addresses {
        match tokio::time::timeout(LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, *address)),
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = LATE.to_owned(),
        }
    }
    Err(why)
}

async fn handshake(
    config: &Config,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Finding> {
    let trust = upstream::tls(config.upstream.ca_file.as_deref());
    let trust: Arc<_> =
        trust.map_err(|error| failed(&Failure::Daemon(daemon::Error::Trust(error))))?;
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| fail("the host has no name for TLS", NETWORK))?;
    let shaken = TlsConnector::from(trust).connect(name, stream);
    match tokio::time::timeout(LIMIT, shaken).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() != io::ErrorKind::InvalidData => {
            Err(fail(format!("the connection broke in the handshake: {error}"), NETWORK))
        }
        Ok(Err(error)) => Err(fail(
            format!("the certificate or the handshake failed: {error}"),
            "A firewall that opens TLS needs its CA in upstream.ca_file; a wrong clock makes every \
             certificate invalid.",
        )),
        Err(_) => Err(fail(LATE, NETWORK)),
    }
}

/// Asks without a login: any answer tells the time, and whether we are throttled.
async fn ask(host: &str, stream: TlsStream<TcpStream>) -> Option<(StatusCode, HeaderMap)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = Request::builder()
        .uri("/api/auth/me")
        .header(HOST, host)
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .body(Empty::<bytes::Bytes>::new())
        .ok()?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    let answered = async {
        tokio::select! {
            answer = &mut answer => answer,
            _ = &mut connection => answer.await,
        }
    };
    let response = tokio::time::timeout(LIMIT, answered).await.ok()?.ok()?;
    Some((response.status(), response.headers().clone()))
}

fn clock(headers: &HeaderMap) -> Finding {
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        return skip("Nexudus does not tell the time");
    };
    let ours = SystemTime::now();
    let off = ours.duration_since(theirs).unwrap_or_else(|error| error.duration());
    let told = format!("{} s from the server's", off.as_secs());
    match off {
        off if off < TOTP_STEP => ok(told),
        _ => fail(told, "Set the clock (NTP): 2FA codes and certificates depend on it."),
    }
}

fn throttled(status: StatusCode, headers: &HeaderMap) -> Finding {
    let slow = matches!(status, StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS);
    let wait = headers.get(RETRY_AFTER).and_then(|wait| wait.to_str().ok());
    match (slow, wait) {
        (false, _) => ok("not throttled"),
        (true, wait) => warn(
            format!("Nexudus asks to slow down (Retry-After: {})", wait.unwrap_or("none")),
            "Wait; send requests through the daemon, which paces them for all tools.",
        ),
    }
}

/// Tells what a running daemon knows of it.
pub(super) fn paced(throttle: &Throttle) -> Finding {
    let kinds =
        [("reads", &throttle.reads), ("writes", &throttle.writes), ("tokens", &throttle.own)];
    let told = |(name, pace): &(&str, &Pace)| format!("{name} {}", pace.state);
    let told: Vec<_> = kinds.iter().filter(|(_, pace)| pace.paced != "nothing").map(told).collect();
    let today = kinds.iter().find(|(_, pace)| pace.above_published);
    match (told.as_slice(), today) {
        ([], None) => ok("not throttled, says the daemon"),
        (_, Some((name, pace))) => warn(
            format!("{} {name} today, as many as Nexudus has published as its limit", pace.day),
            "Nothing is blocked here; ask less often if Nexudus throttles.",
        ),
        (told, None) if kinds.iter().any(|(_, pace)| pace.paused_ms.is_some()) => {
            warn(told.join("; "), "Wait: the daemon sends requests on as soon as Nexudus allows.")
        }
        (told, None) => ok(told.join("; ")),
    }
}

/// The name of the check.
pub(super) const THROTTLE: &str = "throttle";

const LATE: &str = "no answer within 10 s";
const NETWORK: &str = "Check the network, the firewall and upstream.origin.";
const PROXY: &str = "Check the proxy that upstream.proxy names, and its login.";

/// What a running daemon tells in the place of a proxy's login.
const UNKNOWN_LOGIN: &str = "//***@";

/// Longest time for each step.
const LIMIT: Duration = Duration::from_secs(10);

/// A clock that is off by more makes every 2FA code a wrong one.
const TOTP_STEP: Duration = Duration::from_secs(30);
