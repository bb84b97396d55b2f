//! How the program ends: every exit code with its meaning, once.

/// How a command ended, for the program that ran it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// The command succeeded.
    Done,
    /// The command failed.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// No login is stored, or the stored session has ended.
    NotLoggedIn,
    /// Nexudus refused the login, or wants a 2FA code or a new password.
    Unauthorized,
    /// The account may not use the API.
    Forbidden,
    /// The daemon is not running.
    NotRunning,
    /// The network or Nexudus cannot be reached.
    Network,
    /// The credential store is locked or missing.
    CredentialStore,
    /// `run` failed before its command could be started.
    Run,
    /// The command of `run` cannot be executed.
    NotExecutable,
    /// The command of `run` does not exist.
    NotFound,
    /// The command of `run` ended with this code.
    Child(u8),
}

impl ExitCode {
    /// Every code of the program itself, in ascending order.
    pub const ALL: [Self; 12] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::NotLoggedIn,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotRunning,
        Self::Network,
        Self::CredentialStore,
        Self::Run,
        Self::NotExecutable,
        Self::NotFound,
    ];

    /// Returns the number that the shell sees.
    pub const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotLoggedIn => 3,
            Self::Unauthorized => 4,
            Self::Forbidden => 5,
            Self::NotRunning => 6,
            Self::Network => 7,
            Self::CredentialStore => 8,
            Self::Run => 125,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::Child(code) => code,
        }
    }

    /// Returns the meaning in a few words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "usage or configuration",
            Self::NotLoggedIn => "not logged in",
            Self::Unauthorized => "unauthorized: refused, 2FA needed, password reset needed",
            Self::Forbidden => "forbidden: no API access",
            Self::NotRunning => "the daemon is not running",
            Self::Network => "network or upstream unreachable",
            Self::CredentialStore => "credential store locked or missing",
            Self::Run => "run: it failed itself",
            Self::NotExecutable => "run: the command cannot be executed",
            Self::NotFound => "run: the command was not found",
            Self::Child(_) => "run: as the command",
        }
    }
}
