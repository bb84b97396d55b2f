//! Reads on a used connection that stays silent: when they are sent again on a new one.
//!
//! A pooled connection can be dead without a sign: its packets are dropped, and the first to notice
//! would be the timeout of the response. A server that only thinks for long acknowledges the request
//! within a round trip. So the kernel is asked first ([`TcpInfo`]), and a slow response is never
//! asked for twice while its path lives. Where the kernel cannot know, behind a proxy, a read is sent
//! again once, after longer than slow responses have taken lately.
//!
//! [`TcpInfo`]: super::socket

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Response;
use tokio::time::Instant;

use super::attempt::FailedAttempt;
use super::h1_conn::SendError;
use super::request::UpstreamRequest;
use super::response_body::ResponseBody;
use super::{Retry, Upstream, millis};

/// The longest time that a slow response took lately, in milliseconds. Each faster one lets it sink.
#[derive(Default)]
pub(super) struct SlowResponses(AtomicU64);

impl SlowResponses {
    fn record(&self, elapsed: Duration) {
        let sunk = self.0.load(Ordering::Relaxed) / 8 * 7;
        self.0.store(millis(elapsed).max(sunk), Ordering::Relaxed);
    }

    fn longest(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// A read that waits on a used connection, and what is known of that.
pub(super) struct SilentRead<F> {
    /// The response, or `None` once `upstream.header_timeout` is over.
    pub(super) response: F,
    /// Whether the path of the connection is dead, if that is known.
    pub(super) is_dead: Option<bool>,
    /// How long it has been silent.
    pub(super) waited: Duration,
}

/// The connection whose response came first.
pub(super) enum Winner<T> {
    /// The used one, which was only slow.
    Silent(Response<T>),
    /// A new one.
    New(Response<ResponseBody>),
}

impl Upstream {
    /// Returns how long a used connection may be silent before it is looked at: a handshake takes
    /// at least two round trips, and an acknowledgement one.
    pub(super) fn silence_bound(&self) -> Duration {
        self.0.pool.handshake_time().clamp(MIN_SILENCE, MAX_SILENCE)
    }

    /// Waits for the response to a read on a used connection, and sends the read on a new one too
    /// if that seems dead. The first response wins.
    pub(super) async fn wait_or_race<T>(
        &self,
        read: SilentRead<impl Future<Output = Option<Result<Response<T>, SendError>>>>,
        request: &mut impl UpstreamRequest,
    ) -> Result<Winner<T>, FailedAttempt> {
        let SilentRead { response, is_dead, waited } = read;
        let began = Instant::now();
        let mut silent = pin!(response);
        let before_race = match is_dead {
            Some(true) => Duration::ZERO,
            // The timeout of the read itself ends it.
            Some(false) => self.0.header_timeout,
            None => self.unknown_silence_bound().saturating_sub(waited),
        };
        if let Ok(outcome) = tokio::time::timeout(before_race, &mut silent).await {
            self.0.slow_responses.record(waited + began.elapsed());
            return self.check_response(outcome).map(Winner::Silent);
        }
        self.0.counters.count_race();
        tracing::debug!(?is_dead, "a used connection is silent: the read goes over a new one too");
        let mut new = pin!(self.send_on_new_connection(Retry::Safe, request));
        let (sent, silent) = tokio::select! {
            outcome = &mut silent => match outcome {
                Some(Ok(response)) => return self.slow_response(response, waited + began.elapsed()),
                Some(Err(SendError { .. })) | None => (new.await, None),
            },
            sent = &mut new => (sent, Some(silent)),
        };
        match (sent, silent) {
            // The path of the used connection may live where a new one cannot be made.
            (Err(error), Some(silent)) if is_dead.is_none() => match silent.await {
                Some(Ok(response)) => self.slow_response(response, waited + began.elapsed()),
                Some(Err(SendError { .. })) | None => Err(FailedAttempt::on_new(error)),
            },
            (sent, _) => sent.map(Winner::New).map_err(FailedAttempt::on_new),
        }
    }

    fn slow_response<T>(
        &self,
        response: Response<T>,
        elapsed: Duration,
    ) -> Result<Winner<T>, FailedAttempt> {
        self.0.slow_responses.record(elapsed);
        self.check_response(Some(Ok(response))).map(Winner::Silent)
    }

    /// Returns how long a used connection may be silent where the kernel cannot tell whether its
    /// path lives.
    fn unknown_silence_bound(&self) -> Duration {
        let longest = self.0.header_timeout / 2;
        let usual = self.0.slow_responses.longest().saturating_mul(2);
        usual.max(UNKNOWN_SILENCE).min(longest)
    }
}

/// The shortest silence after which a used connection is looked at. Most responses come before, and
/// the kernel has sent a lost segment again by then (200 ms, RFC 6298 as Linux does it).
const MIN_SILENCE: Duration = Duration::from_millis(500);

/// The longest.
const MAX_SILENCE: Duration = Duration::from_secs(3);

/// The shortest silence after which a read is sent again where the kernel knows nothing: as long as
/// `upstream.connect_timeout` lets a new connection take by default.
const UNKNOWN_SILENCE: Duration = Duration::from_secs(10);
