//! Every refusal of the admin surface as `application/problem+json` (RFC 9457).

use axum::body::Body;
use axum::response::IntoResponse;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use super::api;
use crate::config::with_profile_flag;
use crate::problem::{Problem, ProblemDetails, ProblemKind, Report};

/// Why the admin surface itself refuses a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AdminError {
    /// No route has this path.
    #[error("no such path")]
    UnknownPath,
    /// No route over TCP has this path.
    #[error("no such path over TCP")]
    NotOverTcp,
    /// The path takes another method.
    #[error("this path takes another method")]
    WrongMethod,
    /// `?kinds=` names a kind of events that does not exist.
    #[error("kinds are ready, session, request and approval")]
    UnknownEvents,
    /// `?content=` names content that does not exist.
    #[error("content is headers, queries and bodies")]
    UnknownContent,
    /// Another user asks for queries or bodies.
    #[error("queries and bodies are shown to the daemon's own user and to root alone")]
    ContentForbidden,
    /// Nothing was captured of a request, or it is kept no longer.
    #[error("nothing is kept of this request's content")]
    NotCaptured,
    /// `?after=` is no time.
    #[error("after is a number of seconds since 1970")]
    UnknownTime,
    /// More clients follow the events than allowed.
    #[error("too many readers follow the events")]
    TooManyReaders,
    /// The body of a request is not what the path takes.
    #[error("the body of the request is not understood: {why}")]
    InvalidBody {
        /// Why.
        why: String,
    },
    /// A logout left the session's file.
    #[error("could not remove the session: {cause}")]
    SessionNotRemoved {
        /// Why.
        cause: String,
    },
    /// A data thread missed its heartbeat.
    #[error("the data path does not respond: thread {threads}")]
    DaemonStuck {
        /// The names of the threads.
        threads: String,
    },
    /// A handler panicked.
    #[error("the request could not be handled: this is a bug")]
    Panic,
    /// The daemon takes no command any more.
    #[error("the daemon is stopping already")]
    Stopping,
    /// The login is for another upstream than the daemon's.
    #[error("this daemon serves {own}, and the login is for {given}")]
    OtherOrigin {
        /// The upstream of the daemon.
        own: String,
        /// The upstream of the login.
        given: String,
    },
}

impl Problem for AdminError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::UnknownPath => ProblemKind::UnknownPath.into(),
            Self::NotOverTcp => ProblemKind::UnknownPath.with_hint(
                "Over TCP there are /healthz, /readyz and /metrics. The rest is at admin.sock, where \
                 `nexudus-proxy status` and the other commands ask.",
            ),
            Self::WrongMethod => ProblemKind::WrongMethod.into(),
            Self::UnknownEvents => ProblemKind::UnknownEvents.into(),
            Self::UnknownContent => ProblemKind::UnknownEvents
                .with_hint("Ask for content=headers, or with queries and bodies too."),
            Self::ContentForbidden => ProblemKind::ForeignUser
                .with_hint("Call as root; where the daemon is your own, as its user."),
            Self::NotCaptured => ProblemKind::UnknownPath
                .with_hint("Content is captured while its reader follows /v1/events?content=headers, and the oldest goes first."),
            Self::UnknownTime => ProblemKind::InvalidCommand
                .with_hint("Ask for /v1/history, or for /v1/history?after=SECONDS."),
            Self::TooManyReaders => ProblemKind::TooManyReaders.into(),
            Self::InvalidBody { .. } => ProblemKind::InvalidCommand.into(),
            Self::SessionNotRemoved { .. } => ProblemKind::CommandFailed
                .with_hint("Make that directory writable for the daemon, and log out again."),
            Self::DaemonStuck { .. } => ProblemKind::DaemonStuck.into(),
            Self::Panic => ProblemKind::InternalError.into(),
            Self::Stopping => ProblemKind::DaemonStopping.into(),
            Self::OtherOrigin { .. } => ProblemKind::OtherOrigin.into(),
        }
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response<Body> {
        problem_response(&self)
    }
}

impl api::Problem {
    /// Describes an error; `problems` lists what is wrong in particular.
    pub fn new(error: &(impl Problem + ?Sized)) -> Self {
        let ProblemDetails { kind, hint, .. } = error.details();
        let status = kind.status().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            kind: format!("urn:nexudus-proxy:{}", kind.code()),
            title: kind.title().to_owned(),
            status: status.as_u16(),
            detail: error.to_string(),
            code: kind.code().to_owned(),
            hint: hint.map(Into::into),
            problems: error.parts(),
        }
    }

    /// Names the profile in the commands that the hints advise.
    pub(super) fn for_profile(mut self, profile: &str) -> Self {
        let hints = self.problems.iter_mut().filter_map(|report| report.hint.as_mut());
        hints.chain(&mut self.hint).for_each(|hint| *hint = with_profile_flag(hint, profile));
        self
    }
}

/// Renders an error whose hint advises no command.
pub(super) fn problem_response(error: &impl Problem) -> Response<Body> {
    render(&api::Problem::new(error))
}

/// Renders an error, the commands in its hint for those who use the daemon of `profile`.
pub(super) fn response_for_profile(error: &impl Problem, profile: &str) -> Response<Body> {
    let mut problem = api::Problem::new(error);
    if problem.problems.is_empty() {
        // The sentence alone does not say why.
        let reports = Report::all(error).into_iter().filter(|report| !report.causes.is_empty());
        problem.problems = reports.map(|report| Report { hint: None, ..report }).collect();
    }
    let mut response = render(&problem.for_profile(profile));
    if let Some(after) = error.details().retry_after {
        let seconds = after.as_secs().max(1);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Renders a problem.
pub(super) fn render(problem: &api::Problem) -> Response<Body> {
    // A struct of strings always is JSON.
    let text = serde_json::to_string(problem).unwrap_or_default();
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
