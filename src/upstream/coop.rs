//! Limits how long a body keeps the thread before other tasks run.

use std::task::{Context, Poll};

use tokio::task::coop::poll_proceed;

/// Becomes ready once this task has budget left.
pub(super) fn poll_budget(cx: &mut Context<'_>) -> Poll<()> {
    poll_proceed(cx).map(drop)
}

/// Charges so many bytes to the budget of this task. tokio counts operations, and an operation on a
/// large body can take a thousand times as long as one on a small body.
pub(super) fn consume_budget(cx: &mut Context<'_>, bytes: usize) {
    for _ in 0..=bytes / BYTES_PER_UNIT {
        match poll_proceed(cx) {
            Poll::Ready(progress) => progress.made_progress(),
            Poll::Pending => return,
        }
    }
}

/// The bytes that count as one of the 128 operations of a budget: after 256 KiB, or 0.3 ms of
/// decryption and copying, other tasks run.
const BYTES_PER_UNIT: usize = 2 << 10;

#[cfg(test)]
mod tests;
