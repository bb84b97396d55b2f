//! Whoever is at the other end of a connection: met once, for all the requests that follow.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use http::Response;
use tokio::sync::Semaphore;

use crate::listen::{Peer, PeerAccess, ProcessInfo};
use crate::telemetry::{PeerInfo, Process, ResponseInfo, Telemetry};

/// The caller, as far as the kernel tells.
#[derive(Debug)]
pub(super) struct ConnectionPeer {
    pub(super) peer: Peer,
    pub(super) standing: PeerAccess,
    pub(super) record: Arc<Telemetry>,
    identity: OnceLock<Arc<PeerInfo>>,
    is_lookup_started: AtomicBool,
}

impl ConnectionPeer {
    pub(super) fn new(peer: Peer, standing: PeerAccess, record: Arc<Telemetry>) -> Self {
        let (identity, is_lookup_started) = (OnceLock::new(), AtomicBool::new(false));
        Self { peer, standing, record, identity, is_lookup_started }
    }

    pub(super) fn is_allowed(&self) -> bool {
        self.standing.is_allowed()
    }

    /// Says whether the connection ends with this answer: a machine that has shown no good key keeps
    /// no place.
    pub(super) fn must_close<B>(&self, response: &Response<B>) -> bool {
        let code = || response.extensions().get::<ResponseInfo>().and_then(|noted| noted.code);
        self.standing == PeerAccess::Remote && code() == Some("guard.client")
    }

    /// Returns what is written beside a request, unless nothing is: of a user who is not let in one
    /// line a second.
    pub(super) fn identity_to_log(&self) -> Option<Arc<PeerInfo>> {
        let is_logged = self.is_allowed() || self.record.other_users.is_first(self.peer.uid());
        is_logged.then(|| self.identity())
    }

    /// Returns what is written beside each request, for somebody who reads it.
    ///
    /// The process behind a unix socket is known at once; the one behind a TCP connection is
    /// looked for beside the path, by one thread at a time, and may stay unknown.
    pub(super) fn identity(&self) -> Arc<PeerInfo> {
        let who = self.identity.get_or_init(|| {
            let uid = self.peer.uid();
            let process = self.peer.pid().map(|pid| owned_process(ProcessInfo::from_pid(pid), uid));
            let process = process.map_or_else(OnceLock::new, OnceLock::from);
            Arc::new(PeerInfo { peer: self.peer.to_string(), uid, process })
        });
        // A stranger is worth no search through every process.
        if who.process.get().is_none()
            && self.is_allowed()
            && let Some(socket) = self.peer.socket_inode()
            && let Ok(turn) = PROCESS_LOOKUPS.try_acquire()
            && !self.is_lookup_started.swap(true, Ordering::Relaxed)
        {
            let who = who.clone();
            tokio::task::spawn_blocking(move || {
                if let Some(holder) = ProcessInfo::holding_socket(socket) {
                    who.process.set(owned_process(holder, who.uid)).ok();
                }
                drop(turn);
            });
        }
        who.clone()
    }
}

/// Keeps the name only of a process that is the caller's own: between the connection and the look
/// its number may have become another user's.
fn owned_process(holder: ProcessInfo, uid: Option<u32>) -> Process {
    let is_callers = uid.is_some_and(|uid| holder.belongs_to(uid));
    Process { pid: holder.pid, program: if is_callers { holder.name } else { String::new() } }
}

/// Looking through every process takes milliseconds: a crowd of callers must not fill the machine
/// with that.
static PROCESS_LOOKUPS: Semaphore = Semaphore::const_new(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_without_a_good_key_keeps_no_connection_and_a_local_caller_does() {
        let visitor = |standing| {
            let peer = Peer::Unix { uid: 1, pid: None };
            ConnectionPeer::new(peer, standing, Arc::default())
        };
        let mut answer = Response::new(());
        let codes = [(Some("guard.client"), true), (Some("policy.denied"), false), (None, false)];
        for (code, leaves) in codes {
            answer.extensions_mut().insert(ResponseInfo { code, ..ResponseInfo::default() });
            assert_eq!(visitor(PeerAccess::Remote).must_close(&answer), leaves, "{code:?}");
            assert!(!visitor(PeerAccess::Owner).must_close(&answer), "{code:?}");
        }
    }

    #[test]
    fn of_a_stranger_one_request_a_second_is_told() {
        let record = Arc::<Telemetry>::default();
        let peer = || Peer::Unix { uid: 1, pid: None };
        let told = |standing| {
            let visitor = ConnectionPeer::new(peer(), standing, record.clone());
            (0..100).filter(|_| visitor.identity_to_log().is_some()).count()
        };

        assert_eq!((told(PeerAccess::Owner), told(PeerAccess::Denied(Some(1)))), (100, 1));
        assert_eq!(told(PeerAccess::Denied(Some(1))), 0);
    }
}
