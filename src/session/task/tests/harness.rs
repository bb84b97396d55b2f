//! The world around a keeper: a scripted issuer, a clock moved by hand, a disk that can stall.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderValue, Method};
use tokio::sync::{oneshot, watch};

use crate::clock::{Clock, ManualClock};
use crate::config::{self, SessionStore};
use crate::credentials::{Credentials, Login, SecondFactor};
use crate::secret::Secret;
use crate::session::endpoint::{Grant, Issuer, Probe};
use crate::session::status::{SessionState, SessionStatus};
use crate::session::task::SessionTask;
use crate::session::token_response::{TokenError, TokenGrant};
use crate::session::{Bearer, BodyKind, Cause, Session, UnauthorizedCause};

/// Holds up writes, on the thread that makes them.
pub(super) struct Gate {
    pub(super) shut: Mutex<bool>,
    pub(super) opened: std::sync::Condvar,
}

impl Gate {
    pub(super) const fn new() -> Self {
        Self { shut: Mutex::new(false), opened: std::sync::Condvar::new() }
    }

    /// Shuts it until what is returned is dropped: a test that fails must not leave a thread
    /// behind that waits for ever.
    #[must_use]
    pub(super) fn shut(&self) -> ClosedGate<'_> {
        *self.shut.lock().unwrap() = true;
        ClosedGate(self)
    }

    pub(super) fn pass(&self, step: crate::session::task::FetchStep) {
        if step == crate::session::task::FetchStep::Writing {
            let shut = self.shut.lock().unwrap();
            drop(self.opened.wait_while(shut, |shut| *shut).unwrap());
        }
    }
}

/// A gate that is shut.
pub(super) struct ClosedGate<'a>(&'a Gate);

impl Drop for ClosedGate<'_> {
    fn drop(&mut self) {
        *self.0.shut.lock().unwrap() = false;
        self.0.opened.notify_all();
    }
}

/// Everything around a keeper.
pub(super) struct World {
    pub(super) script: Arc<Script>,
    pub(super) clock: Clock,
    pub(super) hand: ManualClock,
    pub(super) config: config::Session,
    /// Where tokens come from.
    pub(super) origin: &'static str,
    pub(super) directory: Option<tempfile::TempDir>,
}

/// Answers in order; then with new pairs for ever.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) state: Mutex<ScriptState>,
    pub(super) asked: watch::Sender<usize>,
    pub(super) lasts: u64,
}

#[derive(Debug, Default)]
pub(super) struct ScriptState {
    pub(super) answers: VecDeque<ScriptedResponse>,
    pub(super) grants: Vec<String>,
    pub(super) client_ids: Vec<String>,
    pub(super) probe: Option<Probe>,
    pub(super) probed: usize,
    pub(super) running: usize,
    pub(super) most: usize,
    pub(super) issued: u64,
}

#[derive(Debug)]
pub(super) enum ScriptedResponse {
    Now(Result<TokenGrant, TokenError>),
    Later(oneshot::Receiver<Result<TokenGrant, TokenError>>),
}

#[derive(Debug)]
pub(super) struct ScriptedIssuer(pub(super) Arc<Script>, pub(super) &'static str);

impl Issuer for ScriptedIssuer {
    fn origin(&self) -> &str {
        self.1
    }

    async fn issue(&self, grant: &Grant, client_id: &str) -> Result<TokenGrant, TokenError> {
        let answer = {
            let mut state = self.0.state.lock().unwrap();
            state.grants.push(match grant {
                Grant::Refresh(token) => format!("refresh {}", token.expose()),
                Grant::Password { password, totp: None, .. } => {
                    format!("password {}", password.expose())
                }
                Grant::Password { password, totp: Some(code), .. } => {
                    format!("password {} {}", password.expose(), code.expose())
                }
            });
            state.client_ids.push(client_id.to_owned());
            state.running += 1;
            state.most = state.most.max(state.running);
            self.0.asked.send_replace(state.grants.len());
            state.answers.pop_front()
        };
        let running = Running(&self.0);
        tokio::task::yield_now().await;
        let answer = match answer {
            Some(ScriptedResponse::Now(answer)) => answer,
            Some(ScriptedResponse::Later(answer)) => match answer.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            },
            None => {
                let number = self.0.state.lock().unwrap().issued + 1;
                Ok(issued(number, self.0.lasts))
            }
        };
        if answer.is_ok() {
            self.0.state.lock().unwrap().issued += 1;
        }
        drop(running);
        answer
    }

    async fn probe(&self, _bearer: &HeaderValue) -> Probe {
        self.0.state.lock().unwrap().probed += 1;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.0.state.lock().unwrap().probe.unwrap_or(Probe::Alive)
    }
}

