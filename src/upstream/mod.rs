//! One HTTPS host: finds it, proves that it is the right one, keeps connections to it warm.
//!
//! Knows nothing of tokens or callers. A request that may have reached the host is never sent
//! again, unless repeating it is harmless ([`Repeat::Harmless`]) and the connection it was sent on
//! had been idle: then the host most likely closed it before it read a byte.

mod ask;
mod dial;
mod framing;
mod line;
mod message;
mod pool;
mod relayed;
mod replay;
mod resolve;
mod secure;
mod streams;
mod switch;
mod trust;
mod turn;
mod upload;
mod via;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode};
use tokio::sync::watch;

pub use self::ask::{Ask, Reuse};
use self::dial::{Dialed, Dialer};
use self::line::{Line, Lost};
pub use self::message::Malformed;
use self::pool::Pool;
pub use self::relayed::Relayed;
pub use self::replay::{Keep, Kept};
pub use self::resolve::{Resolver, Unresolved};
use self::streams::{Shared as SharedStreams, Streams};
pub use self::switch::Far;
pub use self::trust::{Error as TrustError, tls};
pub use self::upload::{Fault, Payload, Progress, Upload};
pub use self::via::{Error as ViaError, Via};
use crate::clock::Clock;
use crate::config::Origin;

/// A client bound to one origin. Clones share its connections.
#[derive(Clone)]
pub struct Upstream(Arc<Shared>);

struct Shared {
    origin: Origin,
    authority: HeaderValue,
    dialer: Dialer,
    pool: Arc<Pool>,
    streams: Option<SharedStreams>,
    header_timeout: Duration,
    /// Told when everything is to be closed.
    hang_ups: watch::Sender<()>,
}

/// How to reach a host, and how long it may take.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Offer HTTP/2; the host may still choose HTTP/1.1.
    pub http2: bool,
    /// The proxy on the way, if there is one.
    pub via: Option<Via>,
    /// Name, TCP and TLS together.
    pub connect: Duration,
    /// From the request's last byte to the answer's head.
    pub header: Duration,
}

