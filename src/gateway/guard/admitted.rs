//! The proof that a request may use the daemon.
//!
//! The constructor is visible to the guard alone: no other file of the gateway can make this proof.

use http::request::Parts;

use crate::gateway::client_auth::ClientIdentity;

/// A request whose sender may use the daemon.
#[derive(Debug)]
pub struct Admitted<B> {
    head: Parts,
    body: B,
    client: ClientIdentity,
    is_websocket: bool,
}

impl<B> Admitted<B> {
    pub(super) fn new(head: Parts, body: B, client: ClientIdentity, is_websocket: bool) -> Self {
        Self { head, body, client, is_websocket }
    }

    /// Returns the sender.
    pub fn client(&self) -> &ClientIdentity {
        &self.client
    }

    /// Returns the head, the body, the sender, and whether the request opens a WebSocket.
    pub fn into_parts(self) -> (Parts, B, ClientIdentity, bool) {
        (self.head, self.body, self.client, self.is_websocket)
    }
}
