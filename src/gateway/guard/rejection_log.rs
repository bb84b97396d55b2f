//! The log of rejected requests: who was refused, and why.

use http::header::{HOST, ORIGIN};
use http::request::Parts;

use super::Error;
use crate::clients;
use crate::gateway::peer_identity::ConnectionPeer;
use crate::problem::Problem as _;
use crate::telemetry::escape_truncated;

/// Logs the peer that was rejected, once a second for each user and reason. A malformed request is
/// not logged: the error says nothing about its sender.
pub(super) fn log_rejection(head: &Parts, sender: &ConnectionPeer, error: &Error) {
    let code = match error {
        Error::ForeignHost
        | Error::NoForwardProxy
        | Error::MisdirectedHost
        | Error::Browser { .. }
        | Error::Page
        | Error::User(_)
        | Error::Client(_) => error.kind().code(),
        Error::Framing(_)
        | Error::Target(_)
        | Error::Host
        | Error::TooManyOptions
        | Error::TargetTooLong(_)
        | Error::Method
        | Error::Upgrade(_) => return,
    };
    if !sender.telemetry.rejections.is_first((sender.peer.uid(), code)) {
        return;
    }
    // Escaped: no control character of a client may reach a terminal.
    let value = |name| {
        let value = head.headers.get(name)?.as_bytes();
        let is_key = clients::contains_key(value);
        Some(if is_key { clients::REDACTED.to_owned() } else { escape_truncated(value) })
    };
    let (host, origin) = (value(HOST), value(ORIGIN));
    let (host, origin) = (host.as_deref(), origin.as_deref());
    let (uid, pid) = (sender.peer.uid(), sender.peer.pid());
    // No lookup of the process behind a TCP connection: many rejections would cost too much.
    let info = pid.map(|_| sender.identity());
    let program = info.as_ref().and_then(|info| Some(info.process.get()?.program.as_str()));
    let program = program.filter(|it| !it.is_empty());
    tracing::info!(code, uid, pid, program, host, origin, "rejected a request");
}
