//! The routes that the page may call. All others of the admin socket stay out of its reach.

use std::cell::RefCell;
use std::time::Instant;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::assets::{self, Asset};
use super::error::UiError;
use super::find;
use super::gate::Gate;
use super::verdicts::{self, Trial};
use crate::admin::api::Problem;
use crate::admin::client::RelayedBody;
use crate::cli::CliError;
use crate::cli::globals::GlobalArgs;
use crate::clients::ClientChange;
use crate::problem::ExitCode;

/// The page and what it may ask.
pub(super) struct Site<'a> {
    pub(super) gate: &'a RefCell<Gate>,
    pub(super) globals: &'a GlobalArgs,
    /// Whether nothing may be changed.
    pub(super) is_read_only: bool,
    /// Whether the content of requests is shown.
    pub(super) has_bodies: bool,
}

/// The body of a response.
pub(super) type PageBody = Either<Full<Bytes>, RelayedBody>;

/// A request that was let in, in one of the forms that the page uses.
#[derive(Debug, PartialEq, Eq)]
enum PageRoute {
    /// Exchanges a code for the token.
    Begin,
    /// Tells what this page may do.
    Session,
    /// Judges a request by the rules.
    Verdicts,
    /// Adds or revokes a client.
    ChangeClient,
    /// Approves or denies a call that waits.
    Decide,
    /// Passes a GET on as it is.
    Relay,
}

impl Site<'_> {
    /// Responds to one request.
    pub(super) async fn respond(&self, request: Request<Incoming>) -> Response<PageBody> {
        let mut response = match self.answer(request).await {
            Ok(response) => response,
            Err(problem) => problem_response(&problem),
        };
        secure(response.headers_mut());
        response
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<PageBody>, Problem> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        if let Some(asset) = assets::find(path) {
            self.gate.borrow().check_host(&head.headers)?;
            if ![Method::GET, Method::HEAD].contains(&head.method) {
                return Err(UiError::Method.into());
            }
            return Ok(asset_response(asset, &head.headers));
        }
        self.gate.borrow().check_origin(&head.method, &head.headers)?;
        let route = route(&head.method, path)?;
        if route != PageRoute::Begin {
            self.gate.borrow().check_token(&head.headers)?;
        }
        match route {
            PageRoute::Begin => {
                let Code { code } = read_json(body).await?;
                let token = self.gate.borrow_mut().redeem(&code, Instant::now())?;
                Ok(json_response(&json!({ "token": token.expose() })))
            }
            PageRoute::Session => Ok(json_response(&json!({
                "read_only": self.is_read_only,
                "bodies": self.has_bodies,
                "version": env!("CARGO_PKG_VERSION"),
            }))),
            PageRoute::Verdicts => {
                let trial: Trial = read_json(body).await?;
                let verdicts = verdicts::judge(&trial, self.globals).await;
                Ok(json_response(&verdicts.map_err(|error| command_problem(&error))?))
            }
            PageRoute::ChangeClient => {
                let change: ClientChange = read_json(body).await?;
                if !matches!(change, ClientChange::Add { .. } | ClientChange::Revoke { .. }) {
                    return Err(UiError::Body.into());
                }
                self.change(path, &change).await
            }
            PageRoute::Decide => {
                let decision: CallDecision = read_json(body).await?;
                self.change(path, &decision).await
            }
            PageRoute::Relay => {
                let target = head.uri.path_and_query().map_or(path, |target| target.as_str());
                self.check_content(&head.uri)?;
                self.relay(Method::GET, target, None).await
            }
        }
    }

    /// Refuses to show the content of requests where the command was not asked to.
    fn check_content(&self, uri: &Uri) -> Result<(), UiError> {
        let is_refused = !self.has_bodies && asks_for_content(uri.path(), uri.query());
        if is_refused { Err(UiError::NoBodies) } else { Ok(()) }
    }

    /// Has the daemon change something.
    async fn change(
        &self,
        path: &str,
        change: &impl Serialize,
    ) -> Result<Response<PageBody>, Problem> {
        if self.is_read_only {
            return Err(UiError::ReadOnly.into());
        }
        let content = serde_json::to_vec(change).unwrap_or_default();
        self.relay(Method::POST, path, Some(content.into())).await
    }

    /// Asks the daemon that serves now: after a restart, the next one.
    async fn relay(
        &self,
        method: Method,
        target: &str,
        content: Option<Bytes>,
    ) -> Result<Response<PageBody>, Problem> {
        let daemon = find(self.globals).await.map_err(|error| command_problem(&error))?;
        let relayed = daemon.relay(method, target, content).await;
        let (head, body) = relayed.map_err(|error| command_problem(&error.into()))?.into_parts();
        // Of the head, nothing but the status and the type: the rest is this page's own.
        let mut response = Response::new(Either::Right(body));
        *response.status_mut() = head.status;
        if let Some(kind) = head.headers.get(CONTENT_TYPE) {
            response.headers_mut().insert(CONTENT_TYPE, kind.clone());
        }
        Ok(response)
    }
}

