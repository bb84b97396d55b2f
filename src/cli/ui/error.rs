//! Why the page, or a program in its place, gets no answer.

use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UiError {
    /// The request names another host: a page elsewhere whose name leads here.
    #[error("this address answers to its own name alone")]
    Host,
    /// Another page, or no page, sends the request.
    #[error("only the page of this command may ask")]
    Origin,
    /// The code is wrong, used or late.
    #[error("the code is wrong, used or older than 60 seconds")]
    Code,
    /// The token is missing or wrong.
    #[error("this page has no token, or one of an earlier command")]
    Token,
    /// No such path.
    #[error("no such path")]
    Path,
    /// The path takes another method.
    #[error("this path takes another method")]
    Method,
    /// The body is not what the path takes.
    #[error("the body of the request is not understood")]
    Body,
    /// The body is too large.
    #[error("the body of the request is too large")]
    TooLarge,
    /// The command was started with `--read-only`.
    #[error("this page only shows")]
    ReadOnly,
    /// The command was started without `--bodies`.
    #[error("this page shows no headers, queries or bodies")]
    NoBodies,
}

impl Problem for UiError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Host => ProblemKind::ForeignHost
                .with_hint("Open the link as the command `ui` printed it: 127.0.0.1 and the port."),
            Self::Origin => ProblemKind::Browser.with_hint(
                "Open the link that the command `ui` printed; programs ask the admin socket.",
            ),
            Self::Code => ProblemKind::PageCode.into(),
            Self::Token => ProblemKind::PageToken.into(),
            Self::Path => ProblemKind::UnknownPath
                .with_hint("The page asks for a few paths; the admin socket has all of them."),
            Self::Method => ProblemKind::WrongMethod.into(),
            Self::Body => {
                ProblemKind::InvalidCommand.with_hint("Load the page again, and try once more.")
            }
            Self::TooLarge => ProblemKind::BodyTooLarge.with_hint("Send at most 64 KiB."),
            Self::NoBodies => {
                ProblemKind::ReadOnly.with_hint("Start the command `ui` with --bodies to see them.")
            }
            Self::ReadOnly => ProblemKind::ReadOnly
                .with_hint("Start the command `ui` without --read-only to change something."),
        }
    }
}
