//! How long a body may keep the thread before others are looked at.

use std::task::{Context, Poll};

use tokio::task::coop::poll_proceed;

/// Waits until it is this task's turn again, if it has used up the one it has.
pub(super) fn poll_budget(cx: &mut Context<'_>) -> Poll<()> {
    poll_proceed(cx).map(drop)
}

/// Takes what so many bytes cost from the turn of this task. tokio counts operations, and an
/// operation on a large body can be a thousand times as long as one on a small one.
pub(super) fn consume_budget(cx: &mut Context<'_>, bytes: usize) {
    for _ in 0..=bytes / BYTES_PER_UNIT {
        match poll_proceed(cx) {
            Poll::Ready(progress) => progress.made_progress(),
            Poll::Pending => return,
        }
    }
}

/// What counts as one of the 128 operations of a turn: 256 KiB, or 0.3 ms of decryption and
/// copying, and others are looked at.
const BYTES_PER_UNIT: usize = 2 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_large_body_gives_way_after_a_quarter_of_a_mebibyte() {
        let turns = async || {
            let mut passed = 0;
            std::future::poll_fn(|cx| {
                while poll_budget(cx).is_ready() && passed < 1 << 30 {
                    consume_budget(cx, 64 << 10);
                    passed += 64 << 10;
                }
                Poll::Ready(passed)
            })
            .await
        };

        let passed = tokio::spawn(turns()).await.unwrap();

        assert_eq!(passed, 256 << 10);
    }
}
