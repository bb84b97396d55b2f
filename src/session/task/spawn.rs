//! Tasks and threads: nothing else in the session starts one.

use tokio::task::JoinHandle;

/// Runs what ends on the disk away from this thread.
pub(in crate::session) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down: nobody will wait for this.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Starts what a keeper joins later: only this file spawns.
pub(in crate::session) fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(work)
}

/// Starts what a keeper joins later and what ends on the disk.
pub(in crate::session) fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    tokio::task::spawn_blocking(work)
}

/// Waits for what is in the slot and clears it; `None` when it panicked. Waits for ever while the
/// slot is empty. Giving up the wait changes nothing.
pub(in crate::session) async fn join_slot<T>(slot: &mut Option<JoinHandle<T>>) -> Option<T> {
    match slot {
        Some(handle) => {
            let ended = handle.await;
            *slot = None;
            ended.ok()
        }
        None => std::future::pending().await,
    }
}
