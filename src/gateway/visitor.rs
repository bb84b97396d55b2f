//! Whoever is at the other end of a connection: met once, for all the requests that follow.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;

use crate::listen::{Holder, Peer};
use crate::telemetry::{Process, Who};

/// The caller, as far as the kernel tells.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) peer: Peer,
    pub(super) is_let_in: bool,
    who: OnceLock<Arc<Who>>,
    is_sought: AtomicBool,
}

impl Visitor {
    pub(super) fn new(peer: Peer, is_let_in: bool) -> Self {
        Self { peer, is_let_in, who: OnceLock::new(), is_sought: AtomicBool::new(false) }
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
        if who.process.get().is_none()
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
