//! The data plane: the thread and the runtime that serve requests.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use crate::admin::HeartbeatResponder;
use crate::gateway::{Gateway, Server};
use crate::listen::{BoundSocket, DrainSignal, Listener};
use crate::upstream::Upstream;

/// A socket, and the gateway that serves it at the moment.
pub(super) type DataListener = (BoundSocket, Arc<ArcSwap<Gateway>>);

/// The running data plane.
#[derive(Debug)]
pub(super) struct DataPlane {
    thread: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl DataPlane {
    /// Starts the thread; its sockets are open already.
    pub(super) fn start(
        listeners: Vec<DataListener>,
        upstreams: Vec<Upstream>,
        server: Arc<ArcSwap<Server>>,
        drain: DrainSignal,
        heartbeat: HeartbeatResponder,
    ) -> io::Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        // At most five of them read the user database, on behalf of connecting peers.
        let runtime = runtime.enable_all().max_blocking_threads(MAX_BLOCKING_THREADS).build()?;
        let listeners = {
            let _inside = runtime.enter();
            listeners
                .into_iter()
                .map(|(socket, gateway)| Ok((socket.into_listener()?, gateway)))
                .collect::<io::Result<Vec<_>>>()?
        };
        let (end, ended) = oneshot::channel::<()>();
        let serve = move || {
            runtime.block_on(async move {
                tokio::spawn(heartbeat.run());
                tokio::spawn(server.load().log_repeats());
                for upstream in upstreams {
                    tokio::spawn(upstream.keep_warm());
                }
                for (listener, gateway) in listeners {
                    tokio::spawn(accept(listener, gateway, server.clone(), drain.clone()));
                }
                drop((server, drain));
                // A message or a dropped sender: both end the data plane.
                ended.await.ok();
            });
            // Tasks end with their runtime, without waiting for a stuck name look-up.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("data".to_owned()).spawn(serve)?;
        Ok(Self { thread, end })
    }

    /// Ends the thread, and waits for its end.
    pub(super) async fn stop(self) {
        self.end.send(()).ok();
        let joined = tokio::task::spawn_blocking(move || self.thread.join());
        if !matches!(joined.await, Ok(Ok(()))) {
            tracing::error!("the data plane ended with a panic");
        }
    }
}

async fn accept(
    mut listener: Listener,
    gateway: Arc<ArcSwap<Gateway>>,
    server: Arc<ArcSwap<Server>>,
    mut drain: DrainSignal,
) {
    let serve = async {
        loop {
            let (stream, peer) = listener.accept().await;
            if let Some(serving) = server.load().accept(&gateway, stream, peer) {
                tokio::spawn(serving);
            }
        }
    };
    tokio::select! {
        () = drain.wait_begin() => {}
        () = serve => {}
    }
}

/// Most blocking threads: the service unit allows 64 threads in all.
const MAX_BLOCKING_THREADS: usize = 8;
