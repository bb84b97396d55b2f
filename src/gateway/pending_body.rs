//! When the body of a request is read: after everything that could refuse the request by its head.
//!
//! A rule about commands refuses by the body, and a person is shown it. Only where such a rule decides
//! or a person is asked is the body read before the request is counted and waits for the session. The limits are the same: `limits.replay_body`
//! bounds what is kept, `limits.body_idle` each pause.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use super::call_record::CallRecord;
use super::client_auth::ClientIdentity;
use super::error::Error;
use super::peer_identity::ConnectionPeer;
use super::policy::{self, Allowed, PendingCount};
use super::{Gateway, body_kind, redacted_request};
use crate::approvals::{self, Call, Caller};
use crate::session::BodyKind;
use crate::telemetry::{RequestTiming, Stage};
use crate::upstream::{BodyBuffer, ClientBody, ReplayBody};

/// The body of a request that waits for the session.
pub(super) enum PendingBody {
    /// The client has not been asked for it.
    Incoming(ClientBody),
    /// The command in it was judged.
    Read(Box<ReplayBody>),
}

impl PendingBody {
    /// Says whether the request can be sent a second time.
    fn can_buffer(&self, buffer: &BodyBuffer) -> bool {
        match self {
            Self::Incoming(body) => buffer.can_buffer(body),
            Self::Read(body) => body.is_repeatable(),
        }
    }
}

impl Gateway {
    /// Reads the body of a request that may be sent, once there is a token for it. Not an `async fn`:
    /// that would hold its arguments twice in the future of every request.
    #[expect(clippy::manual_async_fn, reason = "the future would be larger")]
    pub(super) fn prepare_body<'a>(
        &'a self,
        allowed: &'a Allowed,
        (body, counted): (ClientBody, Option<PendingCount>),
        sender: &'a ConnectionPeer,
        record: &'a mut CallRecord,
        timing: &'a mut RequestTiming,
    ) -> impl Future<Output = Result<ReplayBody, Error>> + 'a {
        async move {
            let body = if allowed.awaits_body() {
                // Boxed, because few requests come here.
                Box::pin(self.judge_body(allowed, body, sender, record, timing)).await?
            } else {
                PendingBody::Incoming(body)
            };
            policy::wait_counted(counted).await?;
            let kind = body_kind(body.can_buffer(&self.body_buffer));
            timing.measure(Stage::Token, self.session.wait_ready(kind)).await?;
            // Only now `100 Continue` asks for the body: a slow client holds no permit meanwhile.
            let body = self.read_body(allowed, body, timing).await?;
            if timing.is_exact() && sender.telemetry.captures.wants_bodies() {
                record.capture(allowed, &body);
            }
            if let Some(recording) = record.recording(&self.policy, allowed, &body) {
                recording.await?;
            }
            Ok(body)
        }
    }

    /// Judges a request by its body, and counts it then: a request that is refused uses up no quota
    /// and waits for no session. Only here is a body asked for before that.
    async fn judge_body(
        &self,
        allowed: &Allowed,
        body: ClientBody,
        sender: &ConnectionPeer,
        record: &mut CallRecord,
        timing: &mut RequestTiming,
    ) -> Result<PendingBody, Error> {
        let body = self.read_body(allowed, PendingBody::Incoming(body), timing).await?;
        self.ask(allowed, &body, sender, record, timing).await?;
        let counted = policy::count(allowed.client(), allowed.use_by_body(&body))?;
        policy::wait_counted(counted).await?;
        Ok(PendingBody::Read(Box::new(body)))
    }

    /// Waits for a person, if a rule wants one asked: about nothing that would fail anyway.
    async fn ask(
        &self,
        allowed: &Allowed,
        body: &ReplayBody,
        sender: &ConnectionPeer,
        record: &mut CallRecord,
        timing: &mut RequestTiming,
    ) -> Result<(), Error> {
        let rules = self.policy.asking_about(allowed, body);
        if rules.is_empty() {
            return Ok(());
        }
        record.set_rules(rules.clone(), None);
        let bytes = match body {
            ReplayBody::Empty => &[][..],
            ReplayBody::Buffered(bytes, _) => bytes,
            ReplayBody::Streamed(_) if body.lacks_memory() => {
                return Err(policy::Error::NoMemory.into());
            }
            ReplayBody::Streamed(_) => return Err(approvals::Error::BodyTooLong.into()),
        };
        policy::check_left(allowed.client(), allowed.use_by_body(body)).await?;
        timing.measure(Stage::Token, self.session.wait_ready(BodyKind::Replayable)).await?;
        let head = allowed.head();
        let values = |name| head.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        let origin = self.upstream.origin().to_string();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let call = Call {
            caller: caller(allowed.client(), sender),
            origin: &origin,
            method: head.method.as_str(),
            target,
            content_types: values(CONTENT_TYPE),
            content_encodings: values(CONTENT_ENCODING),
            body: bytes,
            rules: rules.clone(),
            prefers_async: prefers_async(&head.headers),
        };
        let approval = self.approvals.wait(&call).await?;
        record.set_rules(rules, approval);
        Ok(())
    }

    /// Reads the body and judges it, unless that is done.
    async fn read_body(
        &self,
        allowed: &Allowed,
        body: PendingBody,
        timing: &mut RequestTiming,
    ) -> Result<ReplayBody, Error> {
        let incoming = match body {
            PendingBody::Read(body) => return Ok(*body),
            PendingBody::Incoming(incoming) => incoming,
        };
        let reading = self.body_buffer.read_or_stream(incoming);
        let body = timing.measure(Stage::Body, reading).await.map_err(Error::Body)?;
        self.policy.check_body(allowed, &body)?;
        match allowed.redaction() {
            // Boxed, because few requests come here.
            Some(redaction) => Box::pin(redacted_request::resolve_body(redaction, body)).await,
            None => Ok(body),
        }
    }
}

/// Returns who is asked about: a client by its key, else the user of the process.
fn caller(client: &ClientIdentity, sender: &ConnectionPeer) -> Caller {
    match client {
        ClientIdentity::Client(client) => Caller::client(client.id(), client.name().clone()),
        ClientIdentity::Anonymous => Caller::anonymous(sender.peer.uid()),
    }
}

/// Says whether a client prefers an asynchronous response (RFC 7240 §4.1).
fn prefers_async(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split(','));
    preferences.any(|it| {
        let name = it.split([';', '=']).next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("respond-async")
    })
}
