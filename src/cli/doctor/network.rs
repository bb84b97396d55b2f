//! Checks of the route to Nexudus, or to the proxy before it: name, TCP, TLS, and one request
//! without a login.

use std::io;
use std::net::{IpAddr, SocketAddr};
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

use super::check::{CheckOutcome, CheckResult, fail, ok, outcome_of, skip, warn};
use crate::admin::api::{LimiterStatus, ThrottleStatus};
use crate::cli::CliError;
use crate::config::{Config, Origin};
use crate::problem::ProblemKind;
use crate::upstream::{HttpProxy, OwnSockets};
use crate::{daemon, upstream};

/// Runs the checks one after the other: each needs the one before. A running daemon has seen more of
/// the `throttle` than one response shows.
pub(super) async fn all(
    config: &Config,
    throttle: Option<&ThrottleStatus>,
    add: impl Fn(CheckResult) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let origin = &config.upstream.origin;
    let via = match HttpProxy::from_config(&config.upstream.proxy, origin) {
        Ok(via) => via,
        Err(error) => {
            let finding = outcome_of(&daemon::Error::from(error));
            return add(CheckResult::new("proxy", finding, Duration::ZERO));
        }
    };
    let address = config.upstream.address.filter(|_| via.is_none());
    let way = NetworkRoute::new(origin, via, address.map(|address| address.endpoint(origin)));
    let configured = || ok(format!("{} (upstream.proxy)", config.upstream.proxy.redacted()));
    let proxy = way.via.as_ref().map_or_else(proxy, |_| configured());
    add(CheckResult::new("proxy", proxy, Duration::ZERO))?;

    let (began, (finding, addresses)) =
        (Instant::now(), way.resolve(&OwnSockets::new(config.addresses())).await);
    add(CheckResult::new("name", finding, began.elapsed()))?;

    let (began, (finding, stream)) = (Instant::now(), way.connect(&addresses).await);
    add(CheckResult::new("tcp", finding, began.elapsed()))?;

    let began = Instant::now();
    let (finding, stream) = match stream {
        None => (skip("there is no connection"), None),
        Some(stream) => match handshake(config, origin.host(), stream).await {
            Ok(stream) => (ok("verified"), Some(stream)),
            Err(finding) => (finding, None),
        },
    };
    add(CheckResult::new("tls", finding, began.elapsed()))?;

    let began = Instant::now();
    let response = match stream {
        None => None,
        Some(stream) => fetch_response(origin.host(), stream).await,
    };
    let elapsed = began.elapsed();
    let (clock, seen) = match response {
        None => (skip("Nexudus did not respond"), skip("Nexudus did not respond")),
        Some((status, headers)) => (clock(&headers), throttled(status, &headers)),
    };
    add(CheckResult::new("clock", clock, elapsed))?;
    let seen = throttle.map_or(seen, throttle_from_daemon);
    add(CheckResult::new("throttle", seen, Duration::ZERO))
}

/// Where the first connection goes: to Nexudus, or to the proxy on the way there.
struct NetworkRoute<'a> {
    origin: &'a Origin,
    via: Option<HttpProxy>,
    /// `upstream.address`, which replaces the look-up of the name.
    address: Option<SocketAddr>,
    host: String,
    port: u16,
    /// The advice where the route fails.
    fix: &'static str,
}

impl<'a> NetworkRoute<'a> {
    fn new(origin: &'a Origin, via: Option<HttpProxy>, address: Option<SocketAddr>) -> Self {
        let (host, port, fix) = match &via {
            Some(via) => (via.host(), via.port(), PROXY_FIX),
            None => (origin.host(), origin.port(), NETWORK_FIX),
        };
        Self { host: host.to_owned(), port, fix, origin, via, address }
    }

    async fn resolve(&self, own: &OwnSockets) -> (CheckOutcome, Vec<SocketAddr>) {
        let host = &self.host;
        let resolved = match self.address {
            Some(address) => Ok(vec![address]),
            None => resolve(host, self.port).await,
        };
        match resolved {
            Ok(addresses) => match addresses.iter().find(|address| own.contains(**address)) {
                Some(ours) => {
                    let finding = format!("{host} is {ours}, where this daemon itself listens");
                    (fail(finding, ProblemKind::UpstreamLoop.hint().unwrap_or_default()), vec![])
                }
                None => (self.judge(&addresses).await, addresses),
            },
            Err(why) => (fail(format!("{host} has no address: {why}"), self.fix), vec![]),
        }
    }

