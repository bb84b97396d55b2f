//! The process as a whole: what it may do, and when it must end.

use std::io;

/// Keeps secrets out of core dumps and away from debuggers, and raises the bound on open files.
///
/// Failing is logged and not fatal: a container may forbid any of it.
pub fn harden() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        warn_of("core dumps stay possible", setrlimit(Resource::RLIMIT_CORE, 0, 0));
        let files = getrlimit(Resource::RLIMIT_NOFILE)
            .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
        warn_of("the bound on open files stays low", files);
    }
    #[cfg(target_os = "linux")]
    warn_of("debuggers can attach", nix::sys::prctl::set_dumpable(false));
}

#[cfg(unix)]
fn warn_of(consequence: &'static str, outcome: nix::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, consequence, "could not harden the process");
    }
}

/// The signals that end a daemon.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Listens for them from now on.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn new() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for the next one and returns its name.
    pub async fn next(&mut self) -> &'static str {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
        #[cfg(not(unix))]
        match tokio::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            Err(_) => std::future::pending().await,
        }
    }
}
