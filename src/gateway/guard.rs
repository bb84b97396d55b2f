//! Admits the requests of the user's own tools, and rejects all others.
//!
//! The guard looks at the head alone, before a byte of the body is requested. Its checks, in order:
//! framing, target, host, size, browser, user, method, WebSocket, client key.

mod admitted;
mod error;
mod rejection_log;
mod target;
mod upgrade;

use std::net::SocketAddr;
use std::pin::Pin;

use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Uri, Version};

pub use self::admitted::Admitted;
pub(super) use self::error::Error;
pub(super) use self::error::UNSUPPORTED_WEBSOCKET_VERSION;
use self::rejection_log::log_rejection;
pub(super) use self::target::encode_target;
use self::target::{check_target, check_target_length, has_valid_port};
use self::upgrade::check_upgrade;
use super::client_auth::{self, ClientAuthenticator, ClientIdentity};
use super::headers::has_too_many_options;
use super::peer_identity::{ConnectionPeer, ConnectionTarget};
use super::web_page::{NamedOrigin, is_of_a_script};
use super::{max_forwards, token_path};
use crate::clients::KeyError;
use crate::config::{Config, Origin};
use crate::listen::{BrowserHeaders, OwnHosts, is_navigation};
use crate::peer::{Peer, UserAcl};

/// The values that the checks compare with, computed once, so that a request costs no allocation.
#[derive(Clone, Debug)]
pub struct Guard {
    hosts: OwnHosts,
    /// The hosts of requests that a client has meant for the upstream itself.
    origin_hosts: Option<OwnHosts>,
    max_target_bytes: usize,
    users: UserAcl,
    client_auth: ClientAuthenticator,
    has_websockets: bool,
}

impl Guard {
    /// Accepts the loopback hosts, bare or with the port of a `bound` address, and `extra` ones.
    /// Admits the users in `users` whose client key, if any, is valid.
    pub fn new(
        bound: &[SocketAddr],
        extra: &[String],
        max_target_bytes: usize,
        users: UserAcl,
        client_auth: ClientAuthenticator,
    ) -> Self {
        let hosts = OwnHosts::new(bound, extra);
        let (origin_hosts, has_websockets) = (None, false);
        Self { hosts, origin_hosts, max_target_bytes, users, client_auth, has_websockets }
    }

    /// Accepts the host of `origin`, and no other, on connections that were meant for it.
    #[must_use]
    pub fn with_origin(self, origin: &Origin) -> Self {
        Self { origin_hosts: Some(OwnHosts::of_origin(origin)), ..self }
    }

    /// Admits requests for a WebSocket, if `is_enabled`.
    #[must_use]
    pub fn with_websockets(self, is_enabled: bool) -> Self {
        Self { has_websockets: is_enabled, ..self }
    }

    /// Returns the users who may use the daemon.
    pub(super) fn users(&self) -> &UserAcl {
        &self.users
    }

    /// Returns the authenticator of client keys.
    pub(super) fn client_auth(&self) -> &ClientAuthenticator {
        &self.client_auth
    }
}

/// Makes the checks of [`admit`] that need no more than a method and a target, for an allowed
/// client: for people who write rules.
pub(super) fn would_admit(method: &Method, uri: &Uri, config: &Config) -> Result<(), Error> {
    check_target(method, uri)?;
    check_target_length(uri, config.limits.target_bytes)?;
    let bound = [&config.listen.tcp[..], &config.listen.tls].concat();
    let hosts = OwnHosts::new(&bound, &config.listen.hosts);
    if has_foreign_authority(method, uri, &hosts) {
        return Err(Error::ForeignHost);
    }
    check_method(method)?;
    Ok(client_auth::reject_key_in_target(uri)?)
}

/// Admits a well-formed request that the user's own tool has sent.
///
/// # Errors
///
/// The first check that the request fails.
pub fn admit<B>(
    request: Request<B>,
    sender: &ConnectionPeer,
    guard: &Guard,
) -> Result<Admitted<B>, Error> {
    let (mut head, body) = request.into_parts();
    encode_target(&mut head.uri);
    let mut checked = check(&head, sender, guard);
    if is_outdated(&checked) {
        guard.client_auth.reload_blocking();
        checked = check(&head, sender, guard);
    }
    conclude(head, body, sender, checked)
}

/// The outcome for a request on the data path.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every request is admitted at once, without an allocation"
)]
pub(super) enum CurrentAdmission<'a, B> {
    /// The request is admitted.
    Admitted(Admitted<B>),
    /// The clients are read again first, on another thread. Boxed, because few requests come here.
    Outdated(Pin<Box<dyn Future<Output = Result<Admitted<B>, Error>> + Send + 'a>>),
}

