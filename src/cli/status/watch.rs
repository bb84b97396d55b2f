//! `status --watch`: the overview again and again, until `q` or Ctrl-C.
//!
//! On a terminal each picture replaces the last one line by line, so that nothing flickers; what does
//! not fit is left out. Elsewhere the pictures follow each other, and with `--json` one object a line.

#[cfg(unix)]
use std::io;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::sleep;

use super::overview::format_overview;
use super::{fetch, find, format_status};
use crate::admin::api::Status;
use crate::cli::globals::GlobalArgs;
#[cfg(unix)]
use crate::cli::prompt::guarded;
use crate::cli::{CliError, Printer};
use crate::problem::ExitCode;

/// Shows the status until the person or the reader has enough. A daemon that restarts is waited for.
pub(super) async fn watch(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    #[cfg(unix)]
    return match guarded(show_again_and_again(globals, print)).await {
        Ok(done) => done,
        Err(INTERRUPT) => Ok(()),
        Err(signal) => Err(CliError::ChildExited(128 + signal)),
    };
    #[cfg(not(unix))]
    show_again_and_again(globals, print).await
}

async fn show_again_and_again(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let keys = Keys::begin(print);
    let mut shown = Frame { print, has_begun: false };
    let mut is_first = true;
    let mut print_found = print;
    loop {
        let picture = match picture(globals, print_found).await {
            Ok(picture) => picture,
            Err(error) if !is_first && error.exit_code() == ExitCode::NotRunning => {
                "the daemon does not run; waiting for the next one…\n".to_owned()
            }
            Err(error) => return Err(error),
        };
        is_first = false;
        // Which daemon it is was said.
        print_found = print.with_quiet(true);
        if !print.stream(shown.next(&picture, globals.json).as_bytes())? {
            return Ok(());
        }
        tokio::select! {
            () = keys.wanted_end() => return Ok(()),
            () = sleep(REFRESH_INTERVAL) => {}
        }
    }
}

async fn picture(globals: &GlobalArgs, print: Printer) -> Result<String, CliError> {
    let daemon = find(globals, print).await?;
    if globals.json {
        return Ok(format!("{}\n", fetch::<Json>(&daemon, print).await?));
    }
    let status = fetch::<Status>(&daemon, print).await?;
    // A daemon of an earlier version has no history.
    Ok(match daemon.get("/v1/history").await {
        Ok(history) => format_overview(&status, &history, globals, print),
        Err(_) => format_status(&status, globals, print),
    })
}

/// The picture on the terminal.
struct Frame {
    print: Printer,
    has_begun: bool,
}

impl Frame {
    /// Returns what shows this picture in place of the last one.
    fn next(&mut self, picture: &str, is_json: bool) -> String {
        let begins = !std::mem::replace(&mut self.has_begun, true);
        if is_json {
            return picture.to_owned();
        }
        if !self.print.is_on_terminal() {
            return if begins { picture.to_owned() } else { format!("\n{picture}") };
        }
        let (width, height) = terminal_size::terminal_size()
            .map_or(USUAL_SIZE, |(width, height)| (width.0.into(), height.0.into()));
        redraw(picture, (width, height), begins)
    }
}

/// Returns the sequences that replace the last picture: home, each line and the rest of it cleared, then
/// what is below.
fn redraw(picture: &str, (width, height): (usize, usize), begins: bool) -> String {
    let mut text = if begins { "\u{1b}[2J\u{1b}[H" } else { "\u{1b}[H" }.to_owned();
    // The last line stays free for the cursor: a line break there would scroll.
    for line in picture.lines().take(height.saturating_sub(2)) {
        text.push_str(&fit(line, width));
        text.push_str("\u{1b}[K\n");
    }
    text.push_str("q or Ctrl-C ends this\u{1b}[K\u{1b}[J\r");
    text
}

/// Cuts a line to the width of the terminal; what colours it takes no room.
fn fit(line: &str, width: usize) -> String {
    let (mut fitting, mut taken, mut is_sequence) = (String::new(), 0, false);
    for letter in line.chars() {
        if letter == '\u{1b}' {
            is_sequence = true;
        }
        if is_sequence {
            fitting.push(letter);
            is_sequence = !letter.is_ascii_alphabetic();
        } else if taken < width {
            fitting.push(letter);
            taken += 1;
        }
    }
    fitting
}

/// The keyboard: read letter by letter while this lives, as before afterwards.
struct Keys {
    #[cfg(unix)]
    before: Option<nix::sys::termios::Termios>,
    #[cfg(unix)]
    print: Printer,
}

impl Keys {
    #[cfg(unix)]
    fn begin(print: Printer) -> Self {
        use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

        let before = tcgetattr(io::stdin()).ok().filter(|_| print.is_on_terminal());
        if let Some(before) = &before {
            let mut letters = before.clone();
            letters.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
            tcsetattr(io::stdin(), SetArg::TCSANOW, &letters).ok();
        }
        Self { before, print }
    }

    /// Waits until `q` is typed.
    #[cfg(unix)]
    async fn wanted_end(&self) {
        use std::os::fd::AsFd as _;

        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

        if self.before.is_none() {
            return std::future::pending().await;
        }
        loop {
            let stdin = io::stdin();
            let mut asked = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
            while poll(&mut asked, PollTimeout::ZERO) == Ok(1) {
                let mut letter = [0];
                match nix::unistd::read(&stdin, &mut letter) {
                    Ok(1) if letter == *b"q" => return,
                    Ok(1) => {}
                    Ok(_) | Err(_) => return std::future::pending().await,
                }
            }
            sleep(KEY_INTERVAL).await;
        }
    }

    #[cfg(not(unix))]
    fn begin(_: Printer) -> Self {
        Self {}
    }

    #[cfg(not(unix))]
    async fn wanted_end(&self) {
        std::future::pending().await
    }
}

#[cfg(unix)]
impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            nix::sys::termios::tcsetattr(io::stdin(), nix::sys::termios::SetArg::TCSANOW, before)
                .ok();
            // The line that says how to end is left behind.
            self.print.stream(b"\n").ok();
        }
    }
}

/// SIGINT: Ctrl-C is the way to end this.
#[cfg(unix)]
const INTERRUPT: u8 = 2;

/// How often the daemon is asked.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);

/// How often the keyboard is looked at: less than a person notices.
#[cfg(unix)]
const KEY_INTERVAL: Duration = Duration::from_millis(100);

/// Columns and lines where the terminal does not tell.
const USUAL_SIZE: (usize, usize) = (80, 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_fits_into_the_terminal_and_clears_what_stood_there() {
        let picture = format!("\u{1b}[1mtitle\u{1b}[0m\n{}\nthird\nfourth\n", "x".repeat(100));

        let drawn = redraw(&picture, (80, 5), false);

        assert!(drawn.starts_with("\u{1b}[H\u{1b}[1mtitle\u{1b}[0m\u{1b}[K\n"), "{drawn:?}");
        assert!(drawn.contains(&format!("\n{}\u{1b}[K\n", "x".repeat(80))), "{drawn:?}");
        assert!(!drawn.contains("fourth") && drawn.ends_with("\u{1b}[J\r"), "{drawn:?}");
        assert_eq!(drawn.matches('\n').count(), 3, "nothing scrolls");
        assert!(redraw(&picture, (80, 24), true).starts_with("\u{1b}[2J"));
    }
}
