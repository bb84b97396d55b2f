//! A session without a daemon, for a command that a person runs while no daemon serves.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::Error;
use crate::clock::Clock;
use crate::config::{self, Config, Paths};
use crate::credentials::Credentials;
use crate::session::{self, Bearer, BodyKind, Session, endpoint};
use crate::throttle::Throttle;
use crate::upstream::{self, HttpProxy, OwnSockets, PortResolver, Resolver};

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
        let patient = config::Session { wait: TOKEN_WAIT_TIMEOUT, ..config.session.clone() };
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
    // A daemon listens where it is configured to: a login there would be one at ourselves.
    let resolver = resolver(config, OwnSockets::new(config.addresses()));
    let throttle = Throttle::new(&config.throttle, Clock::system());
    http_issuer(config, &tls, &resolver, throttle)
}

/// Creates the resolver of the upstream's name.
fn resolver(config: &Config, own: OwnSockets) -> Resolver {
    let config::Upstream { origin, address, .. } = &config.upstream;
    Resolver::new(Handle::current()).with_address(origin, *address).without(own)
}

/// Makes what the daemon's own requests go through; they lead to none of its `own` sockets.
pub(super) fn way_out(
    config: &Config,
    tls: &rustls::ClientConfig,
    own: OwnSockets,
    clock: &Clock,
) -> Result<(Resolver, Throttle, endpoint::HttpIssuer), Error> {
    let (resolver, throttle) =
        (resolver(config, own), Throttle::new(&config.throttle, clock.clone()));
    let issuer = http_issuer(config, tls, &resolver, throttle.clone())?;
    Ok((resolver, throttle, issuer))
}

/// Creates the issuer that calls the upstream.
fn http_issuer(
    config: &Config,
    tls: &rustls::ClientConfig,
    resolver: &Resolver,
    throttle: Throttle,
) -> Result<endpoint::HttpIssuer, Error> {
    let origin = &config.upstream.origin;
    let client = http_client(config, tls, resolver)?;
    let issuer = endpoint::HttpIssuer::new(client, origin.to_string(), throttle)
        .with_auth(config.upstream.auth);
    let has_own_port = config.upstream.address.is_some_and(|address| address.port().is_some());
    Ok(if has_own_port { issuer.with_resolved_port(origin) } else { issuer })
}

/// Creates the daemon's own HTTP client.
fn http_client(
    config: &Config,
    tls: &rustls::ClientConfig,
    resolver: &Resolver,
) -> Result<reqwest::Client, Error> {
    let mut client = endpoint::configure_client(reqwest::Client::builder());
    let mut port = config.upstream.origin.port();
    if let Some(via) = HttpProxy::from_config(&config.upstream.proxy, &config.upstream.origin)? {
        port = via.port();
        client = client.proxy(reqwest::Proxy::https(via.url()).map_err(Error::Client)?);
    }
    client
        .tls_backend_preconfigured(tls.clone())
        .dns_resolver(Arc::new(PortResolver::new(resolver.clone(), port)))
        .connect_timeout(config.upstream.connect_timeout)
        .build()
        .map_err(Error::Client)
}

/// Longest wait for a token: an attempt ends within 30 s, and so does one of another process before
/// it.
const TOKEN_WAIT_TIMEOUT: Duration = Duration::from_secs(60);