/// Does what [`admit`] does, without blocking this thread where the clients must be read again.
pub(super) fn admit_current<'a, B: Send + 'a>(
    request: Request<B>,
    sender: &'a ConnectionPeer,
    guard: &'a Guard,
) -> Result<CurrentAdmission<'a, B>, Error> {
    let (mut head, body) = request.into_parts();
    encode_target(&mut head.uri);
    let mut checked = check(&head, sender, guard);
    if !is_outdated(&checked) {
        return conclude(head, body, sender, checked).map(CurrentAdmission::Admitted);
    }
    Ok(CurrentAdmission::Outdated(Box::pin(async move {
        for _ in 0..MAX_RELOADS {
            guard.client_auth.reload().await;
            checked = check(&head, sender, guard);
            if !is_outdated(&checked) {
                break;
            }
        }
        conclude(head, body, sender, checked)
    })))
}

type Checked = Result<(ClientIdentity, bool), Error>;

fn is_outdated(checked: &Checked) -> bool {
    matches!(checked, Err(Error::Client(error)) if is_outdated_key(error))
}

/// Says whether the clients must be read again before a key can be judged.
pub(super) fn is_outdated_key(error: &client_auth::Error) -> bool {
    *error == client_auth::Error::InvalidKey(KeyError::Changed)
}

fn conclude<B>(
    head: Parts,
    body: B,
    sender: &ConnectionPeer,
    checked: Checked,
) -> Result<Admitted<B>, Error> {
    let checked = checked.inspect_err(|error| log_rejection(&head, sender, error));
    let (client, is_websocket) = checked?;
    Ok(Admitted::new(head, body, client, is_websocket))
}

/// Returns the client, and whether the request opens a WebSocket.
fn check(head: &Parts, sender: &ConnectionPeer, guard: &Guard) -> Checked {
    check_message(head, sender, guard)?;
    let page = check_origin(&head.headers, guard)?;
    if !sender.is_allowed() {
        return Err(Error::User(sender.peer.uid()));
    }
    check_method(&head.method)?;
    let is_websocket = check_upgrade(head, guard.has_websockets)?;
    if let Some(page) = page {
        return check_page(head, &page, guard, is_websocket);
    }
    let client = guard.client_auth.identify(head)?;
    // A request for a token may carry its key in its form, which the token endpoint reads.
    if !(head.method == Method::POST && token_path::is_token_endpoint(head.uri.path())) {
        guard.client_auth.require_key(&client)?;
    }
    Ok((client, is_websocket))
}

/// Admits a page of a named origin with the key of a client that names it. Without it, the page is one
/// like any other. A key that is given to pages logs in nowhere.
#[cold]
fn check_page(head: &Parts, page: &NamedOrigin, guard: &Guard, is_websocket: bool) -> Checked {
    let client = match guard.client_auth.identify(head) {
        Err(error @ client_auth::Error::InvalidKey(KeyError::Changed)) => return Err(error.into()),
        identified => identified.ok().filter(|client| page.is_of(client)),
    };
    let is_login = token_path::is_token_endpoint(head.uri.path());
    match client.filter(|_| !is_websocket && !is_login) {
        Some(client) => Ok((client, false)),
        None => Err(Error::Page),
    }
}

/// Admits the question of a browser whether a page of a named origin may send a request. It carries
/// no key, and gets nothing but the answer.
///
/// # Errors
///
/// The first check that it fails.
pub(super) fn admit_preflight<B>(
    request: Request<B>,
    sender: &ConnectionPeer,
    guard: &Guard,
) -> Result<HeaderMap, Error> {
    let (mut head, _) = request.into_parts();
    encode_target(&mut head.uri);
    let checked = check_message(&head, sender, guard).and_then(|()| {
        let found = BrowserHeaders::find(&head.headers);
        match found.filter(|found| !found.are_of_a_preflight()) {
            Some(headers) => Err(Error::Browser { headers, is_navigation: false }),
            None if !sender.is_allowed() => Err(Error::User(sender.peer.uid())),
            None => Ok(client_auth::reject_key_in_target(&head.uri)?),
        }
    });
    checked.inspect_err(|error| log_rejection(&head, sender, error))?;
    Ok(head.headers)
}

