//! Alive: the data path answers. Ready: a request could be served now.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::wire::{Phase, Readiness, Reason};
use crate::session::{Error, Session};

/// Asks the data path whether it still runs.
#[derive(Clone, Debug)]
pub struct Pulse(mpsc::Sender<oneshot::Sender<()>>);

/// The data path's end of a [`Pulse`].
#[derive(Debug)]
pub struct Heart(mpsc::Receiver<oneshot::Sender<()>>);

impl Pulse {
    /// Makes the two ends.
    pub fn new() -> (Self, Heart) {
        let (ask, asked) = mpsc::channel(1);
        (Self(ask), Heart(asked))
    }

    /// Says whether the data path answers within `limit`. Costs nothing between two calls.
    pub async fn beats(&self, limit: Duration) -> bool {
        let ask = async {
            let (answer, answered) = oneshot::channel();
            self.0.send(answer).await.is_ok() && answered.await.is_ok()
        };
        tokio::time::timeout(limit, ask).await.unwrap_or(false)
    }
}

impl Heart {
    /// Answers until nobody can ask any more.
    pub async fn beat(mut self) {
        while let Some(answer) = self.0.recv().await {
            // Whoever asked may have lost patience.
            let _ = answer.send(());
        }
    }
}

/// Says whether a request could be served now, and why not.
pub fn readiness(session: &Session, phase: Phase) -> Readiness {
    let mut reasons = vec![];
    if phase == Phase::Draining {
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
pub const STUCK: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_data_path_that_does_not_run_has_no_pulse() {
        let (pulse, heart) = Pulse::new();
        let beating = tokio::spawn(heart.beat());
        assert!(pulse.beats(STUCK).await);

        beating.abort();
        let _ = beating.await;

        assert!(!pulse.beats(STUCK).await);
        let (stuck, _heart) = Pulse::new();
        assert!(!stuck.beats(Duration::from_millis(10)).await);
    }
}
