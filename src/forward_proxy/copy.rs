//! Bytes both ways between two ends, not looked into.
//!
//! An end that has sent all it wants closes its direction alone; the other goes on. An end that takes
//! no more may still have sent something: a server that refuses an upload answers and closes. Until the
//! other end has all of that, the tunnel stays. A tunnel in
//! which nothing moves ends after a while, and so does one whose end takes nothing. A stop shortens
//! that while, so that it waits for no tunnel that is only held open.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};
use tokio_util::io::poll_read_buf;

/// Copies bytes both ways until both ends have sent all, one fails, or nothing has moved for
/// `IDLE_TIMEOUT`; once `stop` has ended, for `STOP_IDLE_TIMEOUT`. `ahead` holds the bytes that
/// `client` has sent already. Returns how many bytes `client` has got, and how the copy ended:
/// [`io::ErrorKind::TimedOut`] for an idle tunnel, otherwise what an end has failed with.
pub async fn copy(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    mut host: impl AsyncRead + AsyncWrite + Unpin,
    ahead: Bytes,
    stop: impl Future<Output = ()>,
) -> (u64, io::Result<()>) {
    let mut up = Direction::new(ahead);
    let mut down = Direction::new(Bytes::new());
    let mut idle = IdleTimer::new();
    let mut stop = pin!(stop);
    let mut is_stopping = false;
    let ended = poll_fn(|cx| {
        // What is pending wakes this task; the stages say what is over.
        let (_, _) = (up.poll(cx, &mut client, &mut host)?, down.poll(cx, &mut host, &mut client)?);
        if up.is_over() && down.is_over() {
            return Poll::Ready(up.refusal.take().or(down.refusal.take()).map_or(Ok(()), Err));
        }
        if std::mem::take(&mut up.has_moved) | std::mem::take(&mut down.has_moved) {
            idle.moved_at = Instant::now();
        }
        if !is_stopping && stop.as_mut().poll(cx).is_ready() {
            is_stopping = true;
            idle.shorten(STOP_IDLE_TIMEOUT);
        }
        idle.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await;
    (down.copied, ended)
}

/// Ends the wait for bytes. One timer, which is moved only when it fires.
struct IdleTimer {
    moved_at: Instant,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
}

impl IdleTimer {
    fn new() -> Self {
        let timer = Box::pin(tokio::time::sleep(IDLE_TIMEOUT));
        Self { moved_at: Instant::now(), limit: IDLE_TIMEOUT, timer }
    }

    fn shorten(&mut self, limit: Duration) {
        self.limit = limit;
        self.timer.as_mut().reset(self.moved_at.max(Instant::now()) + limit);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let deadline = self.moved_at + self.limit;
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}

/// One direction: reads more only when the other end has taken the bytes that were read.
struct Direction {
    buffered: BytesMut,
    /// How much is read at a time: a busy direction reads more.
    read_size: usize,
    stage: Stage,
    /// Why the other end has taken no more.
    refusal: Option<io::Error>,
    has_moved: bool,
    copied: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Copying,
    /// The source has sent all; the rest is written and then the other end told.
    Ending,
    /// The other end takes no more. What the source still sends is thrown away, so that a source
    /// that reads only once it has sent all gets to its answer.
    Discarding,
    Ended,
}

impl Direction {
    fn new(first: Bytes) -> Self {
        let buffered = BytesMut::from(&*first);
        let (stage, has_moved) = (Stage::Copying, false);
        Self { buffered, read_size: MIN_READ, stage, refusal: None, has_moved, copied: 0 }
    }

    /// Ends when the source has sent all, or the other end takes no more.
    ///
    /// # Errors
    ///
    /// When the source fails: then there is nothing to wait for.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        for _ in 0..MAX_READS_PER_POLL {
            if self.stage == Stage::Ended {
                return Poll::Ready(Ok(()));
            }
            if self.stage != Stage::Discarding
                && let Err(refusal) = ready!(self.poll_deliver(cx, to))
            {
                (self.refusal, self.stage) = (Some(refusal), Stage::Discarding);
            }
            if self.stage == Stage::Ended {
                return Poll::Ready(Ok(()));
            }
            if self.stage == Stage::Discarding {
                self.buffered.clear();
            }
            self.buffered.reserve(self.read_size);
            match poll_read_buf(Pin::new(&mut *from), cx, &mut self.buffered) {
                Poll::Ready(Ok(0)) if self.stage == Stage::Discarding => self.stage = Stage::Ended,
                Poll::Ready(Ok(0)) => self.stage = Stage::Ending,
                Poll::Ready(Ok(read)) => {
                    // What is thrown away keeps no tunnel open.
                    self.has_moved |= self.stage == Stage::Copying;
                    let is_full = read >= self.read_size;
                    self.read_size = if is_full { MAX_READ.min(2 * read) } else { self.read_size };
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    // An idle tunnel holds no memory.
                    (self.buffered, self.read_size) = (BytesMut::new(), MIN_READ);
                    if self.stage == Stage::Copying {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    }
                    return Poll::Pending;
                }
            }
        }
        // There is more to copy, but other tasks must run too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands the other end all that is there, and its end if that has come.
    fn poll_deliver(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while !self.buffered.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffered))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.buffered.advance(written);
            self.has_moved = true;
            self.copied += written as u64;
        }
        if self.stage == Stage::Ending {
            ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
            self.stage = Stage::Ended;
        }
        Poll::Ready(Ok(()))
    }

    /// Says whether the other end gets nothing more.
    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Discarding | Stage::Ended)
    }
}

