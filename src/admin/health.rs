//! Liveness: every data thread responds. Readiness: a request can be served now.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::api::{Lifecycle, Readiness, Reason};
use crate::clients::{Clients, KeyError};
use crate::problem::Problem as _;
use crate::session::{Error, Session};

/// Checks whether every data thread still runs. Clones check the same threads.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<Mutex<Vec<Pulse>>>);

/// The way to ask one thread.
#[derive(Clone, Debug)]
pub struct Pulse {
    thread: String,
    requests: mpsc::Sender<oneshot::Sender<()>>,
}

/// A thread's end of its [`Pulse`].
#[derive(Debug)]
pub struct HeartbeatResponder(mpsc::Receiver<oneshot::Sender<()>>);

impl Pulse {
    /// Makes the two ends for the thread of this name.
    pub fn new(thread: &str) -> (Self, HeartbeatResponder) {
        let (requests, receiver) = mpsc::channel(1);
        (Self { thread: thread.to_owned(), requests }, HeartbeatResponder(receiver))
    }

    async fn responds_before(self, deadline: Instant) -> Result<(), String> {
        let response = async {
            let (respond, responded) = oneshot::channel();
            self.requests.send(respond).await.is_ok() && responded.await.is_ok()
        };
        match timeout_at(deadline, response).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(self.thread),
        }
    }
}

impl Heartbeat {
    /// Checks this thread too from now on.
    pub fn add(&self, pulse: Pulse) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(pulse);
    }

    /// Returns the names of the threads that do not respond within `limit`. All are asked at once.
    /// Costs nothing between two calls.
    pub async fn silent_threads(&self, limit: Duration) -> Vec<String> {
        let pulses = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let deadline = Instant::now() + limit;
        let mut asked: Vec<_> =
            pulses.into_iter().map(|pulse| Box::pin(pulse.responds_before(deadline))).collect();
        // Each is polled once before any is waited for, so that a silent one holds up no other.
        let mut silent = vec![];
        std::future::poll_fn(|cx| {
            asked.retain_mut(|asking| match asking.as_mut().poll(cx) {
                Poll::Ready(answer) => {
                    silent.extend(answer.err());
                    false
                }
                Poll::Pending => true,
            });
            if asked.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        silent
    }
}

impl HeartbeatResponder {
    /// Responds until the last [`Heartbeat`] is dropped.
    pub async fn run(mut self) {
        while let Some(respond) = self.0.recv().await {
            // The receiver may have stopped waiting.
            let _ = respond.send(());
        }
    }
}

/// Returns whether a request can be served now, and why not.
pub fn readiness(session: &Session, lifecycle: Lifecycle) -> Readiness {
    let mut reasons = vec![];
    if lifecycle == Lifecycle::Draining {
        reasons.push(Reason {
            code: "daemon.draining".to_owned(),
            sentence: "the daemon is stopping".to_owned(),
            cause: None,
            hint: "Wait until it has restarted.".to_owned(),
        });
    }
    reasons.extend(session.bearer().err().map(|error| reason(&error)));
    Readiness { ready: reasons.is_empty(), reasons }
}

/// Adds that callers with keys are refused, because this member has not heard of its fleet for long.
/// Where every caller needs a key, no request can be served.
pub(super) fn note_stale_keys(readiness: &mut Readiness, clients: &Clients, needs_keys: bool) {
    if !clients.are_stale() {
        return;
    }
    let details = KeyError::Stale.details();
    readiness.ready &= !needs_keys;
    readiness.reasons.push(Reason {
        code: details.kind.code().to_owned(),
        sentence: "callers with keys are refused: this machine has heard nothing of its fleet for \
                   longer than fleet.clients_stale"
            .to_owned(),
        cause: None,
        hint: details.hint.unwrap_or_default().into_owned(),
    });
}

fn reason(error: &Error) -> Reason {
    Reason {
        code: error.code().to_owned(),
        sentence: error.to_string(),
        cause: std::error::Error::source(error).map(ToString::to_string),
        hint: error.hint().into_owned(),
    }
}

/// How long a data thread may take to respond before it counts as stuck.
pub const LIVENESS_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_does_not_run_is_named_and_holds_up_no_other() {
        let heartbeat = Heartbeat::default();
        let add = |name| {
            let (pulse, responder) = Pulse::new(name);
            heartbeat.add(pulse);
            responder
        };
        let (_stuck, first, second) = (add("stuck"), add("first"), add("second"));
        let ended = tokio::spawn(first.run());
        tokio::spawn(second.run());
        assert_eq!(heartbeat.silent_threads(Duration::from_millis(10)).await, ["stuck"]);

        ended.abort();
        let _ = ended.await;

        let silent = heartbeat.silent_threads(Duration::from_millis(10)).await;
        assert_eq!(silent, ["first", "stuck"]);
    }

    #[tokio::test]
    async fn threads_that_run_are_not_waited_for() {
        let (pulse, responder) = Pulse::new("data");
        let heartbeat = Heartbeat::default();
        heartbeat.add(pulse);
        tokio::spawn(responder.run());

        assert!(heartbeat.silent_threads(LIVENESS_TIMEOUT).await.is_empty());
    }
}
