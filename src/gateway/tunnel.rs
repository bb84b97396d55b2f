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

use super::caller::{Caller, Keys};
use super::connection::Answering;
use crate::listen::{Draining, Stream};
use crate::upstream::Far;

/// Says to the next hop, either way, that the connection is to become or becomes a WebSocket.
pub(super) static ANNOUNCEMENT: [(HeaderName, HeaderValue); 2] = [
    (CONNECTION, HeaderValue::from_static("Upgrade")),
    (UPGRADE, HeaderValue::from_static("websocket")),
];

/// Who has opened it: it goes on for as long as that caller may call.
#[derive(Clone, Debug)]
pub(super) struct Held {
    keys: Keys,
    caller: Caller,
}

impl Held {
    pub(super) fn new(keys: &Keys, caller: &Caller) -> Self {
        Self { keys: keys.clone(), caller: caller.clone() }
    }
}

/// Where an answer leaves what its connection does next.
#[derive(Debug, Default)]
pub(super) struct Switch(Mutex<Option<Next>>);

#[derive(Debug)]
struct Next {
    far: Box<Far>,
    answering: Answering,
    held: Option<Held>,
}

impl Switch {
    /// Goes on with `far`, still for the request of `answering`, once the answer is written.
    pub(super) fn set(&self, far: Box<Far>, answering: Answering, held: Option<Held>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Next { far, answering, held });
    }

    /// Says whether there is anything to go on with.
    pub(super) fn is_set(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Joins the two ends until one of them, or the time for both, is over. `said` is what the
    /// caller has sent ahead.
    pub(super) async fn run(self, mut near: Stream, said: Bytes, mut draining: Draining) {
        let switched = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some(Next { far, mut answering, held }) = switched else { return };
        let (mut far, heard, hung_up) = far.into_parts();
        let (mut up, mut down) = (Way::new(said), Way::new(heard));
        let ended = std::future::poll_fn(|cx| {
            let sent = up.poll(cx, &mut near, &mut far);
            let received = down.poll(cx, &mut far, &mut near);
            answering.sent(std::mem::take(&mut down.passed));
            match (sent, received) {
                (Poll::Pending, Poll::Pending) => Poll::Pending,
                (Poll::Ready(ended), _) | (_, Poll::Ready(ended)) => Poll::Ready(ended),
            }
        });
        let revoked = async {
            match &held {
                Some(Held { keys, caller }) => keys.lost(caller).await,
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
            () = draining.over() => "stop",
        };
        tracing::debug!(why, "a WebSocket ended");
        let goodbye = async { tokio::join!(near.shutdown(), far.shutdown()) };
        drop(tokio::time::timeout(GOODBYE, goodbye).await);
    }
}

/// One direction: as much as the other end takes, and no more is read meanwhile.
struct Way {
    waiting: BytesMut,
    passed: usize,
    is_flushed: bool,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Way {
    fn new(first: Bytes) -> Self {
        Self { waiting: first.into(), passed: 0, is_flushed: true, stalled: None }
    }

    /// Passes on what comes; ready when no more will.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        for _ in 0..PIECES {
            ready!(self.poll_write(cx, to))?;
            self.waiting.reserve(PIECE);
            let read = poll_read_buf(Pin::new(&mut *from), cx, &mut self.waiting)?;
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
        while !self.waiting.is_empty() {
            let written = Pin::new(&mut *to).poll_write(cx, &self.waiting);
            let written = ready!(self.poll_patience(cx, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
            self.passed += written;
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
            ready!(self.poll_patience(cx, flushed))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Nobody reads from an end whose bytes are not taken, so that nobody would see it leave: it
    /// has until [`STALLED`].
    fn poll_patience<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// What is read at a time.
const PIECE: usize = 8 << 10;

/// How often at once: as much as of a large body, before others are looked at.
const PIECES: usize = 32;

/// Longest time in which one end takes nothing of what the other has sent.
const STALLED: Duration = Duration::from_secs(120);

/// Longest time for the last bytes to leave.
const GOODBYE: Duration = Duration::from_secs(1);

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
        let mut way = Way::new(Bytes::from_static(b"ahead "));
        let begun = Instant::now();

        let (taken, ended) = tokio::join!(
            async {
                tokio::time::sleep(10 * STALLED).await;
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
        assert_eq!(begun.elapsed().as_secs(), (11 * STALLED).as_secs());
        assert!(way.waiting.len() <= PIECE && way.passed == 10 + 64, "{}", way.passed);
    }

    #[tokio::test]
    async fn a_torrent_gives_way_to_others() {
        let (mut caller, mut from) = duplex(8 << 20);
        let (mut to, _host) = duplex(8 << 20);
        caller.write_all(&[0; 4 << 20]).await.unwrap();
        let mut way = Way::new(Bytes::new());

        let polled = poll_fn(|cx| Poll::Ready(way.poll(cx, &mut from, &mut to).is_pending())).await;

        // What was read last waits for the next turn.
        assert!(polled);
        assert!(way.passed <= PIECE * PIECES, "{}", way.passed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_end_is_waited_for_and_gets_all_of_it() {
        let (mut caller, mut from) = duplex(1 << 20);
        let (mut to, mut host) = duplex(8);
        caller.write_all(&[7; 100]).await.unwrap();
        drop(caller);
        let mut way = Way::new(Bytes::new());

        let (taken, ended) = tokio::join!(
            async {
                let mut taken = vec![];
                while taken.len() < 100 {
                    tokio::time::sleep(STALLED / 2).await;
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
