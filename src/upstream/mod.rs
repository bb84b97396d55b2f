//! A client for one HTTPS host: connects to it, verifies it, and keeps connections to it warm.
//!
//! The client knows nothing of tokens. A request that may have reached the host is never sent
//! again, unless a second execution is safe ([`Retry::Safe`]) and the connection had been idle:
//! then the host most likely closed the connection before it read a byte.

mod acquire;
mod attempt;
mod body_buffer;
mod client_body;
mod connector;
mod coop;
mod counters;
mod h1_conn;
mod h2_conn;
mod http_proxy;
mod own_sockets;
mod pool;
mod request;
mod request_body;
mod resolve;
mod response_body;
mod send;
mod silence;
mod socket;
mod tickets;
mod tls_buffer;
mod tls_config;
mod tls_stream;
mod upgrade;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub use h1_client::{HeadLimits, MAX_CONNECTION_OPTIONS, Malformed};
use http::HeaderValue;
use tokio::sync::watch;

pub use self::body_buffer::{BodyBuffer, ReplayBody};
pub use self::client_body::ClientBody;
pub use self::connector::connect_tcp;
use self::connector::{Connected, Connector};
use self::counters::ConnectionCounters;
pub use self::counters::ConnectionStats;
use self::h1_conn::Http1Connection;
use self::h2_conn::SharedStreams;
pub use self::http_proxy::{Error as HttpProxyError, HttpProxy, TunnelRefused};
pub use self::own_sockets::{OwnSocket, OwnSockets};
use self::pool::Pool;
pub use self::request::{Reuse, UpstreamRequest};
pub use self::request_body::{BodyError, Payload, Upload, UploadProgress};
pub use self::resolve::{PortResolver, Resolver, Unresolved};
pub use self::response_body::ResponseBody;
use self::silence::SlowResponses;
pub use self::tls_config::{Error as TlsConfigError, load_tls_config};
pub use self::upgrade::Upgraded;
use crate::clock::Clock;
use crate::config::Origin;
use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// A client bound to one origin. Clones share its connections.
#[derive(Clone)]
pub struct Upstream(Arc<UpstreamInner>);

struct UpstreamInner {
    origin: Origin,
    authority: HeaderValue,
    connector: Connector,
    pool: Arc<Pool>,
    h2: Option<SharedStreams>,
    header_timeout: Duration,
    /// Longest pause inside the body of a response, in milliseconds. A reload changes it.
    body_idle_ms: AtomicU64,
    /// The longest time of a slow response lately.
    slow_responses: SlowResponses,
    counters: Arc<ConnectionCounters>,
    /// Signals upgraded connections to end.
    close_signal: watch::Sender<()>,
    /// Whether requests to the host have come back to us, and none has reached it since.
    is_loop: AtomicBool,
}

/// How to reach a host, and how long it may take.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    /// Whether to offer HTTP/2; the host may still choose HTTP/1.1.
    pub http2: bool,
    /// The proxy on the way, if there is one.
    pub proxy: Option<HttpProxy>,
    /// Longest time for name resolution, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Longest time from the request's last byte to the response's head.
    pub header_timeout: Duration,
    /// Longest pause inside the body of a response.
    pub body_idle: Duration,
    /// Most idle connections.
    pub idle_connections: usize,
    /// The bounds on the heads of responses.
    pub head_limits: HeadLimits,
}

/// Whether a request may be sent a second time after it may have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Safe by RFC 9110 §9.2.1 and without a body: a second execution changes nothing.
    Safe,
    /// Never: the first time may have had an effect.
    Never,
}

/// Why the upstream sent no response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host's address is a socket of this daemon.
    #[error("{origin} leads back to this daemon: its address {address} is a socket of ours")]
    Loop {
        /// The configured origin.
        origin: Origin,
        /// The socket.
        address: SocketAddr,
    },
    /// The name could not be resolved, or no address accepted a connection in time.
    #[error("{} {origin}", if *reason == UnreachableReason::Local {
        "this machine has no socket left for a connection to"
    } else {
        "could not connect to"
    })]
    Unreachable {
        /// The configured origin.
        origin: Origin,
        /// The kind of failure.
        reason: UnreachableReason,
        /// The cause in the system's words.
        #[source]
        source: std::io::Error,
    },
    /// The other end could not prove that it is the configured host.
    #[error("could not establish a verified TLS connection to {origin}")]
    Tls {
        /// The configured origin.
        origin: Origin,
        /// Whether the certificate is to blame.
        certificate: bool,
        /// The cause in rustls' words.
        #[source]
        source: std::io::Error,
    },
    /// The connection ended before a response came.
    #[error("{origin} closed the connection without a response")]
    Closed {
        /// The configured origin.
        origin: Origin,
        /// The end of the connection.
        #[source]
        source: ConnectionError,
    },
    /// The host sent bytes that are not an HTTP response, or not one that may be passed on.
    #[error("the response of {origin} is not valid HTTP")]
    Malformed {
        /// The configured origin.
        origin: Origin,
        /// The error in the response.
        #[source]
        source: ConnectionError,
    },
    /// No response came in time.
    #[error("{origin} did not respond within {} s", limit.as_secs())]
    Timeout {
        /// The configured origin.
        origin: Origin,
        /// How long the host had.
        limit: Duration,
    },
}

