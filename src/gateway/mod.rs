//! Local requests in, upstream requests out.
//!
//! Read `Gateway::handle` first: one request walks its lines from top to bottom. Each step takes
//! the proof that the step before it returned, so a request that was not admitted cannot be
//! allowed, and one that was not allowed cannot be sent.

mod body;
mod catch_panic;
mod client_auth;
mod connection;
mod error_response;
mod explain;
mod guard;
mod headers;
mod login_material;
mod max_forwards;
mod method_override;
mod outbound;
mod path_interpretations;
mod peer_identity;
mod policy;
mod steps;
mod token_endpoint;
mod websocket;

use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

pub use self::body::ProxyBody;
pub use self::client_auth::ClientAuthenticator;
use self::client_auth::ClientIdentity;
pub use self::connection::Server;
pub use self::explain::{Explanation, explain};
pub use self::guard::Guard;
pub use self::outbound::HeaderPolicy;
use self::peer_identity::ConnectionPeer;
pub use self::policy::Policy;
#[doc(hidden)]
pub use self::policy::Trial;
use self::policy::{Allowed, Decision};
#[doc(hidden)]
pub use self::steps::Steps;
use crate::listen::{Peer, PeerAccess};
use crate::session::{self, Bearer, Session};
use crate::telemetry::{RequestTiming, Stage, UpstreamErrors};
use crate::throttle::{self, Reservation, ResponseHead, Throttle};
use crate::upstream::{self, BodyBuffer, ReplayBody, ResponseBody, Retry, Upstream};

/// Answers local requests with the answers of one upstream.
#[derive(Debug)]
pub struct Gateway {
    guard: Guard,
    policy: Policy,
    body_buffer: BodyBuffer,
    session: Session,
    throttle: Throttle,
    upstream: Upstream,
    header_policy: HeaderPolicy,
    has_server_timing: bool,
    /// Requests that got no answer.
    outage: Arc<UpstreamErrors>,
    /// Whose commands the hints name.
    profile: Arc<str>,
}

impl Gateway {
    /// Puts the steps of the path together.
    pub fn new(
        guard: Guard,
        policy: Policy,
        body_buffer: BodyBuffer,
        session: Session,
        throttle: Throttle,
        upstream: Upstream,
        header_policy: HeaderPolicy,
    ) -> Self {
        Self {
            outage: Arc::new(UpstreamErrors::new(upstream.origin().to_string())),
            guard,
            policy,
            body_buffer,
            session,
            throttle,
            upstream,
            header_policy,
            has_server_timing: false,
            profile: "default".into(),
        }
    }

    /// Says in `Server-Timing` where the time of a request went, if `tells`.
    #[must_use]
    pub fn with_server_timing(self, tells: bool) -> Self {
        Self { has_server_timing: tells, ..self }
    }

    /// Goes on with what another gateway before the same upstream has known of its failures.
    #[must_use]
    pub fn with_outage(self, outage: Arc<UpstreamErrors>) -> Self {
        Self { outage, ..self }
    }

    /// Names this profile in the commands that its answers advise.
    #[must_use]
    pub fn with_profile(self, profile: &str) -> Self {
        Self { profile: profile.into(), ..self }
    }

    /// Says what whoever has connected is to us, as far as it is known without waiting.
    fn standing(&self, peer: &Peer) -> PeerAccess {
        self.guard.users().classify(peer)
    }

    /// Asks the user database what this user is to us.
    async fn resolve_standing(&self, uid: u32) -> PeerAccess {
        self.guard.users().resolve(uid).await
    }

    /// Finishes the answer to one local request: every error becomes a response.
    fn finish_response(
        &self,
        answered: Result<Response<ProxyBody>, Error>,
        client: Option<Arc<str>>,
        spent: &RequestTiming,
    ) -> Response<ProxyBody> {
        let mut response = answered.unwrap_or_else(|error| {
            if let Error::Upstream(why) | Error::UpstreamRead(why) = &error {
                self.outage.record_error(
                    error_response::code(&error),
                    &error_response::error_chain(&**why),
                    Instant::now(),
                );
            }
            error_response::render_for_profile(&self.profile, &error)
        });
        error_response::record_client(&mut response, client);
        if self.has_server_timing {
            error_response::add_server_timing(&mut response, spent);
        }
        response
    }

