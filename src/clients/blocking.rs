//! Work that waits for the disk, off the thread that requests pass through.

use std::panic;

/// Runs this on a thread for work that blocks. The work goes on if the caller stops waiting.
pub(super) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Some(result),
        Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
        // The runtime ends, and every request with it.
        Err(_) => None,
    }
}

/// Starts this on a thread for work that blocks, and waits for nothing.
pub(super) fn start(work: impl FnOnce() + Send + 'static) {
    drop(tokio::task::spawn_blocking(work));
}
