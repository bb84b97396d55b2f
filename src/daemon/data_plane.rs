//! The data plane: the threads that serve requests, and the listeners, which the first of them
//! watches.
//!
//! A thread that `reload` takes out of service gets no more connections, and those that it has end
//! with their next response. It then sleeps until it is needed again or the daemon ends: upstream
//! connections, a queue of the throttle or an HTTP/2 session may be watched by its runtime while
//! other threads use them.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::data_thread::DataThread;
use super::dealer::{Dealer, Seat, serve_dealt};
use crate::admin::{Heartbeat, Pulse};
use crate::gateway::{ListenerKind, Server};
use crate::listen::{BoundSocket, DrainSignal, Listener};
use crate::telemetry::{Telemetry, ThreadLoad};
use crate::upstream::Upstream;

/// A socket, and what serves it.
pub(super) type DataListener = (BoundSocket, ListenerKind);

/// The running data plane.
#[derive(Debug)]
pub(super) struct DataPlane {
    /// The first one accepts, and is always in service.
    threads: Vec<(DataThread, Seat)>,
    dealer: Dealer,
    heartbeat: Heartbeat,
    telemetry: Arc<Telemetry>,
}

impl DataPlane {
    /// Starts `threads` threads; the sockets are open already.
    pub(super) fn start(
        threads: usize,
        listeners: Vec<DataListener>,
        upstreams: Vec<Upstream>,
        server: Arc<ArcSwap<Server>>,
        drain: DrainSignal,
        (heartbeat, telemetry): (Heartbeat, Arc<Telemetry>),
    ) -> io::Result<Self> {
        let (dealer, load) = (Dealer::default(), Arc::<ThreadLoad>::default());
        let seat = Seat::accepting(load.clone());
        dealer.set_seats(vec![seat.clone()]);
        let (pulse, responder) = Pulse::new(FIRST_THREAD);
        let accepting = dealer.clone();
        let begin = move || {
            tokio::spawn(responder.run());
            tokio::spawn(server.load().log_repeats());
            for upstream in upstreams {
                tokio::spawn(upstream.keep_warm());
            }
            for (socket, kind) in listeners {
                let listener = socket.into_listener()?;
                let (server, drain) = (server.clone(), drain.clone());
                tokio::spawn(accept(listener, kind, server, drain, accepting.clone()));
            }
            Ok(())
        };
        let first = DataThread::start(FIRST_THREAD, load.clone(), begin)?;
        heartbeat.add(pulse);
        telemetry.threads.add(load);
        let mut this = Self { threads: vec![(first, seat)], dealer, heartbeat, telemetry };
        this.resize(threads)?;
        Ok(this)
    }

    /// Has this many threads serve from now on, at least one.
    ///
    /// # Errors
    ///
    /// When the system gives no more threads; those in service stay the same.
    pub(super) fn resize(&mut self, count: usize) -> io::Result<()> {
        let count = count.max(1);
        while self.threads.len() < count {
            let started = self.start_thread()?;
            self.threads.push(started);
        }
        let (serving, retired) = self.threads.split_at(count);
        serving.iter().for_each(|(thread, _)| thread.load().set_retired(false));
        self.dealer.set_seats(serving.iter().map(|(_, seat)| seat.clone()).collect());
        // Now that no connection is dealt to them any more.
        retired.iter().for_each(|(thread, _)| thread.load().set_retired(true));
        Ok(())
    }

    /// Starts a thread that is not in service yet.
    fn start_thread(&self) -> io::Result<(DataThread, Seat)> {
        let name = format!("{FIRST_THREAD}-{}", self.threads.len() + 1);
        let load = Arc::<ThreadLoad>::default();
        let (seat, dealt) = Seat::with_inbox(load.clone());
        let (pulse, responder) = Pulse::new(&name);
        let thread = DataThread::start(&name, load.clone(), || {
            tokio::spawn(responder.run());
            tokio::spawn(serve_dealt(dealt));
            Ok(())
        })?;
        self.heartbeat.add(pulse);
        self.telemetry.threads.add(load);
        Ok((thread, seat))
    }

    /// Ends the threads, and waits for their end.
    pub(super) async fn stop(self) {
        let threads: Vec<_> = self.threads.into_iter().map(|(thread, _)| thread.stop()).collect();
        let join = || threads.into_iter().filter_map(|thread| thread.join().err()).count();
        if !matches!(tokio::task::spawn_blocking(join).await, Ok(0)) {
            tracing::error!("the data plane ended with a panic");
        }
    }
}

async fn accept(
    mut listener: Listener,
    kind: ListenerKind,
    server: Arc<ArcSwap<Server>>,
    mut drain: DrainSignal,
    dealer: Dealer,
) {
    let serve = async {
        loop {
            let (stream, peer) = listener.accept().await;
            if let Some(pending) = server.load().accept(&kind, peer) {
                dealer.deal(stream, pending);
            }
        }
    };
    tokio::select! {
        () = drain.wait_begin() => {}
        () = serve => {}
    }
}

/// The name of the first thread; the others have a number behind it.
const FIRST_THREAD: &str = "data";
