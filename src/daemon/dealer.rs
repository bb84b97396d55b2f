//! Deals accepted connections out to the data threads.
//!
//! One thread accepts for all, so that there is one socket for each address, one place where peers
//! are identified, and no queue whose connections end with its thread. A connection goes to the
//! thread with the fewest open ones, in turn among equals; connections rather than requests are
//! dealt, because a connection is tied to the runtime that watches it. A connection that is alone
//! stays with the thread that accepted it: another thread would have to be woken for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::gateway::PendingConnection;
use crate::listen::{DetachedStream, Stream};
use crate::telemetry::{ThreadConnection, ThreadLoad};

/// Deals connections to the data threads in service. Clones deal to the same threads.
#[derive(Clone, Debug, Default)]
pub(super) struct Dealer(Arc<DealerState>);

#[derive(Debug, Default)]
struct DealerState {
    seats: ArcSwap<Vec<Seat>>,
    last: AtomicUsize,
}

/// A thread that connections are dealt to.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    load: Arc<ThreadLoad>,
    /// `None`: the thread that accepts.
    inbox: Option<UnboundedSender<DealtConnection>>,
}

/// A connection on its way to another thread.
#[derive(Debug)]
pub(super) struct DealtConnection {
    stream: DetachedStream,
    pending: PendingConnection,
    thread: ThreadConnection,
}

impl Seat {
    /// Makes the seat of the thread that accepts.
    pub(super) fn accepting(load: Arc<ThreadLoad>) -> Self {
        Self { load, inbox: None }
    }

    /// Makes the seat of another thread, and the queue that it serves with [`serve_dealt`]. The
    /// limits on connections bound the queue.
    pub(super) fn with_inbox(load: Arc<ThreadLoad>) -> (Self, UnboundedReceiver<DealtConnection>) {
        let (inbox, dealt) = mpsc::unbounded_channel();
        (Self { load, inbox: Some(inbox) }, dealt)
    }
}

impl Dealer {
    /// Deals to these threads from now on, at least one.
    pub(super) fn set_seats(&self, seats: Vec<Seat>) {
        self.0.seats.store(Arc::new(seats));
    }

    /// Has one of the threads serve a connection. Only the accepting thread calls this.
    pub(super) fn deal(&self, stream: Stream, pending: PendingConnection) {
        let seats = self.0.seats.load();
        let last = self.0.last.load(Ordering::Relaxed);
        let chosen = choose(seats.len(), last, |at| seats[at].load.open());
        self.0.last.store(chosen, Ordering::Relaxed);
        let Some(seat) = seats.get(chosen) else { return };
        let thread = seat.load.add_connection();
        let Some(inbox) = &seat.inbox else {
            tokio::spawn(pending.serve(stream, thread));
            return;
        };
        match stream.detach() {
            Ok(stream) => {
                // The receiver lives as long as its thread, which only a panic can have ended.
                if let Err(lost) = inbox.send(DealtConnection { stream, pending, thread }) {
                    serve_one(lost.0);
                }
            }
            Err(error) => log_lost(&error),
        }
    }
}

/// Serves the connections that are dealt to this thread, for ever.
pub(super) async fn serve_dealt(mut dealt: UnboundedReceiver<DealtConnection>) {
    while let Some(connection) = dealt.recv().await {
        serve_one(connection);
    }
}

fn serve_one(DealtConnection { stream, pending, thread }: DealtConnection) {
    match stream.attach() {
        Ok(stream) => drop(tokio::spawn(pending.serve(stream, thread))),
        Err(error) => log_lost(&error),
    }
}

/// A runtime that cannot watch one more connection is out of memory.
fn log_lost(error: &std::io::Error) {
    tracing::debug!(%error, "could not hand a connection to another thread");
}

/// Chooses one of `count` threads: the one with the fewest open connections, and among equals the
/// next one after `last`; the first one while there is no connection at all.
fn choose(count: usize, last: usize, open: impl Fn(usize) -> usize) -> usize {
    if count < 2 || (0..count).all(|at| open(at) == 0) {
        return 0;
    }
    let in_turn = (1..=count).map(|step| (last + step) % count);
    in_turn.min_by_key(|at| open(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_with_the_fewest_connections_gets_the_next_one() {
        for (open, last, chosen) in [
            (&[3][..], 0, 0),
            (&[0, 0], 0, 0),
            (&[0, 0], 1, 0),
            (&[1, 0], 0, 1),
            (&[1, 0], 1, 1),
            (&[1, 1], 0, 1),
            (&[1, 1], 1, 0),
            (&[5, 4, 4], 0, 1),
            (&[5, 4, 4], 1, 2),
            (&[5, 4, 4], 2, 1),
            // After a smaller number of threads was configured.
            (&[1, 1], 7, 0),
        ] {
            assert_eq!(choose(open.len(), last, |at| open[at]), chosen, "{open:?} after {last}");
        }
    }

    #[test]
    fn connections_that_stay_are_spread_evenly_over_any_number_of_threads() {
        for count in 1..=5 {
            let mut open = vec![0_usize; count];
            let mut last = 0;
            for dealt in 1..=101 {
                last = choose(count, last, |at| open[at]);
                open[last] += 1;
                let (least, most) = (open.iter().min().unwrap(), open.iter().max().unwrap());
                assert!(most - least <= 1, "{open:?} after {dealt}");
            }
        }
    }
}
