//! One request from arrival to reply, the same for both versions of HTTP.

use std::sync::Arc;
use std::time::Duration;

use crate::apply_fault::{self, Placeholders};
use crate::clock::RequestTime;
use crate::clock::unix_seconds;
use crate::fault::{self, Fault};
use crate::recorder::{RecordedRequest, TokenCall};
use crate::request::{ReceivedBody, ReceivedRequest, RequestHead};
use crate::response::{Outcome, SimulatedResponse};
use crate::state::{HoldStage, SharedState, SimulatorState};
use crate::throttle::{self, RetryAfter};
use crate::{path, routes};

/// A request that has arrived; dropping it means the request is over.
pub(crate) struct Exchange {
    shared: Arc<SharedState>,
    pub(crate) id: u64,
    token_call: bool,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.token_call {
            self.shared.change(|state| state.recording.token_calls_in_flight -= 1);
        }
    }
}

impl Exchange {
    /// Logs a request whose head has arrived.
    pub(crate) fn begin(shared: &Arc<SharedState>, head: &RequestHead, connection: u64) -> Self {
        let token_call = head.is_token_call();
        let arrived = shared.clock.now();
        let id = shared.change(|state| {
            state.last_id += 1;
            let id = state.last_id;
            let limit = state.settings.transport.log_limit.max(1);
            let recording = &mut state.recording;
            while recording.requests.len() >= limit {
                recording.requests.pop_front();
            }
            let arrived_ms = arrived.as_millis() as u64;
            recording.requests.push_back(recorded(head, id, connection, arrived_ms));
            if token_call {
                recording.token_calls_in_flight += 1;
                let concurrent = recording.token_calls_in_flight;
                recording.max_concurrent_token_calls =
                    recording.max_concurrent_token_calls.max(concurrent);
                recording.token_calls.push(TokenCall {
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
    pub(crate) fn respond_before_body(&self, head: &RequestHead) -> Option<Outcome> {
        let asked = fault_subject(head, None, true);
        let fault = self.shared.change(|state| {
            let picked = fault::take_matching(&mut state.settings.faults, &asked, &mut state.rng)?;
            state.record_note(self.id, &describe_fault(&picked));
            Some(picked)
        })?;
        let filling = Placeholders { token: head.bearer().unwrap_or_default(), origin: "" };
        let reply = apply_fault::apply_fault(&fault.deed, SimulatedResponse::empty(200), &filling);
        self.record_status(&reply);
        Some(reply)
    }

    /// Judges a whole request and returns its reply.
    pub(crate) async fn reply(&self, head: RequestHead, body: ReceivedBody) -> Outcome {
        let request = ReceivedRequest::new(self.id, head, body);
        self.record_body(&request);
        self.wait_for_holds(request.path(), HoldStage::Before).await;
        let grant = self.grant_type(&request);
        let asked = fault_subject(&request.head, grant.as_deref(), false);
        let (fault, wait) = self.shared.change(|state| {
            let fault = fault::take_matching(&mut state.settings.faults, &asked, &mut state.rng);
            let transport = &state.settings.transport;
            let (mut wait, mut jitter) = (transport.latency, transport.jitter);
            if let Some(fault) = &fault {
                state.record_note(self.id, &describe_fault(fault));
                wait += fault.delay;
                jitter += fault.jitter;
            }
            (fault, wait + jitter.mul_f64(state.rng.fraction()))
        });
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let now = self.shared.now();
        let reply = self.shared.change(|state| {
            let executes = fault.as_ref().is_none_or(|f| f.executes || f.deed.decorates());
            let genuine = if executes {
                respond(state, &request, now)
            } else {
                SimulatedResponse::empty(200)
            };
            let mut reply = match &fault {
                Some(fault) => {
                    let origin = state.origin.clone();
                    let token = state.tokens.live_access(now.time).next().unwrap_or_default();
                    let token = request.bearer().unwrap_or(token);
                    apply_fault::apply_fault(
                        &fault.deed,
                        genuine,
                        &Placeholders { token, origin: &origin },
                    )
                }
                None => Outcome::Answer(genuine),
            };
            if let Outcome::Answer(answer) = &mut reply {
                add_standard_headers(state, answer, now);
            }
            reply
        });
        self.wait_for_holds(request.path(), HoldStage::After).await;
        self.record_status(&reply);
        reply
    }

    /// Logs that the last byte of the answer was written.
    pub(crate) fn finish(&self) {
        let finished = self.shared.change(|state| {
            let seen = state.recording.find(self.id)?;
            seen.answered = true;
            self.shared.observer.is_some().then(|| seen.clone())
        });
        self.notify_observer(finished);
    }

    /// Logs that the request was left without a whole answer.
    pub(crate) fn abandon(&self) {
        self.notify_observer(self.shared.change(|state| state.recording.find(self.id).cloned()));
    }

    /// Logs that the client did not wait for the answer.
    pub(crate) fn client_left(&self) {
        self.shared.change(|state| {
            if let Some(seen) = state.recording.find(self.id) {
                seen.client_left = true;
            }
        });
    }

    fn notify_observer(&self, seen: Option<RecordedRequest>) {
        if let (Some(observer), Some(seen)) = (&self.shared.observer, seen) {
            observer(&seen);
        }
    }

    /// The status is logged before the answer is written, so that a client which has read the answer
    /// finds it in the log.
    fn record_status(&self, reply: &Outcome) {
        let Outcome::Answer(answer) = reply else { return };
        self.shared.change(|state| {
            if let Some(seen) = state.recording.find(self.id) {
                seen.status = Some(answer.status);
            }
            if let Some(call) = state.recording.find_token_call(self.id) {
                call.status = Some(answer.status);
            }
        });
    }

    fn record_body(&self, request: &ReceivedRequest) {
        self.shared.change(|state| {
            if let Some(seen) = state.recording.find(self.id) {
                seen.body = request.body.to_vec();
                seen.body_length = request.body_length;
                seen.complete = true;
            }
        });
    }

    fn grant_type(&self, request: &ReceivedRequest) -> Option<String> {
        if !self.token_call {
            return None;
        }
        let form = path::pairs(&String::from_utf8_lossy(&request.body));
        let field = |name: &str| path::value(&form, name).map(str::to_owned);
        self.shared.change(|state| {
            if let Some(call) = state.recording.find_token_call(self.id) {
                call.grant = field("grant_type");
                call.username = field("username");
                call.totp = field("totp");
                call.refresh_token = field("refresh_token");
            }
        });
        field("grant_type")
    }

    async fn wait_for_holds(&self, path: &str, stage: HoldStage) {
        let mut changes = self.shared.changes();
        let stopped = |state: &SimulatorState| {
            state.holds.iter().any(|hold| hold.stage == stage && hold.route.covers(path))
        };
        if !self.shared.read(stopped) {
            return;
        }
        let _held = HeldRequest::new(&self.shared);
        while self.shared.read(stopped) {
            // The sender lives in `shared`, so this can only mean a change.
            let _ = changes.changed().await;
        }
    }
}

/// Counts a request that waits at a hold, however its waiting ends.
struct HeldRequest<'a>(&'a SharedState);

impl<'a> HeldRequest<'a> {
    fn new(shared: &'a SharedState) -> Self {
        shared.change(|state| state.recording.held += 1);
        Self(shared)
    }
}

impl Drop for HeldRequest<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.recording.held -= 1);
    }
}

/// Returns the record of a request of which only the head has arrived.
fn recorded(head: &RequestHead, id: u64, connection: u64, arrived_ms: u64) -> RecordedRequest {
    RecordedRequest {
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
        arrived_ms,
        note: None,
    }
}

fn fault_subject<'a>(
    head: &'a RequestHead,
    grant: Option<&'a str>,
    unread: bool,
) -> fault::FaultSubject<'a> {
    fault::FaultSubject { method: &head.method, path: head.path(), grant, unread }
}

