//! The token endpoint and the probe, over HTTP.
//!
//! Two calls exist: `POST /api/token` with a form, and `GET /api/auth/me`, whose body is dropped
//! because it holds login material. Both grants carry the header `client_id`: Nexudus binds a
//! refresh token to it, and uses the e-mail address where it is missing. `token_response.rs` says
//! what a response means.

mod record_lookup;

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};

pub use super::token_response::TokenError;
use super::token_response::{self, TokenResponse};
use super::totp::TotpCode;
use super::{connect_error, loop_detection, response_body};
use crate::config::{Origin, UpstreamAuth};
use crate::credentials::Login;
use crate::secret::Secret;
pub use crate::session::client_id::ClientIdInUse;
use crate::session::error::Cause;
pub use crate::session::token::TokenGrant;
use crate::tcp_options;
use crate::throttle::{self, RetryDecision, Throttle};
use crate::upstream::OwnSocket;

/// The two calls that the session makes at Nexudus.
pub trait Issuer: Send + Sync + 'static {
    /// Returns the origin that tokens come from, as [`crate::config::Origin`] writes it: a saved
    /// session is bound to it.
    fn origin(&self) -> &str;

    /// Returns the client id of the newest call, as it changes.
    fn client_id_in_use(&self) -> ClientIdInUse {
        ClientIdInUse::default()
    }

    /// Returns the scheme by which requests are authenticated: under Basic, [`Issuer::issue`] proves
    /// a login and hands it back encoded, in place of a token.
    fn auth(&self) -> UpstreamAuth {
        UpstreamAuth::Bearer
    }

    /// Asks for a pair of tokens.
    fn issue(
        &self,
        grant: &Grant,
        client_id: &str,
    ) -> impl Future<Output = Result<TokenGrant, TokenError>> + Send;

    /// Asks whether the token behind this `Authorization` value is alive.
    fn probe(&self, bearer: &HeaderValue) -> impl Future<Output = Probe> + Send;
}

/// The authorization grant that is offered for a token pair (RFC 6749 §1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The single-use refresh token of the last response.
    Refresh(Secret),
    /// The login itself.
    Password {
        /// The e-mail address.
        email: String,
        /// The password.
        password: Secret,
        /// A 2FA code.
        totp: Option<Secret>,
    },
}

impl Grant {
    /// Offers a login, with a 2FA code if there is one.
    pub(crate) fn password(login: &Login, code: &TotpCode) -> Self {
        Self::Password {
            email: login.email.clone(),
            password: login.password.clone(),
            totp: code.digits().cloned(),
        }
    }
}

/// The result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The token is good.
    Alive,
    /// The token is refused.
    Dead,
    /// The response says nothing about the token, or none came.
    Unclear,
}

/// The issuer that calls Nexudus itself, over HTTP.
#[derive(Clone, Debug)]
pub struct HttpIssuer {
    client: reqwest::Client,
    origin: String,
    /// The beginning of every URL: the origin, or its host where a connection chooses the port.
    base: String,
    /// The `Host` header, where it differs from the URL's authority.
    host: Option<HeaderValue>,
    throttle: Throttle,
    client_id: ClientIdInUse,
    auth: UpstreamAuth,
}

impl HttpIssuer {
    /// Calls `origin`, such as `https://spaces.nexudus.com`, through a client made by
    /// [`configure_client`], as fast as `throttle` allows for the daemon's own calls.
    pub fn new(client: reqwest::Client, origin: impl Into<String>, throttle: Throttle) -> Self {
        let origin = origin.into();
        let (base, client_id) = (origin.clone(), ClientIdInUse::default());
        let auth = UpstreamAuth::Bearer;
        Self { client, origin, base, host: None, throttle, client_id, auth }
    }

    /// Authenticates by this scheme.
    #[must_use]
    pub fn with_auth(self, auth: UpstreamAuth) -> Self {
        Self { auth, ..self }
    }

    /// Leaves the port of each connection to the client's resolver: a port in a URL would count
    /// more than that of `upstream.address`.
    #[must_use]
    pub fn with_resolved_port(self, origin: &Origin) -> Self {
        let host = HeaderValue::try_from(origin.authority()).ok();
        let base = Origin::new(origin.host(), DEFAULT_PORT).to_string();
        Self { host, base, ..self }
    }

