//! The processes that this one has started, and as process 1 those that it inherits.
//!
//! Process 1 of a container becomes the parent of each process whose own parent has ended, and has
//! to wait for it: else it stays a zombie for ever. The exit codes of the processes that we have
//! started belong to the code that started them, so that those are marked with [`OwnChild`].

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Marks a process as started by us, for as long as this value lives.
#[derive(Debug)]
pub struct OwnChild(u32);

impl OwnChild {
    /// Marks the process of this number; `None` where it was waited for already.
    ///
    /// To be called before the next await: until then, no orphan is waited for.
    pub fn new(pid: Option<u32>) -> Option<Self> {
        let pid = pid?;
        *own_children().entry(pid).or_default() += 1;
        Some(Self(pid))
    }
}

impl Drop for OwnChild {
    fn drop(&mut self) {
        let mut own = own_children();
        // The number may belong to a next process of ours already.
        if let Some(count) = own.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                own.remove(&self.0);
            }
        }
    }
}

fn own_children() -> MutexGuard<'static, BTreeMap<u32, usize>> {
    OWN_CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

static OWN_CHILDREN: Mutex<BTreeMap<u32, usize>> = Mutex::new(BTreeMap::new());

/// Waits for the orphans of a container for as long as this is polled; ends at once where this is
/// not process 1. On the thread that starts processes, so that none is between its start and its
/// mark.
#[cfg(target_os = "linux")]
pub async fn reap_orphans() {
    use tokio::signal::unix::{SignalKind, signal};
    if std::process::id() != 1 {
        return;
    }
    let Ok(mut ended) = signal(SignalKind::child()) else { return };
    loop {
        while linux::reap() == linux::Reaped::UpToOwnChild {
            // tokio waits for it with the same signal.
            tokio::time::sleep(linux::OWN_CHILD_DELAY).await;
        }
        if ended.recv().await.is_none() {
            return;
        }
    }
}

/// Other systems have containers only inside a Linux.
#[cfg(not(target_os = "linux"))]
pub async fn reap_orphans() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::time::Duration;

    use nix::errno::Errno;
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};

    use super::own_children;

    /// How far the orphans were waited for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Reaped {
        All,
        /// A process of ours has ended, and the kernel shows it before others.
        UpToOwnChild,
    }

    /// Waits for the processes that have ended and that we did not start. Looks first, without
    /// taking the exit code (`WNOWAIT`): that of our own processes is not ours to take.
    pub(super) fn reap() -> Reaped {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        loop {
            let pid = match waitid(Id::All, look) {
                Ok(status) => status.pid(),
                Err(Errno::EINTR) => continue,
                // ECHILD: there is no process to wait for.
                Err(_) => None,
            };
            let Some(pid) = pid else { return Reaped::All };
            if u32::try_from(pid.as_raw()).is_ok_and(|pid| own_children().contains_key(&pid)) {
                return Reaped::UpToOwnChild;
            }
            match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(_) => return Reaped::All,
                Ok(_) => tracing::debug!(pid = pid.as_raw(), "an orphan has ended"),
            }
        }
    }

    /// How long tokio may take to wait for a process of ours.
    pub(super) const OWN_CHILD_DELAY: Duration = Duration::from_millis(20);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_ours_until_its_last_mark_is_gone() {
        // No process has this number.
        const PID: u32 = u32::MAX;
        let first = OwnChild::new(Some(PID));
        let next = OwnChild::new(Some(PID));

        drop(first);
        assert!(own_children().contains_key(&PID));
        drop(next);

        assert!(!own_children().contains_key(&PID));
        assert!(OwnChild::new(None).is_none());
    }
}
