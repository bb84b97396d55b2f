//! The command of a `run`: its environment, the signals that are forwarded to it, its end.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::task::Poll;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::Error;
use crate::children::OwnChild;
use crate::secret::Secret;

/// Starts the command, with the listener and the key in the variables that tools look for.
pub(super) fn spawn(argv: &[OsString], proxy: SocketAddr, key: &Secret) -> Result<Child, Error> {
    let (program, arguments) = argv.split_first().expect("clap requires at least one word");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("NEXUDUS_BASE_URL", format!("http://127.0.0.1:{}", proxy.port()))
        .env("NEXUDUS_PROXY_KEY", key.expose())
        .env("NEXUDUS_BEARER_TOKEN", key.expose())
        // Tools that insist on logging in do so here, with the key. They never get the real login.
        .env("NEXUDUS_EMAIL", PLACEHOLDER_EMAIL)
        .env("NEXUDUS_USERNAME", PLACEHOLDER_EMAIL)
        .env("NEXUDUS_PASSWORD", key.expose())
        .env_remove("NEXUDUS_TOTP");
    for name in ["NO_PROXY", "no_proxy"] {
        command.env(name, with_loopback(std::env::var_os(name)));
    }
    command.spawn().map_err(|source| Error::Command {
        program: program.to_string_lossy().into_owned(),
        source,
    })
}

/// Adds the loopback to the hosts that need no proxy: the proxy of HTTP_PROXY would look for our
/// listener on its own machine.
fn with_loopback(hosts: Option<OsString>) -> OsString {
    let mut hosts = hosts.unwrap_or_default();
    if !hosts.is_empty() {
        hosts.push(OsStr::new(","));
    }
    hosts.push("127.0.0.1,localhost");
    hosts
}

/// The signals that are forwarded to the command.
#[derive(Debug)]
pub(super) struct ForwardedSignals(Vec<(Signal, tokio::signal::unix::Signal)>);

impl ForwardedSignals {
    /// Catches the signals from now on.
    pub(super) fn new() -> io::Result<Self> {
        use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
        let all = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH];
        let streams = all.map(|it| Ok((it, signal(SignalKind::from_raw(it as i32))?)));
        Ok(Self(streams.into_iter().collect::<io::Result<_>>()?))
    }

    /// Waits for the next signal.
    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|cx| {
            let arrived = self
                .0
                .iter_mut()
                .find_map(|(signal, stream)| stream.poll_recv(cx).is_ready().then_some(*signal));
            arrived.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Waits for the command to end. Forwards our signals to it.
pub(super) async fn wait(
    child: &mut Child,
    signals: &mut ForwardedSignals,
) -> io::Result<ExitStatus> {
    let _own = OwnChild::new(child.id());
    let has_terminal = io::stdin().is_terminal();
    loop {
        tokio::select! {
            status = child.wait() => return status,
            signal = signals.next() => forward(signal, child.id(), has_terminal),
        }
    }
}

/// Forwards a signal, unless a terminal has sent it to the command as well.
fn forward(signal: Signal, pid: Option<u32>, has_terminal: bool) {
    let is_from_terminal =
        has_terminal && matches!(signal, Signal::SIGINT | Signal::SIGQUIT | Signal::SIGWINCH);
    let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) else { return };
    if !is_from_terminal && let Err(error) = nix::sys::signal::kill(Pid::from_raw(pid), signal) {
        tracing::debug!(%error, "could not forward a signal");
    }
}

/// Returns the exit code as a shell reports it: 128 and the number of the signal, if one ended the
/// command.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.signal().map(|signal| 128 + signal).or_else(|| status.code());
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The address of no account: the key beside it says who the client is.
const PLACEHOLDER_EMAIL: &str = "run@localhost";
