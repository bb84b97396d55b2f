//! The token endpoint and the probe, over HTTP.
//!
//! Two calls exist: `POST /api/token` with a form, and `GET /api/auth/me` whose body is thrown
//! away because it holds login material. Both grants carry the header `client_id`: Nexudus binds
//! a refresh token to it, and takes the e-mail address where it is missing. What an answer means
//! is decided in `token_response.rs`.

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderValue, Method, StatusCode, header};
use zeroize::Zeroizing;

use super::error::Cause;
use super::token_response::{self, TokenResponse};
pub use super::token_response::{TokenError, TokenGrant};
use crate::secret::Secret;
use crate::throttle::{self, RetryDecision, Throttle};
use crate::upstream::Unresolved;

/// What the keeper asks of Nexudus.
pub trait Issuer: Send + Sync + 'static {
    /// Returns the origin that tokens come from, as [`crate::config::Origin`] writes it: what is
    /// kept of a session is bound to it.
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

/// What is offered for a pair of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The single-use token of the last answer.
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

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The token is good.
    Alive,
    /// The token is refused.
    Dead,
    /// The answer says nothing about the token, or there was none.
    Unclear,
}

/// Asks Nexudus itself.
#[derive(Clone, Debug)]
pub struct HttpIssuer {
    client: reqwest::Client,
    origin: String,
    throttle: Throttle,
}

impl HttpIssuer {
    /// Asks at `origin`, such as `https://spaces.nexudus.com`, through a client made by [`configure_client`],
    /// as fast as `throttle` allows for the daemon's own calls.
    pub fn new(client: reqwest::Client, origin: impl Into<String>, throttle: Throttle) -> Self {
        Self { client, origin: origin.into(), throttle }
    }

    /// Asks, and again while Nexudus throttles, for as long as [`THROTTLE_TIMEOUT`]; then the throttle answer
    /// is the answer. `again`: it may be sent more than once.
    async fn send(
        &self,
        request: impl Fn() -> reqwest::RequestBuilder,
        (method, path): (Method, &str),
        again: bool,
    ) -> Result<reqwest::Response, CallError> {
        let mut turn = self.throttle.internal(&method, path, THROTTLE_TIMEOUT);
        let mut slot = turn.acquire().await?;
        loop {
            let response = request().send().await.map_err(CallError::Lost)?;
            let answer = throttle::ResponseHead {
                status: response.status(),
                headers: response.headers(),
                is_end_of_stream: response.content_length() == Some(0),
            };
            if slot.observe(&answer, again) != RetryDecision::Retry {
                return Ok(response);
            }
            let Ok(another) = turn.acquire().await else { return Ok(response) };
            slot = another;
        }
    }

    async fn request_me(&self, bearer: &HeaderValue) -> Result<reqwest::Response, CallError> {
        let request = || {
            let request = self.client.get(format!("{}{PROBE_PATH}", self.origin));
            let request = request.header(header::ACCEPT, "application/json");
            request.header(header::AUTHORIZATION, bearer.clone())
        };
        self.send(request, (Method::GET, PROBE_PATH), true).await
    }

    /// Asks who is logged in: `GET /api/auth/me`, status and body. The body holds login material.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub async fn me(
        &self,
        bearer: &HeaderValue,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), Cause> {
        let lost = || Cause::new("Nexudus did not answer who is logged in");
        let asked = async {
            let response = self.request_me(bearer).await.map_err(|_| lost())?;
            let status = response.status();
            let body = response.bytes().await.map_err(|_| lost())?;
            Ok((status, Zeroizing::new(body.to_vec())))
        };
        let late = |_| Cause::new("Nexudus did not answer who is logged in within 30 s");
        tokio::time::timeout(ME_TIMEOUT, asked).await.map_err(late)?
    }
}

/// Turns off what must not happen behind our back: redirects, retries, the environment's proxies,
/// the `Referer`, and idle connections, which are dead after a suspend. Cookies and decompression
/// are not compiled in. A proxy that the user configured is added afterwards.
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
            let request = self.client.post(format!("{}{TOKEN_PATH}", self.origin));
            let request = request.header(header::ACCEPT, "application/json");
            request.header("client_id", client_id).form(&form_fields(grant))
        };
        // A password that was looked at after all would be a second try of it: each attempt is
        // noted before it leaves, so the keeper makes the next one.
        let again = matches!(grant, Grant::Refresh(_));
        let sent = self.send(request, (Method::POST, TOKEN_PATH), again).await;
        let mut response = sent.map_err(CallError::into_failure)?;
        let status = response.status();
        let retry_after = token_response::parse_retry_after(response.headers());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| lost_response(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_RESPONSE_SIZE {
                return Err(TokenError::Transient {
                    retry_after,
                    cause: Cause::new("the token endpoint sent more than 64 KiB"),
                });
            }
        }
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