fn describe_fault(fault: &Fault) -> String {
    format!("{:?}", fault.deed).chars().take(120).collect()
}

/// Throttles, then carries out.
fn respond(
    state: &mut SimulatorState,
    request: &ReceivedRequest,
    now: RequestTime,
) -> SimulatedResponse {
    if !request.is_token_call() || state.settings.throttle.token_calls {
        let asked = throttle::ThrottledRequest {
            write: !request.is_read(),
            path: request.path(),
            token: request.bearer().unwrap_or_default(),
        };
        if let Err(wait) = state.throttle.admit(&mut state.settings.throttle, &asked, now.time) {
            state.record_note(request.id, "throttled");
            return throttled_response(state, wait, now);
        }
    }
    routes::route(state, request, now)
}

fn throttled_response(
    state: &SimulatorState,
    wait: Duration,
    now: RequestTime,
) -> SimulatedResponse {
    let settings = &state.settings.throttle;
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let told = match settings.retry_after {
        RetryAfter::Seconds => Some(whole.to_string()),
        RetryAfter::Fraction => Some(format!("{:.3}", wait.as_secs_f64())),
        RetryAfter::Date => Some(httpdate::fmt_http_date(now.wall + Duration::from_secs(whole))),
        RetryAfter::Missing => None,
    };
    let mut answer = match settings.body.as_str() {
        "" => SimulatedResponse::empty(settings.status),
        body => {
            let seconds = format!("{:.3}", wait.as_secs_f64());
            SimulatedResponse::text(settings.status, body.replace("{wait}", &seconds))
        }
    };
    answer.headers.extend(told.map(|told| ("Retry-After".to_owned(), told)));
    if settings.status == 409 {
        answer.reason = Some("You must wait before accessing this url again.");
    }
    answer
}

/// Adds what every answer carries.
fn add_standard_headers(state: &SimulatorState, answer: &mut SimulatedResponse, now: RequestTime) {
    let transport = &state.settings.transport;
    if transport.date {
        let shown = unix_seconds(now.wall).saturating_add_signed(transport.date_skew);
        let shown = std::time::UNIX_EPOCH + Duration::from_secs(shown);
        answer.headers.push(("Date".to_owned(), httpdate::fmt_http_date(shown)));
    }
    if answer.status == 401 {
        let challenge = state.settings.access.www_authenticate.clone();
        answer.headers.extend(challenge.map(|value| ("WWW-Authenticate".to_owned(), value)));
    }
    answer.headers.extend(transport.headers.iter().cloned());
}