/// The hints are those of a write, which may have been executed.
impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Loop { .. } => ProblemKind::UpstreamLoop.into(),
            Self::Unreachable { reason: UnreachableReason::Dns, .. } => {
                ProblemKind::UpstreamNotResolved.into()
            }
            Self::Unreachable { reason: UnreachableReason::Refused, .. } => {
                ProblemKind::UpstreamRefused.into()
            }
            Self::Unreachable { reason: UnreachableReason::TimedOut, .. } => {
                ProblemKind::UpstreamSlowToConnect.into()
            }
            Self::Unreachable { reason: UnreachableReason::Local, .. } => {
                ProblemDetails::from(ProblemKind::LocalExhaustion).with_retry_after(LOCAL_RETRY)
            }
            Self::Unreachable { reason: UnreachableReason::Other, .. } => {
                ProblemKind::UpstreamUnreachable.into()
            }
            Self::Tls { certificate: true, .. } => ProblemKind::UpstreamCertificate.into(),
            Self::Tls { certificate: false, .. } => ProblemKind::UpstreamTls.into(),
            Self::Closed { .. } => ProblemKind::UpstreamClosed.into(),
            Self::Malformed { .. } => ProblemKind::UpstreamMalformed.into(),
            Self::Timeout { .. } => ProblemKind::UpstreamTimeout.into(),
        }
    }
}

/// The end of an exchange on a connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The host closed the connection before it responded.
    #[error("the connection was closed before a response came")]
    Closed,
    /// The host closed the connection in the middle of a response.
    #[error("the response ended early")]
    Truncated,
    /// No more of a response came for as long as its head may take.
    #[error("no more of the response came in time")]
    Stalled,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The host sent bytes that are not an HTTP response.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The client's request body failed.
    #[error(transparent)]
    RequestBody(#[from] BodyError),
    /// An HTTP/2 connection failed, in hyper's words.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

/// Why no connection could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreachableReason {
    /// The name has no address, or the resolver did not respond in time.
    Dns,
    /// No program listens on the port.
    Refused,
    /// No address responded in time.
    TimedOut,
    /// This machine or this process has no descriptor, memory or port for another socket.
    Local,
    /// Anything else: no route, no socket.
    Other,
}

impl Upstream {
    /// Makes a client for `origin`. It connects with the first request.
    pub fn new(
        origin: Origin,
        tls: &rustls::ClientConfig,
        resolver: Resolver,
        options: &UpstreamOptions,
        clock: Clock,
    ) -> Self {
        let authority = HeaderValue::try_from(origin.authority())
            .expect("an origin is made of characters that a header may carry");
        let counters = Arc::<ConnectionCounters>::default();
        let connector = Connector::new(origin.clone(), tls, resolver, options, counters.clone());
        Self(Arc::new(UpstreamInner {
            origin,
            authority,
            connector,
            pool: Arc::new(Pool::new(clock, options.idle_connections, options.http2)),
            h2: options.http2.then(SharedStreams::default),
            header_timeout: options.header_timeout,
            body_idle_ms: AtomicU64::new(millis(options.body_idle)),
            slow_responses: SlowResponses::default(),
            counters,
            close_signal: watch::channel(()).0,
            is_loop: AtomicBool::new(false),
        }))
    }

    /// Returns the origin of the host.
    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// Returns the `Host` of every request that this client sends.
    pub fn authority(&self) -> &HeaderValue {
        &self.0.authority
    }

    /// Changes the longest pause inside the body of a response, for responses from now on.
    pub fn reconfigure(&self, body_idle: Duration) {
        self.0.body_idle_ms.store(millis(body_idle), Ordering::Relaxed);
    }

    /// Returns what its connections have cost so far.
    pub fn connection_stats(&self) -> ConnectionStats {
        self.0.counters.stats(self.0.pool.idle_count())
    }

    /// Closes the connections, because their buffers hold the bytes that were written to them,
    /// tokens included. Those in use end with their responses, upgraded ones at once.
    pub fn close_all(&self) {
        self.0.close_signal.send_replace(());
        self.0.pool.close_all();
        if let Some(shared) = &self.0.h2 {
            shared.clear();
        }
    }

    /// Closes the connections and keeps none warm until a request reaches the host: requests have
    /// come back to this daemon, so that each connection would hold one of ours.
    pub fn stop_loop(&self) {
        self.0.is_loop.store(true, Ordering::Relaxed);
        self.close_all();
    }

    /// Keeps one connection open at the start and while the client is in use, so that a single
    /// request pays for no handshake. Never returns.
    pub async fn keep_warm(self) {
        let UpstreamInner { pool, connector, h2, .. } = &*self.0;
        loop {
            if self.0.is_loop.swap(false, Ordering::Relaxed) {
                pool.wait_for_use().await;
                continue;
            }
            let has_h2 = h2.as_ref().is_some_and(|shared| shared.get().is_some());
            let (expired, is_warm_missing) = pool.remove_expired();
            close_slowly(expired).await;
            if is_warm_missing && !has_h2 {
                match connector.connect().await {
                    Ok(Connected::Http1(conn)) => pool.add(conn),
                    Ok(Connected::Http2(conn)) => {
                        h2.iter().for_each(|shared| shared.set(conn.clone()));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "no connection to keep warm");
                        // If the next request fails too, its client gets the error.
                        pool.wait_for_use().await;
                        continue;
                    }
                }
            }
            pool.wait_for_check().await;
        }
    }
}

/// Closes connections a few at a time: a goodbye costs cryptography and system calls, and a burst
/// leaves thousands behind.
async fn close_slowly(mut conns: Vec<Http1Connection>) {
    while !conns.is_empty() {
        conns.truncate(conns.len().saturating_sub(CLOSED_AT_ONCE));
        tokio::task::yield_now().await;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Time after which a socket may be had again: other requests end.
const LOCAL_RETRY: Duration = Duration::from_secs(1);

/// Connections that are closed before other tasks run: a fifth of a millisecond.
const CLOSED_AT_ONCE: usize = 16;

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Upstream").field(&self.0.origin).finish()
    }
}
