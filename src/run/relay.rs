//! Sends the requests of a local connection to the process that serves the profile, with the key of
//! this run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::upgrade::{self, OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::{Error as RunError, ProfileLeader};
use crate::daemon::Error;
use crate::gateway::{self, ProxyBody};
use crate::listen::Stream;
use crate::secret::Secret;
use crate::session::endpoint::TOKEN_PATH;

/// Where requests go, and the key that is added to them.
#[derive(Debug)]
pub(super) struct Relay {
    leader: Arc<ProfileLeader>,
    key: HeaderValue,
    traffic: Traffic,
}

/// Counts of the requests that have come to the listeners of a run.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Requests for a configured host.
    requests: AtomicU64,
    /// Tunnels and plain requests to other hosts.
    others: AtomicU64,
    /// TLS handshakes for a configured host that failed.
    failed_handshakes: AtomicU64,
}

/// The connections of one local connection to the daemon: one for each origin, opened by its first
/// request.
#[derive(Debug, Default)]
pub(super) struct DaemonConnections(Vec<Mutex<Option<SendRequest<Incoming>>>>);

/// The response to a request.
pub(super) type RelayedResponse = Response<Either<Incoming, ProxyBody>>;

impl Relay {
    /// Sends requests with `key` to the leader.
    pub(super) fn new(leader: Arc<ProfileLeader>, key: &Secret) -> Result<Self, Error> {
        let mut key = HeaderValue::try_from(key.expose()).map_err(Error::ClientKey)?;
        key.set_sensitive(true);
        Ok(Self { leader, key, traffic: Traffic::default() })
    }

    /// Returns what has come so far.
    pub(super) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Returns the profile.
    pub(super) fn profile(&self) -> &str {
        self.leader.profile()
    }

    /// Makes room for the connections of one local connection.
    pub(super) fn connections(&self) -> DaemonConnections {
        DaemonConnections(self.leader.origins().iter().map(|_| Mutex::default()).collect())
    }

    /// Sends a request for the origin of this number. Its `Host` has been checked.
    pub(super) async fn forward(
        &self,
        origin: usize,
        mut request: Request<Incoming>,
        connections: &DaemonConnections,
    ) -> Result<RelayedResponse, hyper::Error> {
        let client = upgrade::on(&mut request);
        let mut response = match self.send(origin, request, connections).await {
            Ok(response) => response,
            Err(RelayError::Http(error)) => return Err(error),
            Err(RelayError::NoDaemon(error)) => {
                return Ok(self.no_daemon_response(error).map(Either::Right));
            }
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            tokio::spawn(join_upgrades(client, upgrade::on(&mut response)));
        }
        Ok(response.map(Either::Left))
    }

