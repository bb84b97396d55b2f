//! The attempts of one request: what lets it be sent again, and how often.

use http::Response;

use super::client_auth::ClientIdentity;
use super::content::Content;
use super::error::Error;
use super::peer_identity::ConnectionPeer;
use super::policy::Allowed;
use crate::peer::Peer;
use crate::telemetry::{ActionFailure, RequestTiming, Stage, Telemetry};
use crate::throttle::{FairnessKey, Permit, Reservation, Throttle};
use crate::upstream::{ReplayBody, Retry};

/// The state of one request across its attempts.
pub(super) struct Attempts<'a> {
    pub(super) allowed: &'a Allowed,
    pub(super) reservation: Reservation<'a>,
    /// Whether the request was sent again with another token.
    pub(super) is_renewed: bool,
    /// Whether the request was sent again after a failure of its action.
    is_repeated: bool,
    telemetry: &'a Telemetry,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(
        throttle: &'a Throttle,
        allowed: &'a Allowed,
        sender: &'a ConnectionPeer,
    ) -> Self {
        let key = fairness_key(allowed.client(), &sender.peer);
        let reservation = throttle.reserve(allowed.method(), allowed.path(), key);
        let telemetry = &*sender.telemetry;
        Self { allowed, reservation, is_renewed: false, is_repeated: false, telemetry }
    }

    /// Says whether the response tells a failure that may pass, of a read that was not repeated for
    /// one yet. The failure is counted here, because no client sees it.
    pub(super) fn repeats_failed_read(
        &mut self,
        response: &Response<Content>,
        body: &ReplayBody,
    ) -> bool {
        let is_repeated = !self.is_repeated
            && response.body().says_action_failed(response.status())
            && self.allowed.idempotency(body) == Retry::Safe;
        if is_repeated {
            self.is_repeated = true;
            self.telemetry.metrics.count_failure(false, ActionFailure::ActionFailed);
            tracing::debug!("Nexudus failed to answer a read, which is sent once more");
        }
        is_repeated
    }

    /// Gives a response up and returns the permit to send the request again. The response holds its
    /// connection no longer than needed: never while a permit is waited for.
    pub(super) async fn give_up(
        &mut self,
        response: Response<Content>,
        permit: Option<Permit<'a>>,
        timing: &mut RequestTiming,
    ) -> Result<Permit<'a>, Error> {
        let rest = response.into_body().discard(MAX_DISCARDED_BODY);
        timing.measure(Stage::Upstream, rest).await;
        match permit {
            Some(permit) => Ok(permit),
            None => Ok(timing.measure(Stage::Queue, self.reservation.acquire()).await?),
        }
    }
}

/// Returns the key by which permits are shared fairly: the client, else the process as far as the
/// kernel names it, else the connection.
fn fairness_key(client: &ClientIdentity, peer: &Peer) -> FairnessKey {
    match (client, peer) {
        (ClientIdentity::Client(client), _) => FairnessKey::ClientKey(client.name().clone()),
        (ClientIdentity::Anonymous, Peer::Tcp { remote, .. }) => FairnessKey::Connection(*remote),
        (ClientIdentity::Anonymous, Peer::Unix { pid: Some(pid), .. }) => {
            FairnessKey::Process(*pid)
        }
        (ClientIdentity::Anonymous, Peer::Unix { uid, pid: None }) => FairnessKey::User(*uid),
    }
}

/// Largest rest of an unwanted response body that is read to keep its connection: a longer one
/// costs more than a handshake.
const MAX_DISCARDED_BODY: usize = 64 << 10;
