//! Why the policy denies a request.

use std::time::Duration;

use crate::clients::QuotaError;
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::redact::{QueryError, ResolveError};

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A server could read the path as a token endpoint, which only the daemon serves.
    #[error(
        "the path can be read as a token endpoint, which is served only in its documented spelling"
    )]
    Reserved,
    /// The path has too many interpretations to check them all.
    #[error("the path can be read in too many ways to check them all")]
    TooManyInterpretations,
    /// A token endpoint takes POST.
    #[error("a token endpoint takes POST only")]
    TokenMethod,
    /// The guide takes GET.
    #[error("what a client may do is asked for with GET")]
    GuideMethod,
    /// The path of the guide in another spelling.
    #[error(
        "the path can be read as the daemon's own, which is served only in its documented spelling"
    )]
    GuideSpelling,
    /// A rule denies the request.
    #[error("denied by rule `{0}`")]
    Denied(String),
    /// None of the client's rules allows the request.
    #[error("none of the client's rules allows the request")]
    NotAllowed,
    /// The path of a limited client can be read in more than one way.
    #[error("the path can be read in more than one way, which a limited client may not send")]
    Ambiguous,
    /// The path of a limited client carries other requests.
    #[error(
        "`{0}` is closed to limited clients: it can carry other requests, which no rule checks"
    )]
    Indirect(&'static str),
    /// A limited client named another method or target than those that were checked.
    #[error("{0} names another method or target, which a limited client may not do")]
    Override(&'static str),
    /// A limited client sent a form in which another method may be named.
    #[error("the form of a limited client cannot be searched for `_method`")]
    UnreadableForm,
    /// A rule is about the command in a request whose command cannot be read.
    #[error("a rule is about the command, which cannot be read: {0}")]
    UnreadableCommand(&'static str),
    /// A rule is about the body, and no memory is left to read it.
    #[error("a rule is about the body, and no memory is left to read it: too many others are held")]
    NoMemory,
    /// The path of a limited client returns what would make the client an unlimited one.
    #[error("a limited client gets no login material unless one of its rules names `{0}`")]
    LoginMaterial(&'static str),
    /// The response to a limited client would have made the client an unlimited one.
    #[error("the login material in the response to a limited client could not be removed")]
    LoginMaterialInResponse,
    /// A read-only client tried more than reading.
    #[error("this client may only GET, HEAD and OPTIONS paths under /api/ and /ContentDownload/")]
    ReadOnly,
    /// A read-only client tried to read what is not among the paths for reading.
    #[error("this client may only read paths under /api/ and /ContentDownload/")]
    ReadOnlyPath {
        /// The path, if it is plain enough to be shown.
        path: Option<Box<str>>,
    },
    /// A rule wants a person asked, and the request can stand for many.
    #[error("a rule wants a person asked, and this request can carry others, which none sees")]
    Unaskable,
    /// No budget counts the bytes of a WebSocket.
    #[error("a client with a budget opens no WebSocket: nothing that goes through is counted")]
    UncountedWebSocket,
    /// A redacted client sent a path, a query or a body that is not for one.
    #[error(transparent)]
    Redaction(#[from] ResolveError),
    /// A redacted client would get what cannot be rewritten.
    #[error("{0}, which cannot be redacted")]
    Unredactable(&'static str),
    /// The client has used up its quota.
    #[error(transparent)]
    Quota(#[from] QuotaError),
}

impl Error {
    /// Returns the rule that denied the request, if it was one.
    pub(in crate::gateway) fn rule(&self) -> Option<&str> {
        if let Self::Denied(rule) = self {
            return Some(rule);
        }
        if let Self::LoginMaterial(path) = self { Some(path) } else { None }
    }
}

impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        let denied = |hint| ProblemKind::RuleDenied.with_hint(hint);
        match self {
            Self::Reserved => ProblemKind::AmbiguousTarget
                .with_hint("Ask for /api/token or /api/sys/users/token in exactly that spelling."),
            Self::TooManyInterpretations => ProblemKind::AmbiguousTarget.into(),
            Self::GuideMethod => ProblemKind::MethodNotAllowed.with_hint("GET it."),
            Self::GuideSpelling => ProblemKind::AmbiguousTarget.into(),
            Self::TokenMethod => ProblemKind::MethodNotAllowed.into(),
            Self::Denied(_) => ProblemKind::RuleDenied.into(),
            Self::NotAllowed => {
                denied("Use a key whose rules allow it: `nexudus-proxy client list`.")
            }
            Self::Ambiguous => denied(ProblemKind::AmbiguousTarget.hint().unwrap_or_default()),
            Self::Indirect(path) if path.starts_with("/api/auth/me") => {
                denied("Ask for `/api/auth/me`.")
            }
            Self::Indirect(path) if path.contains("/user/me") => {
                denied("Ask for the path that ends in `/user/me`.")
            }
            Self::Indirect(_) => {
                denied("Send each request by itself, to the path that it is about.")
            }
            Self::Unaskable => denied("Send each request by itself, as JSON."),
            Self::UncountedWebSocket => denied("Use a key without a budget."),
            Self::Override(_) => {
                denied("Send the request with the method and the path that it is about.")
            }
            Self::UnreadableForm => {
                denied("Send less than limits.replay_body, in UTF-8 and not compressed, or JSON.")
            }
            Self::UnreadableCommand(_) => denied(
                "Send one JSON object with one `Key` of plain letters, in UTF-8, not compressed, \
                 shorter than limits.replay_body, with `Content-Type: application/json`.",
            ),
            Self::NoMemory => ProblemDetails::from(ProblemKind::NoBodyMemory)
                .with_retry_after(Duration::from_secs(1)),
            Self::LoginMaterial(path) => denied(rule_hint(path)),
            Self::LoginMaterialInResponse => {
                denied("No limited client gets this response: ask the person who runs the daemon.")
            }
            Self::ReadOnly => ProblemKind::ReadOnly.into(),
            Self::ReadOnlyPath { path } => {
                ProblemKind::ReadOnly.with_hint(path_hint(path.as_deref()))
            }
            Self::Redaction(error) => redaction_details(*error),
            Self::Unredactable(_) => ProblemKind::Redacted.into(),
            Self::Quota(error) => error.details(),
        }
    }
}

fn redaction_details(error: ResolveError) -> ProblemDetails {
    let hidden = |hint| ProblemKind::Redacted.with_hint(hint);
    match error {
        ResolveError::Path(_) => {
            hidden("Send the path as it is documented, without encoded characters and extensions.")
        }
        ResolveError::Query(QueryError::Filter) => hidden(
            "Page with `page` and `size`; filter by ids, dates, numbers, booleans and types. A filter \
             by a personal field takes a token, for a key with --resolve.",
        ),
        ResolveError::Query(QueryError::Sort) => hidden("Sort by Id, CreatedOn or UpdatedOn."),
        ResolveError::NotAllowed => hidden(
            "Leave the field out, or ask for a key with --resolve: `nexudus-proxy client set NAME \
             --resolve`.",
        ),
        ResolveError::Readable => hidden(
            "Send a token in a personal field alone, such as FullName or Email, and nothing beside it \
             in a filter.",
        ),
        ResolveError::Unreadable => hidden("Send one JSON text in UTF-8, not compressed."),
        ResolveError::Unknown(_) => ProblemKind::TokenUnknown.into(),
    }
}

/// Returns how another path is read: the one below `/api`, if that is what was meant, or this one,
/// by a client of its own.
fn path_hint(path: Option<&str>) -> String {
    if let Some(meant) = path.and_then(path_with_api) {
        return format!("Did you mean `{meant}`?");
    }
    let path = path.unwrap_or("/path");
    format!(
        "`nexudus-proxy client add NAME --allow 'GET {path}'`, without --read-only, lets one client \
         read it."
    )
}

/// Returns a path of the API whose beginning was left out: `/api`, or the slash before it.
pub fn path_with_api(path: &str) -> Option<String> {
    let rest = path.strip_prefix('/').unwrap_or(path);
    let area = rest.split('/').next()?;
    let is_area = API_AREAS.iter().any(|known| known.eq_ignore_ascii_case(area));
    let lacks_slash = area.eq_ignore_ascii_case("api") && rest.len() == path.len();
    if lacks_slash {
        return Some(format!("/{path}"));
    }
    is_area.then(|| format!("/api/{rest}"))
}

/// The first segments below `/api`, as `docs/nexudus-api.md` has them.
const API_AREAS: [&str; 9] =
    ["spaces", "billing", "sys", "crm", "content", "apps", "public", "auth", "community"];

/// Returns how a client is made that may have this login material: by a rule that names it.
fn rule_hint(path: &str) -> &'static str {
    match path {
        "/api/sys/users" => {
            "`nexudus-proxy client add NAME --allow 'GET /api/sys/users/**'` lets one client do \
             this; a rule names each other method."
        }
        "/api/sys/refreshtokens" => {
            "`nexudus-proxy client add NAME --allow 'GET /api/sys/refreshtokens/**'` lets one \
             client do this; a rule names each other method."
        }
        _ => {
            "`nexudus-proxy client add NAME --allow '* /api/sys/users/*/token/refresh'` lets one \
             client do this."
        }
    }
}
