//! The end of a connection whose client may still be sending.
//!
//! Bytes that reach a closed connection make the kernel reset it, and a reset takes the response from a
//! client that has not read it yet (RFC 9112 §9.6).

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Reads and discards what a client still sends after its response has been written and the end of the
/// connection announced.
#[derive(Debug, Default)]
pub(super) struct Discard(Option<DiscardTimer>);

#[derive(Debug)]
struct DiscardTimer {
    end: Instant,
    silence: Pin<Box<Sleep>>,
}

impl Discard {
    /// Goes on until the client closes, says nothing for a while, or takes too long.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: Pin<&mut impl AsyncRead>,
    ) -> Poll<()> {
        let DiscardTimer { end, silence } = self.0.get_or_insert_with(|| DiscardTimer {
            end: Instant::now() + DISCARD_TIMEOUT,
            silence: Box::pin(sleep(SILENCE_TIMEOUT)),
        });
        let mut space = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut buffer = ReadBuf::uninit(&mut space);
        match stream.poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                let now = Instant::now();
                if now >= *end {
                    return Poll::Ready(());
                }
                silence.as_mut().reset(now + SILENCE_TIMEOUT);
                // One read at a time: others come first, at whatever speed this client sends.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => silence.as_mut().poll(cx),
        }
    }
}

/// Reads and discards what a client still sends on a connection whose end was announced.
pub async fn discard_rest(stream: &mut (impl AsyncRead + Unpin)) {
    let mut discard = Discard::default();
    poll_fn(|cx| discard.poll(cx, Pin::new(&mut *stream))).await;
}

/// Long enough for gigabytes from a program of this machine.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that waits for the end of the connection, or has forgotten it, is not waited for.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(1);

const BUFFER_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_closes_is_waited_for_no_longer() {
        let (mut near, mut far) = duplex(64);
        let begun = Instant::now();

        let client = async {
            far.write_all(&[b'x'; 100_000]).await.unwrap();
            drop(far);
        };
        tokio::join!(client, discard_rest(&mut near));

        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_silent_or_never_ends_is_left_after_a_while() {
        for (pause, waited) in [(None, SILENCE_TIMEOUT), (Some(100), DISCARD_TIMEOUT)] {
            let (mut near, mut far) = duplex(64);
            let begun = Instant::now();

            let client = async {
                while let Some(pause) = pause
                    && far.write_all(b"x").await.is_ok()
                {
                    sleep(Duration::from_millis(pause)).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = client => {}
                () = discard_rest(&mut near) => {}
            }

            assert_eq!(begun.elapsed(), waited);
        }
    }
}