    /// Begins a request. No coding is asked for: the bodies are small.
    pub(super) fn call(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        let request = request.header(header::ACCEPT, "application/json");
        let request = request.header(header::ACCEPT_ENCODING, "identity");
        match &self.host {
            Some(host) => request.header(header::HOST, host.clone()),
            None => request,
        }
    }

    /// Sends a request, and sends it again while Nexudus throttles, for as long as
    /// [`THROTTLE_TIMEOUT`]; then the throttle response is the result. `repeatable`: the request
    /// may be sent more than once.
    pub(super) async fn send(
        &self,
        request: impl Fn() -> reqwest::RequestBuilder,
        (method, path): (Method, &str),
        repeatable: bool,
    ) -> Result<reqwest::Response, CallError> {
        let mut reservation = self.throttle.internal(&method, path, THROTTLE_TIMEOUT);
        let mut permit = reservation.acquire().await?;
        loop {
            let response = request().send().await.map_err(CallError::Lost)?;
            let head = throttle::ResponseHead {
                status: response.status(),
                headers: response.headers(),
                is_end_of_stream: response.content_length() == Some(0),
                // Without the header these calls back off, which is never too early.
                text: b"",
            };
            if permit.observe(&head, repeatable) != RetryDecision::Retry {
                return Ok(response);
            }
            let Ok(next) = reservation.acquire().await else { return Ok(response) };
            permit = next;
        }
    }

    /// Sends the probe. One that carries a login may be a failed login: it is sent once, and tells
    /// by the client id that it is ours.
    pub(super) async fn request_me(
        &self,
        authorization: &HeaderValue,
    ) -> Result<reqwest::Response, CallError> {
        let is_login = self.auth == UpstreamAuth::Basic;
        let client_id = self.client_id.value().filter(|_| is_login);
        let request = || {
            let request = self.call(Method::GET, PROBE_PATH);
            let request = request.header(header::AUTHORIZATION, authorization.clone());
            match &client_id {
                Some(client_id) => request.header("client_id", client_id.as_str()),
                None => request,
            }
        };
        self.send(request, (Method::GET, PROBE_PATH), !is_login).await
    }

    /// Asks the API for one record: whether it answers, if it says so.
    pub(in crate::session) async fn api_answers(&self, bearer: &HeaderValue) -> Option<bool> {
        let request =
            || self.call(Method::GET, API_PATH).header(header::AUTHORIZATION, bearer.clone());
        let repeatable = self.auth == UpstreamAuth::Bearer;
        let sent = self.send(request, (Method::GET, API_PATH), repeatable);
        let response = tokio::time::timeout(ME_TIMEOUT, sent).await.ok()?.ok()?;
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(false),
            status => status.is_success().then_some(true),
        }
    }
}

/// Turns off what reqwest must not do by itself: redirects, retries, the environment's proxies, the
/// `Referer`, and idle connections, which are dead after a suspend. Cookies and decompression are
/// not compiled in. A dead connection is noticed as on the data path. The caller adds the proxy that
/// the user configured.
pub fn configure_client(builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
    let builder = builder
        .tcp_keepalive(tcp_options::KEEPALIVE_IDLE)
        .tcp_keepalive_interval(tcp_options::KEEPALIVE_INTERVAL)
        .tcp_keepalive_retries(tcp_options::KEEPALIVE_RETRIES);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let builder = builder.tcp_user_timeout(tcp_options::UPSTREAM_USER_TIMEOUT);
    builder
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .pool_max_idle_per_host(0)
}

impl Issuer for HttpIssuer {
    fn origin(&self) -> &str {
        &self.origin
    }

    fn client_id_in_use(&self) -> ClientIdInUse {
        self.client_id.clone()
    }

    fn auth(&self) -> UpstreamAuth {
        self.auth
    }

