//! One catalogue of problems: everything that can go wrong, for programs and people.
//!
//! [`ProblemKind`] lists the kinds, each with its code, status, title, RFC 9209 token, exit code
//! and default hint, once. [`Problem`] is the trait by which an error says its kind. Each module
//! implements it beside its own error, with a match that names every variant: a new error does not
//! compile until it has a kind. The gateway, the admin surface and the command line only render.

mod exit_code;
mod kind;
mod report;
mod spec;

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

pub use exit_code::ExitCode;
pub use kind::ProblemKind;
pub use report::Report;

/// An error that knows its place in the catalogue. Its sentence is its `Display`.
pub trait Problem: Error {
    /// Returns the kind, and what this error adds to it.
    fn details(&self) -> ProblemDetails;

    /// Returns what is wrong in particular, where this error stands for several problems.
    fn parts(&self) -> Vec<Report> {
        vec![]
    }

    /// Returns the kind.
    fn kind(&self) -> ProblemKind {
        self.details().kind
    }
}

/// The kind of a problem, and what one error adds to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProblemDetails {
    /// The kind.
    pub kind: ProblemKind,
    /// The way out: the kind's own hint, or a better one.
    pub hint: Option<Cow<'static, str>>,
    /// Time after which the next attempt makes sense.
    pub retry_after: Option<Duration>,
}

impl ProblemDetails {
    /// Replaces the hint by a better one.
    pub fn with_hint(self, hint: impl Into<Cow<'static, str>>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Adds the time after which the next attempt makes sense.
    pub fn with_retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }
}

impl From<ProblemKind> for ProblemDetails {
    fn from(kind: ProblemKind) -> Self {
        Self { kind, hint: kind.hint().map(Cow::Borrowed), retry_after: None }
    }
}

impl ProblemKind {
    /// Returns this kind with a better hint than its own.
    pub fn with_hint(self, hint: impl Into<Cow<'static, str>>) -> ProblemDetails {
        ProblemDetails::from(self).with_hint(hint)
    }
}