    /// Sends a request. If the daemon has closed the connection before, sends it on a new one: another
    /// process may serve the profile now.
    async fn send(
        &self,
        origin: usize,
        mut request: Request<Incoming>,
        connections: &DaemonConnections,
    ) -> Result<Response<Incoming>, RelayError> {
        let mut daemon = connections.0[origin].lock().await;
        let idle = match daemon.take() {
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        self.prepare(request.headers_mut());
        let sender = match idle {
            Some(sender) => daemon.insert(sender),
            None => daemon.insert(self.connect(origin).await?),
        };
        let mut error = match sender.try_send_request(request).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let Some(unsent) = error.take_message() else { return Err(error.into_error().into()) };
        let sender = daemon.insert(self.connect(origin).await?);
        Ok(sender.send_request(unsent).await?)
    }

    /// Adds the key, and names the daemon in `Host` instead of the listener that the request came to.
    fn prepare(&self, headers: &mut HeaderMap) {
        headers.insert(CLIENT_KEY_HEADER, self.key.clone());
        headers.insert(HOST, HeaderValue::from_static("localhost"));
    }

    async fn connect(&self, origin: usize) -> Result<SendRequest<Incoming>, RelayError> {
        if origin == 0 {
            let stream = self.leader.connect().await?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection.with_upgrades());
            return Ok(sender);
        }
        let stream = self.leader.connect_host(origin).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    fn no_daemon_response(&self, error: Error) -> Response<ProxyBody> {
        // The log has a line about the stop already.
        if !matches!(error, Error::Stopped) {
            tracing::warn!(%error, "no daemon serves this command");
        }
        let hint = hint_for(&error);
        gateway::no_daemon_response(self.leader.profile(), error, hint)
    }
}

/// Asks the system's daemon for something small, to learn whether it admits this user: else each
/// request of the command would be refused, and the command would not say why.
///
/// # Errors
///
/// [`RunError::NotAdmitted`] with the daemon's words.
pub(super) async fn require_admission(stream: Stream, key: &Secret) -> Result<(), RunError> {
    let asked = async {
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends with this set.
        let mut driving = JoinSet::new();
        driving.spawn(connection);
        // Answered by the daemon itself, after its guard.
        let request = Request::get(TOKEN_PATH)
            .header(HOST, "localhost")
            .header(CLIENT_KEY_HEADER, key.expose())
            .body(Empty::<Bytes>::new())
            .expect("the parts are our own, and a key is ASCII");
        let response = sender.send_request(request).await?;
        let is_refused = response.status() == StatusCode::FORBIDDEN;
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>(is_refused.then_some(body))
    };
    // A daemon that fails now is told of by the responses to the command.
    let Ok(Some(body)) = asked.await else { return Ok(()) };
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let member = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    Err(RunError::NotAdmitted { detail: member("detail"), hint: member("hint") })
}

impl Traffic {
    /// Counts a request for a configured host.
    pub(super) fn record_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection to another host.
    pub(super) fn record_other(&self) {
        self.others.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a handshake that failed.
    pub(super) fn record_failed_handshake(&self) {
        self.failed_handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many requests there were, how many connections to other hosts, and how many
    /// handshakes that failed.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let Self { requests, others, failed_handshakes } = self;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(requests), read(others), read(failed_handshakes))
    }
}

/// Joins the two ends of a WebSocket until the daemon closes it.
async fn join_upgrades(client: OnUpgrade, daemon: OnUpgrade) -> Result<(), hyper::Error> {
    let (client, daemon) = (client.await?, daemon.await?);
    let (mut client, mut daemon) = (TokioIo::new(client), TokioIo::new(daemon));
    if let Err(error) = copy_bidirectional(&mut client, &mut daemon).await {
        tracing::debug!(%error, "a WebSocket ended early");
    }
    Ok(())
}

/// Returns how a daemon may serve the command again.
fn hint_for(error: &Error) -> &'static str {
    match error {
        Error::OtherUpstream { run: None, .. } => {
            "Stop that daemon, or start this `run` again with another --profile."
        }
        Error::OtherUpstream { run: Some(_), .. } => {
            "Wait until that `run` has ended, or run `nexudus-proxy stop`."
        }
        Error::Unreachable { .. } => "Give that daemon a unix socket, or stop it.",
        Error::AlreadyRunning { .. }
        | Error::Stopped
        | Error::State { .. }
        | Error::Trust(_)
        | Error::Listen(_)
        | Error::ListenAt { .. }
        | Error::Fleet(_)
        | Error::NoListeners
        | Error::OwnAddress { .. }
        | Error::Audit { .. }
        | Error::UnusedAddress(_)
        | Error::UserAgent(_)
        | Error::ClientKey(_)
        | Error::LocalTls(_)
        | Error::Proxy(_)
        | Error::Client(_)
        | Error::DataPlane(_) => "Run `nexudus-proxy serve`, or start the command of `run` again.",
    }
}

/// Why a request got no response from a daemon.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    NoDaemon(#[from] Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

const CLIENT_KEY_HEADER: HeaderName = HeaderName::from_static("nexudus-proxy-key");