/// Finds the route of a request.
fn route(method: &Method, path: &str) -> Result<PageRoute, UiError> {
    let is =
        |wanted: Method, route| if *method == wanted { Ok(route) } else { Err(UiError::Method) };
    match path {
        "/ui/session" if *method == Method::POST => Ok(PageRoute::Begin),
        "/ui/session" => is(Method::GET, PageRoute::Session),
        "/ui/policy" => is(Method::POST, PageRoute::Verdicts),
        "/v1/clients" if *method == Method::POST => Ok(PageRoute::ChangeClient),
        "/v1/approvals" if *method == Method::POST => Ok(PageRoute::Decide),
        "/v1/status" | "/v1/events" | "/v1/history" | "/v1/clients" | "/v1/approvals" => {
            is(Method::GET, PageRoute::Relay)
        }
        _ => {
            let ids = ["/v1/approvals/", CAPTURES].into_iter();
            let id = ids.filter_map(|it| path.strip_prefix(it)).next().ok_or(UiError::Path)?;
            let is_id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if id.is_empty() || !id.bytes().all(is_id) {
                return Err(UiError::Path);
            }
            is(Method::GET, PageRoute::Relay)
        }
    }
}

/// Says whether a request has the content of requests captured, or asks for it.
fn asks_for_content(path: &str, query: Option<&str>) -> bool {
    let mut fields = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    path.starts_with(CAPTURES) || fields.any(|(name, _)| name == "content")
}

/// The body of `POST /v1/approvals`: the decision about one call, once.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CallDecision {
    id: String,
    approve: bool,
}

/// The body of `POST /ui/session`.
#[derive(Deserialize)]
struct Code {
    code: String,
}

async fn read_json<T: DeserializeOwned>(body: Incoming) -> Result<T, UiError> {
    let read = Limited::new(body, MAX_BODY).collect().await;
    let body = read.map_err(|error| {
        if error.is::<LengthLimitError>() { UiError::TooLarge } else { UiError::Body }
    })?;
    serde_json::from_slice(&body.to_bytes()).map_err(|_| UiError::Body)
}

