//! The terminal while a command asks: what is typed is hidden before the prompt appears, and the
//! terminal is as before on every way out, signals included.
//!
//! Input is polled, not awaited: no thread blocks in a read that a signal could not end. Signals are
//! handled in one place ([`guarded`]), because a stop (Ctrl-Z) has to show the terminal's echo
//! again, stop the process, and hide it again afterwards.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::cli::Printer;

/// Does `work`. A signal that ends the command ends the line of the prompt and drops `work` first, so
/// that the terminal is restored; the signal's number is the error.
pub(in crate::cli) async fn guarded<T>(work: impl Future<Output = T>) -> Result<T, u8> {
    let listen = |kind| signal(kind).ok();
    let mut ending = ENDING.map(|(kind, number)| (listen(kind()), number));
    let mut stop = listen(SignalKind::from_raw(Signal::SIGTSTP as i32));
    let mut work = Box::pin(work);
    loop {
        let [interrupt, terminate, hangup, quit] = &mut ending;
        tokio::select! {
            biased;
            number = received(interrupt) => return Err(end_line(number)),
            number = received(terminate) => return Err(end_line(number)),
            number = received(hangup) => return Err(end_line(number)),
            number = received(quit) => return Err(end_line(number)),
            () = stopped(&mut stop) => stop_process(),
            done = &mut work => return Ok(done),
        }
    }
}

/// Leaves the line of a prompt that stays without an answer.
fn end_line(number: u8) -> u8 {
    if let Some(hidden) = &*hidden() {
        show("\n", hidden.print);
    }
    number
}

type Listener = Option<tokio::signal::unix::Signal>;

async fn received((listener, number): &mut (Listener, u8)) -> u8 {
    stopped(listener).await;
    *number
}

async fn stopped(listener: &mut Listener) {
    let received = match listener {
        Some(listener) => listener.recv().await,
        None => None,
    };
    if received.is_none() {
        std::future::pending().await
    }
}

/// Stops the process with the terminal as it was, and hides the input again once it goes on.
fn stop_process() {
    if let Some(hidden) = &*hidden() {
        hidden.restore();
    }
    // SIGTSTP itself is caught now; this one cannot be.
    let _ = kill(Pid::this(), Signal::SIGSTOP);
    if let Some(hidden) = &*hidden() {
        hidden.hide();
    }
}

/// Prompts and reads a line, hidden or shown. A whole line arrives at once: the terminal edits it.
///
/// # Errors
///
/// When the terminal cannot be used.
pub(super) async fn read_line(
    prompt: &'static str,
    is_hidden: bool,
    print: Printer,
) -> io::Result<Zeroizing<String>> {
    let stdin = io::stdin();
    let guard = is_hidden.then(|| EchoGuard::new(stdin.as_fd(), prompt, print)).transpose()?;
    if guard.is_none() {
        show(prompt, print);
    }
    while !is_readable(stdin.as_fd())? {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    let mut line = Zeroizing::new(String::with_capacity(LINE_CAPACITY));
    if stdin.read_line(&mut line)? == 0 {
        show("\n", print);
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    Ok(line)
}

/// Writes to the terminal itself, since the outputs may lead elsewhere.
fn show(text: &str, print: Printer) {
    let terminal = OpenOptions::new().write(true).open("/dev/tty");
    let written = terminal.and_then(|mut terminal| terminal.write_all(text.as_bytes()));
    if written.is_err() {
        print.prompt(text);
    }
}

fn is_readable(input: BorrowedFd<'_>) -> io::Result<bool> {
    let mut polled = [PollFd::new(input, PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::ZERO) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Hides what is typed, until it is dropped.
struct EchoGuard;

impl EchoGuard {
    fn new(input: BorrowedFd<'_>, prompt: &'static str, print: Printer) -> io::Result<Self> {
        let shown = tcgetattr(input)?;
        let input = File::from(input.try_clone_to_owned()?);
        let hiding = Hidden { input, shown, prompt, print };
        // Before the prompt: an answer may come as fast as a program can type.
        hiding.hide();
        *hidden() = Some(hiding);
        Ok(Self)
    }
}

impl Drop for EchoGuard {
    fn drop(&mut self) {
        if let Some(hidden) = hidden().take() {
            hidden.restore();
        }
    }
}

/// A terminal that hides what is typed.
struct Hidden {
    input: File,
    /// The terminal's own state.
    shown: Termios,
    prompt: &'static str,
    print: Printer,
}

impl Hidden {
    fn hide(&self) {
        let mut hiding = self.shown.clone();
        hiding.local_flags.remove(LocalFlags::ECHO);
        // The end of the line is still shown.
        hiding.local_flags.insert(LocalFlags::ECHONL | LocalFlags::ICANON);
        // At once: what was typed before the prompt is kept.
        let _ = tcsetattr(&self.input, SetArg::TCSANOW, &hiding);
        show(self.prompt, self.print);
    }

    fn restore(&self) {
        let _ = tcsetattr(&self.input, SetArg::TCSANOW, &self.shown);
    }
}

/// The terminal that is hidden now: one command asks one thing at a time.
static HIDDEN: Mutex<Option<Hidden>> = Mutex::new(None);

fn hidden() -> MutexGuard<'static, Option<Hidden>> {
    HIDDEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The signals that end a command, each with its number.
const ENDING: [(fn() -> SignalKind, u8); 4] = [
    (SignalKind::interrupt, Signal::SIGINT as u8),
    (SignalKind::terminate, Signal::SIGTERM as u8),
    (SignalKind::hangup, Signal::SIGHUP as u8),
    (SignalKind::quit, Signal::SIGQUIT as u8),
];

/// How often the terminal is looked at: no person notices the wait.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Longest line of a terminal in its usual mode, in bytes; a buffer that grows is copied.
const LINE_CAPACITY: usize = 4_096;