    /// Answers one local request. `client` is told who asks.
    async fn handle(
        &self,
        request: Request<Incoming>,
        visitor: &ConnectionPeer,
        spent: &mut RequestTiming,
        client: &mut Option<Arc<str>>,
    ) -> Result<Response<ProxyBody>, Error> {
        let (verdict, caller) = self.authorize(request, visitor, client)?;
        let (allowed, body) = match verdict {
            Decision::Forward(allowed, _)
                if max_forwards::remaining(allowed.head()) == Ok(Some(0)) =>
            {
                return Ok(error_response::options_response());
            }
            Decision::Forward(allowed, body) => (allowed, body),
            Decision::TokenEndpoint(request, caller) => {
                return Box::pin(token_endpoint::handle(request, caller, self.guard.client_auth()))
                    .await;
            }
        };

        let needs = body_kind(self.body_buffer.can_buffer(&body));
        spent.measure(Stage::Token, self.session.wait_ready(needs)).await?;
        // Only now is the body asked for (`100 Continue`), and before a turn: a slow caller holds
        // nobody up.
        let mut body = self.body_buffer.read_or_stream(body).await.map_err(Error::Body)?;
        self.policy.check_body(&allowed, &body)?;

        let mut turn = self.throttle.reserve(allowed.method(), allowed.path(), caller);
        let is_without_tokens = allowed.has_login_material();
        let mut replayed = false;
        let response = loop {
            let (response, bearer) =
                self.send_throttled(&mut turn, &allowed, &mut body, spent).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                break self.map_response(response, allowed, &bearer)?;
            }
            // 401 is Nexudus's word for a dead token and for missing permission alike.
            let judging =
                self.session.classify_unauthorized(&bearer, allowed.method(), allowed.path());
            match spent.measure(Stage::Token, Box::pin(judging)).await {
                session::UnauthorizedCause::TokenReplaced if body.is_repeatable() && !replayed => {
                    spent
                        .measure(Stage::Upstream, response.into_body().discard(MAX_DISCARDED_BODY))
                        .await;
                    replayed = true;
                }
                verdict @ (session::UnauthorizedCause::TokenReplaced
                | session::UnauthorizedCause::MissingPermission) => {
                    let mut response = self.map_response(response, allowed, &bearer)?;
                    error_response::annotate_unauthorized(&mut response, &verdict);
                    break response;
                }
                session::UnauthorizedCause::Unavailable(error) => return Err(error.into()),
            }
        };
        match is_without_tokens {
            true => Box::pin(login_material::remove(response)).await,
            false => Ok(response),
        }
    }

    /// Says where a request goes, if it may go anywhere, and whose turns it takes.
    fn authorize(
        &self,
        request: Request<Incoming>,
        visitor: &ConnectionPeer,
        client: &mut Option<Arc<str>>,
    ) -> Result<(Decision<Incoming>, throttle::FairnessKey), Error> {
        let admitted = guard::admit(request, visitor, &self.guard)?;
        *client = admitted.client.name();
        let caller = throttle_key(&admitted.client, &visitor.peer);
        Ok((policy::decide(admitted, &self.policy)?, caller))
    }

    /// Makes an answer fit for this caller.
    fn map_response(
        &self,
        response: Response<ResponseBody>,
        allowed: Allowed,
        bearer: &Bearer,
    ) -> Result<Response<ProxyBody>, Error> {
        let (mut head, mut body) = response.into_parts();
        headers::sanitize_response(&mut head, &allowed, &self.upstream, bearer);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // Locked meanwhile: what has been told to end then did not hear of this one.
            self.session.bearer()?;
            head.headers.extend(websocket::UPGRADE_HEADERS.clone());
            head.extensions
                .insert(websocket::WebSocketOwner::new(self.guard.client_auth(), allowed.client()));
        }
        body.recycle_headers(allowed.into_headers());
        Ok(Response::from_parts(head, ProxyBody::from_upstream(body)))
    }

    /// Sends in its turn, and again in other turns while Nexudus throttles and the wait allows;
    /// then the throttle answer is the caller's.
    async fn send_throttled(
        &self,
        turn: &mut Reservation<'_>,
        allowed: &Allowed,
        body: &mut ReplayBody,
        spent: &mut RequestTiming,
    ) -> Result<(Response<ResponseBody>, Bearer), Error> {
        let mut slot = spent.measure(Stage::Queue, turn.acquire()).await?;
        loop {
            // Again: bodies and turns take their time, and some bodies turn out to be too large.
            let needs = body_kind(body.is_repeatable());
            let bearer = spent.measure(Stage::Token, self.session.acquire(needs)).await?;
            let response =
                spent.measure(Stage::Upstream, self.send(allowed, body, &bearer)).await?;
            match slot.observe(&observed_response(&response), body.is_repeatable()) {
                throttle::RetryDecision::Accept => {
                    if response.status() != StatusCode::UNAUTHORIZED {
                        self.session.mark_valid(bearer.generation());
                    }
                    return Ok((response, bearer));
                }
                throttle::RetryDecision::Forward => return Ok((response, bearer)),
                throttle::RetryDecision::Retry => {}
            }
            let another = spent.measure(Stage::Queue, turn.acquire()).await;
            let Ok(another) = another else { return Ok((response, bearer)) };
            spent.measure(Stage::Upstream, response.into_body().discard(MAX_DISCARDED_BODY)).await;
            slot = another;
        }
    }

    async fn send(
        &self,
        allowed: &Allowed,
        body: &mut ReplayBody,
        bearer: &Bearer,
    ) -> Result<Response<ResponseBody>, Error> {
        let progress = body.progress();
        let repeat = allowed.idempotency(body);
        let to =
            outbound::Destination { upstream: &self.upstream, header_policy: &self.header_policy };
        let mut ask = outbound::build(allowed, body, bearer, to);
        let sent = match allowed.is_websocket() {
            true => Box::pin(self.upstream.upgrade(&mut ask)).await,
            false => self.upstream.send(repeat, &mut ask).await,
        };
        if sent.is_ok() {
            self.outage.record_success();
        }
        // A body that broke off is the caller's doing, not the upstream's.
        sent.map_err(|error| match progress.and_then(|progress| progress.error()) {
            Some(fault) => Error::Body(fault),
            None if repeat == Retry::Safe => Error::UpstreamRead(Arc::new(error)),
            None => Error::Upstream(Arc::new(error)),
        })
    }
}

