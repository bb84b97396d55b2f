//! Alive: the data path answers. Ready: a request could be served now.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::api::{Lifecycle, Readiness, Reason};
use crate::session::{Error, Session};

/// Asks the data path whether it still runs.
#[derive(Clone, Debug)]
pub struct Heartbeat(mpsc::Sender<oneshot::Sender<()>>);

/// The data path's end of a [`Heartbeat`].
#[derive(Debug)]
pub struct HeartbeatResponder(mpsc::Receiver<oneshot::Sender<()>>);

impl Heartbeat {
    /// Makes the two ends.
    pub fn new() -> (Self, HeartbeatResponder) {
        let (ask, asked) = mpsc::channel(1);
        (Self(ask), HeartbeatResponder(asked))
    }

    /// Says whether the data path answers within `limit`. Costs nothing between two calls.
    pub async fn responds_within(&self, limit: Duration) -> bool {
        let ask = async {
            let (answer, answered) = oneshot::channel();
            self.0.send(answer).await.is_ok() && answered.await.is_ok()
        };
        tokio::time::timeout(limit, ask).await.unwrap_or(false)
    }
}

impl HeartbeatResponder {
    /// Answers until nobody can ask any more.
    pub async fn run(mut self) {
        while let Some(answer) = self.0.recv().await {
            // Whoever asked may have lost patience.
            let _ = answer.send(());
        }
    }
}

/// Says whether a request could be served now, and why not.
pub fn readiness(session: &Session, phase: Lifecycle) -> Readiness {
    let mut reasons = vec![];
    if phase == Lifecycle::Draining {
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

/// How long a data path may take to answer before it counts as stuck.
pub const LIVENESS_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_data_path_that_does_not_run_has_no_pulse() {
        let (pulse, heart) = Heartbeat::new();
        let beating = tokio::spawn(heart.run());
        assert!(pulse.responds_within(LIVENESS_TIMEOUT).await);

        beating.abort();
        let _ = beating.await;

        assert!(!pulse.responds_within(LIVENESS_TIMEOUT).await);
        let (stuck, _heart) = Heartbeat::new();
        assert!(!stuck.responds_within(Duration::from_millis(10)).await);
    }
}
