//! A WebSocket, once both ends have agreed on it: bytes both ways, read by nobody.
//!
//! Until then it is a request like any other, and it still counts as one in flight. It ends with
//! either side, when a stop does not wait any longer, and with the session that it speaks for or the
//! key that has opened it. A pause costs nothing, for WebSocket has its own pings; only bytes that
//! nobody takes end it. No close frame of ours says why: between which two bytes one could stand is
//! known only to who reads the frames.

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;

use super::client_auth::{ClientAuthenticator, ClientIdentity};
use super::connection::InFlightRequest;
use crate::listen::{DrainSignal, Stream};
use crate::upstream::Upgraded;

/// Says to the next hop, either way, that the connection is to become or becomes a WebSocket.
pub(super) static UPGRADE_HEADERS: [(HeaderName, HeaderValue); 2] = [
    (CONNECTION, HeaderValue::from_static("Upgrade")),
    (UPGRADE, HeaderValue::from_static("websocket")),
];

/// Who has opened it: it goes on for as long as that caller may call.
#[derive(Clone, Debug)]
pub(super) struct WebSocketOwner {
    client_auth: ClientAuthenticator,
    client: ClientIdentity,
}

impl WebSocketOwner {
    pub(super) fn new(keys: &ClientAuthenticator, caller: &ClientIdentity) -> Self {
        Self { client_auth: keys.clone(), client: caller.clone() }
    }
}

/// Where an answer leaves what its connection does next.
#[derive(Debug, Default)]
pub(super) struct PendingUpgrade(Mutex<Option<UpgradeParts>>);

#[derive(Debug)]
struct UpgradeParts {
    upstream: Box<Upgraded>,
    in_flight: InFlightRequest,
    owner: Option<WebSocketOwner>,
}

impl PendingUpgrade {
    /// Goes on with `upstream`, still for the request of `in_flight`, once the answer is written.
    pub(super) fn set(
        &self,
        far: Box<Upgraded>,
        answering: InFlightRequest,
        held: Option<WebSocketOwner>,
    ) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(UpgradeParts { upstream: far, in_flight: answering, owner: held });
    }

    /// Says whether there is anything to go on with.
    pub(super) fn is_set(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Joins the two ends until one of them, or the time for both, is over. `said` is what the
    /// caller has sent ahead.
    pub(super) async fn run(self, mut near: Stream, said: Bytes, mut draining: DrainSignal) {
        let switched = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some(UpgradeParts { upstream: far, in_flight: mut answering, owner: held }) = switched
        else {
            return;
        };
        let (mut far, heard, hung_up) = far.into_parts();
        let (mut up, mut down) = (CopyDirection::new(said), CopyDirection::new(heard));
        let ended = std::future::poll_fn(|cx| {
            let sent = up.poll(cx, &mut near, &mut far);
            let received = down.poll(cx, &mut far, &mut near);
            answering.record_sent(std::mem::take(&mut down.copied));
            match (sent, received) {
                (Poll::Pending, Poll::Pending) => Poll::Pending,
                (Poll::Ready(ended), _) | (_, Poll::Ready(ended)) => Poll::Ready(ended),
            }
        });
        let revoked = async {
            match &held {
                Some(WebSocketOwner { client_auth: keys, client: caller }) => {
                    keys.revoked(caller).await
                }
                None => std::future::pending().await,
            }
        };
        let why = tokio::select! {
            ended = ended => match ended {
                Ok(()) => "closed",
                Err(error) if error.kind() == io::ErrorKind::TimedOut => "stalled",
                Err(_) => "broken",
            },
            () = hung_up => "session",
            () = revoked => "key",
            () = draining.wait_end() => "stop",
        };
        tracing::debug!(why, "a WebSocket ended");
        let goodbye = async { tokio::join!(near.shutdown(), far.shutdown()) };
        drop(tokio::time::timeout(SHUTDOWN_TIMEOUT, goodbye).await);
    }
}

/// One direction: as much as the other end takes, and no more is read meanwhile.
struct CopyDirection {
    buffered: BytesMut,
    copied: usize,
    is_flushed: bool,
    stall_timer: Option<Pin<Box<Sleep>>>,
}

impl CopyDirection {
    fn new(first: Bytes) -> Self {
        Self { buffered: first.into(), copied: 0, is_flushed: true, stall_timer: None }
    }

    /// Passes on what comes; ready when no more will.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        for _ in 0..MAX_READS_PER_POLL {
            ready!(self.poll_write(cx, to))?;
            self.buffered.reserve(READ_SIZE);
            let read = poll_read_buf(Pin::new(&mut *from), cx, &mut self.buffered)?;
            if let Poll::Ready(1..) = read {
                continue;
            }
            ready!(self.poll_flush(cx, to))?;
            return read.map(|_| Ok(()));
        }
        // There is more, and others want their turn.
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

    /// Nobody reads from an end whose bytes are not taken, so that nobody would see it leave: it
    /// has until [`WRITE_STALL_TIMEOUT`].
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

/// What is read at a time.
const READ_SIZE: usize = 8 << 10;

/// How often at once: as much as of a large body, before others are looked at.
const MAX_READS_PER_POLL: usize = 32;

/// Longest time in which one end takes nothing of what the other has sent.
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
    async fn an_end_that_takes_nothing_is_given_up_and_one_that_says_nothing_is_not() {
        let (mut caller, mut from) = duplex(64);
        let (mut to, mut host) = duplex(64);
        let mut way = CopyDirection::new(Bytes::from_static(b"ahead "));
        let begun = Instant::now();

        let (taken, ended) = tokio::join!(
            async {
                tokio::time::sleep(10 * WRITE_STALL_TIMEOUT).await;
                caller.write_all(b"late").await.unwrap();
                let mut taken = [0; 10];
                host.read_exact(&mut taken).await.unwrap();
                // More than fits into what lies between.
                caller.write_all(&[0; 60]).await.unwrap();
                caller.write_all(&[0; 60]).await.unwrap();
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
    async fn a_torrent_gives_way_to_others() {
        let (mut caller, mut from) = duplex(8 << 20);
        let (mut to, _host) = duplex(8 << 20);
        caller.write_all(&[0; 4 << 20]).await.unwrap();
        let mut way = CopyDirection::new(Bytes::new());

        let polled = poll_fn(|cx| Poll::Ready(way.poll(cx, &mut from, &mut to).is_pending())).await;

        // What was read last waits for the next turn.
        assert!(polled);
        assert!(way.copied <= READ_SIZE * MAX_READS_PER_POLL, "{}", way.copied);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_end_is_waited_for_and_gets_all_of_it() {
        let (mut caller, mut from) = duplex(1 << 20);
        let (mut to, mut host) = duplex(8);
        caller.write_all(&[7; 100]).await.unwrap();
        drop(caller);
        let mut way = CopyDirection::new(Bytes::new());

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
