//! Liveness: the data path responds. Readiness: a request can be served now.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::api::{Lifecycle, Readiness, Reason};
use crate::session::{Error, Session};

/// Checks whether the data path still runs.
#[derive(Clone, Debug)]
pub struct Heartbeat(mpsc::Sender<oneshot::Sender<()>>);

/// The data path's end of a [`Heartbeat`].
#[derive(Debug)]
pub struct HeartbeatResponder(mpsc::Receiver<oneshot::Sender<()>>);

impl Heartbeat {
    /// Makes the two ends.
    pub fn new() -> (Self, HeartbeatResponder) {
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), HeartbeatResponder(receiver))
    }

    /// Returns whether the data path responds within `limit`. Costs nothing between two calls.
    pub async fn responds_within(&self, limit: Duration) -> bool {
        let response = async {
            let (respond, responded) = oneshot::channel();
            self.0.send(respond).await.is_ok() && responded.await.is_ok()
        };
        tokio::time::timeout(limit, response).await.unwrap_or(false)
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

fn reason(error: &Error) -> Reason {
    Reason {
        code: error.code().to_owned(),
        sentence: error.to_string(),
        cause: std::error::Error::source(error).map(ToString::to_string),
        hint: error.hint().into_owned(),
    }
}

/// How long the data path may take to respond before it counts as stuck.
pub const LIVENESS_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_data_path_that_does_not_run_does_not_respond() {
        let (heartbeat, responder) = Heartbeat::new();
        let running = tokio::spawn(responder.run());
        assert!(heartbeat.responds_within(LIVENESS_TIMEOUT).await);

        running.abort();
        let _ = running.await;

        assert!(!heartbeat.responds_within(LIVENESS_TIMEOUT).await);
        let (stuck, _responder) = Heartbeat::new();
        assert!(!stuck.responds_within(Duration::from_millis(10)).await);
    }
}
