//! A session without a daemon, for a command that a person runs while no daemon serves.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::Error;
use crate::clock::Clock;
use crate::config::{Config, Paths};
use crate::credentials::Credentials;
use crate::session::{self, Bearer, BodyKind, Session, endpoint};
use crate::throttle::Throttle;
use crate::upstream::{self, HttpProxy, Resolver};

/// A session in this process. The lock across processes keeps it in step with a daemon's.
#[derive(Debug)]
pub struct StandaloneSession {
    session: Session,
    session_task: JoinHandle<()>,
}

impl StandaloneSession {
    /// Starts the session: resumes the saved one, or renews it, or logs in.
    pub fn start(
        config: &Config,
        paths: &Paths,
        credentials: Credentials,
        issuer: endpoint::HttpIssuer,
    ) -> Self {
        // A person waits for one attempt, but not for the next one.
        let patient = crate::config::Session { wait: TOKEN_WAIT_TIMEOUT, ..config.session.clone() };
        let directory = Some(paths.profile_state());
        let clock = Clock::system();
        let (session, session_task) = Session::new(&patient, directory, credentials, issuer, clock);
        Self { session, session_task: tokio::spawn(session_task.run()) }
    }

    /// Returns a token, or why the first attempt failed: a person tries again, only a daemon
    /// retries. Waits for the next 2FA code, because that is sure to come; calls `on_wait` with the
    /// time to wait.
    ///
    /// # Errors
    ///
    /// Why there is no token.
    pub async fn bearer(&self, on_wait: impl Fn(Duration)) -> Result<Bearer, session::Error> {
        tokio::select! {
            ready = self.session.wait_ready(BodyKind::Replayable) => ready?,
            () = self.wait_failed(on_wait) => {}
        }
        self.session.bearer()
    }

    /// Waits until an attempt has failed.
    async fn wait_failed(&self, on_wait: impl Fn(Duration)) {
        let mut changes = self.session.subscribe();
        let mut has_reported_wait = false;
        loop {
            let view = self.session.status();
            if view.error.is_some() && !view.renewing {
                let Err(session::Error::NextCode { retry_after }) = self.session.bearer() else {
                    return;
                };
                if !std::mem::replace(&mut has_reported_wait, true) {
                    on_wait(retry_after);
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Returns the session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Ends the session once the newest token pair is durable.
    pub async fn stop(self) {
        self.session.flush().await;
        self.session_task.abort();
    }
}

/// Returns the client for tokens and user data that the daemon uses.
///
/// # Errors
///
/// [`Error::Trust`], [`Error::Client`] and [`Error::Proxy`].
pub fn token_client(config: &Config) -> Result<endpoint::HttpIssuer, Error> {
    let tls = upstream::load_tls_config(config.upstream.ca_file.as_deref())?;
    let resolver = Resolver::new(Handle::current());
    let throttle = Throttle::new(&config.throttle, Clock::system());
    let client = http_client(config, &tls, &resolver)?;
    Ok(endpoint::HttpIssuer::new(client, config.upstream.origin.to_string(), throttle))
}

/// Creates the daemon's own HTTP client.
pub(super) fn http_client(
    config: &Config,
    tls: &rustls::ClientConfig,
    resolver: &Resolver,
) -> Result<reqwest::Client, Error> {
    let mut client = endpoint::configure_client(reqwest::Client::builder());
    if let Some(via) = HttpProxy::from_config(&config.upstream.proxy, &config.upstream.origin)? {
        client = client.proxy(reqwest::Proxy::https(via.url()).map_err(Error::Client)?);
    }
    client
        .tls_backend_preconfigured(tls.clone())
        .dns_resolver(Arc::new(resolver.clone()))
        .connect_timeout(config.upstream.connect_timeout)
        .build()
        .map_err(Error::Client)
}

/// Longest wait for a token: an attempt ends within 30 s, and so does one of another process before
/// it.
const TOKEN_WAIT_TIMEOUT: Duration = Duration::from_secs(60);
