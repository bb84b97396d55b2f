//! The process as a whole: what it may do, and when it must end.

use std::io;

/// Keeps secrets out of core dumps and away from debuggers, and raises the bound on open files.
///
/// Failing is logged and not fatal: a container may forbid any of it.
pub fn harden() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        warn_on_error("core dumps stay possible", setrlimit(Resource::RLIMIT_CORE, 0, 0));
        let files = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| {
            let files =
                if cfg!(target_os = "macos") { most.min(MACOS_MAX_OPEN_FILES) } else { most };
            setrlimit(Resource::RLIMIT_NOFILE, files, most)
        });
        warn_on_error("the bound on open files stays low", files);
    }
    #[cfg(target_os = "linux")]
    warn_on_error("debuggers can attach", nix::sys::prctl::set_dumpable(false));
}

/// How many files macOS lets a process open (`OPEN_MAX`), though it calls the bound unlimited.
#[cfg(unix)]
const MACOS_MAX_OPEN_FILES: u64 = 10_240;

#[cfg(unix)]
fn warn_on_error(consequence: &'static str, outcome: nix::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, consequence, "could not harden the process");
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To end; its name.
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
                hangup: signal(SignalKind::hangup())?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Signal {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => Signal::End("SIGINT"),
            _ = self.terminate.recv() => Signal::End("SIGTERM"),
            _ = self.hangup.recv() => Signal::Reload,
        }
        #[cfg(not(unix))]
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::End("Ctrl-C"),
            Err(_) => std::future::pending().await,
        }
    }
}

/// The signals that a program is to pass on to the one that it runs.
#[derive(Debug)]
pub struct ForwardedSignals {
    #[cfg(unix)]
    watched: Vec<(nix::sys::signal::Signal, tokio::signal::unix::Signal)>,
}

/// A signal that has arrived.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedSignal {
    #[cfg(unix)]
    signal: nix::sys::signal::Signal,
}

impl ForwardedSignals {
    /// Catches them from now on.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn new() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use nix::sys::signal::Signal::{
                SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
            };
            use tokio::signal::unix::{SignalKind, signal};
            let all = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH];
            let watched = all.map(|it| Ok((it, signal(SignalKind::from_raw(it as i32))?)));
            Ok(Self { watched: watched.into_iter().collect::<io::Result<_>>()? })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> ReceivedSignal {
        #[cfg(unix)]
        {
            let signal = std::future::poll_fn(|cx| {
                for (signal, watched) in &mut self.watched {
                    if watched.poll_recv(cx).is_ready() {
                        return std::task::Poll::Ready(*signal);
                    }
                }
                std::task::Poll::Pending
            });
            ReceivedSignal { signal: signal.await }
        }
        #[cfg(not(unix))]
        std::future::pending().await
    }
}

impl ReceivedSignal {
    /// Sends it to another process, unless a terminal that both have has done so.
    pub fn forward(self, pid: u32, has_terminal: bool) {
        #[cfg(unix)]
        {
            use nix::sys::signal::Signal::{SIGINT, SIGQUIT, SIGWINCH};
            let typed = [SIGINT, SIGQUIT, SIGWINCH].contains(&self.signal);
            if let Some(pid) = to_pid(pid).filter(|_| !(typed && has_terminal))
                && let Err(error) = nix::sys::signal::kill(pid, self.signal)
            {
                tracing::debug!(%error, "the signal found nobody");
            }
        }
        #[cfg(not(unix))]
        let _ = (pid, has_terminal);
    }
}

/// Says whether a process of this number exists.
pub fn is_alive(pid: u32) -> bool {
    #[cfg(unix)]
    return to_pid(pid)
        .is_some_and(|pid| nix::sys::signal::kill(pid, None) != Err(nix::errno::Errno::ESRCH));
    #[cfg(not(unix))]
    {
        let _ = pid;
        true
    }
}

#[cfg(unix)]
fn to_pid(pid: u32) -> Option<nix::unistd::Pid> {
    i32::try_from(pid).ok().filter(|pid| *pid > 0).map(nix::unistd::Pid::from_raw)
}
