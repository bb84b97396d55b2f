//! One data thread: a thread and a runtime of its own, until it is stopped.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::telemetry::ThreadLoad;

/// A running data thread.
#[derive(Debug)]
pub(super) struct DataThread {
    load: Arc<ThreadLoad>,
    thread: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl DataThread {
    /// Starts a thread. `begin` spawns its tasks, inside its runtime and before it runs.
    pub(super) fn start(
        name: &str,
        load: Arc<ThreadLoad>,
        begin: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(MAX_BLOCKING_THREADS).build()?;
        let runtime = OwnRuntime(Some(runtime));
        if let Some(runtime) = &runtime.0 {
            let _inside = runtime.enter();
            begin()?;
        }
        let (end, ended) = oneshot::channel::<()>();
        let serve = move || {
            // A message or a dropped sender: both end the thread.
            if let Some(runtime) = &runtime.0 {
                runtime.block_on(ended).ok();
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(serve)?;
        Ok(Self { load, thread, end })
    }

    /// Returns what the thread carries.
    pub(super) fn load(&self) -> &Arc<ThreadLoad> {
        &self.load
    }

    /// Ends the thread; the handle joins it.
    pub(super) fn stop(self) -> JoinHandle<()> {
        self.end.send(()).ok();
        self.thread
    }
}

/// A runtime that can be dropped anywhere: its tasks end with it, and a stuck name look-up is not
/// waited for.
struct OwnRuntime(Option<Runtime>);

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// Most blocking threads of a data thread: at most five of them read the user database, on behalf
/// of connecting peers. The service unit allows as many for each thread of `daemon.threads`.
const MAX_BLOCKING_THREADS: usize = 8;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::admin::{Heartbeat, Pulse};

    #[tokio::test]
    async fn a_blocked_thread_is_named_until_it_goes_on_and_no_other_is() {
        let heartbeat = Heartbeat::default();
        let (release, blocked) = mpsc::channel::<()>();
        let (begins, mut begun) = tokio::sync::mpsc::channel(1);
        let mut blocks = vec![None, Some((begins, blocked))];
        let threads: Vec<_> = ["data", "data-2"]
            .iter()
            .map(|name| {
                let (pulse, responder) = Pulse::new(name);
                heartbeat.add(pulse);
                let blocked = blocks.remove(0);
                let begin = || {
                    tokio::spawn(responder.run());
                    // As a task that never yields would.
                    tokio::spawn(async move {
                        if let Some((begins, blocked)) = blocked {
                            begins.send(()).await.unwrap();
                            blocked.recv().unwrap();
                        }
                    });
                    Ok(())
                };
                DataThread::start(name, Arc::default(), begin).unwrap()
            })
            .collect();

        begun.recv().await.unwrap();
        assert_eq!(heartbeat.silent_threads(Duration::from_millis(200)).await, ["data-2"]);
        release.send(()).unwrap();
        assert!(heartbeat.silent_threads(Duration::from_secs(20)).await.is_empty());

        threads.into_iter().for_each(|thread| thread.stop().join().unwrap());
    }
}
