//! Whoever is at the other end of a connection: met once, for all the requests that follow.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use http::Response;
use tokio::sync::Semaphore;

use crate::listen::{Holder, Peer, Standing};
use crate::telemetry::{Noted, Process, Record, Who};

/// The caller, as far as the kernel tells.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) peer: Peer,
    pub(super) standing: Standing,
    pub(super) record: Arc<Record>,
    who: OnceLock<Arc<Who>>,
    is_sought: AtomicBool,
}

impl Visitor {
    pub(super) fn new(peer: Peer, standing: Standing, record: Arc<Record>) -> Self {
        let (who, is_sought) = (OnceLock::new(), AtomicBool::new(false));
        Self { peer, standing, record, who, is_sought }
    }

    pub(super) fn is_let_in(&self) -> bool {
        self.standing.is_let_in()
    }

    /// Says whether the connection ends with this answer: a machine that has shown no good key keeps
    /// no place.
    pub(super) fn must_leave<B>(&self, response: &Response<B>) -> bool {
        let code = || response.extensions().get::<Noted>().and_then(|noted| noted.code);
        self.standing == Standing::Remote && code() == Some("guard.client")
    }

    /// Returns what is written beside a request, unless nothing is: of a user who is not let in one
    /// line a second.
    pub(super) fn who_to_log(&self) -> Option<Arc<Who>> {
        let is_logged = self.is_let_in() || self.record.strangers.is_first(self.peer.uid());
        is_logged.then(|| self.who())
    }

    /// Returns what is written beside each request, for somebody who reads it.
    ///
    /// The process behind a unix socket is known at once; the one behind a TCP connection is
    /// looked for beside the path, by one thread at a time, and may stay unknown.
    pub(super) fn who(&self) -> Arc<Who> {
        let who = self.who.get_or_init(|| {
            let uid = self.peer.uid();
            let process = self.peer.pid().map(|pid| process(Holder::of_process(pid), uid));
            let process = process.map_or_else(OnceLock::new, OnceLock::from);
            Arc::new(Who { peer: self.peer.to_string(), uid, process })
        });
        // A stranger is worth no search through every process.
        if who.process.get().is_none()
            && self.is_let_in()
            && let Some(socket) = self.peer.socket()
            && let Ok(turn) = SEEKERS.try_acquire()
            && !self.is_sought.swap(true, Ordering::Relaxed)
        {
            let who = who.clone();
            tokio::task::spawn_blocking(move || {
                if let Some(holder) = Holder::of_socket(socket) {
                    who.process.set(process(holder, who.uid)).ok();
                }
                drop(turn);
            });
        }
        who.clone()
    }
}

/// Keeps the name only of a process that is the caller's own: between the connection and the look
/// its number may have become another user's.
fn process(holder: Holder, uid: Option<u32>) -> Process {
    let is_callers = uid.is_some_and(|uid| holder.belongs_to(uid));
    Process { pid: holder.pid, program: if is_callers { holder.name } else { String::new() } }
}

/// Looking through every process takes milliseconds: a crowd of callers must not fill the machine
/// with that.
static SEEKERS: Semaphore = Semaphore::const_new(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_without_a_good_key_keeps_no_connection_and_a_local_caller_does() {
        let visitor = |standing| {
            let peer = Peer::Unix { uid: 1, pid: None };
            Visitor::new(peer, standing, Arc::default())
        };
        let mut answer = Response::new(());
        let codes = [(Some("guard.client"), true), (Some("policy.denied"), false), (None, false)];
        for (code, leaves) in codes {
            answer.extensions_mut().insert(Noted { code, ..Noted::default() });
            assert_eq!(visitor(Standing::Remote).must_leave(&answer), leaves, "{code:?}");
            assert!(!visitor(Standing::Owner).must_leave(&answer), "{code:?}");
        }
    }

    #[test]
    fn of_a_stranger_one_request_a_second_is_told() {
        let record = Arc::<Record>::default();
        let peer = || Peer::Unix { uid: 1, pid: None };
        let told = |standing| {
            let visitor = Visitor::new(peer(), standing, record.clone());
            (0..100).filter(|_| visitor.who_to_log().is_some()).count()
        };

        assert_eq!((told(Standing::Owner), told(Standing::Stranger(Some(1)))), (100, 1));
        assert_eq!(told(Standing::Stranger(Some(1))), 0);
    }
}
