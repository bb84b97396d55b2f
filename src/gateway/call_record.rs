//! The record of a request, filled on its way, and the guards that live until its end.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request};

use super::Gateway;
use super::client_auth::ClientIdentity;
use super::error::Error;
use super::peer_identity::ConnectionPeer;
use super::policy::{Allowed, Policy, carries_login_material};
use crate::approvals::Subject;
use crate::audit::{self, AuditRecord, AuditedCall, CallOutcome, mask_path};
use crate::clients::{ByteMeter, loggable_path};
use crate::telemetry::RequestTiming;
use crate::upstream::ReplayBody;

/// The facts about a request that its response does not have.
#[derive(Debug, Default)]
pub(super) struct CallRecord {
    /// The name of the client.
    pub(super) client: Option<Arc<str>>,
    /// Boxed, because few requests have any: it lives as long as the response.
    pub(super) oversight: Option<Box<Oversight>>,
}

/// The guards that a request holds until the last byte of its response.
#[derive(Debug, Default)]
pub(super) struct Oversight {
    /// The line of the audit, where it is on.
    audited: Option<Box<AuditedCall>>,
    /// The budget of bytes, if the client has one.
    meter: Option<ByteMeter>,
    /// Whether the request goes to the upstream: our own responses are charged to nobody.
    is_forwarded: bool,
    /// The code of a response of our own.
    pub(super) code: Option<&'static str>,
    /// The bodies that a reader asks for.
    pub(super) captured: Option<CapturedBodies>,
}

/// Says that the bodies of a request may be captured.
#[derive(Debug)]
pub(super) struct CapturedBodies {
    /// The body of the request; `None` where it streams.
    pub(super) request: Option<Bytes>,
}

/// Waits until a request is recorded.
type Recording<'a> = Pin<Box<dyn Future<Output = Result<(), audit::Unrecorded>> + Send + 'a>>;

impl CallRecord {
    /// Takes down the client whose key was presented.
    pub(super) fn set_client(&mut self, client: &ClientIdentity) {
        self.client = client.name();
        if let Some(meter) = client.byte_meter() {
            self.oversight.get_or_insert_default().meter = Some(meter);
        }
        if let (Some(audited), Some(client)) = (self.audited(), client.name()) {
            audited.set_client(&client);
        }
    }

    /// Takes down the rules that decided, and the decision of a person.
    pub(super) fn set_rules(&mut self, rules: Vec<String>, approval: Option<Arc<str>>) {
        if let Some(audited) = self.audited() {
            audited.set_rules(rules, approval.as_deref());
        }
    }

    /// Returns what waits until the request is recorded, as far as it is before it is sent. Boxed:
    /// what lives here would make the future of every request larger.
    pub(super) fn recording<'a>(
        &'a mut self,
        policy: &Policy,
        allowed: &Allowed,
        body: &'a ReplayBody,
    ) -> Option<Recording<'a>> {
        if let Some(oversight) = &mut self.oversight {
            oversight.is_forwarded = true;
        }
        let audited = self.audited()?;
        if let Some(rule) = policy.allowing_rule(allowed, body) {
            audited.set_rule(&rule);
        }
        if let Some(redaction) = allowed.redaction() {
            audited.set_redactions(redaction.redactions().clone());
        }
        let bytes = match body {
            ReplayBody::Buffered(bytes, _) => Some(&**bytes),
            ReplayBody::Empty | ReplayBody::Streamed(_) => None,
        };
        let target = allowed.head().uri.path();
        let subject = Subject::of_call(target, bytes.unwrap_or_default());
        let ids = subject.ok().flatten().map(Subject::all_ids).unwrap_or_default();
        Some(Box::pin(audited.begin(ids, bytes)))
    }

    /// Has the bodies captured, for a reader that asks for them: never those that hold a login.
    pub(super) fn capture(&mut self, allowed: &Allowed, body: &ReplayBody) {
        if carries_login_material(allowed.path()) {
            return;
        }
        let request = match body {
            ReplayBody::Empty => Some(Bytes::new()),
            ReplayBody::Buffered(bytes, _) => Some(bytes.clone()),
            ReplayBody::Streamed(_) => None,
        };
        let captured = Some(CapturedBodies { request });
        self.oversight.get_or_insert_default().captured = captured;
    }

    /// Gives up what watches the request, once it is handled: with the rule that denied it.
    pub(super) fn take_oversight<T>(
        &mut self,
        handled: Option<&Result<T, Error>>,
    ) -> Option<Box<Oversight>> {
        if let Some(Err(Error::Policy(error))) = handled
            && let Some(rule) = error.rule()
            && let Some(audited) = self.audited()
        {
            audited.set_rule(rule);
        }
        self.oversight.take()
    }

    /// Waits until a request to another host is recorded, as far as it is before it is sent.
    pub(super) async fn begin_elsewhere(&mut self) -> Result<(), Error> {
        if let Some(oversight) = &mut self.oversight {
            oversight.is_forwarded = true;
        }
        match self.audited() {
            Some(audited) => Ok(audited.begin(vec![], None).await?),
            None => Ok(()),
        }
    }

    fn audited(&mut self) -> Option<&mut AuditedCall> {
        self.oversight.as_mut().and_then(|it| it.audited.as_deref_mut())
    }
}

