//! The world around a session task: a scripted issuer, a clock moved by hand, a disk that can
//! stall.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderValue, Method};
use tokio::sync::{oneshot, watch};

use crate::clock::{Clock, ManualClock};
use crate::config::{self, SessionStore};
use crate::credentials::{Credentials, Login, SecondFactor};
use crate::secret::Secret;
use crate::session::refresh::endpoint::{Grant, Issuer, Probe};
use crate::session::refresh::task::SessionTask;
use crate::session::refresh::token_response::TokenError;
use crate::session::status::{SessionState, SessionStatus};
use crate::session::token::TokenGrant;
use crate::session::{Bearer, BodyKind, Cause, Session, UnauthorizedCause};

/// Holds up writes, on the thread that makes them.
pub(crate) struct Gate {
    pub(crate) shut: Mutex<bool>,
    pub(crate) opened: std::sync::Condvar,
}

impl Gate {
    pub(crate) const fn new() -> Self {
        Self { shut: Mutex::new(false), opened: std::sync::Condvar::new() }
    }

    /// Shuts the gate until the returned value is dropped: a test that fails must not leave a
    /// thread behind that waits for ever.
    #[must_use]
    pub(crate) fn shut(&self) -> ClosedGate<'_> {
        *self.shut.lock().unwrap() = true;
        ClosedGate(self)
    }

    pub(crate) fn pass(&self, step: crate::session::refresh::context::FetchStep) {
        if step == crate::session::refresh::context::FetchStep::Writing {
            let shut = self.shut.lock().unwrap();
            drop(self.opened.wait_while(shut, |shut| *shut).unwrap());
        }
    }
}

/// A gate that is shut.
pub(crate) struct ClosedGate<'a>(&'a Gate);

impl Drop for ClosedGate<'_> {
    fn drop(&mut self) {
        *self.0.shut.lock().unwrap() = false;
        self.0.opened.notify_all();
    }
}

/// Everything around a session task.
pub(crate) struct World {
    pub(crate) script: Arc<Script>,
    pub(crate) clock: Clock,
    pub(crate) hand: ManualClock,
    pub(crate) config: config::Session,
    /// Where tokens come from.
    pub(crate) origin: &'static str,
    pub(crate) directory: Option<tempfile::TempDir>,
}

/// Results in order; then new pairs for ever.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) state: Mutex<ScriptState>,
    pub(crate) asked: watch::Sender<usize>,
    pub(crate) lasts: u64,
}

#[derive(Debug, Default)]
pub(crate) struct ScriptState {
    pub(crate) answers: VecDeque<ScriptedResponse>,
    pub(crate) grants: Vec<String>,
    pub(crate) client_ids: Vec<String>,
    pub(crate) probe: Option<Probe>,
    pub(crate) probed: usize,
    pub(crate) running: usize,
    pub(crate) most: usize,
    pub(crate) issued: u64,
}

#[derive(Debug)]
pub(crate) enum ScriptedResponse {
    Now(Result<TokenGrant, TokenError>),
    Later(oneshot::Receiver<Result<TokenGrant, TokenError>>),
}

