//! The data path: its thread, its runtime, and the word that ends it.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use crate::admin::Heart;
use crate::gateway::{Connections, Gateway};
use crate::listen::{Bound, Draining, Listener};
use crate::upstream::Upstream;

/// A place to listen on, and who answers there at the moment.
pub(super) type Route = (Bound, Arc<ArcSwap<Gateway>>);

/// The running data path.
#[derive(Debug)]
pub(super) struct Data {
    thread: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl Data {
    /// Starts the thread and waits until it listens.
    pub(super) fn start(
        routes: Vec<Route>,
        upstreams: Vec<Upstream>,
        connections: Arc<ArcSwap<Connections>>,
        draining: Draining,
        heart: Heart,
    ) -> io::Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        // Five of them at most ask the user database, on behalf of whoever connects.
        let runtime = runtime.enable_all().max_blocking_threads(BLOCKING_THREADS).build()?;
        let watched = {
            let _inside = runtime.enter();
            routes
                .into_iter()
                .map(|(place, gateway)| Ok((place.watch()?, gateway)))
                .collect::<io::Result<Vec<_>>>()?
        };
        let (end, ended) = oneshot::channel::<()>();
        let serve = move || {
            runtime.block_on(async move {
                tokio::spawn(heart.beat());
                tokio::spawn(connections.load().report());
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
    pub(super) async fn join(self) {
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
    connections: Arc<ArcSwap<Connections>>,
    mut draining: Draining,
) {
    let serve = async {
        loop {
            let (stream, peer) = listener.next().await;
            if let Some(serving) = connections.load().open(&gateway, stream, peer) {
                tokio::spawn(serving);
            }
        }
    };
    tokio::select! {
        () = draining.begun() => {}
        () = serve => {}
    }
}

/// The service unit allows 64 tasks in all.
const BLOCKING_THREADS: usize = 8;
