//! The data path: its thread, its runtime, and the word that ends it.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use crate::admin::HeartbeatResponder;
use crate::gateway::{Gateway, Server};
use crate::listen::{BoundSocket, DrainSignal, Listener};
use crate::upstream::Upstream;

/// A place to listen on, and who answers there at the moment.
pub(super) type DataListener = (BoundSocket, Arc<ArcSwap<Gateway>>);

/// The running data path.
#[derive(Debug)]
pub(super) struct DataPlane {
    thread: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl DataPlane {
    /// Starts the thread and waits until it listens.
    pub(super) fn start(
        routes: Vec<DataListener>,
        upstreams: Vec<Upstream>,
        connections: Arc<ArcSwap<Server>>,
        draining: DrainSignal,
        heart: HeartbeatResponder,
    ) -> io::Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        // Five of them at most ask the user database, on behalf of whoever connects.
        let runtime = runtime.enable_all().max_blocking_threads(MAX_BLOCKING_THREADS).build()?;
        let watched = {
            let _inside = runtime.enter();
            routes
                .into_iter()
                .map(|(place, gateway)| Ok((place.into_listener()?, gateway)))
                .collect::<io::Result<Vec<_>>>()?
        };
        let (end, ended) = oneshot::channel::<()>();
        let serve = move || {
            runtime.block_on(async move {
                tokio::spawn(heart.run());
                tokio::spawn(connections.load().log_repeats());
                for upstream in upstreams {
                    tokio::spawn(upstream.keep_warm());
                }
                for (listener, gateway) in watched {
                    tokio::spawn(accept(listener, gateway, connections.clone(), draining.clone()));
                }
                drop((connections, draining));
                // Dropped or told: either way this path is over.
                ended.await.ok();
            });
            // What still runs is aborted with its runtime; a stuck name look-up is not waited for.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("data".to_owned()).spawn(serve)?;
        Ok(Self { thread, end })
    }

    /// Ends it and waits for that.
    pub(super) async fn stop(self) {
        self.end.send(()).ok();
        let joined = tokio::task::spawn_blocking(move || self.thread.join());
        if !matches!(joined.await, Ok(Ok(()))) {
            tracing::error!("the data path ended with a panic");
        }
    }
}

async fn accept(
    mut listener: Listener,
    gateway: Arc<ArcSwap<Gateway>>,
    connections: Arc<ArcSwap<Server>>,
    mut draining: DrainSignal,
) {
    let serve = async {
        loop {
            let (stream, peer) = listener.accept().await;
            if let Some(serving) = connections.load().accept(&gateway, stream, peer) {
                tokio::spawn(serving);
            }
        }
    };
    tokio::select! {
        () = draining.wait_begin() => {}
        () = serve => {}
    }
}

/// The service unit allows 64 tasks in all.
const MAX_BLOCKING_THREADS: usize = 8;