pub(super) struct Running<'a>(&'a Script);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().running -= 1;
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::lasting(100)
    }

    pub(super) fn lasting(lasts: u64) -> Self {
        let (clock, hand) = Clock::manual();
        let script = Script { state: Mutex::default(), asked: watch::channel(0).0, lasts };
        let config = config::Session {
            store: SessionStore::Memory,
            key: config::KeyStore::Auto,
            key_command: Vec::new(),
            client_id: None,
            wait: secs(10),
        };
        Self { script: Arc::new(script), clock, hand, config, origin: NEXUDUS, directory: None }
    }

    pub(super) fn with_file() -> Self {
        let mut world = Self::new();
        world.config.store = SessionStore::File;
        world.config.key_command = vec!["echo".into(), "sixteen bytes ok".into()];
        world.directory = Some(tempfile::tempdir().unwrap());
        world
    }

    pub(super) fn directory(&self) -> std::path::PathBuf {
        self.directory.as_ref().unwrap().path().join("state")
    }

    pub(super) fn session(
        &self,
        credentials: Credentials,
    ) -> (Session, SessionTask<ScriptedIssuer>) {
        let directory = self.directory.as_ref().map(|_| self.directory());
        let issuer = ScriptedIssuer(self.script.clone(), self.origin);
        Session::new(&self.config, directory, credentials, issuer, self.clock.clone())
    }

    pub(super) fn daemon(&self) -> Session {
        self.daemon_with(login("p"))
    }

    pub(super) fn daemon_with(&self, login: Login) -> Session {
        self.daemon_of(Credentials::in_memory(Some(login)))
    }

    pub(super) fn daemon_of(&self, credentials: Credentials) -> Session {
        let (session, keeper) = self.session(credentials);
        tokio::spawn(keeper.run());
        session
    }

    pub(super) async fn daemon_and_generation(&self) -> u64 {
        let session = self.daemon();
        session.wait_ready(BodyKind::Replayable).await.unwrap();
        session.status().generation
    }

    pub(super) fn answer(&self, answer: Result<TokenGrant, TokenError>) {
        self.script.state.lock().unwrap().answers.push_back(ScriptedResponse::Now(answer));
    }

    pub(super) fn answer_if_none(&self, answer: Result<TokenGrant, TokenError>) {
        if self.script.state.lock().unwrap().answers.is_empty() {
            self.answer(answer);
        }
    }

    /// Lets the next grant wait for an answer.
    pub(super) fn hold(&self) -> oneshot::Sender<Result<TokenGrant, TokenError>> {
        let (sender, receiver) = oneshot::channel();
        self.script.state.lock().unwrap().answers.push_back(ScriptedResponse::Later(receiver));
        sender
    }

    pub(super) fn probes(&self, probe: Probe) {
        self.script.state.lock().unwrap().probe = Some(probe);
    }

    pub(super) fn probed(&self) -> usize {
        self.script.state.lock().unwrap().probed
    }

    pub(super) fn grants(&self) -> Vec<String> {
        self.script.state.lock().unwrap().grants.clone()
    }

    pub(super) fn client_ids(&self) -> Vec<String> {
        self.script.state.lock().unwrap().client_ids.clone()
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.script.state.lock().unwrap().most
    }

    pub(super) async fn asked(&self, times: usize) {
        let mut asked = self.script.asked.subscribe();
        asked.wait_for(|asked| *asked >= times).await.unwrap();
    }
}

pub(super) async fn judge_at_once(
    session: &Session,
    generation: u64,
    times: usize,
) -> Vec<UnauthorizedCause> {
    let judging: Vec<_> = (0..times)
        .map(|number| {
            let session = session.clone();
            let bearer = bearer(&session, generation);
            let path = format!("/api/thing{number}/x");
            tokio::spawn(async move {
                session.classify_unauthorized(&bearer, &Method::GET, &path).await
            })
        })
        .collect();
    let mut verdicts = Vec::new();
    for judging in judging {
        verdicts.push(judging.await.unwrap());
    }
    verdicts
}

/// Judges a 401 to a request that is sent now.
pub(super) async fn judge(session: &Session, generation: u64, path: &str) -> UnauthorizedCause {
    session.classify_unauthorized(&bearer(session, generation), &Method::GET, path).await
}

/// Returns the token of this generation as a request takes it now.
pub(super) fn bearer(session: &Session, generation: u64) -> Bearer {
    let header = HeaderValue::from_static("Bearer x");
    Bearer { header, generation, probes_started: session.shared.probes_started() }
}

/// Waits until the view is as expected.
pub(super) async fn seen(session: &Session, expected: impl Fn(&SessionStatus) -> bool) {
    let mut changes = session.subscribe();
    let wait = async {
        while !expected(&session.status()) {
            changes.changed().await.unwrap();
        }
    };
    if tokio::time::timeout(secs(10), wait).await.is_err() {
        panic!("never seen: {:#?}", session.status());
    }
}

/// Waits until nothing is in flight.
pub(super) async fn settle_flight(session: &Session) {
    seen(session, |view| view.state != SessionState::Starting && !view.renewing).await;
    settle().await;
    seen(session, |view| !view.renewing).await;
}

/// Stops a daemon as the real one is stopped.
pub(super) async fn retire(session: Session) {
    session.flush().await;
}

/// Waits until the pair is on disk: another refresh would have to wait for that.
pub(super) async fn settled(session: &Session) {
    seen(session, |view| view.saved).await;
}

/// Lets every task run that can.
pub(super) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

pub(super) fn issued(number: u64, lasts: u64) -> TokenGrant {
    TokenGrant {
        access: Secret::new(format!("a{number}")),
        refresh: Some(Secret::new(format!("r{number}"))),
        lifetime: secs(lasts),
    }
}

pub(super) fn down() -> TokenError {
    TokenError::Transient { retry_after: None, cause: Cause::new("down") }
}

pub(super) fn login(password: &str) -> Login {
    let password = Secret::new(password);
    Login { email: "ada@example.test".into(), password, second_factor: None }
}

pub(super) fn with_factor(factor: SecondFactor) -> Login {
    Login { second_factor: Some(factor), ..login("p") }
}

/// The default origin.
pub(super) const NEXUDUS: &str = "https://spaces.nexudus.com";

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
