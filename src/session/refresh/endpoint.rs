//! The token endpoint and the probe, over HTTP.
//!
//! Two calls exist: `POST /api/token` with a form, and `GET /api/auth/me`, whose body is dropped
//! because it holds login material. Both grants carry the header `client_id`: Nexudus binds a
//! refresh token to it, and uses the e-mail address where it is missing. `token_response.rs` says
//! what a response means.

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use zeroize::Zeroizing;

use super::response_body::{self, BodyError};
pub use super::token_response::TokenError;
use super::token_response::{self, TokenResponse};
use super::totp::TotpCode;
use crate::credentials::Login;
use crate::secret::Secret;
use crate::session::error::Cause;
pub use crate::session::token::TokenGrant;
use crate::throttle::{self, RetryDecision, Throttle};
use crate::upstream::Unresolved;

/// The two calls that the session makes at Nexudus.
pub trait Issuer: Send + Sync + 'static {
    /// Returns the origin that tokens come from, as [`crate::config::Origin`] writes it: a saved
    /// session is bound to it.
    fn origin(&self) -> &str;

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
    throttle: Throttle,
}

impl HttpIssuer {
    /// Calls `origin`, such as `https://spaces.nexudus.com`, through a client made by
    /// [`configure_client`], as fast as `throttle` allows for the daemon's own calls.
    pub fn new(client: reqwest::Client, origin: impl Into<String>, throttle: Throttle) -> Self {
        Self { client, origin: origin.into(), throttle }
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
            };
            if permit.observe(&head, repeatable) != RetryDecision::Retry {
                return Ok(response);
            }
            let Ok(next) = reservation.acquire().await else { return Ok(response) };
            permit = next;
        }
    }

    /// Begins a request. No coding is asked for: the bodies are small.
    pub(super) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.origin));
        let request = request.header(header::ACCEPT, "application/json");
        request.header(header::ACCEPT_ENCODING, "identity")
    }

    async fn request_me(&self, bearer: &HeaderValue) -> Result<reqwest::Response, CallError> {
        let request = || {
            let request = self.request(Method::GET, PROBE_PATH);
            request.header(header::AUTHORIZATION, bearer.clone())
        };
        self.send(request, (Method::GET, PROBE_PATH), true).await
    }

    /// Asks who is logged in: `GET /api/auth/me`, status and body. The body holds login material.
    ///
    /// # Errors
    ///
    /// When no response comes within 30 s.
    pub async fn me(
        &self,
        bearer: &HeaderValue,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), Cause> {
        let lost = || Cause::new("Nexudus did not say who is logged in");
        let request = async {
            let response = self.request_me(bearer).await.map_err(|_| lost())?;
            let status = response.status();
            Ok((status, response_body::read(response).await.map_err(|_| lost())?))
        };
        let late = |_| Cause::new("Nexudus did not say within 30 s who is logged in");
        tokio::time::timeout(ME_TIMEOUT, request).await.map_err(late)?
    }
}

/// Turns off what reqwest must not do by itself: redirects, retries, the environment's proxies, the
/// `Referer`, and idle connections, which are dead after a suspend. Cookies and decompression are
/// not compiled in. The caller adds the proxy that the user configured.
pub fn configure_client(builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
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

    async fn issue(&self, grant: &Grant, client_id: &str) -> Result<TokenGrant, TokenError> {
        let request = || {
            let request = self.request(Method::POST, TOKEN_PATH);
            request.header("client_id", client_id).form(&form_fields(grant))
        };
        // If Nexudus did check the password, a repetition would be a second try of it. Each try is
        // recorded before it leaves, so the next one is a new attempt.
        let repeatable = matches!(grant, Grant::Refresh(_));
        let sent = self.send(request, (Method::POST, TOKEN_PATH), repeatable).await;
        let response = sent.map_err(CallError::into_failure)?;
        let status = response.status();
        let retry_after = token_response::parse_retry_after(response.headers());
        let body = response_body::read(response).await.map_err(|error| match error {
            BodyError::Lost(error) => lost_response(&error),
            BodyError::TooLarge => {
                let cause = Cause::new("the token endpoint sent more than 256 KiB");
                TokenError::Transient { retry_after, cause }
            }
            // The password may have been looked at.
            BodyError::Encoded => TokenError::Ambiguous(Cause::new(
                "the token endpoint's response is compressed in a way that was not asked for",
            )),
        })?;
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
fn classify_probe(status: StatusCode, location: Option<&HeaderValue>) -> Probe {
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
    fn into_failure(self) -> TokenError {
        match self {
            Self::Throttled(throttle::Error::Queue { retry_after }) => TokenError::Transient {
                retry_after: Some(retry_after),
                cause: Cause::new("the token endpoint asks to slow down"),
            },
            Self::Lost(error) => lost_response(&error),
        }
    }
}

/// A request that never left is harmless; a request that left may have been executed.
fn lost_response(error: &reqwest::Error) -> TokenError {
    if error.is_connect() || error.is_builder() {
        return TokenError::unreachable(&connect_error_text(error));
    }
    TokenError::Ambiguous(Cause::new("the token endpoint's response was lost"))
}

/// Returns why there is no connection. The error's own text is not used: it can hold the address of
/// a proxy with the user's password.
fn connect_error_text(error: &reqwest::Error) -> String {
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let said = causes.find_map(|cause| {
        if let Some(unresolved) = cause.downcast_ref::<Unresolved>() {
            return Some(unresolved.to_string());
        }
        cause.downcast_ref::<io::Error>().and_then(system_message)
    });
    said.unwrap_or_else(|| {
        let text = if error.is_timeout() { "no connection in time" } else { "no connection" };
        text.to_owned()
    })
}

/// Returns the message of the system or of rustls. An I/O error that wraps another does not name it
/// as its source, so this function looks for the innermost error.
fn system_message(error: &io::Error) -> Option<String> {
    let Some(inner) = error.get_ref() else {
        return error.raw_os_error().map(|_| error.to_string());
    };
    match inner.downcast_ref::<rustls::Error>() {
        Some(tls) => Some(format!("no verified TLS connection: {tls}")),
        None => inner.downcast_ref::<io::Error>().and_then(system_message),
    }
}

/// The token endpoint of Nexudus; the gateway responds there itself.
pub const TOKEN_PATH: &str = "/api/token";

/// The path of the probe.
pub(crate) const PROBE_PATH: &str = "/api/auth/me";

/// Longest wait for the throttle: half of a probe's 10 s, the shortest timeout of the callers.
const THROTTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for the name of the logged-in user.
const ME_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