fn asset_response(asset: &'static Asset, headers: &HeaderMap) -> Response<PageBody> {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let takes_gzip = accepted.is_some_and(|it| it.split(',').any(|it| it.trim() == "gzip"));
    let content = if takes_gzip { asset.gzip() } else { Bytes::from_static(asset.plain) };
    let mut response = Response::new(Either::Left(Full::new(content)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if takes_gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn json_response(value: &serde_json::Value) -> Response<PageBody> {
    let mut response = Response::new(Either::Left(Full::new(value.to_string().into())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn problem_response(problem: &Problem) -> Response<PageBody> {
    let text = serde_json::to_string(problem).unwrap_or_default();
    let kind = HeaderValue::from_static("application/problem+json");
    let mut response = Response::new(Either::Left(Full::new(text.into())));
    *response.status_mut() = problem.status.try_into().unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

impl From<UiError> for Problem {
    fn from(error: UiError) -> Self {
        Self::new(&error)
    }
}

/// Describes what a command would print: the daemon does not run, or cannot be asked.
fn command_problem(error: &CliError) -> Problem {
    let report = error.reports().into_iter().next().unwrap_or_default();
    let causes = report.causes.iter().map(|cause| format!(": {cause}")).collect::<String>();
    Problem {
        kind: "urn:nexudus-proxy:command.failed".to_owned(),
        title: "Failed".to_owned(),
        status: if error.exit_code() == ExitCode::Usage { BAD_REQUEST } else { UNAVAILABLE },
        detail: format!("{}{causes}", report.message),
        code: "command.failed".to_owned(),
        hint: report.hint,
        problems: vec![],
    }
}

/// Adds the fields that keep the page alone with itself.
fn secure(headers: &mut HeaderMap) {
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// The security headers of each response: no script, style, frame or connection but this page's own;
/// no text that becomes HTML or code; nothing kept, nothing told to others.
const SECURITY_HEADERS: [(HeaderName, &str); 8] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' \
         data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "clipboard-write=(self)"),
    (CACHE_CONTROL, "no-store"),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
];

/// How the paths of captured content begin.
const CAPTURES: &str = "/v1/captures/";

/// Largest body that the page sends: the limits of a client with many rules.
const MAX_BODY: usize = 64 << 10;

/// The question is none (RFC 9110 §15.5.1).
const BAD_REQUEST: u16 = 400;

/// The daemon cannot be asked (RFC 9110 §15.6.4).
const UNAVAILABLE: u16 = 503;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stops_the_daemon_or_reads_its_configuration_is_out_of_reach() {
        for path in [
            "/v1/stop",
            "/v1/handover",
            "/v1/reload",
            "/v1/login",
            "/v1/logout",
            "/v1/forget",
            "/v1/lock",
            "/v1/unlock",
            "/v1/refresh",
            "/v1/config",
            "/v1/whoami",
            "/v1/doctor",
            "/metrics",
            "/v1/approvals/",
            "/v1/captures/",
            "/v1/captures/../stop",
            "/v1/captures/%2e%2e/stop",
            "/v1/approvals/../stop",
            "/v1/approvals/7/../../stop",
            "/v1/approvals/7/approve/x",
            "/v1/approvals/%2e%2e/approve",
            "/index.html",
            "//",
            "/v1/",
        ] {
            for method in [Method::GET, Method::POST] {
                assert_eq!(route(&method, path), Err(UiError::Path), "{method} {path}");
            }
        }
        for path in ["/v1/status", "/v1/events", "/v1/approvals/7-a", "/v1/captures/7"] {
            assert_eq!(route(&Method::POST, path), Err(UiError::Method), "{path}");
            assert_eq!(route(&Method::GET, path), Ok(PageRoute::Relay), "{path}");
        }
        assert_eq!(route(&Method::POST, "/v1/approvals"), Ok(PageRoute::Decide));
        assert_eq!(route(&Method::DELETE, "/v1/clients"), Err(UiError::Method));
    }

    #[test]
    fn content_is_asked_for_by_its_path_or_its_field() {
        for (path, query, is_content) in [
            ("/v1/captures/7", None, true),
            ("/v1/events", Some("kinds=ready&content=headers"), true),
            ("/v1/events", Some("%63ontent=bodies"), true),
            ("/v1/events", Some("kinds=ready,request,content"), false),
            ("/v1/status", None, false),
        ] {
            assert_eq!(asks_for_content(path, query), is_content, "{path} {query:?}");
        }
    }
}