    async fn issue(&self, grant: &Grant, client_id: &str) -> Result<TokenGrant, TokenError> {
        self.client_id.record(client_id);
        if self.auth == UpstreamAuth::Basic {
            return self.prove_login(grant).await;
        }
        let request = || {
            let request = self.call(Method::POST, TOKEN_PATH);
            request.header("client_id", client_id).form(&form_fields(grant))
        };
        // If Nexudus did check the password, a repetition would be a second try of it. Each try is
        // recorded before it leaves, so the next one is a new attempt.
        let repeatable = matches!(grant, Grant::Refresh(_));
        let sent = self.send(request, (Method::POST, TOKEN_PATH), repeatable).await;
        let response = sent.map_err(|error| error.into_failure(&self.origin))?;
        let status = response.status();
        if let Some(cause) = loop_detection::cause(response.headers(), &self.origin) {
            return Err(TokenError::Transient { retry_after: None, cause });
        }
        let retry_after = token_response::parse_retry_after(response.headers());
        let lost = |error: &reqwest::Error| lost_response(error, &self.origin);
        let body = response_body::read(response).await;
        let body = body.map_err(|error| error.into_failure(retry_after, lost))?;
        token_response::parse(&TokenResponse { status, retry_after, body: &body })
    }

    async fn probe(&self, bearer: &HeaderValue) -> Probe {
        match self.request_me(bearer).await {
            Ok(response) => {
                classify_probe(response.status(), response.headers().get(header::LOCATION))
            }
            Err(_) => Probe::Unclear,
        }
    }
}

/// Any response of a server that checked the token and accepted it means `Alive`: a 404 would only
/// mean that the probe's path has moved.
pub(super) fn classify_probe(status: StatusCode, location: Option<&HeaderValue>) -> Probe {
    let to_login = location
        .and_then(|location| location.to_str().ok())
        .is_some_and(|location| location.to_ascii_lowercase().contains("login"));
    match status {
        StatusCode::UNAUTHORIZED => Probe::Dead,
        status if status.is_redirection() && to_login => Probe::Dead,
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => {
            Probe::Unclear
        }
        status if status.is_success() || status.is_client_error() => Probe::Alive,
        _ => Probe::Unclear,
    }
}

fn form_fields(grant: &Grant) -> Vec<(&'static str, &str)> {
    match grant {
        Grant::Refresh(token) => {
            vec![("grant_type", "refresh_token"), ("refresh_token", token.expose())]
        }
        Grant::Password { email, password, totp } => {
            let mut form = vec![
                ("grant_type", "password"),
                ("username", email.as_str()),
                ("password", password.expose()),
            ];
            form.extend(totp.as_ref().map(|code| ("totp", code.expose())));
            form
        }
    }
}

/// Why a call got no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// Nexudus throttles, and the call would wait too long.
    #[error(transparent)]
    Throttled(#[from] throttle::Error),
    /// The request, or its response, was lost.
    #[error("the request or its response was lost")]
    Lost(reqwest::Error),
}

impl CallError {
    pub(super) fn into_failure(self, origin: &str) -> TokenError {
        match self {
            Self::Throttled(throttle::Error::Queue { retry_after }) => TokenError::Transient {
                retry_after: Some(retry_after),
                cause: Cause::new("the token endpoint asks to slow down"),
            },
            Self::Lost(error) => lost_response(&error, origin),
        }
    }
}

/// A request that never left is harmless; a request that left may have been executed.
fn lost_response(error: &reqwest::Error, origin: &str) -> TokenError {
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    if causes.any(|cause| cause.is::<OwnSocket>()) {
        return TokenError::looped(origin);
    }
    if error.is_connect() || error.is_builder() {
        return TokenError::unreachable(&connect_error::text(error));
    }
    TokenError::Ambiguous(Cause::new("the token endpoint's response was lost"))
}

/// The token endpoint of Nexudus; the gateway responds there itself.
pub const TOKEN_PATH: &str = "/api/token";

/// The path of the probe.
pub(crate) const PROBE_PATH: &str = "/api/auth/me";

/// A list of the administrators' API whose records are not of persons.
const API_PATH: &str = "/api/sys/businesses?page=1&size=1";

/// The port of an origin that names none.
const DEFAULT_PORT: u16 = 443;

/// Longest wait for the throttle: half of a probe's 10 s, the shortest timeout of the callers.
const THROTTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for the name of the logged-in user.
pub(super) const ME_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