/// How long nothing may move: squid's `read_timeout`. Long enough for a server that thinks, and for
/// the keep-alive of every common protocol.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// How long nothing may move once a stop has begun: a transfer goes on meanwhile, and a connection
/// that is kept for later does not hold the stop up.
const STOP_IDLE_TIMEOUT: Duration = Duration::from_millis(500);

/// How many bytes are read at a time, at first and at most: a TLS record, and several of them.
const MIN_READ: usize = 16 << 10;
const MAX_READ: usize = 64 << 10;

/// Reads before other tasks run: half a MiB at least.
const MAX_READS_PER_POLL: usize = 32;

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// Each end writes and reads at once: the pipes and the copy hold less than the answer.
    #[tokio::test]
    async fn an_end_that_has_sent_all_still_receives() {
        for room in [1, 64, 4_096] {
            let (mut client, near) = duplex(room);
            let (far, mut host) = duplex(room);
            let copying = copy(near, far, Bytes::from_static(b"ahead "), pending());

            let (copied, question, answer) = tokio::join!(
                copying,
                async {
                    let mut question = vec![];
                    host.read_to_end(&mut question).await.unwrap();
                    host.write_all(&[7; 10_000]).await.unwrap();
                    host.shutdown().await.unwrap();
                    question
                },
                async {
                    client.write_all(b"question").await.unwrap();
                    client.shutdown().await.unwrap();
                    let mut answer = vec![];
                    client.read_to_end(&mut answer).await.unwrap();
                    answer
                }
            );

            copied.1.unwrap();
            assert_eq!((copied.0, answer), (10_000, vec![7; 10_000]), "{room}");
            assert_eq!(question, b"ahead question", "{room}");
        }
    }

    /// The direction that waits for room goes on by itself when the other one is over.
    #[tokio::test]
    async fn an_end_that_takes_its_time_gets_all_after_the_other_has_ended() {
        let (mut client, near) = duplex(64);
        let (far, mut host) = duplex(64);

        let (copied, received, answer) = tokio::join!(
            copy(near, far, Bytes::new(), pending()),
            async {
                // Ends its own direction first, while the client's waits for it.
                host.write_all(b"answer").await.unwrap();
                host.shutdown().await.unwrap();
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                let mut received = vec![];
                host.read_to_end(&mut received).await.unwrap();
                received
            },
            async {
                client.write_all(&[1; 10_000]).await.unwrap();
                client.shutdown().await.unwrap();
                let mut answer = vec![];
                client.read_to_end(&mut answer).await.unwrap();
                answer
            }
        );

        copied.1.unwrap();
        assert_eq!((received, answer), (vec![1; 10_000], b"answer".to_vec()));
    }

    #[tokio::test]
    async fn an_answer_arrives_though_its_sender_takes_no_more() {
        let (mut client, near) = duplex(64);
        let (far, mut host) = duplex(4_096);

        let (copied, (), answer) = tokio::join!(
            copy(near, far, Bytes::new(), pending()),
            async {
                host.read_u8().await.unwrap();
                host.write_all(&[7; 4_096]).await.unwrap();
                // Both directions of it are over, and the client's next bytes find no taker.
                drop(host);
            },
            async {
                client.write_all(&[1; 10_000]).await.ok();
                let mut answer = vec![];
                client.read_to_end(&mut answer).await.unwrap();
                answer
            }
        );

        assert_eq!(answer, [7; 4_096]);
        assert_eq!(copied.1.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_ends_once_nothing_has_moved_for_a_while() {
        let (mut client, near) = duplex(64);
        let (far, mut host) = duplex(64);
        let begun = Instant::now();

        let (copied, ()) = tokio::join!(copy(near, far, Bytes::new(), pending()), async {
            for _ in 0..3 {
                tokio::time::sleep(IDLE_TIMEOUT / 2).await;
                client.write_all(b"x").await.unwrap();
                host.read_u8().await.unwrap();
            }
        });

        assert_eq!(copied.1.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), (IDLE_TIMEOUT / 2 * 5).as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_takes_nothing_ends_the_tunnel() {
        let (mut client, near) = duplex(64);
        let (far, _host) = duplex(64);
        client.write_all(&[1; 64]).await.unwrap();

        let copied = tokio::join!(copy(near, far, Bytes::new(), pending()), async {
            client.write_all(&[1; 256]).await.ok();
        });

        assert_eq!(copied.0.1.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_a_transfer_and_not_for_an_idle_tunnel() {
        for pieces in [0, 5] {
            let (_client, near) = duplex(1 << 10);
            let (far, mut host) = duplex(64);
            let begun = Instant::now();

            let (copied, ()) = tokio::join!(copy(near, far, Bytes::new(), async {}), async {
                for _ in 0..pieces {
                    host.write_all(b"x").await.unwrap();
                    tokio::time::sleep(STOP_IDLE_TIMEOUT * 4 / 5).await;
                }
            });

            assert_eq!(copied.1.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert_eq!(copied.0, pieces);
            assert_eq!(
                begun.elapsed() > STOP_IDLE_TIMEOUT * 3,
                pieces > 0,
                "{:?}",
                begun.elapsed()
            );
        }
    }
}
