//! The proof that a request may be sent. Its fields are visible to the policy alone, so that no
//! other file of the gateway can make this proof.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Method};

use super::redaction::RequestRedaction;
use crate::gateway::client_auth::ClientIdentity;
use crate::upstream::{ReplayBody, Retry, Reuse};

/// A request that may be sent.
#[derive(Debug)]
pub struct Allowed {
    pub(super) head: Parts,
    pub(super) client: ClientIdentity,
    pub(super) is_limited: bool,
    pub(super) has_login_material: bool,
    pub(super) has_cookies: bool,
    pub(super) is_websocket: bool,
    pub(super) awaits_command: bool,
    pub(super) asks: bool,
    pub(super) redaction: Option<Box<RequestRedaction>>,
    /// The microseconds that the request has waited for new connections.
    pub(super) connect_micros: AtomicU32,
}

impl Allowed {
    /// Returns the method.
    pub(in crate::gateway) fn method(&self) -> &Method {
        &self.head.method
    }

    /// Returns the path, without the query.
    pub(in crate::gateway) fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// Returns the head as the client sent it.
    pub(in crate::gateway) fn head(&self) -> &Parts {
        &self.head
    }

    /// Takes down that the request has waited for a new connection.
    pub(in crate::gateway) fn add_connect(&self, waited: Duration) {
        let micros = u32::try_from(waited.as_micros()).unwrap_or(u32::MAX);
        self.connect_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Returns the microseconds that the request has waited for new connections.
    pub(in crate::gateway) fn connect_micros(&self) -> u32 {
        self.connect_micros.load(Ordering::Relaxed)
    }

    /// Gives up the client's headers.
    pub(in crate::gateway) fn into_headers(self) -> HeaderMap {
        self.head.headers
    }

    /// Returns the sender.
    pub(in crate::gateway) fn client(&self) -> &ClientIdentity {
        &self.client
    }

    /// Returns which requests may later use the connection of this one. A limited client must not
    /// be able to leave bytes on a connection that are read as the request of another client.
    pub(in crate::gateway) fn reuse(&self) -> Reuse<'_> {
        match &self.client {
            _ if !self.is_limited => Reuse::Shared,
            ClientIdentity::Client(client) => Reuse::Client(client.id()),
            ClientIdentity::Anonymous => Reuse::Never,
        }
    }

    /// Says whether the response contains login material, which is removed for this client.
    pub fn has_login_material(&self) -> bool {
        self.has_login_material
    }

    /// Returns what is hidden from the client, if anything is.
    pub(in crate::gateway) fn redaction(&self) -> Option<&RequestRedaction> {
        self.redaction.as_deref()
    }

    /// Says whether the response must be whole, plain JSON, because it is changed on its way.
    pub(in crate::gateway) fn needs_json(&self) -> bool {
        self.has_login_material || self.redaction.is_some()
    }

    /// Says whether a rule about commands decides once the body is there.
    pub fn awaits_command(&self) -> bool {
        self.awaits_command
    }

    /// Says whether the body decides: a rule about commands, or a person.
    pub(in crate::gateway) fn awaits_body(&self) -> bool {
        self.awaits_command || self.asks
    }

    /// Says whether cookies are forwarded, both ways.
    pub(in crate::gateway) fn has_cookies(&self) -> bool {
        self.has_cookies
    }

    /// Says whether the request opens a WebSocket.
    pub(in crate::gateway) fn is_websocket(&self) -> bool {
        self.is_websocket
    }

    /// Says whether a second execution would change anything (RFC 9110 §9.2.1).
    pub(in crate::gateway) fn idempotency(&self, body: &ReplayBody) -> Retry {
        let safe = matches!(self.head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        if safe && matches!(body, ReplayBody::Empty) { Retry::Safe } else { Retry::Never }
    }
}
