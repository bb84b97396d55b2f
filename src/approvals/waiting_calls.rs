//! The table of calls that wait: what happens to a call now. No clock, no waiting, no task.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::call::{Call, CallHash, Caller};
use super::error::Error;
use super::record::{ApprovalPhase, ApprovalRecord, Decision, WaitingCalls};
use super::standing::StandingPermissions;
use super::subject::{Subject, UnclearSubject};
use crate::clock::Timestamp;
use crate::config;

/// The calls that wait, and those that were decided.
#[derive(Debug)]
pub(super) struct WaitingCallTable {
    limits: config::Approval,
    calls: Vec<WaitingCall>,
    standing: StandingPermissions,
    is_closed: bool,
}

#[derive(Debug)]
struct WaitingCall {
    id: Arc<str>,
    hash: CallHash,
    caller: Caller,
    phase: ApprovalPhase,
    /// Whether a yes is good for more than one call.
    is_repeatable: bool,
    /// When the phase ends, on the boot clock.
    until: Duration,
    asked: Timestamp,
    origin: String,
    method: String,
    target: String,
    content_type: Option<String>,
    content_encoding: Option<String>,
    body: Box<[u8]>,
    rules: Vec<String>,
    subject: Option<Subject>,
    name: Option<Result<String, String>>,
}

/// The verdict on a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The call goes through.
    Go {
        /// The call that a person approved; `None` for a standing permission.
        id: Option<Arc<str>>,
        /// Whether that used a yes up.
        is_used: bool,
    },
    /// The call is refused.
    Refused(Error),
    /// The call waits for a person.
    Waiting {
        /// The call.
        id: Arc<str>,
        /// Whether a person hears of it now.
        is_new: bool,
    },
}

impl WaitingCallTable {
    pub(super) fn new(limits: config::Approval) -> Self {
        Self { limits, calls: vec![], standing: StandingPermissions::default(), is_closed: false }
    }

    pub(super) fn limits(&self) -> &config::Approval {
        &self.limits
    }

    pub(super) fn set_limits(&mut self, limits: config::Approval) {
        self.limits = limits;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Decides about a call that a client sends now, for the first time or again.
    pub(super) fn submit(&mut self, call: &Call<'_>, hash: CallHash, now: Timestamp) -> Verdict {
        self.expire(now);
        if self.standing.cover(&call.caller, &call.rules) {
            return Verdict::Go { id: None, is_used: false };
        }
        let Some(at) = self.calls.iter().position(|it| it.hash == hash) else {
            return match self.add(call, hash, now) {
                Ok(id) => Verdict::Waiting { id, is_new: true },
                Err(error) => Verdict::Refused(error),
            };
        };
        let known = &self.calls[at];
        let id = known.id.clone();
        match known.phase {
            ApprovalPhase::Waiting => Verdict::Waiting { id, is_new: false },
            ApprovalPhase::Approved if known.is_repeatable => {
                Verdict::Go { id: Some(id), is_used: false }
            }
            ApprovalPhase::Approved => {
                self.calls.remove(at);
                Verdict::Go { id: Some(id), is_used: true }
            }
            ApprovalPhase::Denied => Verdict::Refused(Error::Denied { id }),
            ApprovalPhase::Late => Verdict::Refused(Error::Late { id }),
        }
    }

    fn add(&mut self, call: &Call<'_>, hash: CallHash, now: Timestamp) -> Result<Arc<str>, Error> {
        let waiting = || self.calls.iter().filter(|it| it.phase == ApprovalPhase::Waiting);
        let own = waiting().filter(|it| it.caller == call.caller).count();
        if own >= MAX_WAITING {
            return Err(Error::TooMany { most: MAX_WAITING });
        }
        let held: usize = self.calls.iter().map(|it| it.body.len()).sum();
        if waiting().count() >= MAX_WAITING_IN_ALL || held + call.body.len() > MAX_BODY_BYTES {
            return Err(Error::NoMemory);
        }
        let id: Arc<str> = new_id().into();
        let (subject, name) = match Subject::of_call(call.target, call.body) {
            Ok(subject) => (subject, None),
            Err(UnclearSubject) => (None, Some(Err(UNCLEAR.to_owned()))),
        };
        let text = |values: &[&[u8]]| {
            let texts: Vec<_> = values.iter().map(|it| String::from_utf8_lossy(it)).collect();
            (!texts.is_empty()).then(|| texts.join(", "))
        };
        self.calls.push(WaitingCall {
            id: id.clone(),
            hash,
            caller: call.caller.clone(),
            phase: ApprovalPhase::Waiting,
            is_repeatable: false,
            until: now.boot + self.limits.timeout,
            asked: now,
            origin: call.origin.to_owned(),
            method: call.method.to_owned(),
            target: call.target.to_owned(),
            content_type: text(&call.content_types),
            content_encoding: text(&call.content_encodings),
            body: call.body.into(),
            rules: call.rules.clone(),
            subject,
            name,
        });
        Ok(id)
    }

    /// Takes a decision; a standing permission can only be ended.
    pub(super) fn decide(
        &mut self,
        id: &str,
        decision: Decision,
        now: Timestamp,
    ) -> Result<ApprovalRecord, Error> {
        self.expire(now);
        let has_ended = decision == Decision::Deny && self.standing.end(id);
        // Of a call that was refused the body is gone: a person would say yes to what is not shown.
        let is_yes = matches!(decision, Decision::Approve { .. });
        let timeout = self.limits.timeout;
        let mut known = self.calls.iter_mut().filter(|it| !is_yes || !it.is_refused());
        let Some(call) = known.find(|it| *it.id == *id) else {
            let ended = ApprovalRecord {
                id: id.to_owned(),
                phase: ApprovalPhase::Denied,
                ..<_>::default()
            };
            let missing = Error::Missing { id: id.to_owned() };
            return if has_ended { Ok(ended) } else { Err(missing) };
        };
        match decision {
            Decision::Deny => {
                call.phase = ApprovalPhase::Denied;
                call.until = now.boot + timeout;
            }
            Decision::Approve { during, by_rule } => {
                call.phase = ApprovalPhase::Approved;
                call.is_repeatable = during.is_some();
                call.until = now.boot + during.unwrap_or(timeout);
                if by_rule {
                    let (id, caller, rules) = (&call.id, &call.caller, &call.rules);
                    self.standing.add(id, caller, rules, call.until);
                }
            }
        }
        let record = call.record(now, false);
        self.drop_old_refusals();
        Ok(record)
    }

    /// Ends phases whose time is over. A call about which nobody has decided is refused for as long as
    /// it has waited, so that a client that tries again and again calls no person anew each time.
    fn expire(&mut self, now: Timestamp) {
        let timeout = self.limits.timeout;
        self.standing.expire(now.boot);
        self.calls.retain_mut(|it| {
            if it.until <= now.boot && it.phase == ApprovalPhase::Waiting {
                it.phase = ApprovalPhase::Late;
                it.until += timeout;
            }
            if it.is_refused() {
                it.body = Box::default();
            }
            it.until > now.boot
        });
        self.drop_old_refusals();
    }

    fn drop_old_refusals(&mut self) {
        let refusals = self.calls.iter().filter(|it| it.is_refused()).count();
        let mut surplus = refusals.saturating_sub(MAX_REFUSALS);
        self.calls.retain(|it| {
            let is_dropped = surplus > 0 && it.is_refused();
            surplus -= usize::from(is_dropped);
            !is_dropped
        });
    }

    pub(super) fn list(&mut self, now: Timestamp) -> WaitingCalls {
        self.expire(now);
        let calls = self.calls.iter().map(|it| it.record(now, false)).collect();
        WaitingCalls { calls, standing: self.standing.records(now.boot) }
    }

    pub(super) fn show(&mut self, id: &str, now: Timestamp) -> Result<ApprovalRecord, Error> {
        self.expire(now);
        let found = self.calls.iter().find(|it| *it.id == *id);
        found.map(|it| it.record(now, true)).ok_or_else(|| Error::Missing { id: id.to_owned() })
    }

    pub(super) fn unnamed(&self) -> Vec<(Arc<str>, Subject)> {
        let unnamed = self.calls.iter().filter(|it| !matches!(it.name, Some(Ok(_))));
        let unnamed = unnamed.filter(|it| it.phase == ApprovalPhase::Waiting);
        unnamed.filter_map(|it| Some((it.id.clone(), it.subject.clone()?))).collect()
    }

    pub(super) fn set_name(&mut self, id: &str, name: Result<String, String>) {
        if let Some(call) = self.calls.iter_mut().find(|it| *it.id == *id) {
            call.name = Some(name);
        }
    }
}

impl WaitingCall {
    /// Says whether the call was refused, by a person or by time.
    fn is_refused(&self) -> bool {
        matches!(self.phase, ApprovalPhase::Late | ApprovalPhase::Denied)
    }

