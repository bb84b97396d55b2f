//! Who may talk to the daemon, and what counts as a request at all.
//!
//! Everything here is decided from the head alone, before a byte of the body is asked for, in the
//! order of the table in the README: what is malformed, what is too large, which web page is
//! asking, which user, which method.

use std::net::SocketAddr;

use http::header::{CONNECTION, HOST, ORIGIN, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, Request, Version};
use hyper::body::Incoming;

use crate::listen::Peer;

/// A request whose sender may use the daemon.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) head: Parts,
    pub(super) body: Incoming,
}

/// Why a request was turned away at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Its framing is not what RFC 9112 allows.
    #[error("the request's framing is ambiguous: {0}")]
    Framing(&'static str),
    /// Its target is not a path.
    #[error("the request target is not a path on this host: {0}")]
    Target(&'static str),
    /// It does not name exactly one host.
    #[error("the request must have exactly one well-formed Host header")]
    Host,
    /// Its target is longer than `limits.target_bytes`.
    #[error("the request target is longer than {0} bytes")]
    TargetTooLong(usize),
    /// It is meant for somebody else, as after DNS rebinding.
    #[error("the Host header names another host")]
    ForeignHost,
    /// A web page of another origin sent it.
    #[error("requests from web pages of other origins are refused")]
    ForeignOrigin,
    /// Another user's process sent it.
    #[error("the calling process belongs to another user")]
    User,
    /// A method that Nexudus does not use.
    #[error("the method is not forwarded")]
    Method,
    /// It asks for a WebSocket.
    #[error("WebSocket connections are not forwarded")]
    Upgrade,
}

/// What the checks compare with: computed once, so that a request costs no allocation.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Every `Host` that is ours, lower case, with and without a port.
    hosts: Vec<Box<str>>,
    target_bytes: usize,
    uid: u32,
}

impl Guard {
    /// Accepts the loopback names and `extra` ones, bare or with the port of a `bound` address.
    pub fn new(bound: &[SocketAddr], extra: &[String], target_bytes: usize) -> Self {
        let names = LOOPBACK.iter().copied().chain(extra.iter().map(String::as_str));
        let hosts = names
            .flat_map(|name| {
                let with_ports = bound.iter().map(move |bound| format!("{name}:{}", bound.port()));
                std::iter::once(name.to_owned()).chain(with_ports)
            })
            .map(|host| host.to_ascii_lowercase().into_boxed_str())
            .collect();
        Self { hosts, target_bytes, uid: own_uid() }
    }

    fn is_ours(&self, host: &[u8]) -> bool {
        self.hosts.iter().any(|ours| ours.as_bytes().eq_ignore_ascii_case(host))
    }
}

/// Admits a well-formed request that the user's own tool has sent.
pub(super) fn admit(
    request: Request<Incoming>,
    peer: &Peer,
    guard: &Guard,
) -> Result<Admitted, Error> {
    let (head, body) = request.into_parts();
    check(&head, peer, guard)?;
    Ok(Admitted { head, body })
}

fn check(head: &Parts, peer: &Peer, guard: &Guard) -> Result<(), Error> {
    framing(head)?;
    target(head)?;
    let host = one_host(&head.headers)?;
    if head.uri.path_and_query().is_some_and(|target| target.as_str().len() > guard.target_bytes) {
        return Err(Error::TargetTooLong(guard.target_bytes));
    }
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let is_connect = head.method == Method::CONNECT;
    // RFC 9112 §3.2.2: the target's authority counts, and the Host beside it is no excuse.
    if !guard.is_ours(host) || authority.is_some_and(|it| !is_connect && !guard.is_ours(it)) {
        return Err(Error::ForeignHost);
    }
    web_page(&head.headers, guard)?;
    // Without a number from the kernel the address family vouches for loopback alone.
    if peer.uid().is_some_and(|uid| uid != guard.uid) {
        return Err(Error::User);
    }
    if !FORWARDED.contains(&head.method) {
        return Err(Error::Method);
    }
    upgrade(&head.headers)
}

