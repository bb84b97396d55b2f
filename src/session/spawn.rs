//! Tasks and threads of the session: only this file starts one.

use tokio::task::JoinHandle;

/// Runs work that may wait for the disk away from this thread.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and drops the caller.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Starts a task that its caller joins later.
pub(crate) fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(work)
}

/// Starts work that may wait for the disk, and that its caller joins later.
pub(crate) fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    tokio::task::spawn_blocking(work)
}

/// Waits for the work in the slot and clears the slot; `None` when the work panicked. Waits for
/// ever while the slot is empty. Giving up the wait changes nothing.
pub(crate) async fn join_slot<T>(slot: &mut Option<JoinHandle<T>>) -> Option<T> {
    match slot {
        Some(handle) => {
            let ended = handle.await;
            *slot = None;
            ended.ok()
        }
        None => std::future::pending().await,
    }
}