    /// Judges the addresses, and where the hosts file leads the name beside `upstream.address`.
    async fn judge(&self, addresses: &[SocketAddr]) -> CheckOutcome {
        let (finding, host) = (self.describe(addresses), &self.host);
        let is_name = host != "localhost" && host.parse::<IpAddr>().is_err();
        match self.address {
            Some(_) if is_name => {
                let found = resolve(host, self.port).await.unwrap_or_default();
                judge_hosts_entry(finding, host, &found)
            }
            Some(_) | None => ok(finding),
        }
    }

    /// Names the addresses, and what is unusual about them.
    fn describe(&self, addresses: &[SocketAddr]) -> String {
        let host = &self.host;
        if let Some(address) = self.address {
            return format!("{host} is {address} (upstream.address)");
        }
        let listed: Vec<_> = addresses.iter().map(|it| it.ip().to_string()).collect();
        let listed = listed.join(", ");
        let is_here = addresses.iter().any(|address| address.ip().to_canonical().is_loopback());
        if is_here && self.via.is_none() && host != "localhost" && host.parse::<IpAddr>().is_err() {
            return format!("{host} is {listed}, this machine: the hosts file or a TLS front");
        }
        format!("{host} is {listed}")
    }

    /// Connects, and requests a tunnel from the proxy, if there is one.
    async fn connect(&self, addresses: &[SocketAddr]) -> (CheckOutcome, Option<TcpStream>) {
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
        if via.url().contains(REDACTED_LOGIN) {
            let finding = "connected to the proxy; what lies behind it needs a login that only the \
                        daemon knows";
            return (ok(finding), None);
        }
        let tunnel = tokio::time::timeout(STEP_TIMEOUT, via.connect_tunnel(stream, origin)).await;
        let why = match tunnel {
            Ok(Ok(stream)) => {
                return (ok(format!("connected to {origin} through {address}")), Some(stream));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => TIMED_OUT.to_owned(),
        };
        (fail(format!("no way through the proxy to {origin}: {why}"), *fix), None)
    }
}

/// Warns where the name leads to this machine: programs then find this daemon under it, and so does the
/// person's own browser.
fn judge_hosts_entry(finding: String, host: &str, found: &[SocketAddr]) -> CheckOutcome {
    if found.iter().any(|address| address.ip().to_canonical().is_loopback()) {
        return warn(format!("{finding}; the hosts file leads {host} to this machine"), HOSTS_FIX);
    }
    ok(finding)
}

/// The side effect of a line in the hosts file, and how to end it.
const HOSTS_FIX: &str = "Nothing, if that is wanted: every program of this machine then asks listen.tls. A \
     browser here no longer opens the site, because it does not trust the intercept CA; for one \
     program alone there is `nexudus-proxy run -- COMMAND`.";

/// Warns of proxies in the environment: other tools use them, and the daemon does not.
fn proxy() -> CheckOutcome {
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
    let looked_up = tokio::time::timeout(STEP_TIMEOUT, tokio::net::lookup_host((host, port))).await;
    let addresses: Vec<_> =
        looked_up.map_err(|_| TIMED_OUT.to_owned())?.map_err(|error| error.to_string())?.collect();
    if addresses.is_empty() { Err("none was found".to_owned()) } else { Ok(addresses) }
}

async fn connect(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), String> {
    let mut why = String::new();
    for address in addresses {
        match tokio::time::timeout(STEP_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, *address)),
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = TIMED_OUT.to_owned(),
        }
    }
    Err(why)
}

async fn handshake(
    config: &Config,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, CheckOutcome> {
    let trust = upstream::load_tls_config(config.upstream.ca_file.as_deref());
    let trust: Arc<_> = trust.map_err(|error| outcome_of(&error))?;
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| fail("the host has no name for TLS", NETWORK_FIX))?;
    let shaken = TlsConnector::from(trust).connect(name, stream);
    match tokio::time::timeout(STEP_TIMEOUT, shaken).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() != io::ErrorKind::InvalidData => {
            Err(fail(format!("the connection broke in the handshake: {error}"), NETWORK_FIX))
        }
        Ok(Err(error)) => Err(fail(
            format!("the certificate or the handshake failed: {error}"),
            "A firewall that opens TLS needs its CA in upstream.ca_file; a wrong clock makes every \
             certificate invalid.",
        )),
        Err(_) => Err(fail(TIMED_OUT, NETWORK_FIX)),
    }
}

