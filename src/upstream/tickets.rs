//! TLS 1.3 session tickets of one host, enough for a burst of handshakes.
//!
//! rustls uses a ticket once, so that connections cannot be linked, and keeps eight for each server.
//! A handshake takes one and brings one or more, so that the number of tickets bounds how many
//! handshakes at once are resumed. Everything else is left to rustls' own store.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

/// The store of a client that connects to one host.
pub(super) struct TicketStore {
    others: ClientSessionMemoryCache,
    /// The oldest first.
    tickets: Mutex<VecDeque<Tls13ClientSessionValue>>,
}

impl TicketStore {
    pub(super) fn new() -> Self {
        Self { others: ClientSessionMemoryCache::new(1), tickets: Mutex::default() }
    }
}

impl ClientSessionStore for TicketStore {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.others.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.others.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.others.set_tls12_session(name, value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.others.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.others.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        if tickets.len() == MAX_TICKETS {
            tickets.pop_front();
        }
        tickets.push_back(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).pop_back()
    }
}

impl fmt::Debug for TicketStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketStore")
    }
}

/// Most tickets: as many as handshakes that begin at once. One holds the host's certificates, some
/// kilobytes, unless its connection was itself resumed.
const MAX_TICKETS: usize = 64;
