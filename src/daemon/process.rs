//! The process as a whole: hardening, limits and signals.

use std::io;

/// Keeps secrets out of core dumps and away from debuggers.
///
/// A failure is logged and not fatal: a container may forbid any of these.
pub fn harden() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, setrlimit};
        warn_on_error("core dumps stay possible", setrlimit(Resource::RLIMIT_CORE, 0, 0));
    }
    #[cfg(target_os = "linux")]
    warn_on_error("debuggers can attach", nix::sys::prctl::set_dumpable(false));
}

/// Raises the limit on open files to the most that is allowed: for a daemon, which has thousands of
/// connections. A `run` does it once its command has started, because programs that use `select(2)`
/// cannot take descriptors beyond 1,023.
///
/// A failure is logged and not fatal.
pub fn raise_open_files() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let files = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| {
            let files =
                if cfg!(target_os = "macos") { most.min(MACOS_MAX_OPEN_FILES) } else { most };
            setrlimit(Resource::RLIMIT_NOFILE, files, most)
        });
        warn_on_error("the limit on open files stays low", files);
    }
}

/// Most files that macOS lets a process open (`OPEN_MAX`), though it reports no limit.
#[cfg(unix)]
const MACOS_MAX_OPEN_FILES: u64 = 10_240;

#[cfg(unix)]
fn warn_on_error(consequence: &'static str, outcome: nix::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, consequence, "could not prepare the process");
    }
}

/// The request of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To end. The signal's name.
    End(&'static str),
    /// To read the configuration again.
    Reload,
}

/// The signals that a daemon listens to.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
    #[cfg(unix)]
    ends_on_hangup: bool,
}

impl Signals {
    /// Catches the signals from now on.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn new() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let ends_on_hangup = super::hangup::ends_daemon();
            Ok(Self {
                ends_on_hangup,
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                hangup: signal(SignalKind::hangup())?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Signal {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => Signal::End("SIGINT"),
            _ = self.terminate.recv() => Signal::End("SIGTERM"),
            _ = self.hangup.recv() => {
                if self.ends_on_hangup { Signal::End("SIGHUP") } else { Signal::Reload }
            }
        }
        #[cfg(not(unix))]
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::End("Ctrl-C"),
            Err(_) => std::future::pending().await,
        }
    }
}