#[derive(Debug)]
pub(crate) struct ScriptedIssuer(pub(crate) Arc<Script>, pub(crate) &'static str);

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

pub(crate) struct Running<'a>(&'a Script);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().running -= 1;
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::lasting(100)
    }

    pub(crate) fn lasting(lasts: u64) -> Self {
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

    pub(crate) fn with_file() -> Self {
        let mut world = Self::new();
        world.config.store = SessionStore::File;
        world.config.key_command = vec!["echo".into(), "sixteen bytes ok".into()];
        world.directory = Some(tempfile::tempdir().unwrap());
        world
    }

    pub(crate) fn directory(&self) -> std::path::PathBuf {
        self.directory.as_ref().unwrap().path().join("state")
    }

    pub(crate) fn session(
        &self,
        credentials: Credentials,
    ) -> (Session, SessionTask<ScriptedIssuer>) {
        let directory = self.directory.as_ref().map(|_| self.directory());
        let issuer = ScriptedIssuer(self.script.clone(), self.origin);
        Session::new(&self.config, directory, credentials, issuer, self.clock.clone())
    }

    pub(crate) fn daemon(&self) -> Session {
        self.daemon_with(login("p"))
    }

    pub(crate) fn daemon_with(&self, login: Login) -> Session {
        self.daemon_of(Credentials::in_memory(Some(login)))
    }

    pub(crate) fn daemon_of(&self, credentials: Credentials) -> Session {
        let (session, task) = self.session(credentials);
        tokio::spawn(task.run());
        session
    }

    /// Returns a running session that has a token, and whose token pair is saved.
    pub(crate) async fn settled_daemon(&self) -> Session {
        let session = self.daemon();
        session.wait_ready(BodyKind::Replayable).await.unwrap();
        settled(&session).await;
        session
    }

    pub(crate) async fn daemon_and_generation(&self) -> u64 {
        let session = self.daemon();
        session.wait_ready(BodyKind::Replayable).await.unwrap();
        session.status().generation
    }

    pub(crate) fn answer(&self, answer: Result<TokenGrant, TokenError>) {
        self.script.state.lock().unwrap().answers.push_back(ScriptedResponse::Now(answer));
    }

    pub(crate) fn answer_if_none(&self, answer: Result<TokenGrant, TokenError>) {
        if self.script.state.lock().unwrap().answers.is_empty() {
            self.answer(answer);
        }
    }

    /// Lets the next grant wait for its result.
    pub(crate) fn hold(&self) -> oneshot::Sender<Result<TokenGrant, TokenError>> {
        let (sender, receiver) = oneshot::channel();
        self.script.state.lock().unwrap().answers.push_back(ScriptedResponse::Later(receiver));
        sender
    }

    pub(crate) fn probes(&self, probe: Probe) {
        self.script.state.lock().unwrap().probe = Some(probe);
    }

    pub(crate) fn probed(&self) -> usize {
        self.script.state.lock().unwrap().probed
    }

    pub(crate) fn grants(&self) -> Vec<String> {
        self.script.state.lock().unwrap().grants.clone()
    }

    pub(crate) fn client_ids(&self) -> Vec<String> {
        self.script.state.lock().unwrap().client_ids.clone()
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.script.state.lock().unwrap().most
    }

    pub(crate) async fn asked(&self, times: usize) {
        let mut asked = self.script.asked.subscribe();
        asked.wait_for(|asked| *asked >= times).await.unwrap();
    }
}

pub(crate) async fn judge_at_once(
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

/// Classifies a 401 to a request that is sent now.
pub(crate) async fn judge(session: &Session, generation: u64, path: &str) -> UnauthorizedCause {
    session.classify_unauthorized(&bearer(session, generation), &Method::GET, path).await
}

/// Returns the token of this generation as a request takes it now.
pub(crate) fn bearer(session: &Session, generation: u64) -> Bearer {
    let header = HeaderValue::from_static("Bearer x");
    let probes_started = session.shared.probes_started();
    Bearer { header, generation, probes_started, client_id: None }
}

/// Waits until the status is as expected, for a minute of real time: no promise is about that bound,
/// and threads that read files may wait long on a busy machine.
pub(crate) async fn seen(session: &Session, expected: impl Fn(&SessionStatus) -> bool) {
    let mut changes = session.subscribe();
    let wait = async {
        while !expected(&session.status()) {
            changes.changed().await.unwrap();
        }
    };
    if tokio::time::timeout(secs(60), wait).await.is_err() {
        panic!("never seen: {:#?}", session.status());
    }
}

/// Waits until nothing is in flight.
pub(crate) async fn settle_flight(session: &Session) {
    seen(session, |view| view.state != SessionState::Starting && !view.renewing).await;
    settle().await;
    seen(session, |view| !view.renewing).await;
}

/// Stops a daemon as the real one is stopped.
pub(crate) async fn retire(session: Session) {
    session.flush().await;
}

/// Waits until the pair is on disk: another refresh would have to wait for that.
pub(crate) async fn settled(session: &Session) {
    seen(session, |view| view.saved).await;
}

/// Lets every task run that can.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn issued(number: u64, lasts: u64) -> TokenGrant {
    TokenGrant {
        access: Secret::new(format!("a{number}")),
        refresh: Some(Secret::new(format!("r{number}"))),
        lifetime: secs(lasts),
    }
}

pub(crate) fn down() -> TokenError {
    TokenError::Transient { retry_after: None, cause: Cause::new("down") }
}

pub(crate) fn login(password: &str) -> Login {
    let password = Secret::new(password);
    Login { email: "ada@example.test".into(), password, second_factor: None }
}

pub(crate) fn with_factor(factor: SecondFactor) -> Login {
    Login { second_factor: Some(factor), ..login("p") }
}

/// The default origin.
pub(crate) const NEXUDUS: &str = "https://spaces.nexudus.com";

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