/// Sends a request without a login: any response shows the time, and whether we are throttled.
async fn fetch_response(
    host: &str,
    stream: TlsStream<TcpStream>,
) -> Option<(StatusCode, HeaderMap)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = Request::builder()
        .uri("/api/auth/me")
        .header(HOST, host)
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .body(Empty::<bytes::Bytes>::new())
        .ok()?;
    let mut connection = std::pin::pin!(connection);
    let mut response = std::pin::pin!(sender.send_request(request));
    let exchange = async {
        tokio::select! {
            response = &mut response => response,
            _ = &mut connection => response.await,
        }
    };
    let response = tokio::time::timeout(STEP_TIMEOUT, exchange).await.ok()?.ok()?;
    Some((response.status(), response.headers().clone()))
}

fn clock(headers: &HeaderMap) -> CheckOutcome {
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        return skip("Nexudus does not send the time");
    };
    let ours = SystemTime::now();
    let off = ours.duration_since(theirs).unwrap_or_else(|error| error.duration());
    let finding = format!("{} s from the server's", off.as_secs());
    match off {
        off if off < MAX_CLOCK_OFFSET => ok(finding),
        _ => fail(finding, "Set the clock (NTP): 2FA codes and certificates depend on it."),
    }
}

fn throttled(status: StatusCode, headers: &HeaderMap) -> CheckOutcome {
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

/// Reports what a running daemon knows about throttling.
fn throttle_from_daemon(throttle: &ThrottleStatus) -> CheckOutcome {
    let kinds =
        [("reads", &throttle.reads), ("writes", &throttle.writes), ("tokens", &throttle.own)];
    let describe = |(name, pace): &(&str, &LimiterStatus)| format!("{name} {}", pace.state);
    let states: Vec<_> =
        kinds.iter().filter(|(_, pace)| pace.paced != "nothing").map(describe).collect();
    let today = kinds.iter().find(|(_, pace)| pace.above_published);
    match (states.as_slice(), today) {
        ([], None) => ok("not throttled, says the daemon"),
        (_, Some((name, pace))) => warn(
            format!("{} {name} today, as many as Nexudus has published as its limit", pace.day),
            "Nothing is blocked here; send fewer requests if Nexudus throttles.",
        ),
        (states, None) if kinds.iter().any(|(_, pace)| pace.paused_ms.is_some()) => {
            warn(states.join("; "), "Wait: the daemon sends requests on as soon as Nexudus allows.")
        }
        (states, None) => ok(states.join("; ")),
    }
}

const TIMED_OUT: &str = "no response within 10 s";
const NETWORK_FIX: &str = "Check the network, the firewall and upstream.origin.";
const PROXY_FIX: &str = "Check the proxy that upstream.proxy names, and its login.";

/// The text that a running daemon shows instead of a proxy's login.
const REDACTED_LOGIN: &str = "//***@";

/// Longest time for each step.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// A clock that is off by more makes every 2FA code wrong.
const MAX_CLOCK_OFFSET: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::check::CheckStatus;

    #[test]
    fn a_hosts_entry_beside_a_fixed_address_is_told_with_what_it_does_to_a_browser() {
        let host = "spaces.nexudus.com";
        for (found, verdict) in [
            (vec!["127.0.0.1:443"], CheckStatus::Warn),
            (vec!["203.0.113.7:443", "[::1]:443"], CheckStatus::Warn),
            (vec!["[::ffff:127.0.0.1]:443"], CheckStatus::Warn),
            (vec!["203.0.113.7:443"], CheckStatus::Ok),
            (vec![], CheckStatus::Ok),
        ] {
            let addresses: Vec<_> = found.iter().map(|address| address.parse().unwrap()).collect();
            let outcome = judge_hosts_entry("found".to_owned(), host, &addresses);
            assert_eq!(outcome.verdict, verdict, "{found:?}");
            let fix = outcome.fix.unwrap_or_default();
            assert_eq!(fix.contains("browser"), verdict == CheckStatus::Warn, "{found:?}");
        }
    }
}
