//! One call on its way into the record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use super::{Audit, AuditEvent, AuditRecord, Unrecorded};
use crate::telemetry::PeerInfo;

/// A call that is recorded as it ends: also where its client leaves before.
#[derive(Debug)]
pub struct AuditedCall {
    audit: Audit,
    record: AuditRecord,
    /// The sender, whose program is looked up while the call is served.
    peer: Arc<PeerInfo>,
    place: Option<OwnedSemaphorePermit>,
    /// Whether the call may change something.
    is_write: bool,
    /// Whether it is recorded: a read without a key is not, unless it was refused.
    is_recorded: bool,
    /// Whether the line of a write was sent.
    has_begun: bool,
    /// Counts the values that are hidden from the client.
    redactions: Option<Arc<AtomicU64>>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallOutcome {
    /// The status, if there was a response.
    pub status: Option<u16>,
    /// The code of a response of the daemon's own.
    pub code: Option<&'static str>,
    /// Whether the body told a failure.
    pub has_failed: bool,
    /// Bytes of the response body.
    pub bytes: u64,
}

impl AuditedCall {
    pub(super) fn new(audit: Audit, record: AuditRecord, peer: Arc<PeerInfo>) -> Self {
        let is_write =
            !matches!(record.method.as_deref(), Some("GET" | "HEAD" | "OPTIONS" | "CONNECT"));
        let (is_recorded, place) = (is_write, None);
        let (has_begun, redactions) = (false, None);
        Self { audit, record, peer, place, is_write, is_recorded, has_begun, redactions }
    }

    /// Names the client whose key was presented.
    pub fn set_client(&mut self, client: &str) {
        self.record.client = Some(client.to_owned());
        self.is_recorded = true;
    }

    /// Names the rule that allowed the call or denied it.
    pub fn set_rule(&mut self, rule: &str) {
        self.record.rule = Some(rule.to_owned());
    }

    /// Takes what counts the values that are hidden from the client.
    pub fn set_redactions(&mut self, counter: Arc<AtomicU64>) {
        self.redactions = Some(counter);
    }

    /// Names the rules that asked, and the decision of a person.
    pub fn set_rules(&mut self, rules: Vec<String>, approval: Option<&str>) {
        self.record.rules = rules;
        self.record.approval = approval.map(str::to_owned);
    }

    /// Waits for a place in the record, and for the first line of a write to be in the file; for
    /// `audit.wait` at most. `body` is the whole body of a write, as far as it is kept.
    ///
    /// # Errors
    ///
    /// [`Unrecorded`], for a write of a client with a key under `audit.required`.
    pub async fn begin(&mut self, ids: Vec<u64>, body: Option<&[u8]>) -> Result<(), Unrecorded> {
        if !self.is_recorded {
            return Ok(());
        }
        let inner = &self.audit.0;
        let is_required = inner.is_required && self.is_write && self.record.client.is_some();
        // The disk of a required record may be slow; a read is never held for longer than configured.
        let wait = if is_required { inner.wait.max(REQUIRED_WAIT) } else { inner.wait };
        let recorded = timeout(wait, self.begin_in_time(ids, body)).await.unwrap_or(false);
        if recorded || !is_required { Ok(()) } else { Err(Unrecorded) }
    }

    async fn begin_in_time(&mut self, ids: Vec<u64>, body: Option<&[u8]>) -> bool {
        self.place = self.audit.0.places.clone().acquire_owned().await.ok();
        if !self.is_write {
            return true;
        }
        self.record.ids = ids;
        self.record.body_hash =
            body.filter(|body| !body.is_empty()).map(|body| self.audit.body_hash(body));
        let (written, outcome) = oneshot::channel();
        let program = program(&self.peer);
        let record = AuditRecord { event: AuditEvent::Write, program, ..self.record.clone() };
        self.has_begun = true;
        self.audit.send(record, None, Some(written));
        outcome.await.unwrap_or(false)
    }

    /// Takes down how the call ended, for the line that is written when this is dropped.
    pub fn end(&mut self, outcome: CallOutcome) {
        let CallOutcome { status, code, has_failed, bytes } = outcome;
        (self.record.status, self.record.code) = (status, code);
        self.record.bytes = Some(bytes);
        let is_refusal = code.is_some_and(|code| REFUSALS.iter().any(|it| code.starts_with(it)));
        if is_refusal && !self.has_begun {
            self.record.event = AuditEvent::Refused;
            self.is_recorded = true;
        } else if self.is_write {
            self.record.event = AuditEvent::Outcome;
            let is_success = status.is_some_and(|status| status < 400) && !has_failed;
            self.record.was_successful = status.map(|_| is_success);
        }
    }
}

impl Drop for AuditedCall {
    fn drop(&mut self) {
        if !self.is_recorded {
            return;
        }
        if self.is_write && self.record.event == AuditEvent::Call {
            self.record.event = AuditEvent::Outcome;
        }
        self.record.program = program(&self.peer);
        self.record.redactions = self.redactions.as_ref().map(|it| it.load(Ordering::Relaxed));
        let place = self.place.take().or_else(|| {
            // A refused call asked for no place: it must not wait for one either.
            self.audit.0.places.clone().try_acquire_owned().ok()
        });
        match place {
            Some(place) => self.audit.send(std::mem::take(&mut self.record), Some(place), None),
            None => self.audit.count_lost(),
        }
    }
}

fn program(peer: &PeerInfo) -> Option<String> {
    peer.process.get().map(|process| process.program.clone()).filter(|name| !name.is_empty())
}

/// The codes of calls that were not sent because they may not be.
const REFUSALS: [&str; 3] = ["guard.", "policy.", "forward.denied"];

/// How long a write may wait for a record that is required: a disk that spins up.
const REQUIRED_WAIT: Duration = Duration::from_secs(5);
