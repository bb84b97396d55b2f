//! Secrets and addresses from a person: typed at a terminal, or on standard input.
//!
//! No secret is an argument: every user of the machine can see arguments.

use std::io::{self, IsTerminal as _, Read as _};

use zeroize::Zeroizing;

use super::Printer;
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::secret::Secret;

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
    /// The typed text is empty.
    #[error("{what} is empty")]
    Empty {
        /// The requested value.
        what: &'static str,
    },
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
            Self::NoTerminal { instead, .. } => ProblemKind::CommandUsage.with_hint(*instead),
            Self::Missing { .. } => ProblemKind::CommandUsage.with_hint(
                "One line each: the password, then the 2FA secret if --totp-secret-stdin is given.",
            ),
            Self::Empty { .. } => ProblemKind::CommandUsage.into(),
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
    pub(super) fn ask(self, print: Printer) -> Result<String, PromptError> {
        self.can_ask()?;
        print.prompt(self.prompt);
        let mut line = String::new();
        io::stdin().read_line(&mut line).map_err(|source| self.unreadable(source))?;
        self.checked(line.trim().to_owned())
    }

    /// Prompts, and hides the typed text.
    pub(super) fn ask_hidden(self) -> Result<Secret, PromptError> {
        self.can_ask()?;
        let typed = rpassword::prompt_password(self.prompt);
        let typed = typed.map_err(|source| self.unreadable(source))?;
        self.checked(typed).map(Secret::new)
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
        PromptError::Unreadable { what: self.what, source }
    }
}

/// The lines of standard input, for as many secrets as are read from it.
pub(super) struct StdinLines(Zeroizing<String>, usize);

impl StdinLines {
    /// Reads all lines.
    pub(super) fn read() -> Result<Self, PromptError> {
        let mut text = Zeroizing::new(String::with_capacity(MAX_STDIN_BYTES));
        let read = io::stdin().lock().take(MAX_STDIN_BYTES as u64).read_to_string(&mut text);
        let what = "standard input";
        read.map_err(|source| PromptError::Unreadable { what, source })?;
        Ok(Self(text, 0))
    }

    /// Returns the next line.
    pub(super) fn next_line(&mut self, what: &'static str) -> Result<Secret, PromptError> {
        let line = self.0.lines().nth(self.1).filter(|line| !line.is_empty());
        self.1 += 1;
        line.map(Secret::new).ok_or(PromptError::Missing { what })
    }

    /// Returns the whole text.
    pub(super) fn all(&self) -> &str {
        &self.0
    }
}

/// Most that is read, in bytes: the buffer is made once and wiped once.
const MAX_STDIN_BYTES: usize = 16 * 1024;

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
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(|source| PromptError::Unreadable { what, source })?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
