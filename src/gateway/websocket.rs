//! A WebSocket, once both ends have agreed on it: bytes both ways, of which only the lengths of
//! frames are read.
//!
//! Until then a WebSocket is a request like any other, and it stays a request in flight. It ends
//! with either side, when a stop waits no longer, and with its session or the key of its client. A
//! pause does not end it; a side that takes no bytes does. An end that sends nothing is pinged, so that
//! no machine on the way forgets the connection; one that does not answer [`MAX_UNANSWERED_PINGS`] in
//! a row is gone, though its kernel may still take our bytes. No close frame of ours says why.

mod frames;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{MissedTickBehavior, Sleep};
use tokio_util::io::poll_read_buf;

use self::frames::{FramePosition, PingTo};
use super::client_auth::{ClientAuthenticator, ClientIdentity};
use super::in_flight::InFlightRequest;
use crate::listen::{DrainSignal, Stream};
use crate::upstream::Upgraded;

/// The headers by which either side turns a connection into a WebSocket.
pub(super) static UPGRADE_HEADERS: [(HeaderName, HeaderValue); 2] = [
    (CONNECTION, HeaderValue::from_static("Upgrade")),
    (UPGRADE, HeaderValue::from_static("websocket")),
];

/// The client that opened a WebSocket, which lasts as long as the key of that client.
#[derive(Clone, Debug)]
pub(super) struct WebSocketOwner {
    client_auth: ClientAuthenticator,
    client: ClientIdentity,
    limits: SilenceLimits,
}

impl WebSocketOwner {
    /// `body_idle` bounds the silence of an end, as it bounds a pause in a body.
    pub(super) fn new(
        client_auth: &ClientAuthenticator,
        client: &ClientIdentity,
        body_idle: Duration,
    ) -> Self {
        let limits = SilenceLimits::new(body_idle);
        Self { client_auth: client_auth.clone(), client: client.clone(), limits }
    }
}

/// How long an end may be silent.
#[derive(Clone, Copy, Debug)]
struct SilenceLimits {
    /// An end that has sent nothing for so long is pinged; for twice that at most.
    ping_interval: Duration,
    /// Longest time in which one end takes none of the bytes that the other has sent.
    write_stall: Duration,
}

impl SilenceLimits {
    /// The default of `limits.body_idle` pings after half a minute: below the minute after which proxies
    /// on the way close an idle connection (nginx).
    fn new(body_idle: Duration) -> Self {
        let ping_interval = (body_idle / 2).max(MIN_PING_INTERVAL);
        Self { ping_interval, write_stall: body_idle.saturating_mul(2) }
    }
}

/// Where a response leaves the WebSocket that its connection continues with.
#[derive(Debug, Default)]
pub(super) struct PendingUpgrade(Mutex<Option<UpgradeParts>>);

#[derive(Debug)]
struct UpgradeParts {
    upstream: Box<Upgraded>,
    in_flight: InFlightRequest,
    owner: Option<WebSocketOwner>,
}

impl PendingUpgrade {
    /// Continues with `upstream` once the response is written; the request stays in flight.
    pub(super) fn set(
        &self,
        upstream: Box<Upgraded>,
        in_flight: InFlightRequest,
        owner: Option<WebSocketOwner>,
    ) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(UpgradeParts { upstream, in_flight, owner });
    }

    /// Says whether the connection continues as a WebSocket.
    pub(super) fn is_set(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Copies between the two ends until one of them closes or the WebSocket must end. `ahead`
    /// holds the bytes that the client has sent already.
    pub(super) async fn run(self, mut client: Stream, ahead: Bytes, mut drain: DrainSignal) {
        let parts = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Each response that switches has its owner.
        let Some(UpgradeParts { upstream, mut in_flight, owner: Some(owner) }) = parts else {
            return;
        };
        let (mut upstream, received, session_ended) = upstream.into_parts();
        let WebSocketOwner { client_auth, client: owner, limits } = owner;
        let mut up = CopyDirection::new(ahead, PingTo::Host, limits);
        let mut down = CopyDirection::new(received, PingTo::Client, limits);
        let copied = copy(&mut client, &mut upstream, (&mut up, &mut down), |received| {
            in_flight.record_sent(received);
        });
        let key_revoked = client_auth.revoked(&owner);
        let why = tokio::select! {
            copied = copied => match copied {
                Ok(()) => "closed",
                Err(error) if error.kind() == io::ErrorKind::TimedOut => "stalled",
                Err(error) if error.kind() == io::ErrorKind::NotConnected => "silent",
                Err(_) => "broken",
            },
            () = session_ended => "session",
            () = key_revoked => "key",
            () = drain.wait_end() => "stop",
        };
        tracing::debug!(why, "a WebSocket ended");
        let shutdown = async { tokio::join!(client.shutdown(), upstream.shutdown()) };
        drop(tokio::time::timeout(SHUTDOWN_TIMEOUT, shutdown).await);
    }
}