/// Refuses what hyper lets pass although two servers could read it in two ways.
fn framing(head: &Parts) -> Result<(), Error> {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Error::Framing("Transfer-Encoding is something other than `chunked`"));
    }
    match head.version {
        Version::HTTP_11 => Ok(()),
        _ => Err(Error::Framing("Transfer-Encoding needs HTTP/1.1")),
    }
}

fn target(head: &Parts) -> Result<(), Error> {
    if head.method == Method::CONNECT {
        return Ok(()); // Refused as a method: its target is an authority by definition.
    }
    match head.uri.scheme_str() {
        None if head.uri.authority().is_some() => return Err(Error::Target("it is an authority")),
        None | Some("http") => {}
        Some(_) => return Err(Error::Target("its scheme is not http")),
    }
    if head.uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Error::Target("it holds user information"));
    }
    let Some(target) = head.uri.path_and_query() else { return Err(Error::Target("it is empty")) };
    if !target.as_str().starts_with('/') {
        return Err(Error::Target("it does not begin with a slash"));
    }
    match target.as_str().is_ascii() {
        true => Ok(()),
        false => Err(Error::Target("it holds bytes that are not ASCII")),
    }
}

/// Returns the one Host, whose form is `name` or `name:port`.
fn one_host(headers: &HeaderMap) -> Result<&[u8], Error> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(Error::Host) };
    let text = host.to_str().map_err(|_| Error::Host)?;
    let authority: Authority = text.parse().map_err(|_| Error::Host)?;
    let lacks_port = authority.port().is_none() && text.ends_with(':');
    // A comma is how two Host fields look after something has joined them.
    match lacks_port || text.contains(['@', ',']) || authority.host().is_empty() {
        true => Err(Error::Host),
        false => Ok(host.as_bytes()),
    }
}

/// A browser says where a request comes from; no other tool sends these headers.
fn web_page(headers: &HeaderMap, guard: &Guard) -> Result<(), Error> {
    for origin in headers.get_all(ORIGIN) {
        let ours = origin.as_bytes().strip_prefix(b"http://").is_some_and(|it| guard.is_ours(it));
        if !ours {
            return Err(Error::ForeignOrigin);
        }
    }
    for site in headers.get_all(SEC_FETCH_SITE) {
        if !matches!(site.as_bytes(), b"same-origin" | b"none") {
            return Err(Error::ForeignOrigin);
        }
    }
    // A page of our own origin has no need to ask first.
    match headers.contains_key(http::header::ACCESS_CONTROL_REQUEST_METHOD) {
        true => Err(Error::ForeignOrigin),
        false => Ok(()),
    }
}

/// Any other protocol's offer is dropped with the hop-by-hop headers.
fn upgrade(headers: &HeaderMap) -> Result<(), Error> {
    if !headers.contains_key(UPGRADE) || !headers.contains_key(CONNECTION) {
        return Ok(());
    }
    let offers = headers.get_all(UPGRADE).iter();
    let mut tokens = offers.flat_map(|offer| offer.as_bytes().split(|byte| *byte == b','));
    match tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"websocket")) {
        true => Err(Error::Upgrade),
        false => Ok(()),
    }
}

#[cfg(unix)]
fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

