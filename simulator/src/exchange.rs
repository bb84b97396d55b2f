//! One request from arrival to reply, the same for both versions of HTTP.

use std::sync::Arc;
use std::time::Duration;

use crate::answer::{Answer, Reply};
use crate::clock::unix;
use crate::fault::{self, Fault};
use crate::log::{Seen, TokenCall};
use crate::misbehave::{self, Filling};
use crate::request::{Head, Intake, Request};
use crate::state::{Now, Shared, Stage, State};
use crate::throttle::{self, RetryAfter};
use crate::{path, routes};

/// A request that has arrived; dropping it means the request is over.
pub(crate) struct Exchange {
    shared: Arc<Shared>,
    pub(crate) id: u64,
    token_call: bool,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.token_call {
            self.shared.change(|state| state.view.token_calls_in_flight -= 1);
        }
    }
}

impl Exchange {
    /// Logs a request whose head has arrived.
    pub(crate) fn begin(shared: &Arc<Shared>, head: &Head, connection: u64) -> Self {
        let token_call = head.is_token_call();
        let arrived = shared.clock.now();
        let id = shared.change(|state| {
            state.last_id += 1;
            let id = state.last_id;
            let limit = state.knobs.transport.log_limit.max(1);
            let view = &mut state.view;
            while view.seen.len() >= limit {
                view.seen.pop_front();
            }
            view.seen.push_back(Seen {
                id,
                connection,
                method: head.method.clone(),
                target: head.target.clone(),
                version: head.version.to_owned(),
                authority: head.authority.clone(),
                headers: head.headers.clone(),
                body: Vec::new(),
                body_length: 0,
                complete: false,
                bearer: head.bearer().map(str::to_owned),
                account: None,
                status: None,
                answered: false,
                client_left: false,
                arrived_ms: arrived.as_millis() as u64,
                note: None,
            });
            if token_call {
                view.token_calls_in_flight += 1;
                let concurrent = view.token_calls_in_flight;
                view.max_concurrent_token_calls = view.max_concurrent_token_calls.max(concurrent);
                view.token_calls.push(TokenCall {
                    id,
                    grant: None,
                    client_id: head.header("client_id").map(str::to_owned),
                    username: None,
                    totp: None,
                    refresh_token: None,
                    issued: None,
                    issued_refresh: None,
                    concurrent,
                    status: None,
                });
            }
            id
        });
        Self { shared: Arc::clone(shared), id, token_call }
    }

    /// Returns the reply to a request whose body is not to be read.
    pub(crate) fn unread(&self, head: &Head) -> Option<Reply> {
        let asked = asked(head, None, true);
        let fault = self.shared.change(|state| {
            let picked = fault::pick(&mut state.knobs.faults, &asked, &mut state.dice)?;
            state.note(self.id, &brief(&picked));
            Some(picked)
        })?;
        let filling = Filling { token: head.bearer().unwrap_or_default(), origin: "" };
        let reply = misbehave::commit(&fault.deed, Answer::empty(200), &filling);
        self.note_status(&reply);
        Some(reply)
    }

    /// Judges a whole request and returns its reply.
    pub(crate) async fn reply(&self, head: Head, body: Intake) -> Reply {
        let request = Request::new(self.id, head, body);
        self.record_body(&request);
        self.pass_holds(request.path(), Stage::Before).await;
        let grant = self.grant(&request);
        let asked = asked(&request.head, grant.as_deref(), false);
        let (fault, wait) = self.shared.change(|state| {
            let fault = fault::pick(&mut state.knobs.faults, &asked, &mut state.dice);
            let transport = &state.knobs.transport;
            let (mut wait, mut jitter) = (transport.latency, transport.jitter);
            if let Some(fault) = &fault {
                state.note(self.id, &brief(fault));
                wait += fault.delay;
                jitter += fault.jitter;
            }
            (fault, wait + jitter.mul_f64(state.dice.fraction()))
        });
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let now = self.shared.now();
        let reply = self.shared.change(|state| {
            let executes = fault.as_ref().is_none_or(|f| f.executes || f.deed.decorates());
            let genuine = if executes { judge(state, &request, now) } else { Answer::empty(200) };
            let mut reply = match &fault {
                Some(fault) => {
                    let origin = state.origin.clone();
                    let token = state.tokens.live_access(now.time).next().unwrap_or_default();
                    let token = request.bearer().unwrap_or(token);
                    misbehave::commit(&fault.deed, genuine, &Filling { token, origin: &origin })
                }
                None => Reply::Answer(genuine),
            };
            if let Reply::Answer(answer) = &mut reply {
                dress(state, answer, now);
            }
            reply
        });
        self.pass_holds(request.path(), Stage::After).await;
        self.note_status(&reply);
        reply
    }

    /// Logs that the last byte of the answer was written.
    pub(crate) fn finish(&self) {
        let finished = self.shared.change(|state| {
            let seen = state.view.find(self.id)?;
            seen.answered = true;
            self.shared.witness.is_some().then(|| seen.clone())
        });
        self.tell(finished);
    }

