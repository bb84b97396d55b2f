//! Who may talk to the daemon, and what counts as a request at all.
//!
//! Everything here is decided from the head alone, before a byte of the body is asked for, in the
//! order of the table in the README: what is malformed, what is too large, whether a browser is
//! asking, which user, which method.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::client_auth::{self, ClientAuthenticator, ClientIdentity};
use super::headers::has_too_many_options;
use super::peer_identity::ConnectionPeer;
use super::{max_forwards, policy};
use crate::clients;
use crate::config::Config;
use crate::listen::{BrowserHeaders, Peer, PeerAccess, UserAcl, is_navigation};
use crate::telemetry::escape_truncated;
use crate::upstream::MAX_CONNECTION_OPTIONS;

/// A request whose sender may use the daemon.
#[derive(Debug)]
pub(super) struct Admitted<B> {
    pub(super) head: Parts,
    pub(super) body: B,
    pub(super) client: ClientIdentity,
    /// It asks for a WebSocket, and may.
    pub(super) is_websocket: bool,
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
    /// Its `Connection` names too many options.
    #[error("the Connection header names more than {MAX_CONNECTION_OPTIONS} options")]
    TooManyOptions,
    /// Its target is longer than `limits.target_bytes`.
    #[error("the request target is longer than {0} bytes")]
    TargetTooLong(usize),
    /// It is meant for somebody else, as after DNS rebinding.
    #[error("the Host header names another host")]
    ForeignHost,
    /// A browser sent it, on behalf of any page.
    #[error("web browsers are refused, and only they send {headers}")]
    Browser {
        /// What tells.
        headers: BrowserHeaders,
        /// The answer is for a person to read.
        is_navigation: bool,
    },
    /// Another user's process sent it.
    #[error("the calling process belongs to another user")]
    User,
    /// A method that Nexudus does not use.
    #[error("the method is not forwarded")]
    Method,
    /// It asks for a WebSocket, and none is let through, or not as RFC 6455 wants it.
    #[error("this WebSocket connection is not forwarded: {0}")]
    Upgrade(&'static str),
    /// It shows no key, or no good one.
    #[error(transparent)]
    Client(#[from] client_auth::Error),
}

/// What the checks compare with: computed once, so that a request costs no allocation.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Every `Host` that is ours, lower case, with and without a port.
    hosts: Vec<Box<str>>,
    max_target_bytes: usize,
    users: UserAcl,
    client_auth: ClientAuthenticator,
    has_websockets: bool,
}

impl Guard {
    /// Accepts the loopback names and `extra` ones, bare or with the port of a `bound` address;
    /// of their users those in `users`, and of those whoever `client_auth` knows.
    pub fn new(
        bound: &[SocketAddr],
        extra: &[String],
        max_target_bytes: usize,
        users: UserAcl,
        client_auth: ClientAuthenticator,
    ) -> Self {
        let hosts = own_hosts(bound, extra);
        Self { hosts, max_target_bytes, users, client_auth, has_websockets: false }
    }

    /// Lets WebSockets through, if `is_websocket`.
    #[must_use]
    pub fn with_websockets(self, switches: bool) -> Self {
        Self { has_websockets: switches, ..self }
    }

    /// Returns which users are let in.
    pub(super) fn users(&self) -> &UserAcl {
        &self.users
    }

    /// Says of a head from `peer` whether it would be admitted; for measuring what that costs.
    #[doc(hidden)]
    pub fn trial(&self, peer: Peer) -> impl Fn(&Parts) -> bool {
        let visitor = ConnectionPeer::new(peer, PeerAccess::Owner, Arc::default());
        move |head| check(head, &visitor, self).is_ok()
    }

    /// Returns what tells clients by their keys.
    pub(super) fn client_auth(&self) -> &ClientAuthenticator {
        &self.client_auth
    }

