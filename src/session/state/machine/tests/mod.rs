//! The rows of the state machine's two tables, one test each.

mod attempts;
mod disk;
mod logins;
mod rejections;

use super::*;
use crate::config::UpstreamAuth;
use crate::credentials::CredentialSource;

/// A state machine under test; its clock counts in seconds.
#[derive(Debug)]
struct Session(StateMachine);

impl Session {
    fn new() -> Self {
        Self(StateMachine::new())
    }

    fn started() -> Self {
        let mut session = Self::new();
        assert_eq!(session.at(0, Event::Started { locked: false }), [first()]);
        session
    }

    fn at(&mut self, now: u64, event: Event) -> Vec<Action> {
        self.0.step(event, secs(now), Jitter(0))
    }
}

/// Returns a session that holds the durable generation 1 since 0.
fn holding(lifetime: u64) -> Session {
    let mut session = unsaved(lifetime);
    session.at(0, Event::Stored);
    session
}

/// Returns a session that holds generation 1 since 0 and is writing it.
fn unsaved(lifetime: u64) -> Session {
    let mut session = Session::started();
    session.at(0, issued(1, 0, lifetime));
    session
}

/// Returns a session that holds generation 2 since 1, which replaced a rejected one.
fn replaced() -> Session {
    let mut session = holding(1_000);
    session.at(1, rejected(1));
    session.at(1, issued(2, 1, 1_000));
    session.at(1, Event::Stored);
    session
}

fn refused() -> Error {
    Error::Refused { origin: CredentialSource::Keychain, auth: UpstreamAuth::Bearer }
}

fn plain() -> FetchRequest {
    FetchRequest {
        newer_than: None,
        trigger: Trigger::Schedule,
        failures: 0,
        has_valid_token: false,
    }
}

fn request(generation: u64, has_valid_token: bool) -> FetchRequest {
    FetchRequest { newer_than: Some(generation), has_valid_token, ..plain() }
}

fn first() -> Action {
    Action::Fetch(plain())
}

fn next(generation: u64, has_valid_token: bool) -> Action {
    Action::Fetch(request(generation, has_valid_token))
}

fn issued(generation: u64, now: u64, lifetime: u64) -> Event {
    Event::Issued { token: token(generation, now, lifetime), is_new: true }
}

fn rejected(generation: u64) -> Event {
    Event::TokenRejected { generation, proven: false }
}

fn transient(wait: Option<Duration>) -> Event {
    let error = Error::Unavailable { retry_after: Duration::ZERO, cause: None };
    Event::Failed { error, wait }
}

fn fatal() -> Event {
    Event::Failed { error: refused(), wait: None }
}

fn token(generation: u64, now: u64, lifetime: u64) -> Token {
    Token { generation, seen: secs(now), age: Duration::ZERO, lifetime: secs(lifetime) }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The trigger of an attempt that reads a changed login.
const LOGIN: Trigger = Trigger::CredentialsChanged;
