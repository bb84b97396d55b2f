//! The end of a connection whose client may still be sending.
//!
//! Bytes that reach a closed connection make the kernel reset it, and a reset takes the response from a
//! client that has not read it yet (RFC 9112 §9.6).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

use super::drain::DrainSignal;

/// Reads and discards what a client still sends after its response has been written and the end of the
/// connection announced, until the client closes, the time is over or the drain ends.
pub(super) async fn discard_rest(stream: &mut (impl AsyncRead + Unpin), mut drain: DrainSignal) {
    let discard = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    };
    tokio::select! {
        _ = timeout(DISCARD_TIMEOUT, discard) => {}
        () = drain.wait_end() => {}
    }
}

/// Long enough for a gigabyte from a program of this machine; a client that waits for the end of the
/// connection has read its response long before.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

const BUFFER_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;
    use crate::listen::DrainController;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_closes_is_waited_for_no_longer() {
        let (mut near, mut far) = duplex(64);
        let (_drain, signal) = DrainController::new();
        let begun = Instant::now();

        let client = async {
            far.write_all(&[b'x'; 100_000]).await.unwrap();
            drop(far);
        };
        tokio::join!(client, discard_rest(&mut near, signal));

        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_closes_or_never_ends_is_left_after_a_while() {
        for is_silent in [true, false] {
            let (mut near, mut far) = duplex(64);
            let (_drain, signal) = DrainController::new();
            let begun = Instant::now();

            let client = async {
                while !is_silent && far.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = client => {}
                () = discard_rest(&mut near, signal) => {}
            }

            assert_eq!(begun.elapsed(), DISCARD_TIMEOUT);
        }
    }
}
