//! Secrets and addresses from a person: typed at a terminal, or on standard input.
//!
//! No secret is an argument: every user of the machine can see arguments.

#[cfg(unix)]
mod terminal;

use std::io::{self, IsTerminal as _};

use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

#[cfg(unix)]
pub(super) use self::terminal::guarded;
use super::Printer;
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::secret::{Secret, SecretFlaw, SecretInput, UnusableSecret};

/// Why a prompt has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum PromptError {
    /// There is no terminal to prompt at.
    #[error("there is no terminal to prompt for {what}")]
    NoTerminal {
        /// The thing that is needed.
        what: &'static str,
        /// How to give it instead.
        instead: &'static str,
    },
    /// Standard input ends too early.
    #[error("{what} is missing on standard input")]
    Missing {
        /// The thing that is missing.
        what: &'static str,
    },
    /// The terminal went away, or its input ended, while a prompt waited.
    #[error("the terminal's input ended before {what} was typed")]
    Ended {
        /// The requested value.
        what: &'static str,
        /// How to give it instead.
        instead: &'static str,
    },
    /// The typed text is empty.
    #[error("{what} is empty")]
    Empty {
        /// The requested value.
        what: &'static str,
    },
    /// A secret cannot be one, by its form.
    #[error(transparent)]
    Unusable(#[from] UnusableSecret),
    /// The typed text could not be read.
    #[error("could not read {what}")]
    Unreadable {
        /// The requested value.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Problem for PromptError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::NoTerminal { instead, .. } | Self::Ended { instead, .. } => {
                ProblemKind::CommandUsage.with_hint(*instead)
            }
            Self::Missing { .. } => ProblemKind::CommandUsage.with_hint(
                "One line each: the password, then the 2FA secret if --totp-secret-stdin is given.",
            ),
            Self::Empty { .. } => ProblemKind::CommandUsage.into(),
            Self::Unusable(error) => ProblemKind::CommandUsage.with_hint(error.hint()),
            Self::Unreadable { .. } => ProblemKind::CommandFailed.into(),
        }
    }
}

/// One value that a command prompts for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prompt {
    what: &'static str,
    prompt: &'static str,
    instead: &'static str,
}

pub(super) const EMAIL: Prompt = Prompt {
    what: "the e-mail address",
    prompt: "E-mail: ",
    instead: "Give it with --email ADDRESS.",
};

pub(super) const PASSWORD: Prompt = Prompt {
    what: "the password",
    prompt: "Password: ",
    instead: "Give it on standard input with --password-stdin.",
};

pub(super) const CODE: Prompt = Prompt {
    what: "the 2FA code",
    prompt: "2FA code: ",
    instead: "Give it with --totp CODE, or store the 2FA secret with --totp-secret-stdin.",
};

impl Prompt {
    /// Prompts, and shows the typed text.
    pub(super) async fn ask(self, print: Printer) -> Result<String, PromptError> {
        let line = self.line(print, false).await?;
        self.checked(line.trim().to_owned())
    }

    /// Prompts, and hides the typed text.
    pub(super) async fn ask_hidden(self, print: Printer) -> Result<Secret, PromptError> {
        let line = self.line(print, true).await?;
        if line.is_empty() {
            return Err(PromptError::Empty { what: self.what });
        }
        Ok(SecretInput::typed(self.what, line.to_string()).line()?)
    }

    #[cfg(unix)]
    async fn line(self, print: Printer, is_hidden: bool) -> Result<Zeroizing<String>, PromptError> {
        self.can_ask()?;
        let line = terminal::read_line(self.prompt, is_hidden, print).await;
        line.map_err(|source| self.unreadable(source))
    }

    #[cfg(not(unix))]
    async fn line(self, print: Printer, is_hidden: bool) -> Result<Zeroizing<String>, PromptError> {
        self.can_ask()?;
        let typed = if is_hidden {
            rpassword::prompt_password(self.prompt)
        } else {
            print.prompt(self.prompt);
            read_typed_line()
        };
        typed.map(Zeroizing::new).map_err(|source| self.unreadable(source))
    }

    fn can_ask(self) -> Result<(), PromptError> {
        if io::stdin().is_terminal() {
            Ok(())
        } else {
            Err(PromptError::NoTerminal { what: self.what, instead: self.instead })
        }
    }

    /// Returns the text, unless it is empty.
    pub(super) fn checked(self, text: String) -> Result<String, PromptError> {
        if text.is_empty() { Err(PromptError::Empty { what: self.what }) } else { Ok(text) }
    }

    fn unreadable(self, source: io::Error) -> PromptError {
        unreadable(self.what, self.instead, source)
    }
}

/// Does `work`; where the terminal itself restores its state, nothing else is to be done.
#[cfg(not(unix))]
pub(super) async fn guarded<T>(work: impl Future<Output = T>) -> Result<T, u8> {
    Ok(work.await)
}

/// The lines of standard input, for as many secrets as are read from it.
pub(super) struct StdinLines(SecretInput, usize);

impl StdinLines {
    /// Reads all lines.
    pub(super) fn read() -> Result<Self, PromptError> {
        let what = "standard input";
        let input = SecretInput::from_reader(what, io::stdin().lock());
        Ok(Self(input.map_err(|source| PromptError::Unreadable { what, source })?, 0))
    }

    /// Returns the next line.
    pub(super) fn next_line(&mut self, what: &'static str) -> Result<Secret, PromptError> {
        let line = self.0.nth_line(self.1);
        self.1 += 1;
        line.map_err(|error| {
            if error.flaw == SecretFlaw::Empty {
                return PromptError::Missing { what };
            }
            let source_name = format!("{what} on standard input").into();
            PromptError::Unusable(UnusableSecret { source_name, flaw: error.flaw })
        })
    }

    /// Says whether a line is left that nothing was read from.
    pub(super) fn has_more(&self) -> bool {
        !matches!(self.0.nth_line(self.1), Err(UnusableSecret { flaw: SecretFlaw::Empty, .. }))
    }

    /// Parses the whole text as JSON; `None` when it is something else.
    pub(super) fn json<T: DeserializeOwned>(self) -> Result<Option<T>, PromptError> {
        Ok(self.0.json()?)
    }
}

/// Asks a question that only a typed `y` or `yes` answers with yes.
pub(super) fn confirm(
    question: &str,
    instead: &'static str,
    print: Printer,
) -> Result<bool, PromptError> {
    let what = "your consent";
    if !io::stdin().is_terminal() {
        return Err(PromptError::NoTerminal { what, instead });
    }
    print.prompt(&format!("{question} [y/N] "));
    let line = read_typed_line().map_err(|source| unreadable(what, instead, source))?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Reads a line. An input that ends before is an error, and no empty answer.
fn read_typed_line() -> io::Result<String> {
    let mut line = String::new();
    let length = io::stdin().read_line(&mut line)?;
    if length == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(line) }
}

fn unreadable(what: &'static str, instead: &'static str, source: io::Error) -> PromptError {
    // A terminal that is gone gives no input (EOF), or none that can be read (EIO).
    let is_gone = source.kind() == io::ErrorKind::UnexpectedEof;
    #[cfg(unix)]
    let is_gone = is_gone || source.raw_os_error() == Some(nix::errno::Errno::EIO as i32);
    if is_gone {
        PromptError::Ended { what, instead }
    } else {
        PromptError::Unreadable { what, source }
    }
}
