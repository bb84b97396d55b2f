//! The latest events of the session: logins, renewals, failures, locks.

use std::collections::VecDeque;

use crate::admin::api::SessionEvent;
use crate::session::{SessionState, SessionStatus};

/// The events, of which the oldest go first.
#[derive(Debug)]
pub(super) struct SessionLog {
    events: VecDeque<SessionEvent>,
    capacity: usize,
    /// The state that was seen last.
    state: SessionState,
    generation: u64,
    error: Option<String>,
}

impl SessionLog {
    /// Begins with the start of the daemon.
    pub(super) fn new(started: u64, capacity: usize) -> Self {
        let mut log = Self {
            events: VecDeque::with_capacity(capacity),
            capacity,
            state: SessionState::Starting,
            generation: 0,
            error: None,
        };
        log.add(started, "started", "The daemon started.".to_owned());
        log
    }

    /// Returns the events, oldest first.
    pub(super) fn events(&self) -> Vec<SessionEvent> {
        self.events.iter().cloned().collect()
    }

    /// Adds what has changed since the last call.
    pub(super) fn observe(&mut self, now: u64, status: &SessionStatus) {
        let is_first = self.generation == 0;
        let is_new = status.generation > self.generation;
        let before = std::mem::replace(&mut self.state, status.state);
        let error = status.error.as_ref().map(|error| error.sentence.clone());
        let failed = std::mem::replace(&mut self.error, error.clone());
        if is_new {
            self.generation = status.generation;
            let account = status.account.as_deref().unwrap_or("an account");
            match (is_first, status.resumed) {
                (true, true) => {
                    self.add(now, "resumed", format!("The saved session of {account} was resumed."))
                }
                (true, false) => self.add(now, "login", format!("Logged in as {account}.")),
                (false, _) => self.add(now, "renewed", "The token was renewed.".to_owned()),
            }
        }
        if let Some(sentence) = error.filter(|_| self.error != failed) {
            self.add(now, "failed", format!("{sentence}."));
        }
        if before != status.state && !is_new {
            match status.state {
                SessionState::Ready => self.add(now, "ready", "Ready again.".to_owned()),
                SessionState::Locked => {
                    self.add(now, "locked", "The session was locked.".to_owned())
                }
                state @ (SessionState::Starting
                | SessionState::NotLoggedIn
                | SessionState::Refused
                | SessionState::TotpRequired
                | SessionState::PasswordReset
                | SessionState::Expired
                | SessionState::CredentialsUnavailable
                | SessionState::Waiting) => {
                    if before == SessionState::Ready {
                        let sentence = format!("Not ready any more: {}.", state.as_str());
                        self.add(now, "unready", sentence);
                    }
                }
            }
        }
    }

    fn add(&mut self, time: u64, kind: &str, sentence: String) {
        if self.events.len() >= self.capacity {
            self.events.pop_front();
        }
        self.events.push_back(SessionEvent { time, kind: kind.to_owned(), sentence });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::LastError;

    #[test]
    fn what_happens_to_the_session_is_told_once() {
        let mut log = SessionLog::new(1, 8);
        let ready = status(SessionState::Ready, 1, None);
        let broken = status(SessionState::Ready, 2, Some("Nexudus could not be reached"));

        log.observe(2, &status(SessionState::Starting, 0, None));
        log.observe(3, &ready);
        log.observe(4, &ready);
        log.observe(5, &status(SessionState::Ready, 2, None));
        log.observe(6, &broken);
        log.observe(7, &broken);
        log.observe(8, &status(SessionState::Locked, 2, None));
        log.observe(9, &status(SessionState::Ready, 2, None));

        let told: Vec<_> = log.events().into_iter().map(|it| (it.time, it.kind)).collect();
        let expected = [
            (1, "started"),
            (3, "login"),
            (5, "renewed"),
            (6, "failed"),
            (8, "locked"),
            (9, "ready"),
        ];
        assert_eq!(told, expected.map(|(time, kind)| (time, kind.to_owned())));
    }

    #[test]
    fn the_oldest_events_go_first() {
        let mut log = SessionLog::new(0, 4);
        (1..=10).for_each(|at| log.observe(at, &status(SessionState::Ready, at, None)));

        let times: Vec<_> = log.events().iter().map(|it| it.time).collect();

        assert_eq!(times, [7, 8, 9, 10]);
    }

    fn status(state: SessionState, generation: u64, error: Option<&str>) -> SessionStatus {
        let json = serde_json::json!({
            "state": "ready", "renewing": false, "generation": generation, "account": "ada@example.test",
            "source": null, "store": "memory", "store_reason": "", "volatile": true,
            "error": null, "degraded": null, "api_access": null, "advice": null,
        });
        let error = error.map(|sentence| LastError {
            code: "session.unavailable".into(),
            sentence: sentence.to_owned(),
            cause: None,
            hint: String::new(),
        });
        SessionStatus { state, error, ..serde_json::from_value(json).unwrap() }
    }
}