/// Checks framing, target and Host.
fn check_message(head: &Parts, sender: &ConnectionPeer, guard: &Guard) -> Result<(), Error> {
    check_framing(head.version, &head.headers)?;
    if has_too_many_options(&head.headers) {
        return Err(Error::TooManyOptions);
    }
    max_forwards::remaining(head).map_err(|max_forwards::MalformedMaxForwards| {
        Error::Framing("Max-Forwards is not one number")
    })?;
    check_target(&head.method, &head.uri)?;
    let is_unix = matches!(sender.peer, Peer::Unix { .. });
    let origin =
        guard.origin_hosts.as_ref().filter(|_| sender.target() == ConnectionTarget::Origin);
    let hosts = origin.unwrap_or(&guard.hosts);
    let host = if is_unix { any_host(&head.headers)? } else { host(head, hosts)? };
    check_target_length(&head.uri, guard.max_target_bytes)?;
    let is_foreign = host.is_some_and(|host| !hosts.contains(host));
    if is_foreign || !is_unix && has_foreign_authority(&head.method, &head.uri, hosts) {
        return Err(if origin.is_some() { Error::MisdirectedHost } else { foreign_host(head) });
    }
    Ok(())
}

/// Tells a request of a program that takes this listener for a forward proxy from one for another host.
fn foreign_host(head: &Parts) -> Error {
    let is_proxied = head.method == Method::CONNECT || head.uri.authority().is_some();
    if is_proxied { Error::NoForwardProxy } else { Error::ForeignHost }
}

/// Rejects framing that hyper accepts although two servers could read it differently.
pub(super) fn check_framing(version: Version, headers: &HeaderMap) -> Result<(), Error> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Error::Framing("Transfer-Encoding is something other than `chunked`"));
    }
    match version {
        Version::HTTP_11 => Ok(()),
        _ => Err(Error::Framing("Transfer-Encoding needs HTTP/1.1")),
    }
}

/// RFC 9112 §3.2.2: the authority in the target counts, whatever the Host header says.
fn has_foreign_authority(method: &Method, uri: &Uri, hosts: &OwnHosts) -> bool {
    let authority = uri.authority().filter(|_| method != Method::CONNECT);
    authority.is_some_and(|authority| !hosts.contains(authority.as_str().as_bytes()))
}

fn check_method(method: &Method) -> Result<(), Error> {
    if FORWARDED_METHODS.contains(method) { Ok(()) } else { Err(Error::Method) }
}

/// Returns the one Host, in the form `name` or `name:port`; `None` where there is none to compare.
/// HTTP/1.0 has no Host: old programs probe so, and no browser does.
fn host<'a>(head: &'a Parts, ours: &OwnHosts) -> Result<Option<&'a [u8]>, Error> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host,
        (None, None) if head.version == Version::HTTP_10 => return Ok(None),
        (_, _) => return Err(Error::Host),
    };
    if ours.is_usual(host.as_bytes()) {
        return Ok(Some(host.as_bytes())); // Well-formed, and the parser below would allocate.
    }
    let text = host.to_str().map_err(|_| Error::Host)?;
    let authority: Authority = text.parse().map_err(|_| Error::Host)?;
    // Two joined Host headers have a comma between them.
    if !has_valid_port(&authority) || text.contains(['@', ',']) || authority.host().is_empty() {
        return Err(Error::Host);
    }
    Ok(Some(host.as_bytes()))
}

/// Compares nothing where a unix socket has brought the request: no web page reaches one, and its
/// clients invent names for it, or send none.
fn any_host(headers: &HeaderMap) -> Result<Option<&[u8]>, Error> {
    let has_two = headers.get_all(HOST).iter().nth(1).is_some();
    if has_two { Err(Error::Host) } else { Ok(None) }
}

/// Checks the Host of a request and the authority in its target, for a listener that is not the
/// daemon's.
///
/// # Errors
///
/// [`Error::Host`] and [`Error::ForeignHost`].
pub(super) fn check_host(head: &Parts, ours: &OwnHosts) -> Result<(), Error> {
    let is_foreign = host(head, ours)?.is_some_and(|host| !ours.contains(host));
    if is_foreign || has_foreign_authority(&head.method, &head.uri, ours) {
        return Err(Error::ForeignHost);
    }
    Ok(())
}

/// Rejects requests of a browser: any page in it can send one. Returns the origin of a page that a
/// client names; whose key it has is yet to be checked.
fn check_origin(headers: &HeaderMap, guard: &Guard) -> Result<Option<NamedOrigin>, Error> {
    let Some(found) = BrowserHeaders::find(headers) else { return Ok(None) };
    if is_of_a_script(headers, found)
        && let Some(page) = NamedOrigin::find(headers, &guard.client_auth)
            .map_err(|error| Error::Client(client_auth::Error::InvalidKey(error)))?
    {
        return Ok(Some(page));
    }
    Err(Error::Browser { headers: found, is_navigation: is_navigation(headers) })
}

/// How often the clients are read again for one request, should they go on changing.
const MAX_RELOADS: usize = 3;

/// The methods that Nexudus's own clients use. TRACE would return the token to the client.
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