/// Whether a request may be sent a second time after it may have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Safe by RFC 9110 §9.2.1 and without a body: a second execution changes nothing.
    Harmless,
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
        reason: Unreachable,
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
        source: Broken,
    },
    /// What came was not an HTTP answer, or not one that may be passed on.
    #[error("the answer of {origin} is not valid HTTP")]
    Malformed {
        /// The configured origin.
        origin: Origin,
        /// What is wrong with it.
        #[source]
        source: Broken,
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
pub enum Broken {
    /// The other end closed it before it answered.
    #[error("the connection was closed before an answer came")]
    Closed,
    /// The other end closed it in the middle of an answer.
    #[error("the answer broke off")]
    Cut,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The answer is not one.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The caller's body failed.
    #[error(transparent)]
    Upload(#[from] Fault),
    /// In hyper's words, on HTTP/2.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

/// Why no connection could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// The name has no address, or the resolver did not answer in time.
    Name,
    /// Nothing listens there.
    Refused,
    /// Nobody answered in time.
    Slow,
    /// Anything else: no route, no socket.
    Other,
}

impl Upstream {
    /// Makes a client for `origin`; nothing is connected before the first request.
    pub fn new(
        origin: Origin,
        tls: &rustls::ClientConfig,
        resolver: Resolver,
        terms: &Terms,
        clock: Clock,
    ) -> Self {
        let authority = HeaderValue::try_from(origin.authority())
            .expect("an origin is made of characters that a header may carry");
        let dialer = Dialer::new(origin.clone(), tls, resolver, terms);
        let streams = terms.http2.then(SharedStreams::default);
        let header_timeout = terms.header;
        let pool = Arc::new(Pool::new(clock));
        let hang_ups = watch::channel(()).0;
        Self(Arc::new(Shared {
            origin,
            authority,
            dialer,
            pool,
            streams,
            header_timeout,
            hang_ups,
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
    pub fn hang_up(&self) {
        self.0.hang_ups.send_replace(());
        self.0.pool.clear();
        if let Some(streams) = &self.0.streams {
            streams.forget();
        }
    }

    /// Keeps one connection open while the client is in use, and at the start, so that a lone
    /// request pays no handshake. Never ends.
    pub async fn keep_warm(self) {
        let Shared { pool, dialer, streams, .. } = &*self.0;
        loop {
            let served = streams.as_ref().is_some_and(|streams| streams.live().is_some());
            if pool.tidy() && !served {
                match dialer.dial().await {
                    Ok(Dialed::Line(line)) => pool.add(line),
                    Ok(Dialed::Streams(dialed)) => {
                        streams.iter().for_each(|streams| streams.keep(dialed.clone()));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "no connection to keep warm");
                        // The next request will tell the user, if it fails too.
                        pool.used_again().await;
                        continue;
                    }
                }
            }
            pool.rest().await;
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
        repeat: Repeat,
        ask: &mut impl Ask,
    ) -> Result<Response<Relayed>, Error> {
        // Before a connection is taken: one that is to be closed meanwhile is not put back.
        let era = self.0.pool.era();
        // What is rare stands in boxes: it would make the future of every request larger.
        let tried = match self.0.streams.as_ref().and_then(SharedStreams::live) {
            Some(streams) => Some(Box::pin(self.by_stream(streams, ask)).await),
            None => {
                let client = match ask.reuse() {
                    Reuse::Client(client) => Some(client),
                    Reuse::Shared | Reuse::Never => None,
                };
                match self.0.pool.take(repeat, client) {
                    Some(line) => Some(self.by_line(line, era, ask).await),
                    None => None,
                }
            }
        };
        match tried {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(Failed { error, is_unsent: false }))
                if repeat == Repeat::Never || !matches!(error, Error::Closed { .. }) =>
            {
                Err(error)
            }
            Some(Err(_)) | None => Box::pin(self.send_fresh(ask)).await,
        }
    }

    async fn send_fresh(&self, ask: &mut impl Ask) -> Result<Response<Relayed>, Error> {
        let era = self.0.pool.era();
        let answer = match self.dial_once().await? {
            Dialed::Line(line) => self.by_line(line, era, ask).await,
            Dialed::Streams(streams) => self.by_stream(streams, ask).await,
        };
        answer.map_err(|failed| failed.error)
    }

    /// Dials; requests that come meanwhile share the connection, where it can be shared.
    async fn dial_once(&self) -> Result<Dialed, Error> {
        let Some(streams) = &self.0.streams else { return self.0.dialer.dial().await };
        let _turn = streams.turn().await;
        if let Some(live) = streams.live() {
            return Ok(Dialed::Streams(live));
        }
        let dialed = self.0.dialer.dial().await?;
        if let Dialed::Streams(dialed) = &dialed {
            streams.keep(dialed.clone());
        }
        Ok(dialed)
    }

    async fn by_line(
        &self,
        mut line: Line,
        era: u64,
        ask: &mut impl Ask,
    ) -> Result<Response<Relayed>, Failed> {
        let answer = self.judged(line.exchange(ask, self.0.header_timeout).await)?;
        let lease = pool::Lease::new(self.0.pool.clone(), line, era);
        Ok(answer.map(|()| Relayed::over(lease)))
    }

    async fn by_stream(
        &self,
        mut streams: Streams,
        ask: &mut impl Ask,
    ) -> Result<Response<Relayed>, Failed> {
        let limit = self.0.header_timeout;
        let answer = self.judged(streams.send(ask, &self.0.origin, limit).await)?;
        Ok(answer.map(Relayed::from))
    }

    fn judged<T>(&self, outcome: Option<Result<Response<T>, Lost>>) -> Result<Response<T>, Failed> {
        let origin = || self.0.origin.clone();
        match outcome {
            None => {
                let limit = self.0.header_timeout;
                Err(Failed::sent(Error::Timeout { origin: origin(), limit }))
            }
            // Nobody asked for another protocol: passing it on would desynchronise the client.
            Some(Ok(answer)) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let source = Malformed::Switch.into();
                Err(Failed::sent(Error::Malformed { origin: origin(), source }))
            }
            Some(Ok(answer)) => Ok(answer),
            Some(Err(Lost { why: source, is_unsent })) => {
                let is_malformed = match &source {
                    Broken::Malformed(_) => true,
                    Broken::Http2(error) => error.is_parse(),
                    Broken::Closed | Broken::Cut | Broken::Io(_) | Broken::Upload(_) => false,
                };
                let origin = origin();
                let error = match is_malformed {
                    true => Error::Malformed { origin, source },
                    false => Error::Closed { origin, source },
                };
                Err(Failed { error, is_unsent })
            }
        }
    }
}

/// An attempt that brought no answer, and whether not a byte of it was written.
struct Failed {
    error: Error,
    is_unsent: bool,
}

impl Failed {
    fn sent(error: Error) -> Self {
        Self { error, is_unsent: false }
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Upstream").field(&self.0.origin).finish()
    }
}