    fn record(&self, now: Timestamp, with_body: bool) -> ApprovalRecord {
        let text = std::str::from_utf8(&self.body).ok().filter(|_| with_body);
        let is_binary = with_body && text.is_none();
        let (name, name_error) = match self.name.clone() {
            Some(Ok(name)) => (Some(name), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        ApprovalRecord {
            id: self.id.to_string(),
            phase: self.phase,
            asked: humantime::format_rfc3339_seconds(self.asked.wall).to_string(),
            left_s: self.until.saturating_sub(now.boot).as_secs(),
            client: self.caller.name().map(str::to_owned),
            uid: self.caller.uid(),
            origin: self.origin.clone(),
            method: self.method.clone(),
            target: self.target.clone(),
            subject: self.subject.as_ref().map(ToString::to_string),
            command: self.subject.as_ref().and_then(|it| it.command().map(str::to_owned)),
            name,
            name_error,
            rules: self.rules.clone(),
            content_type: self.content_type.clone(),
            content_encoding: self.content_encoding.clone(),
            body_bytes: self.body.len(),
            body: text.map(str::to_owned),
            body_base64: is_binary.then(|| STANDARD.encode(&self.body)),
        }
    }
}

/// Makes an identifier that a person can type: eight letters and digits without look-alikes.
fn new_id() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz234567890";
    let mut random = [0; 8];
    rand::fill(&mut random).expect("the system has random numbers, or TLS would not work either");
    random.map(|byte| char::from(LETTERS[usize::from(byte & 31)])).iter().collect()
}

/// The note in the place of a record's name.
const UNCLEAR: &str = "the call does not say clearly which records it is about: read all of it";

/// Most calls of one client that wait: more would be approved without being read.
const MAX_WAITING: usize = 5;

/// Most calls of all clients that wait.
const MAX_WAITING_IN_ALL: usize = 64;

/// Most bytes of their bodies.
const MAX_BODY_BYTES: usize = 16 << 20;

/// Most refusals that are remembered.
const MAX_REFUSALS: usize = 256;