/// Anything that was answered by somebody who looked at the token and did not mind it is `Alive`:
/// a 404 would only mean that the probe's path has moved.
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

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
enum CallError {
    /// Nexudus throttles, and our turn would come too late.
    #[error(transparent)]
    Throttled(#[from] throttle::Error),
    /// The request, or its answer, was lost.
    #[error("the request or its answer was lost")]
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

/// A request that never left is harmless; one that left may have been executed.
fn lost_response(error: &reqwest::Error) -> TokenError {
    if error.is_connect() || error.is_builder() {
        return TokenError::unreachable(&connect_error_text(error));
    }
    TokenError::Ambiguous(Cause::new("the token endpoint's answer was lost"))
}

/// Says why there is no connection. The error's own text is not used: it can hold the address with
/// a user's proxy password.
fn connect_error_text(error: &reqwest::Error) -> String {
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let said = causes.find_map(|cause| {
        if let Some(unresolved) = cause.downcast_ref::<Unresolved>() {
            return Some(unresolved.to_string());
        }
        cause.downcast_ref::<io::Error>().and_then(system_message)
    });
    said.unwrap_or_else(|| match error.is_timeout() {
        true => "no connection in time".to_owned(),
        false => "no connection".to_owned(),
    })
}

/// Returns the words of the system or of rustls. An error that wraps another is no source of it,
/// so the innermost one is looked for here.
fn system_message(error: &io::Error) -> Option<String> {
    let Some(inner) = error.get_ref() else {
        return error.raw_os_error().map(|_| error.to_string());
    };
    match inner.downcast_ref::<rustls::Error>() {
        Some(tls) => Some(format!("no verified TLS connection: {tls}")),
        None => inner.downcast_ref::<io::Error>().and_then(system_message),
    }
}

const TOKEN_PATH: &str = "/api/token";
/// What tells whether a token is alive.
pub(super) const PROBE_PATH: &str = "/api/auth/me";

/// Longest wait for a turn: half of the shortest ceiling above us, a probe's 10 s.
const THROTTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait of a person for their own name.
const ME_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest token answer read, in bytes: a real one has less than 2 KiB.
const MAX_RESPONSE_SIZE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::clock::Clock;
    use crate::config;

    #[tokio::test]
    async fn both_grants_are_forms_with_the_client_id_as_a_header() {
        let (origin, seen) = answering("HTTP/1.1 200 OK\r\ncontent-length: 20\r\nconnection: close\r\n\r\n{\"access_token\":\"t\"}").await;
        let issuer = issuer_at(origin);
        let password = Secret::new("p&ss");
        let grant = Grant::Password {
            email: "ada@example.test".into(),
            password,
            totp: Some(Secret::new("123456")),
        };

        let issued = issuer.issue(&grant, "c-1").await.unwrap();

        let request = seen.await.unwrap();
        assert_eq!(issued.access.expose(), "t");
        assert!(request.starts_with("POST /api/token HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("client_id: c-1\r\n"), "{request}");
        assert!(request.contains("application/x-www-form-urlencoded"), "{request}");
        assert!(request.ends_with(
            "grant_type=password&username=ada%40example.test&password=p%26ss&totp=123456"
        ));
        assert_eq!(
            form_fields(&Grant::Refresh(Secret::new("r1"))),
            [("grant_type", "refresh_token"), ("refresh_token", "r1")]
        );
    }

    #[tokio::test]
    async fn an_answer_that_never_ends_is_cut() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n";
        let (origin, _seen) = answering(&format!("{head}{}", "x".repeat(99_999))).await;

        let failure = refresh(&origin).await.unwrap_err();

        assert!(matches!(failure, TokenError::Transient { .. }), "{failure:?}");
    }

    #[tokio::test]
    async fn a_lost_answer_is_told_from_a_request_that_never_left() {
        let (origin, _seen) = answering("").await;
        let lost = refresh(&origin).await.unwrap_err();
        assert!(matches!(lost, TokenError::Ambiguous(_)), "{lost:?}");

        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let never_left = refresh(&format!("http://{nobody}")).await.unwrap_err();
        let TokenError::Transient { cause, .. } = never_left else { panic!("{never_left:?}") };
        assert!(
            cause.message().starts_with("the token endpoint cannot be reached: Connection refused"),
            "{cause}"
        );
    }

    #[test]
    fn a_probe_is_judged_by_its_status() {
        let status = |code| classify_probe(StatusCode::from_u16(code).unwrap(), None);
        for (code, verdict) in [
            (200, Probe::Alive),
            (204, Probe::Alive),
            (403, Probe::Alive),
            (404, Probe::Alive),
            (401, Probe::Dead),
            (302, Probe::Unclear),
            (408, Probe::Unclear),
            (409, Probe::Unclear),
            (429, Probe::Unclear),
            (500, Probe::Unclear),
            (503, Probe::Unclear),
        ] {
            assert_eq!(status(code), verdict, "{code}");
        }
        let to = |place| Some(HeaderValue::from_static(place));
        assert_eq!(classify_probe(StatusCode::FOUND, to("/en/User/Login").as_ref()), Probe::Dead);
        assert_eq!(classify_probe(StatusCode::FOUND, to("/en/").as_ref()), Probe::Unclear);
        assert_eq!(classify_probe(StatusCode::OK, to("/login").as_ref()), Probe::Alive);
    }

    fn issuer_at(origin: impl Into<String>) -> HttpIssuer {
        let throttle = Throttle::new(&config::Throttle::default(), Clock::system());
        HttpIssuer::new(plain_client(), origin, throttle)
    }

    async fn refresh(origin: &str) -> Result<TokenGrant, TokenError> {
        let grant = Grant::Refresh(Secret::new("r"));
        issuer_at(origin).issue(&grant, "c").await
    }

    /// Answers one connection, once it has sent a whole request.
    async fn answering(answer: &str) -> (String, tokio::sync::oneshot::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (sender, seen) = tokio::sync::oneshot::channel();
        let answer = answer.to_owned();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = String::new();
            let mut buffer = [0; 4096];
            while !is_whole(&request) {
                let length = stream.read(&mut buffer).await.unwrap();
                assert_ne!(length, 0, "the request ended early");
                request.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
            }
            let _ = sender.send(request);
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        (origin, seen)
    }

    fn is_whole(request: &str) -> bool {
        let Some((head, body)) = request.split_once("\r\n\r\n") else {
            return false;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        length.is_none_or(|length| body.len() >= length.parse().unwrap())
    }

    fn plain_client() -> reqwest::Client {
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        configure_client(reqwest::Client::builder()).tls_backend_preconfigured(tls).build().unwrap()
    }
}