    fn is_own_host(&self, host: &[u8]) -> bool {
        contains_host(&self.hosts, host)
    }
}

fn own_hosts(bound: &[SocketAddr], extra: &[String]) -> Vec<Box<str>> {
    let names = LOOPBACK_HOSTS.iter().copied().chain(extra.iter().map(String::as_str));
    let with_ports = |name| {
        let with_port = bound.iter().map(move |bound| format!("{name}:{}", bound.port()));
        std::iter::once(String::from(name)).chain(with_port)
    };
    let hosts = names.flat_map(with_ports);
    hosts.map(|host| host.to_ascii_lowercase().into_boxed_str()).collect()
}

fn contains_host(hosts: &[Box<str>], host: &[u8]) -> bool {
    hosts.iter().any(|ours| ours.as_bytes().eq_ignore_ascii_case(host))
}

/// Says what [`admit`] would say of this method and target, from a caller who may ask: for people
/// who write rules.
pub(super) fn would_admit(method: &Method, uri: &Uri, config: &Config) -> Result<(), Error> {
    check_target(method, uri)?;
    check_target_length(uri, config.limits.target_bytes)?;
    let hosts = own_hosts(&config.listen.tcp, &config.listen.hosts);
    if has_foreign_authority(method, uri, |host| contains_host(&hosts, host)) {
        return Err(Error::ForeignHost);
    }
    check_method(method)?;
    Ok(client_auth::reject_key_in_target(uri)?)
}

/// Admits a well-formed request that the user's own tool has sent.
pub(super) fn admit<B>(
    request: Request<B>,
    visitor: &ConnectionPeer,
    guard: &Guard,
) -> Result<Admitted<B>, Error> {
    let (head, body) = request.into_parts();
    let checked =
        check(&head, visitor, guard).inspect_err(|error| log_rejection(&head, visitor, error));
    let (caller, switches) = checked?;
    Ok(Admitted { head, body, client: caller, is_websocket: switches })
}

fn check(
    head: &Parts,
    visitor: &ConnectionPeer,
    guard: &Guard,
) -> Result<(ClientIdentity, bool), Error> {
    check_framing(head)?;
    if has_too_many_options(&head.headers) {
        return Err(Error::TooManyOptions);
    }
    max_forwards::remaining(head).map_err(|max_forwards::MalformedMaxForwards| {
        Error::Framing("Max-Forwards is not one number")
    })?;
    check_target(&head.method, &head.uri)?;
    let host = validate_host(&head.headers, guard)?;
    check_target_length(&head.uri, guard.max_target_bytes)?;
    if !guard.is_own_host(host)
        || has_foreign_authority(&head.method, &head.uri, |it| guard.is_own_host(it))
    {
        return Err(Error::ForeignHost);
    }
    check_origin(&head.headers)?;
    if !visitor.is_allowed() {
        return Err(Error::User);
    }
    check_method(&head.method)?;
    let switches = check_upgrade(head, guard.has_websockets)?;
    let caller = guard.client_auth.identify(head)?;
    // A login may carry its key in its form, which is read where it is answered.
    if !(head.method == Method::POST && policy::is_token_endpoint(head.uri.path())) {
        guard.client_auth.require_key(&caller)?;
    }
    Ok((caller, switches))
}

/// Writes down who was turned away. Not for what is merely malformed: that says nothing of its
/// sender.
fn log_rejection(head: &Parts, visitor: &ConnectionPeer, error: &Error) {
    let code = match error {
        Error::ForeignHost => "guard.host",
        Error::Browser { .. } => "guard.origin",
        Error::User => "guard.user",
        Error::Client(_) => "guard.client",
        Error::Framing(_)
        | Error::Target(_)
        | Error::Host
        | Error::TooManyOptions
        | Error::TargetTooLong(_)
        | Error::Method
        | Error::Upgrade(_) => return,
    };
    if !visitor.record.rejections.is_first((visitor.peer.uid(), code)) {
        return;
    }
    // Escaped: a control character of a caller's must not reach a terminal.
    let said = |name| {
        let value = head.headers.get(name)?.as_bytes();
        let is_key = clients::contains_key(value);
        Some(if is_key { clients::REDACTED.to_owned() } else { escape_truncated(value) })
    };
    let (host, origin) = (said(HOST), said(ORIGIN));
    let (host, origin) = (host.as_deref(), origin.as_deref());
    let (uid, pid) = (visitor.peer.uid(), visitor.peer.pid());
    // Behind a TCP connection nobody is looked for: a crowd of them would cost too much.
    let who = pid.map(|_| visitor.identity());
    let program = who.as_ref().and_then(|who| Some(who.process.get()?.program.as_str()));
    let program = program.filter(|it| !it.is_empty());
    tracing::info!(code, uid, pid, program, host, origin, "refused a caller");
}

/// Refuses what hyper lets pass although two servers could read it in two ways.
fn check_framing(head: &Parts) -> Result<(), Error> {
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

fn check_target(method: &Method, uri: &Uri) -> Result<(), Error> {
    if method == Method::CONNECT {
        return Ok(()); // Refused as a method: its target is an authority by definition.
    }
    match uri.scheme_str() {
        None if uri.authority().is_some() => return Err(Error::Target("it is an authority")),
        None | Some("http") => {}
        Some(_) => return Err(Error::Target("its scheme is not http")),
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Error::Target("it holds user information"));
    }
    if !uri.authority().is_none_or(has_valid_port) {
        return Err(Error::Target("its port is not one"));
    }
    let Some(target) = uri.path_and_query() else { return Err(Error::Target("it is empty")) };
    if !target.as_str().starts_with('/') {
        return Err(Error::Target("it does not begin with a slash"));
    }
    match target.as_str().is_ascii() {
        true => Ok(()),
        false => Err(Error::Target(NON_ASCII_TARGET)),
    }
}

/// Why most malformed targets are.
pub(super) const NON_ASCII_TARGET: &str = "it holds bytes that are not ASCII";

fn check_target_length(uri: &Uri, most: usize) -> Result<(), Error> {
    match uri.path_and_query().is_some_and(|target| target.as_str().len() > most) {
        true => Err(Error::TargetTooLong(most)),
        false => Ok(()),
    }
}

/// RFC 9112 §3.2.2: the target's authority counts, and the Host beside it is no excuse.
fn has_foreign_authority(method: &Method, uri: &Uri, is_ours: impl Fn(&[u8]) -> bool) -> bool {
    let authority = uri.authority().filter(|_| method != Method::CONNECT);
    authority.is_some_and(|authority| !is_ours(authority.as_str().as_bytes()))
}

fn check_method(method: &Method) -> Result<(), Error> {
    match FORWARDED_METHODS.contains(method) {
        true => Ok(()),
        false => Err(Error::Method),
    }
}

/// Returns the one Host, whose form is `name` or `name:port`.
fn validate_host<'a>(headers: &'a HeaderMap, guard: &Guard) -> Result<&'a [u8], Error> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(Error::Host) };
    if guard.is_own_host(host.as_bytes()) {
        return Ok(host.as_bytes()); // Well-formed, and the parser below would allocate.
    }
    let text = host.to_str().map_err(|_| Error::Host)?;
    let authority: Authority = text.parse().map_err(|_| Error::Host)?;
    // A comma is how two Host fields look after something has joined them.
    match !has_valid_port(&authority) || text.contains(['@', ',']) || authority.host().is_empty() {
        true => Err(Error::Host),
        false => Ok(host.as_bytes()),
    }
}