    /// Logs that the request was left without a whole answer.
    pub(crate) fn abandon(&self) {
        self.tell(self.shared.change(|state| state.view.find(self.id).cloned()));
    }

    /// Logs that the client did not wait for the answer.
    pub(crate) fn client_left(&self) {
        self.shared.change(|state| {
            if let Some(seen) = state.view.find(self.id) {
                seen.client_left = true;
            }
        });
    }

    fn tell(&self, seen: Option<Seen>) {
        if let (Some(witness), Some(seen)) = (&self.shared.witness, seen) {
            witness(&seen);
        }
    }

    /// The status is logged before the answer is written, so that whoever has read the answer
    /// finds it in the log.
    fn note_status(&self, reply: &Reply) {
        let Reply::Answer(answer) = reply else { return };
        self.shared.change(|state| {
            if let Some(seen) = state.view.find(self.id) {
                seen.status = Some(answer.status);
            }
            if let Some(call) = state.view.find_token_call(self.id) {
                call.status = Some(answer.status);
            }
        });
    }

    fn record_body(&self, request: &Request) {
        self.shared.change(|state| {
            if let Some(seen) = state.view.find(self.id) {
                seen.body = request.body.to_vec();
                seen.body_length = request.body_length;
                seen.complete = true;
            }
        });
    }

    fn grant(&self, request: &Request) -> Option<String> {
        if !self.token_call {
            return None;
        }
        let form = path::pairs(&String::from_utf8_lossy(&request.body));
        let field = |name: &str| path::value(&form, name).map(str::to_owned);
        self.shared.change(|state| {
            if let Some(call) = state.view.find_token_call(self.id) {
                call.grant = field("grant_type");
                call.username = field("username");
                call.totp = field("totp");
                call.refresh_token = field("refresh_token");
            }
        });
        field("grant_type")
    }

    async fn pass_holds(&self, path: &str, stage: Stage) {
        let mut changes = self.shared.changes();
        let stopped = |state: &State| {
            state.holds.iter().any(|hold| hold.stage == stage && hold.route.covers(path))
        };
        if !self.shared.read(stopped) {
            return;
        }
        let _held = Held::new(&self.shared);
        while self.shared.read(stopped) {
            // The sender lives in `shared`, so this can only mean a change.
            let _ = changes.changed().await;
        }
    }
}

/// Counts a request that waits at a hold, however its waiting ends.
struct Held<'a>(&'a Shared);

impl<'a> Held<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.change(|state| state.view.held += 1);
        Self(shared)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.view.held -= 1);
    }
}

fn asked<'a>(head: &'a Head, grant: Option<&'a str>, unread: bool) -> fault::Asked<'a> {
    fault::Asked { method: &head.method, path: head.path(), grant, unread }
}

fn brief(fault: &Fault) -> String {
    format!("{:?}", fault.deed).chars().take(120).collect()
}

/// Throttles, then carries out.
fn judge(state: &mut State, request: &Request, now: Now) -> Answer {
    if !request.is_token_call() || state.knobs.throttle.token_calls {
        let asked = throttle::Asked {
            write: !request.is_read(),
            path: request.path(),
            token: request.bearer().unwrap_or_default(),
        };
        if let Err(wait) = state.throttle.admit(&mut state.knobs.throttle, &asked, now.time) {
            state.note(request.id, "throttled");
            return throttled(state, wait, now);
        }
    }
    routes::answer(state, request, now)
}

fn throttled(state: &State, wait: Duration, now: Now) -> Answer {
    let knobs = &state.knobs.throttle;
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let told = match knobs.retry_after {
        RetryAfter::Seconds => Some(whole.to_string()),
        RetryAfter::Fraction => Some(format!("{:.3}", wait.as_secs_f64())),
        RetryAfter::Date => Some(httpdate::fmt_http_date(now.wall + Duration::from_secs(whole))),
        RetryAfter::Missing => None,
    };
    let mut answer = match knobs.body.as_str() {
        "" => Answer::empty(knobs.status),
        body => Answer::text(knobs.status, body.to_owned()),
    };
    answer.headers.extend(told.map(|told| ("Retry-After".to_owned(), told)));
    if knobs.status == 409 {
        answer.reason = Some("You must wait before accessing this url again.");
    }
    answer
}

/// Adds what every answer carries.
fn dress(state: &State, answer: &mut Answer, now: Now) {
    let transport = &state.knobs.transport;
    if transport.date {
        let shown = unix(now.wall).saturating_add_signed(transport.date_skew);
        let shown = std::time::UNIX_EPOCH + Duration::from_secs(shown);
        answer.headers.push(("Date".to_owned(), httpdate::fmt_http_date(shown)));
    }
    if answer.status == 401 {
        let challenge = state.knobs.access.www_authenticate.clone();
        answer.headers.extend(challenge.map(|value| ("WWW-Authenticate".to_owned(), value)));
    }
    answer.headers.extend(transport.headers.iter().cloned());
}
