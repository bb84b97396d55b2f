//! One HTTPS host: finds it, proves that it is the right one, keeps connections to it warm.
//!
//! Knows nothing of tokens or callers. A request that may have reached the host is never sent
//! again, unless repeating it is harmless ([`Repeat::Harmless`]) and the connection it was sent on
//! had been idle: then the host most likely closed it before it read a byte.

mod body;
mod dial;
mod pool;
mod replay;
mod resolve;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::client::conn::http1::SendRequest;

pub use self::body::{Fault, Payload, Progress, Relayed, Upload};
pub use self::replay::{Keep, Kept};
pub use self::resolve::Resolver;
pub use self::trust::{Error as TrustError, tls};
use self::{dial::Dialer, pool::Pool};
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
    header_timeout: Duration,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
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
        /// The cause in hyper's words.
        #[source]
        source: hyper::Error,
    },
    /// What came was not an HTTP answer, or not one that may be passed on.
    #[error("the answer of {origin} is not valid HTTP")]
    Malformed {
        /// The configured origin.
        origin: Origin,
        /// The cause in hyper's words, if hyper refused it.
        #[source]
        source: Option<hyper::Error>,
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
        tls: Arc<rustls::ClientConfig>,
        resolver: Resolver,
        timeouts: Timeouts,
        clock: Clock,
    ) -> Self {
        let authority = HeaderValue::try_from(origin.authority())
            .expect("an origin is made of characters that a header may carry");
        let dialer = Dialer::new(origin.clone(), tls, resolver, timeouts.connect);
        let pool = Arc::new(Pool::new(clock));
        Self(Arc::new(Shared { origin, authority, dialer, pool, header_timeout: timeouts.header }))
    }

    /// Returns where this client goes.
    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// Returns the `Host` of every request that this client sends.
    pub fn authority(&self) -> &HeaderValue {
        &self.0.authority
    }

    /// Closes the idle connections: after a resume they are most likely dead.
    pub fn forget_idle(&self) {
        self.0.pool.clear();
    }

    /// Sends what `compose` makes and returns the answer's head as soon as it arrives.
    ///
    /// `compose` is called once; a second time only when the first request certainly was not, or
    /// harmlessly may have been, executed.
    ///
    /// # Errors
    ///
    /// One variant per way in which a host can fail to answer.
    pub async fn send(
        &self,
        repeat: Repeat,
        mut compose: impl FnMut() -> Request<Payload>,
    ) -> Result<Response<Relayed>, Error> {
        if let Some(mut connection) = self.0.pool.take(repeat).await {
            let request = compose();
            let uploaded = request.body().uploaded();
            match self.attempt(&mut connection, request).await {
                Ok(answer) => return self.relay(answer, connection, uploaded),
                // Not a byte of it was written: the same request goes out on a new connection.
                Err(Failed { unsent: Some(request), .. }) => return self.send_fresh(request).await,
                Err(Failed { error, .. })
                    if repeat == Repeat::Harmless && matches!(error, Error::Closed { .. }) => {}
                Err(Failed { error, .. }) => return Err(error),
            }
        }
        self.send_fresh(compose()).await
    }

    async fn send_fresh(&self, request: Request<Payload>) -> Result<Response<Relayed>, Error> {
        let mut connection = self.0.dialer.dial().await?;
        let uploaded = request.body().uploaded();
        match self.attempt(&mut connection, request).await {
            Ok(answer) => self.relay(answer, connection, uploaded),
            Err(Failed { error, .. }) => Err(error),
        }
    }

    async fn attempt(
        &self,
        connection: &mut SendRequest<Payload>,
        request: Request<Payload>,
    ) -> Result<Response<hyper::body::Incoming>, Failed> {
        let limit = self.0.header_timeout;
        let progress = request.body().progress();
        let answer = connection.try_send_request(request);
        match body::within(limit, progress, answer).await {
            None => Err(Failed::sent(Error::Timeout { origin: self.0.origin.clone(), limit })),
            Some(Ok(answer)) => Ok(answer),
            Some(Err(mut failed)) => {
                let unsent = failed.take_message();
                let source = failed.into_error();
                let origin = self.0.origin.clone();
                let error = match source.is_parse() {
                    true => Error::Malformed { origin, source: Some(source) },
                    false => Error::Closed { origin, source },
                };
                Err(Failed { error, unsent })
            }
        }
    }

    fn relay(
        &self,
        answer: Response<hyper::body::Incoming>,
        connection: SendRequest<Payload>,
        uploaded: body::Uploaded,
    ) -> Result<Response<Relayed>, Error> {
        // Nobody asked for another protocol: passing it on would desynchronise the client.
        if answer.status() == http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::Malformed { origin: self.0.origin.clone(), source: None });
        }
        let lease = pool::Lease::new(self.0.pool.clone(), connection, uploaded);
        Ok(answer.map(|incoming| Relayed::new(incoming, lease)))
    }
}

/// An attempt that brought no answer, and the request itself if not a byte of it was written.
struct Failed {
    error: Error,
    unsent: Option<Request<Payload>>,
}

impl Failed {
    fn sent(error: Error) -> Self {
        Self { error, unsent: None }
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Upstream").field(&self.0.origin).finish()
    }
}
