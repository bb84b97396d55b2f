//! The command of a `run`: its start, the signals that are forwarded to it, its end.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::task::Poll;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpgrp, tcgetpgrp};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::Error;
use crate::children::OwnChild;

/// Returns the command, to be started in the environment that the caller adds.
pub(super) fn new(argv: &[OsString]) -> std::process::Command {
    let (program, arguments) = argv.split_first().expect("clap requires at least one word");
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    command
}

/// Starts the command.
pub(super) fn spawn(command: std::process::Command) -> Result<Child, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    Command::from(command).spawn().map_err(|source| Error::Command { program, source })
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

/// Waits for the command to end. Forwards our signals to it, and stops when it has stopped.
pub(super) async fn wait(
    child: &mut Child,
    signals: &mut ForwardedSignals,
) -> io::Result<ExitStatus> {
    let _own = OwnChild::new(child.id());
    let mut changes = signal(SignalKind::child())?;
    loop {
        tokio::select! {
            status = child.wait() => return status,
            signal = signals.next() => forward(signal, child.id()),
            _ = changes.recv() => stop_with(child.id()).await,
        }
    }
}

/// Forwards a signal, unless a terminal has sent it to the command as well.
fn forward(signal: Signal, pid: Option<u32>) {
    let is_from_terminal =
        matches!(signal, Signal::SIGINT | Signal::SIGQUIT | Signal::SIGWINCH) && is_in_foreground();
    let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) else { return };
    if !is_from_terminal && let Err(error) = nix::sys::signal::kill(Pid::from_raw(pid), signal) {
        tracing::debug!(%error, "could not forward a signal");
    }
}

/// Says whether what is typed in a terminal signals this process and the command with it. Standard
/// input may be a file meanwhile.
fn is_in_foreground() -> bool {
    let terminal = std::fs::File::open("/dev/tty");
    terminal.is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}

/// Stops this process and all of its job, if the command has stopped alone: a program that reads keys by
/// itself (Node's prompt, an editor) does so on Ctrl-Z, and the shell would wait for us with the terminal.
async fn stop_with(pid: Option<u32>) {
    if !is_stopped(pid) {
        return;
    }
    // After `fg`, every process of the job is continued one after the other.
    tokio::time::sleep(CONTINUE_DELAY).await;
    if is_stopped(pid)
        && is_in_foreground()
        // The shell sees the job stop, and its `fg` continues the command too.
        && let Err(error) = nix::sys::signal::kill(Pid::from_raw(0), Signal::SIGTSTP)
    {
        tracing::debug!(%error, "could not stop with the command");
    }
}

/// Says whether the command has stopped itself. Leaves its state for others to read (`WNOWAIT`).
#[cfg(target_os = "linux")]
fn is_stopped(pid: Option<u32>) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) else { return false };
    let look = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let found = waitid(Id::Pid(Pid::from_raw(pid)), look);
    matches!(found, Ok(WaitStatus::Stopped(_, Signal::SIGTSTP | Signal::SIGSTOP)))
}

/// Elsewhere `wait` alone tells, and takes the exit code away.
#[cfg(not(target_os = "linux"))]
fn is_stopped(_: Option<u32>) -> bool {
    false
}

/// Returns the exit code as a shell reports it: 128 and the number of the signal, if one ended the
/// command.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.signal().map(|signal| 128 + signal).or_else(|| status.code());
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// How long a shell may take to continue all processes of a job.
const CONTINUE_DELAY: Duration = Duration::from_millis(100);