impl Oversight {
    /// Counts bytes against the budget of the client. Returns whether they may be sent.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let is_charged = self.is_forwarded && self.code.is_none();
        let meter = self.meter.as_ref().filter(|_| is_charged);
        meter.is_none_or(|meter| meter.add(bytes))
    }

    /// Records how the request ended.
    pub(super) fn end(mut self, status: Option<u16>, has_failed: bool, bytes: u64) {
        if let Some(audited) = &mut self.audited {
            audited.end(CallOutcome { status, code: self.code, has_failed, bytes });
        }
    }
}

impl Gateway {
    /// Begins to measure a request whose head arrived at `started`: exactly, where that is told.
    pub(super) fn begin_timing(&self, started: Instant, is_read: bool) -> RequestTiming {
        if self.has_server_timing || is_read {
            RequestTiming::exact_since(started)
        } else {
            RequestTiming::default()
        }
    }

    /// Begins to handle a request: ends a loop, and begins the line of the audit, where there is one,
    /// before anything can refuse the request.
    pub(super) fn begin<B>(
        &self,
        request: &Request<B>,
        sender: &ConnectionPeer,
        record: &mut CallRecord,
    ) -> Result<(), Error> {
        self.reject_own(request, sender)?;
        let uri = request.uri();
        let path = || mask_path(loggable_path(uri.path()));
        let query = uri.query().unwrap_or_default();
        self.begin_audit(request.method(), (path, query), sender, record);
        Ok(())
    }

    /// Begins the line of the audit, where there is one. Of a request to another host `path` is the
    /// host.
    pub(super) fn begin_audit(
        &self,
        method: &Method,
        (path, query): (impl FnOnce() -> String, &str),
        sender: &ConnectionPeer,
        record: &mut CallRecord,
    ) {
        let Some(audit) = &self.audit else { return };
        // Of a user who is not allowed one request a second is recorded, so that no stranger fills
        // the disk.
        let Some(peer) = sender.identity_to_log() else { return };
        let call = AuditRecord {
            method: Some(loggable_path(method.as_str()).to_owned()),
            path: Some(path()),
            ..AuditRecord::default()
        };
        let audited = audit.call(call.with_query(query), peer);
        record.oversight.get_or_insert_default().audited = Some(audited);
    }

    /// Ends a loop at its first turn: a request that this daemon has sent to its upstream.
    ///
    /// Comes before the guard, so that the loop is told and not the `Host` of what leads back here.
    fn reject_own<B>(&self, request: &Request<B>, sender: &ConnectionPeer) -> Result<(), Error> {
        let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
        if !self.session.is_own_request(method, path, headers) {
            return Ok(());
        }
        // The client id alone is no secret: with it, another user could close our connections.
        if sender.is_owner() || self.session.has_own_bearer(headers) {
            self.upstream.stop_loop();
        }
        Err(Error::Loop { origin: self.upstream.origin().to_string().into() })
    }
}
