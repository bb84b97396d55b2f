//! When the body of a request is read: after everything that could refuse the request by its head.
//!
//! A rule about commands refuses by the body. Only where such a rule decides is the body read before
//! the request is counted and waits for the session. The limits are the same: `limits.replay_body`
//! bounds what is kept, `limits.body_idle` each pause.

use hyper::body::Incoming;

use super::error::Error;
use super::policy::{self, Allowed};
use super::{Gateway, redacted_request};
use crate::telemetry::{RequestTiming, Stage};
use crate::upstream::{BodyBuffer, ReplayBody};

/// The body of a request that waits for the session.
pub(super) enum PendingBody {
    /// The client has not been asked for it.
    Incoming(Incoming),
    /// The command in it was judged.
    Read(Box<ReplayBody>),
}

impl PendingBody {
    /// Says whether the request can be sent a second time.
    pub(super) fn can_buffer(&self, buffer: &BodyBuffer) -> bool {
        match self {
            Self::Incoming(body) => buffer.can_buffer(body),
            Self::Read(body) => body.is_repeatable(),
        }
    }
}

impl Gateway {
    /// Judges a request by its command, and counts it then: a request that is refused uses up no
    /// quota and waits for no session. Only here is a body asked for before that.
    pub(super) async fn judge_command(
        &self,
        allowed: &Allowed,
        body: Incoming,
        timing: &mut RequestTiming,
    ) -> Result<PendingBody, Error> {
        if !allowed.awaits_command() {
            return Ok(PendingBody::Incoming(body));
        }
        let reading = PendingBody::Incoming(body);
        let body = Box::pin(self.read_body(allowed, reading, timing)).await?;
        policy::wait_counted(policy::count(allowed.client())?).await?;
        Ok(PendingBody::Read(Box::new(body)))
    }

    /// Reads the body and judges it, unless that is done.
    pub(super) async fn read_body(
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
            Some(redaction) => {
                Box::pin(redacted_request::resolve_body(redaction, allowed.path(), body)).await
            }
            None => Ok(body),
        }
    }
}