/// Answers in the place of a daemon of `profile` that cannot be called.
pub fn no_daemon_response(
    profile: &str,
    why: impl std::error::Error + Send + Sync + 'static,
    hint: &'static str,
) -> Response<ProxyBody> {
    error_response::render_for_profile(profile, &Error::NoDaemon { why: Arc::new(why), hint })
}

/// Says what token a body needs.
fn body_kind(is_repeatable: bool) -> session::BodyKind {
    if is_repeatable { session::BodyKind::Replayable } else { session::BodyKind::Streaming }
}

/// Says between whom turns are shared: clients, else processes as far as the kernel tells them
/// apart, else connections.
fn throttle_key(caller: &ClientIdentity, peer: &Peer) -> throttle::FairnessKey {
    match (caller, peer) {
        (ClientIdentity::Client(client), _) => {
            throttle::FairnessKey::ClientKey(client.name().clone())
        }
        (ClientIdentity::Anonymous, Peer::Tcp { remote, .. }) => {
            throttle::FairnessKey::Connection(*remote)
        }
        (ClientIdentity::Anonymous, Peer::Unix { pid: Some(pid), .. }) => {
            throttle::FairnessKey::Process(*pid)
        }
        (ClientIdentity::Anonymous, Peer::Unix { uid, pid: None }) => {
            throttle::FairnessKey::User(*uid)
        }
    }
}

fn observed_response(response: &Response<ResponseBody>) -> ResponseHead<'_> {
    let (status, headers) = (response.status(), response.headers());
    ResponseHead { status, headers, is_end_of_stream: response.body().is_end_stream() }
}

/// Why a local request was not forwarded, or got no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The request is malformed, or its caller may not use this daemon.
    #[error(transparent)]
    Guard(#[from] guard::Error),
    /// The target may not be asked for.
    #[error(transparent)]
    Policy(#[from] policy::Error),
    /// There is no token to send.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// Its turn did not come.
    #[error(transparent)]
    Throttle(#[from] throttle::Error),
    /// The caller's body did not arrive as announced.
    #[error(transparent)]
    Body(upstream::BodyError),
    /// The upstream gave no answer to what may have changed something.
    #[error(transparent)]
    Upstream(Arc<upstream::Error>),
    /// The upstream gave no answer to what is harmless to send again.
    #[error(transparent)]
    UpstreamRead(Arc<upstream::Error>),
    /// More connections than `limits.connections`.
    #[error("too many local connections are open")]
    Overloaded,
    /// The request came after the time to finish was over.
    #[error("the daemon is stopping")]
    Draining,
    /// No daemon could be called, and none be started.
    #[error("no daemon serves this command now")]
    NoDaemon {
        /// Why.
        #[source]
        why: Arc<dyn std::error::Error + Send + Sync>,
        /// What to do about it.
        hint: &'static str,
    },
    /// A defect of ours.
    #[error("the daemon failed while it answered this request")]
    Internal,
}

/// The body of an answer that nobody wants is read to keep its connection; a longer one costs more
/// than a handshake.
const MAX_DISCARDED_BODY: usize = 64 << 10;
