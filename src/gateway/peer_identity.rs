//! The peer of a connection: identified once, for all requests that follow.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::Response;
use tokio::sync::Semaphore;

use crate::peer::{Peer, PeerAccess, ProcessInfo, UserAcl};
use crate::telemetry::{PeerInfo, Process, ResponseInfo, Telemetry};

/// The other end of a client's connection, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionTarget {
    /// This daemon.
    Daemon,
    /// This daemon, by HTTPS.
    DaemonOverTls,
    /// The upstream itself: requests name its host.
    Origin,
}

/// The process at the other end of a connection, as far as the kernel names it.
#[derive(Debug)]
pub struct ConnectionPeer {
    pub(super) peer: Peer,
    /// As it was when the connection began: its class in the limits.
    pub(super) access: PeerAccess,
    pub(super) telemetry: Arc<Telemetry>,
    /// The number of the list of users that was asked last, and in the lowest bit its answer.
    checked: AtomicU64,
    target: ConnectionTarget,
    info: OnceLock<Arc<PeerInfo>>,
    is_lookup_started: AtomicBool,
}

impl ConnectionPeer {
    /// Stores the known facts about a peer; its process is looked up when a log line needs it.
    pub fn new(peer: Peer, access: PeerAccess, telemetry: Arc<Telemetry>) -> Self {
        let (info, is_lookup_started) = (OnceLock::new(), AtomicBool::new(false));
        let checked = AtomicU64::new(access.is_allowed().into());
        let target = ConnectionTarget::Daemon;
        Self { peer, access, telemetry, checked, target, info, is_lookup_started }
    }

    /// Marks a connection whose client means the upstream itself.
    #[must_use]
    pub(super) fn meaning_origin(self) -> Self {
        Self { target: ConnectionTarget::Origin, ..self }
    }

    /// Marks a connection that speaks TLS under a name of this machine.
    #[must_use]
    pub(super) fn over_tls(self) -> Self {
        Self { target: ConnectionTarget::DaemonOverTls, ..self }
    }

    /// Returns what the client has connected to.
    pub(super) fn target(&self) -> ConnectionTarget {
        self.target
    }

    /// Says whether this is a process of our own user.
    pub(super) fn is_owner(&self) -> bool {
        self.access == PeerAccess::Owner
    }

    /// Says whether the user of this peer may use the daemon.
    pub(super) fn is_allowed(&self) -> bool {
        self.checked.load(Ordering::Relaxed) & 1 == 1
    }

    /// Checks the peer against the list of users, the first time and after each reload. Returns the
    /// user whom [`ConnectionPeer::resolve`] must look up first, if any.
    pub(super) fn recheck(&self, users: &UserAcl) -> Option<u32> {
        if self.checked.load(Ordering::Relaxed) >> 1 == users.id() {
            return None;
        }
        match users.classify(&self.peer) {
            PeerAccess::Unresolved(uid) => return Some(uid),
            known @ (PeerAccess::Owner
            | PeerAccess::Guest
            | PeerAccess::Remote
            | PeerAccess::Denied(_)) => self.set_access(users, known),
        }
        None
    }

    /// Looks the user up in the system's user database.
    pub(super) async fn resolve(&self, users: &UserAcl, uid: u32) {
        self.set_access(users, users.resolve(uid).await);
    }

    fn set_access(&self, users: &UserAcl, access: PeerAccess) {
        let checked = users.id() << 1 | u64::from(access.is_allowed());
        self.checked.store(checked, Ordering::Relaxed);
    }

    /// Says whether the connection ends with this response: another machine without a valid key
    /// keeps no connection.
    pub(super) fn must_close<B>(&self, response: &Response<B>) -> bool {
        let code = || response.extensions().get::<ResponseInfo>().and_then(|info| info.code);
        self.access == PeerAccess::Remote && code() == Some("guard.client")
    }

    /// Returns the peer for a log line. A user who is not allowed gets one line a second, and
    /// `None` for the other requests.
    pub(super) fn identity_to_log(&self) -> Option<Arc<PeerInfo>> {
        let is_logged = self.is_allowed() || self.telemetry.other_users.is_first(self.peer.uid());
        is_logged.then(|| self.identity())
    }

    /// Returns the peer for log lines that are read by a person.
    ///
    /// The process behind a Unix socket is known at once. The process behind a TCP connection is
    /// looked up off the request path, one lookup at a time, and may stay unknown.
    pub(super) fn identity(&self) -> Arc<PeerInfo> {
        let info = self.info.get_or_init(|| {
            let uid = self.peer.uid();
            let process = self.peer.pid().map(|pid| owned_process(ProcessInfo::from_pid(pid), uid));
            let process = process.map_or_else(OnceLock::new, OnceLock::from);
            Arc::new(PeerInfo { peer: self.peer.to_string(), uid, process })
        });
        // A user who is not allowed is not worth a search through all processes.
        if info.process.get().is_none()
            && self.is_allowed()
            && let Some(socket) = self.peer.socket_inode()
            && let Ok(permit) = PROCESS_LOOKUPS.try_acquire()
            && !self.is_lookup_started.swap(true, Ordering::Relaxed)
        {
            let info = info.clone();
            tokio::task::spawn_blocking(move || {
                if let Some(process) = ProcessInfo::holding_socket(socket) {
                    info.process.set(owned_process(process, info.uid)).ok();
                }
                drop(permit);
            });
        }
        info.clone()
    }
}

/// Keeps the name of a process only if the process belongs to the peer's user: between the
/// connection and the lookup its id may have become that of another user's process.
fn owned_process(process: ProcessInfo, uid: Option<u32>) -> Process {
    let is_owned = uid.is_some_and(|uid| process.belongs_to(uid));
    Process { pid: process.pid, program: if is_owned { process.name } else { String::new() } }
}

/// One at a time: a lookup goes through all processes, which takes milliseconds.
static PROCESS_LOOKUPS: Semaphore = Semaphore::const_new(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_without_a_valid_key_loses_its_connection_and_a_local_peer_does_not() {
        let sender = |access| {
            let peer = Peer::Unix { uid: 1, pid: None };
            ConnectionPeer::new(peer, access, Arc::default())
        };
        let mut response = Response::new(());
        let codes = [(Some("guard.client"), true), (Some("policy.denied"), false), (None, false)];
        for (code, closes) in codes {
            response.extensions_mut().insert(ResponseInfo { code, ..ResponseInfo::default() });
            assert_eq!(sender(PeerAccess::Remote).must_close(&response), closes, "{code:?}");
            assert!(!sender(PeerAccess::Owner).must_close(&response), "{code:?}");
        }
    }

    #[test]
    fn a_user_who_is_not_allowed_gets_one_log_line_a_second() {
        let telemetry = Arc::<Telemetry>::default();
        let peer = || Peer::Unix { uid: 1, pid: None };
        let logged = |access| {
            let sender = ConnectionPeer::new(peer(), access, telemetry.clone());
            (0..100).filter(|_| sender.identity_to_log().is_some()).count()
        };

        assert_eq!((logged(PeerAccess::Owner), logged(PeerAccess::Denied(Some(1)))), (100, 1));
        assert_eq!(logged(PeerAccess::Denied(Some(1))), 0);
    }
}