#[cfg(not(unix))]
fn own_uid() -> u32 {
    0
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// What Nexudus's own clients use. TRACE would hand the token back to the caller.
pub(super) const FORWARDED: [Method; 7] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::PATCH,
    Method::HEAD,
    Method::OPTIONS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_request_from_this_machine_is_admitted() {
        for host in ["localhost:6398", "127.0.0.1:6398", "[::1]:6398", "localhost", "LOCALHOST"] {
            assert_eq!(checked("GET", "/", &[("host", host)]), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_foreign_or_odd_host_is_refused() {
        for host in ["evil.example", "localhost.evil", "0.0.0.0:6398", "127.1", "localhost:1"] {
            assert_eq!(checked("GET", "/", &[("host", host)]), Err(Error::ForeignHost), "{host}");
        }
        for host in ["", "a@localhost", "localhost:", "local host", "localhost/", "[::1", "a,b"] {
            assert_eq!(checked("GET", "/", &[("host", host)]), Err(Error::Host), "{host}");
        }
        assert_eq!(checked("GET", "/", &[]), Err(Error::Host));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(checked("GET", "/", &twice), Err(Error::Host));
    }

    #[test]
    fn a_web_page_of_another_origin_is_refused_whatever_the_method() {
        for method in ["GET", "OPTIONS", "POST"] {
            for (name, value) in [
                ("origin", "http://evil.example"),
                ("origin", "null"),
                ("origin", ""),
                ("origin", "https://localhost:6398"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
                ("access-control-request-method", "POST"),
            ] {
                let headers = [("host", "localhost:6398"), (name, value)];
                assert_eq!(checked(method, "/", &headers), Err(Error::ForeignOrigin), "{value}");
            }
        }
        let own = [("host", "localhost:6398"), ("origin", "http://localhost:6398")];
        assert_eq!(checked("GET", "/", &own), Ok(()));
        let typed = [("host", "localhost:6398"), ("sec-fetch-site", "none")];
        assert_eq!(checked("GET", "/", &typed), Ok(()));
    }

    #[test]
    fn a_target_cannot_choose_another_host() {
        let host = [("host", "localhost:6398")];
        assert_eq!(checked("GET", "http://evil.example/", &host), Err(Error::ForeignHost));
        assert_eq!(checked("GET", "http://localhost:6398/", &host), Ok(()));
        for target in ["ftp://localhost:6398/", "https://localhost:6398/", "http://a@localhost/"] {
            assert!(matches!(checked("GET", target, &host), Err(Error::Target(_))), "{target}");
        }
        assert!(matches!(checked("GET", "localhost:6398", &host), Err(Error::Target(_))));
        assert!(matches!(checked("OPTIONS", "*", &host), Err(Error::Target(_))));
    }

    #[test]
    fn methods_that_would_hand_out_the_token_are_refused() {
        let host = [("host", "localhost:6398")];
        for method in ["TRACE", "TRACK", "DEBUG", "PROPFIND"] {
            assert_eq!(checked(method, "/", &host), Err(Error::Method), "{method}");
        }
        assert_eq!(checked("CONNECT", "evil.example:443", &host), Err(Error::Method));
    }

    #[test]
    fn a_websocket_is_refused_and_other_offers_are_not() {
        let offer =
            |protocol| [("host", "localhost"), ("connection", "upgrade"), ("upgrade", protocol)];
        assert_eq!(checked("GET", "/", &offer("WebSocket")), Err(Error::Upgrade));
        assert_eq!(checked("GET", "/", &offer("h2c")), Ok(()));
    }

    #[test]
    fn odd_transfer_encodings_are_refused() {
        for coding in ["gzip, chunked", "chunked, chunked", "identity", ", chunked", ""] {
            let headers = [("host", "localhost"), ("transfer-encoding", coding)];
            assert!(matches!(checked("POST", "/", &headers), Err(Error::Framing(_))), "{coding}");
        }
    }

    #[test]
    fn another_users_process_is_refused() {
        let (head, ()) = request("GET", "/", &[("host", "localhost")]).into_parts();
        let peer = Peer::Unix { uid: own_uid() + 1, pid: None };
        assert_eq!(check(&head, &peer, &guard()), Err(Error::User));
    }

    fn checked(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<(), Error> {
        let (head, ()) = request(method, target, headers).into_parts();
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        check(&head, &Peer::Tcp { remote }, &guard())
    }

    fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    fn guard() -> Guard {
        Guard::new(&[SocketAddr::from(([127, 0, 0, 1], 6398))], &[], 64)
    }
}
