//! One HTTPS host: finds it, proves that it is the right one, keeps connections to it warm.
//!
//! Knows nothing of tokens or callers. A request that may have reached the host is never sent
//! again, unless repeating it is harmless ([`Retry::Safe`]) and the connection it was sent on
//! had been idle: then the host most likely closed it before it read a byte.

mod body_buffer;
mod connector;
mod coop;
mod framing;
mod h1_codec;
mod h1_conn;
mod h2_conn;
mod http_proxy;
mod pool;
mod request;
mod request_body;
mod resolve;
mod response_body;
mod tls_buffer;
mod tls_config;
mod tls_stream;
mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode};
use tokio::sync::watch;

pub use self::body_buffer::{BodyBuffer, ReplayBody};
use self::connector::{Connected, Connector};
pub use self::h1_codec::{MAX_CONNECTION_OPTIONS, Malformed};
use self::h1_conn::{Http1Connection, SendError};
use self::h2_conn::{Http2Connection, SharedStreams};
pub use self::http_proxy::{Error as HttpProxyError, HttpProxy};
use self::pool::Pool;
pub use self::request::{Reuse, UpstreamRequest};
pub use self::request_body::{BodyError, Payload, Upload, UploadProgress};
pub use self::resolve::{Resolver, Unresolved};
pub use self::response_body::ResponseBody;
pub use self::tls_config::{Error as TlsConfigError, load_tls_config};
pub use self::upgrade::Upgraded;
use crate::clock::Clock;
use crate::config::Origin;

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
    /// Told when everything is to be closed.
    close_signal: watch::Sender<()>,
}

/// How to reach a host, and how long it may take.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    /// Offer HTTP/2; the host may still choose HTTP/1.1.
    pub http2: bool,
    /// The proxy on the way, if there is one.
    pub proxy: Option<HttpProxy>,
    /// Name, TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the request's last byte to the answer's head.
    pub header_timeout: Duration,
}

/// Whether a request may be sent a second time after it may have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Safe by RFC 9110 §9.2.1 and without a body: a second execution changes nothing.
    Safe,
    /// It may have been executed; never again.
    Never,
}

/// Why the upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name could not be resolved, or nothing accepted a connection in time.
    #[error("could not connect to {origin}")]
    Unreachable {
        /// The configured origin.
        origin: Origin,
        /// What happened, by kind.
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
        /// Whether its certificate is to blame.
        certificate: bool,
        /// The cause in rustls' words.
        #[source]
        source: std::io::Error,
    },
    /// The connection ended before an answer came.
    #[error("{origin} closed the connection without an answer")]
    Closed {
        /// The configured origin.
        origin: Origin,
        /// What happened to it.
        #[source]
        source: ConnectionError,
    },
    /// What came was not an HTTP answer, or not one that may be passed on.
    #[error("the answer of {origin} is not valid HTTP")]
    Malformed {
        /// The configured origin.
        origin: Origin,
        /// What is wrong with it.
        #[source]
        source: ConnectionError,
    },
    /// No answer came in time.
    #[error("{origin} did not answer within {} s", limit.as_secs())]
    Timeout {
        /// The configured origin.
        origin: Origin,
        /// How long it was given.
        limit: Duration,
    },
}

/// What ended an exchange on a connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The other end closed it before it answered.
    #[error("the connection was closed before an answer came")]
    Closed,
    /// The other end closed it in the middle of an answer.
    #[error("the answer broke off")]
    Truncated,
    /// Nothing more of an answer came for as long as its head may take.
    #[error("no more of the answer came in time")]
    Stalled,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The answer is not one.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The caller's body failed.
    #[error(transparent)]
    RequestBody(#[from] BodyError),
    /// In hyper's words, on HTTP/2.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

/// Why no connection could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreachableReason {
    /// The name has no address, or the resolver did not answer in time.
    Dns,
    /// Nothing listens there.
    Refused,
    /// Nobody answered in time.
    TimedOut,
    /// Anything else: no route, no socket.
    Other,
}

impl Upstream {
    /// Makes a client for `origin`; nothing is connected before the first request.
    pub fn new(
        origin: Origin,
        tls: &rustls::ClientConfig,
        resolver: Resolver,
        terms: &UpstreamOptions,
        clock: Clock,
    ) -> Self {
        let authority = HeaderValue::try_from(origin.authority())
            .expect("an origin is made of characters that a header may carry");
        let dialer = Connector::new(origin.clone(), tls, resolver, terms);
        let streams = terms.http2.then(SharedStreams::default);
        let header_timeout = terms.header_timeout;
        let pool = Arc::new(Pool::new(clock));
        let hang_ups = watch::channel(()).0;
        Self(Arc::new(UpstreamInner {
            origin,
            authority,
            connector: dialer,
            pool,
            h2: streams,
            header_timeout,
            close_signal: hang_ups,
        }))
    }

    /// Returns where this client goes.
    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// Returns the `Host` of every request that this client sends.
    pub fn authority(&self) -> &HeaderValue {
        &self.0.authority
    }

    /// Closes the connections, those in use once their answers have ended: what was written to them
    /// is in their buffers, the token too. Those that have switched to another protocol end at once.
    pub fn close_all(&self) {
        self.0.close_signal.send_replace(());
        self.0.pool.close_all();
        if let Some(streams) = &self.0.h2 {
            streams.clear();
        }
    }