/// Says whether the host stands alone or with a port that there can be.
fn has_valid_port(authority: &Authority) -> bool {
    authority.port_u16().is_some() || authority.as_str().len() == authority.host().len()
}

/// Refuses whatever a browser sends: any page that it shows can have it sent.
fn check_origin(headers: &HeaderMap) -> Result<(), Error> {
    match BrowserHeaders::find(headers) {
        Some(found) => {
            Err(Error::Browser { headers: found, is_navigation: is_navigation(headers) })
        }
        None => Ok(()),
    }
}

/// Says whether a WebSocket is asked for. Any other protocol's offer is dropped with the hop-by-hop
/// headers, and so is every offer in HTTP/1.0 (RFC 9110 §7.8).
fn check_upgrade(head: &Parts, is_allowed: bool) -> Result<bool, Error> {
    let headers = &head.headers;
    let is_asked = headers.contains_key(UPGRADE) && headers.contains_key(CONNECTION);
    if !is_asked || head.version != Version::HTTP_11 || !has_token(headers, &UPGRADE, b"websocket")
    {
        return Ok(false);
    }
    if !is_allowed {
        return Err(Error::Upgrade(UPGRADE_DISABLED));
    }
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0");
    let only = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
    };
    // RFC 6455 §4.1, and what a server makes of it in §4.2.1.
    let checks = [
        (head.method == Method::GET, "it is not asked for by GET"),
        (!has_body, "the request has a body"),
        (has_token(headers, &CONNECTION, b"upgrade"), "Connection does not name Upgrade"),
        (
            only(&SEC_WEBSOCKET_KEY).is_some_and(is_nonce),
            "Sec-WebSocket-Key is not one of 16 bytes",
        ),
        (only(&SEC_WEBSOCKET_VERSION) == Some(b"13"), UNSUPPORTED_WEBSOCKET_VERSION),
    ];
    match checks.iter().find(|(holds, _)| !holds) {
        None => Ok(true),
        Some((_, why)) => Err(Error::Upgrade(why)),
    }
}

/// Says whether this is the base64 of 16 bytes.
fn is_nonce(value: &[u8]) -> bool {
    BASE64.decode(value).is_ok_and(|nonce| nonce.len() == 16)
}

/// Why no WebSocket is let through at all.
pub(super) const UPGRADE_DISABLED: &str = "upstream.upgrade is off";

/// Why one of another version is not.
pub(super) const UNSUPPORTED_WEBSOCKET_VERSION: &str = "Sec-WebSocket-Version is not 13";

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    let values = headers.get_all(name).iter();
    let mut tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens.any(|it| it.trim_ascii().eq_ignore_ascii_case(token))
}

const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// What Nexudus's own clients use. TRACE would hand the token back to the caller.
pub(super) const FORWARDED_METHODS: [Method; 7] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::PATCH,
    Method::HEAD,
    Method::OPTIONS,
];

#[cfg(test)]
mod tests;
