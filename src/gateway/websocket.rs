//! A WebSocket, once both ends have agreed on it: bytes both ways, of which only the lengths of
//! frames are read.
//!
//! Until then a WebSocket is a request like any other, and it stays a request in flight. It ends
//! with either side, when a stop waits no longer, and with its session or the key of its client. A
//! pause does not end it; a side that takes no bytes does. An end that sends nothing is pinged, so that
//! the kernel notices a path that has died and no machine on the way forgets the connection; whether
//! it answers is not judged, because some clients look at their socket rarely. No close frame of ours
//! says why.

mod frames;

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
}

impl WebSocketOwner {
    pub(super) fn new(client_auth: &ClientAuthenticator, client: &ClientIdentity) -> Self {
        Self { client_auth: client_auth.clone(), client: client.clone() }
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
        let Some(UpgradeParts { upstream, mut in_flight, owner }) = parts else { return };
        let (mut upstream, received, session_ended) = upstream.into_parts();
        let mut up = CopyDirection::new(ahead, PingTo::Host);
        let mut down = CopyDirection::new(received, PingTo::Client);
        let mut checks = tokio::time::interval(PING_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let copied = std::future::poll_fn(|cx| {
            while checks.poll_tick(cx).is_ready() {
                (up.is_ping_due, down.is_ping_due) = (down.take_silence(), up.take_silence());
            }
            let sent = up.poll(cx, &mut client, &mut upstream);
            let received = down.poll(cx, &mut upstream, &mut client);
            in_flight.record_sent(std::mem::take(&mut down.copied));
            match (sent, received) {
                (Poll::Pending, Poll::Pending) => Poll::Pending,
                (Poll::Ready(ended), _) | (_, Poll::Ready(ended)) => Poll::Ready(ended),
            }
        });
        let key_revoked = async {
            match &owner {
                Some(WebSocketOwner { client_auth, client }) => client_auth.revoked(client).await,
                None => std::future::pending().await,
            }
        };
        let why = tokio::select! {
            copied = copied => match copied {
                Ok(()) => "closed",
                Err(error) if error.kind() == io::ErrorKind::TimedOut => "stalled",
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

/// One direction: reads more only when the other end has taken the bytes that were read.
struct CopyDirection {
    buffered: BytesMut,
    copied: usize,
    is_flushed: bool,
    stall_timer: Option<Pin<Box<Sleep>>>,
    /// Where the bytes that were read end.
    position: FramePosition,
    to: PingTo,
    /// Whether the end that takes the bytes has sent none itself lately.
    is_ping_due: bool,
    /// Whether bytes were read since [`CopyDirection::take_silence`] was called.
    has_read: bool,
}

impl CopyDirection {
    fn new(first: Bytes, to: PingTo) -> Self {
        let mut position = FramePosition::default();
        position.follow(&first);
        Self {
            buffered: first.into(),
            copied: 0,
            is_flushed: true,
            stall_timer: None,
            position,
            to,
            is_ping_due: false,
            // A handshake has just come.
            has_read: true,
        }
    }

    /// Returns whether nothing was read since the last call.
    fn take_silence(&mut self) -> bool {
        !std::mem::take(&mut self.has_read)
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
            if self.is_ping_due && self.position.is_between_frames() {
                self.is_ping_due = false;
                self.buffered.extend_from_slice(&self.to.frame());
                continue;
            }
            self.buffered.reserve(READ_SIZE);
            let read = poll_read_buf(Pin::new(&mut *from), cx, &mut self.buffered)?;
            if let Poll::Ready(1..) = read {
                self.position.follow(&self.buffered);
                self.has_read = true;
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

    /// Bounds the wait for an end that takes no bytes by [`WRITE_STALL_TIMEOUT`]: nothing is read
    /// from the other end meanwhile, so that its close would not be seen.
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
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_STALL_TIMEOUT)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// How long an end may send nothing before it is pinged, twice that at most: below the minute after
/// which proxies on the way close an idle connection (nginx).
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How many bytes are read at a time.
const READ_SIZE: usize = 8 << 10;

/// Reads before other tasks run: as much as of a large body.
const MAX_READS_PER_POLL: usize = 32;

/// Longest time in which one end takes none of the bytes that the other has sent.
const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(120);

/// Longest time for the last bytes to leave.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_end_that_takes_nothing_times_out_and_one_that_sends_nothing_does_not() {
        let (mut client, mut from) = duplex(64);
        let (mut to, mut host) = duplex(64);
        let mut way = CopyDirection::new(Bytes::from_static(b"ahead "), PingTo::Host);
        let begun = Instant::now();

        let (taken, ended) = tokio::join!(
            async {
                tokio::time::sleep(10 * WRITE_STALL_TIMEOUT).await;
                client.write_all(b"late").await.unwrap();
                let mut taken = [0; 10];
                host.read_exact(&mut taken).await.unwrap();
                // More than fits into the buffers between the two ends.
                client.write_all(&[0; 60]).await.unwrap();
                client.write_all(&[0; 60]).await.unwrap();
                taken
            },
            poll_fn(|cx| way.poll(cx, &mut from, &mut to)),
        );

        assert_eq!(&taken, b"ahead late");
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), (11 * WRITE_STALL_TIMEOUT).as_secs());
        assert!(way.buffered.len() <= READ_SIZE && way.copied == 10 + 64, "{}", way.copied);
    }

    #[tokio::test]
    async fn a_long_copy_lets_other_tasks_run() {
        let (mut client, mut from) = duplex(8 << 20);
        let (mut to, _host) = duplex(8 << 20);
        client.write_all(&[0; 4 << 20]).await.unwrap();
        let mut way = CopyDirection::new(Bytes::new(), PingTo::Host);

        let polled = poll_fn(|cx| Poll::Ready(way.poll(cx, &mut from, &mut to).is_pending())).await;

        // The bytes that were read last wait for the next poll.
        assert!(polled);
        assert!(way.copied <= READ_SIZE * MAX_READS_PER_POLL, "{}", way.copied);
    }

    #[tokio::test]
    async fn a_ping_waits_for_the_end_of_a_frame() {
        let (mut client, mut from) = duplex(64);
        let (mut to, mut host) = duplex(64);
        let mut way = CopyDirection::new(Bytes::from_static(b"\x81\x02h"), PingTo::Client);
        way.is_ping_due = true;
        let mut copied = async |way: &mut CopyDirection, count: usize| {
            poll_fn(|cx| Poll::Ready(way.poll(cx, &mut from, &mut to).is_pending())).await;
            let mut taken = vec![0; count];
            host.read_exact(&mut taken).await.unwrap();
            taken
        };

        assert_eq!(copied(&mut way, 3).await, b"\x81\x02h");
        assert!(way.is_ping_due);
        client.write_all(b"i\x81").await.unwrap();
        assert_eq!(copied(&mut way, 2).await, b"i\x81");
        assert!(way.is_ping_due, "the next frame has begun");
        client.write_all(b"\x00").await.unwrap();
        assert_eq!(copied(&mut way, 3).await, b"\x00\x89\x00");
    }

    #[test]
    fn silence_is_counted_from_the_last_look() {
        let mut way = CopyDirection::new(Bytes::new(), PingTo::Host);

        assert!(!way.take_silence());
        assert!(way.take_silence());
        way.has_read = true;
        assert!(!way.take_silence());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_end_gets_all_bytes() {
        let (mut client, mut from) = duplex(1 << 20);
        let (mut to, mut host) = duplex(8);
        client.write_all(&[7; 100]).await.unwrap();
        drop(client);
        let mut way = CopyDirection::new(Bytes::new(), PingTo::Host);

        let (taken, ended) = tokio::join!(
            async {
                let mut taken = vec![];
                while taken.len() < 100 {
                    tokio::time::sleep(WRITE_STALL_TIMEOUT / 2).await;
                    let mut few = [0; 8];
                    let count = host.read(&mut few).await.unwrap();
                    taken.extend_from_slice(&few[..count]);
                }
                taken
            },
            poll_fn(|cx| way.poll(cx, &mut from, &mut to)),
        );

        ended.unwrap();
        assert_eq!(taken, [7; 100]);
    }
}