    /// Keeps one connection open while the client is in use, and at the start, so that a lone
    /// request pays no handshake. Never ends.
    pub async fn keep_warm(self) {
        let UpstreamInner { pool, connector: dialer, h2: streams, .. } = &*self.0;
        loop {
            let served = streams.as_ref().is_some_and(|streams| streams.get().is_some());
            if pool.evict_expired() && !served {
                match dialer.connect().await {
                    Ok(Connected::Http1(line)) => pool.add(line),
                    Ok(Connected::Http2(dialed)) => {
                        streams.iter().for_each(|streams| streams.set(dialed.clone()));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "no connection to keep warm");
                        // The next request will tell the user, if it fails too.
                        pool.wait_for_use().await;
                        continue;
                    }
                }
            }
            pool.wait_for_check().await;
        }
    }

    /// Sends a request and returns the answer's head as soon as it arrives.
    ///
    /// It is sent once; a second time only when it certainly was not, or harmlessly may have been,
    /// executed.
    ///
    /// # Errors
    ///
    /// One variant per way in which a host can fail to answer.
    pub async fn send(
        &self,
        repeat: Retry,
        ask: &mut impl UpstreamRequest,
    ) -> Result<Response<ResponseBody>, Error> {
        // Before a connection is taken: one that is to be closed meanwhile is not put back.
        let era = self.0.pool.epoch();
        // What is rare stands in boxes: it would make the future of every request larger.
        let tried = match self.0.h2.as_ref().and_then(SharedStreams::get) {
            Some(streams) => Some(Box::pin(self.send_h2(streams, ask)).await),
            None => {
                let client = match ask.reuse() {
                    Reuse::Client(client) => Some(client),
                    Reuse::Shared | Reuse::Never => None,
                };
                match self.0.pool.take(repeat, client) {
                    Some(line) => Some(self.send_h1(line, era, ask).await),
                    None => None,
                }
            }
        };
        match tried {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(FailedAttempt { error, is_unsent: false }))
                if repeat == Retry::Never || !matches!(error, Error::Closed { .. }) =>
            {
                Err(error)
            }
            Some(Err(_)) | None => Box::pin(self.send_on_new_connection(ask)).await,
        }
    }

    async fn send_on_new_connection(
        &self,
        ask: &mut impl UpstreamRequest,
    ) -> Result<Response<ResponseBody>, Error> {
        let era = self.0.pool.epoch();
        let answer = match self.connect_once().await? {
            Connected::Http1(line) => self.send_h1(line, era, ask).await,
            Connected::Http2(streams) => self.send_h2(streams, ask).await,
        };
        answer.map_err(|failed| failed.error)
    }

    /// Dials; requests that come meanwhile share the connection, where it can be shared.
    async fn connect_once(&self) -> Result<Connected, Error> {
        let Some(streams) = &self.0.h2 else { return self.0.connector.connect().await };
        let _turn = streams.lock_connecting().await;
        if let Some(live) = streams.get() {
            return Ok(Connected::Http2(live));
        }
        let dialed = self.0.connector.connect().await?;
        if let Connected::Http2(dialed) = &dialed {
            streams.set(dialed.clone());
        }
        Ok(dialed)
    }

    async fn send_h1(
        &self,
        mut line: Http1Connection,
        era: u64,
        ask: &mut impl UpstreamRequest,
    ) -> Result<Response<ResponseBody>, FailedAttempt> {
        let answer = self.check_response(line.send_request(ask, self.0.header_timeout).await)?;
        let lease = pool::PooledConnection::new(self.0.pool.clone(), line, era);
        Ok(answer.map(|()| ResponseBody::from_h1(lease, self.0.header_timeout)))
    }

    async fn send_h2(
        &self,
        mut streams: Http2Connection,
        ask: &mut impl UpstreamRequest,
    ) -> Result<Response<ResponseBody>, FailedAttempt> {
        let limit = self.0.header_timeout;
        let answer = self.check_response(streams.send(ask, &self.0.origin, limit).await)?;
        Ok(answer.map(|body| ResponseBody::from_h2(body, limit)))
    }

    fn check_response<T>(
        &self,
        outcome: Option<Result<Response<T>, SendError>>,
    ) -> Result<Response<T>, FailedAttempt> {
        let origin = || self.0.origin.clone();
        match outcome {
            None => {
                let limit = self.0.header_timeout;
                Err(FailedAttempt::after_sending(Error::Timeout { origin: origin(), limit }))
            }
            // Nobody asked for another protocol: passing it on would desynchronise the client.
            Some(Ok(answer)) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let source = Malformed::UnexpectedUpgrade.into();
                Err(FailedAttempt::after_sending(Error::Malformed { origin: origin(), source }))
            }
            Some(Ok(answer)) => Ok(answer),
            Some(Err(SendError { error: source, is_unsent })) => {
                let is_malformed = match &source {
                    ConnectionError::Malformed(_) => true,
                    ConnectionError::Http2(error) => error.is_parse(),
                    ConnectionError::Closed
                    | ConnectionError::Truncated
                    | ConnectionError::Stalled
                    | ConnectionError::Io(_)
                    | ConnectionError::RequestBody(_) => false,
                };
                let origin = origin();
                let error = match is_malformed {
                    true => Error::Malformed { origin, source },
                    false => Error::Closed { origin, source },
                };
                Err(FailedAttempt { error, is_unsent })
            }
        }
    }
}

/// An attempt that brought no answer, and whether not a byte of it was written.
struct FailedAttempt {
    error: Error,
    is_unsent: bool,
}

impl FailedAttempt {
    fn after_sending(error: Error) -> Self {
        Self { error, is_unsent: false }
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Upstream").field(&self.0.origin).finish()
    }
}