/// Copies both ways until one end closes, takes nothing, or answers no ping. `record` learns how many
/// bytes the client has got.
async fn copy(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    upstream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    (up, down): (&mut CopyDirection, &mut CopyDirection),
    mut record: impl FnMut(usize),
) -> io::Result<()> {
    let mut checks = tokio::time::interval(up.limits.ping_interval);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    std::future::poll_fn(|cx| {
        while checks.poll_tick(cx).is_ready() {
            // The client's bytes come through `up`, and its pings go through `down`.
            if up.check_source(&mut down.ping) || down.check_source(&mut up.ping) {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            }
        }
        let sent = up.poll(cx, client, upstream);
        let received = down.poll(cx, upstream, client);
        record(std::mem::take(&mut down.copied));
        match (sent, received) {
            (Poll::Pending, Poll::Pending) => Poll::Pending,
            (Poll::Ready(ended), _) | (_, Poll::Ready(ended)) => Poll::Ready(ended),
        }
    })
    .await
}

/// One direction: reads more only when the other end has taken the bytes that were read.
struct CopyDirection {
    buffered: BytesMut,
    copied: usize,
    is_flushed: bool,
    stall_timer: Option<Pin<Box<Sleep>>>,
    /// Where the bytes that were read end.
    position: FramePosition,
    to: PingTo,
    /// The ping of the end that takes the bytes.
    ping: Ping,
    /// The silence of the end that sends the bytes.
    silence: Silence,
    limits: SilenceLimits,
}

/// How far the latest ping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ping {
    /// No ping is to be sent.
    Idle,
    /// To be sent before the next frame.
    Due,
    /// Handed to the connection.
    Sent,
}

/// The activity of an end since the last check, and its pings without an answer.
#[derive(Debug)]
struct Silence {
    has_read: bool,
    unanswered: u32,
}

impl Silence {
    /// Orders a ping where nothing was read since the last check; returns whether too many pings had no
    /// answer. Any bytes are an answer. A ping that is not sent yet, because a frame of the other end is
    /// not whole or is not taken, proves nothing.
    fn check(&mut self, ping: &mut Ping) -> bool {
        if std::mem::take(&mut self.has_read) {
            (self.unanswered, *ping) = (0, Ping::Idle);
            return false;
        }
        if *ping == Ping::Sent {
            self.unanswered += 1;
        }
        *ping = Ping::Due;
        self.unanswered >= MAX_UNANSWERED_PINGS
    }
}

impl CopyDirection {
    fn new(first: Bytes, to: PingTo, limits: SilenceLimits) -> Self {
        let mut position = FramePosition::default();
        position.follow(&first);
        Self {
            buffered: first.into(),
            copied: 0,
            is_flushed: true,
            stall_timer: None,
            position,
            to,
            ping: Ping::Idle,
            // A handshake has just come.
            silence: Silence { has_read: true, unanswered: 0 },
            limits,
        }
    }

    /// Returns whether the source has answered too few pings. One that is not read, because the other
    /// end does not take what came, is not judged.
    fn check_source(&mut self, ping: &mut Ping) -> bool {
        self.silence.has_read |= !self.buffered.is_empty();
        self.silence.check(ping)
    }

    /// Copies what arrives; ready when the source has ended.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        for _ in 0..MAX_READS_PER_POLL {
            ready!(self.poll_write(cx, to))?;
            if self.ping == Ping::Due && self.position.is_between_frames() {
                self.ping = Ping::Sent;
                self.buffered.extend_from_slice(&self.to.frame());
                continue;
            }
            self.buffered.reserve(READ_SIZE);
            let read = poll_read_buf(Pin::new(&mut *from), cx, &mut self.buffered)?;
            if let Poll::Ready(1..) = read {
                self.position.follow(&self.buffered);
                self.silence.has_read = true;
                continue;
            }
            ready!(self.poll_flush(cx, to))?;
            return read.map(|_| Ok(()));
        }
        // There is more to copy, but other tasks must run too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while !self.buffered.is_empty() {
            let written = Pin::new(&mut *to).poll_write(cx, &self.buffered);
            let written = ready!(self.poll_stall(cx, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.buffered.advance(written);
            self.copied += written;
            self.is_flushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        if !self.is_flushed {
            let flushed = Pin::new(to).poll_flush(cx);
            ready!(self.poll_stall(cx, flushed))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Bounds the wait for an end that takes no bytes: nothing is read from the other end meanwhile, so
    /// that its close would not be seen.
    fn poll_stall<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stall_timer = None;
            return polled;
        }
        let timer = self
            .stall_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(self.limits.write_stall)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// A configuration of tests alone asks for less.
const MIN_PING_INTERVAL: Duration = Duration::from_millis(10);

/// So many pings without an answer end a WebSocket: after twice `limits.body_idle`, as an end that takes
/// no bytes. A client that looks at its socket once in that time answers in time.
const MAX_UNANSWERED_PINGS: u32 = 3;

/// How many bytes are read at a time.
const READ_SIZE: usize = 8 << 10;

/// Reads before other tasks run: as much as of a large body.
const MAX_READS_PER_POLL: usize = 32;

/// Longest time for the last bytes to leave.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
