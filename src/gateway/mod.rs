//! Local requests in, upstream requests out.
//!
//! Read `Gateway::handle` first: one request walks its lines from top to bottom. Each step takes
//! the proof that the step before it returned, so a request that was not admitted cannot be
//! allowed, and one that was not allowed cannot be sent. The steps are public, so that benchmarks
//! and fuzz targets call the same functions as the daemon.

mod catch_panic;
mod client_auth;
mod error;
mod error_response;
mod explain;
mod guard;
mod headers;
mod in_flight;
mod login_material;
mod max_forwards;
mod method_override;
mod outbound;
mod path_interpretations;
mod peer_identity;
mod policy;
mod response_body;
mod response_headers;
mod server;
mod token_endpoint;
mod token_path;
mod websocket;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

pub use self::client_auth::ClientAuthenticator;
use self::client_auth::ClientIdentity;
use self::error::Error;
pub use self::explain::{Explanation, explain};
pub use self::guard::{Admitted, Guard, admit};
pub use self::outbound::{Destination, HeaderPolicy, build as build_request};
pub use self::peer_identity::ConnectionPeer;
pub use self::policy::{Allowed, Decision, Policy, decide};
pub use self::response_body::ProxyBody;
pub use self::response_headers::sanitize_response;
pub use self::server::{PendingConnection, Server};
use crate::listen::OwnHosts;
use crate::peer::{Peer, UserAcl};
use crate::problem::{Problem as _, ProblemKind};
use crate::session::{self, Bearer, Session, UnauthorizedCause};
use crate::telemetry::{RequestTiming, Stage, UpstreamErrors};
use crate::throttle::{FairnessKey, Permit, Reservation, ResponseHead, RetryDecision, Throttle};
use crate::upstream::{BodyBuffer, ReplayBody, ResponseBody, Retry, Upstream};

/// Forwards local requests to one upstream.
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
    upstream_errors: Arc<UpstreamErrors>,
    /// The profile whose commands the hints name.
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
            upstream_errors: Arc::new(UpstreamErrors::new(upstream.origin().to_string())),
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

    /// Adds `Server-Timing`, which says where the time of a request went, if `is_enabled`.
    #[must_use]
    pub fn with_server_timing(self, is_enabled: bool) -> Self {
        Self { has_server_timing: is_enabled, ..self }
    }

    /// Continues the record of errors of another gateway to the same upstream.
    #[must_use]
    pub fn with_outage(self, upstream_errors: Arc<UpstreamErrors>) -> Self {
        Self { upstream_errors, ..self }
    }

    /// Names this profile in the commands that error responses advise.
    #[must_use]
    pub fn with_profile(self, profile: &str) -> Self {
        Self { profile: profile.into(), ..self }
    }

    /// Returns the users who may use the daemon.
    fn users(&self) -> &UserAcl {
        self.guard.users()
    }

    /// Handles one local request: every step in its order, each called once.
    ///
    /// `client` receives the name of the client once it is known, also where a later step fails.
    async fn handle(
        &self,
        request: Request<Incoming>,
        sender: &ConnectionPeer,
        timing: &mut RequestTiming,
        client: &mut Option<Arc<str>>,
    ) -> Result<Response<ProxyBody>, Error> {
        self.reject_own(&request, sender)?;
        let admitted = admit(request, sender, &self.guard)?;
        *client = admitted.client().name();
        let (allowed, body) = match decide(admitted, &self.policy)? {
            Decision::Forward(allowed, body) => (allowed, body),
            Decision::Options => return Ok(error_response::options_response()),
            Decision::TokenEndpoint(request, client) => return self.grant(request, client).await,
        };
        let kind = body_kind(self.body_buffer.can_buffer(&body));
        timing.measure(Stage::Token, self.session.wait_ready(kind)).await?;
        // Only now `100 Continue` asks for the body, and a slow client holds no permit meanwhile.
        let mut body = self.body_buffer.read_or_stream(body).await.map_err(Error::Body)?;
        self.policy.check_body(&allowed, &body)?;
        let mut attempts = Attempts::new(&self.throttle, &allowed, sender);
        let mut permit = timing.measure(Stage::Queue, attempts.reservation.acquire()).await?;
        let (response, bearer, cause) = loop {
            let kind = body_kind(body.is_repeatable());
            let bearer = timing.measure(Stage::Token, self.session.acquire(kind)).await?;
            let sending = self.send(&allowed, &mut body, &bearer);
            let response = timing.measure(Stage::Upstream, sending).await?;
            match self.review(permit, (&response, &bearer), &body, &mut attempts, timing).await? {
                Next::Respond(cause) => break (response, bearer, cause),
                Next::SendAgain(another) => {
                    permit = attempts.give_up(response, another, timing).await?;
                }
            }
        };
        let has_login_material = allowed.has_login_material();
        let response = self.map_response(response, allowed, &bearer, cause)?;
        if has_login_material {
            return Box::pin(login_material::remove(response)).await;
        }
        Ok(response)
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
        if sender.is_allowed() || self.session.has_own_bearer(headers) {
            self.upstream.stop_loop();
        }
        Err(Error::Loop { origin: self.upstream.origin().to_string().into() })
    }

    /// Sends the request once, with this token.
    async fn send(
        &self,
        allowed: &Allowed,
        body: &mut ReplayBody,
        bearer: &Bearer,
    ) -> Result<Response<ResponseBody>, Error> {
        let progress = body.progress();
        let retry = allowed.idempotency(body);
        let (upstream, header_policy) = (&self.upstream, &self.header_policy);
        let destination = Destination { upstream, header_policy };
        let mut request = outbound::build(allowed, body, bearer, destination);
        let sent = if allowed.is_websocket() {
            Box::pin(upstream.upgrade(&mut request)).await
        } else {
            upstream.send(retry, &mut request).await
        };
        if sent.is_ok() {
            self.upstream_errors.record_success();
        }
        // A body that broke off is an error of the client, not of the upstream.
        sent.map_err(|error| match progress.and_then(|progress| progress.error()) {
            Some(error) => Error::Body(error),
            None if retry == Retry::Safe => Error::UpstreamRead(Arc::new(error)),
            None => Error::Upstream(Arc::new(error)),
        })
    }

    /// Decides whether the client gets this response or the request is sent again.
    ///
    /// A throttled request is sent again as long as the throttle gives another permit; a request
    /// whose token was replaced is sent again once.
    async fn review<'a>(
        &self,
        permit: Permit<'_>,
        (response, bearer): (&Response<ResponseBody>, &Bearer),
        body: &ReplayBody,
        attempts: &mut Attempts<'a>,
        timing: &mut RequestTiming,
    ) -> Result<Next<'a>, Error> {
        let Attempts { allowed, reservation, is_renewed } = attempts;
        let decision = permit.observe(&response_head(response), body.is_repeatable());
        if decision == RetryDecision::Retry {
            let another = timing.measure(Stage::Queue, reservation.acquire()).await;
            return Ok(another.map_or(Next::Respond(None), |permit| Next::SendAgain(Some(permit))));
        }
        if response.status() != StatusCode::UNAUTHORIZED {
            if decision == RetryDecision::Accept {
                self.session.mark_valid(bearer.generation());
            }
            return Ok(Next::Respond(None));
        }
        // Nexudus responds with 401 for a dead token and for a missing permission alike.
        let cause = self.session.classify_unauthorized(bearer, allowed.method(), allowed.path());
        match timing.measure(Stage::Token, Box::pin(cause)).await {
            UnauthorizedCause::TokenReplaced if body.is_repeatable() && !*is_renewed => {
                *is_renewed = true;
                Ok(Next::SendAgain(None))
            }
            cause @ (UnauthorizedCause::TokenReplaced | UnauthorizedCause::MissingPermission) => {
                Ok(Next::Respond(Some(cause)))
            }
            UnauthorizedCause::Unavailable(error) => Err(error.into()),
        }
    }

    /// Turns a response of the upstream into one for this client; `cause` annotates a 401.
    fn map_response(
        &self,
        response: Response<ResponseBody>,
        allowed: Allowed,
        bearer: &Bearer,
        cause: Option<UnauthorizedCause>,
    ) -> Result<Response<ProxyBody>, Error> {
        let (mut head, mut body) = response.into_parts();
        sanitize_response(&mut head, &allowed, &self.upstream, bearer);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // The session may have been locked meanwhile: that closed all other WebSockets, and
            // must close this one.
            self.session.bearer()?;
            head.headers.extend(websocket::UPGRADE_HEADERS.clone());
            head.extensions
                .insert(websocket::WebSocketOwner::new(self.guard.client_auth(), allowed.client()));
        }
        body.recycle_headers(allowed.into_headers());
        let mut response = Response::from_parts(head, ProxyBody::from_upstream(body));
        if let Some(cause) = cause {
            error_response::annotate_unauthorized(&mut response, &cause);
        }
        Ok(response)
    }

    /// Responds to a request for a token. Boxed, because few requests come here.
    fn grant(
        &self,
        request: Request<Incoming>,
        client: ClientIdentity,
    ) -> Pin<Box<impl Future<Output = Result<Response<ProxyBody>, Error>>>> {
        Box::pin(token_endpoint::handle(request, client, self.guard.client_auth()))
    }

    /// Finishes the response to one local request: every error becomes a response.
    fn finish_response(
        &self,
        handled: Result<Response<ProxyBody>, Error>,
        client: Option<Arc<str>>,
        timing: &RequestTiming,
    ) -> Response<ProxyBody> {
        let mut response = handled.unwrap_or_else(|error| {
            if let Error::Upstream(cause) | Error::UpstreamRead(cause) = &error {
                let (kind, chain) = (error.kind(), error_response::error_chain(&**cause));
                if kind == ProblemKind::LocalExhaustion {
                    self.upstream_errors.record_local_error(kind.code(), &chain, Instant::now());
                } else {
                    self.upstream_errors.record_error(kind.code(), &chain, Instant::now());
                }
            }
            error_response::render_for_profile(&self.profile, &error)
        });
        error_response::record_client(&mut response, client);
        if self.has_server_timing {
            error_response::add_server_timing(&mut response, timing);
        }
        response
    }
}

/// The state of one request across its attempts.
struct Attempts<'a> {
    allowed: &'a Allowed,
    reservation: Reservation<'a>,
    /// Whether the request was sent again with another token.
    is_renewed: bool,
}

impl<'a> Attempts<'a> {
    fn new(throttle: &'a Throttle, allowed: &'a Allowed, sender: &ConnectionPeer) -> Self {
        let key = fairness_key(allowed.client(), &sender.peer);
        let reservation = throttle.reserve(allowed.method(), allowed.path(), key);
        Self { allowed, reservation, is_renewed: false }
    }

    /// Gives a response up and returns the permit to send the request again. The response holds its
    /// connection no longer than needed: never while a permit is waited for.
    async fn give_up(
        &mut self,
        response: Response<ResponseBody>,
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

/// The step that follows a response of the upstream.
enum Next<'a> {
    /// The client gets it; a 401 with its cause.
    Respond(Option<UnauthorizedCause>),
    /// The request is sent again, with this permit or with a new one.
    SendAgain(Option<Permit<'a>>),
}

/// Makes the response to a request that is meant for another host than `ours`, or for none; `None`
/// where the request is for us.
pub fn reject_host(
    profile: &str,
    request: &http::request::Parts,
    ours: &OwnHosts,
) -> Option<Response<ProxyBody>> {
    let error = guard::check_host(request, ours).err()?;
    Some(error_response::render_for_profile(profile, &Error::Guard(error)))
}

/// Makes the response of a command whose daemon, of `profile`, cannot be reached.
pub fn no_daemon_response(
    profile: &str,
    why: impl std::error::Error + Send + Sync + 'static,
    hint: &'static str,
) -> Response<ProxyBody> {
    error_response::render_for_profile(profile, &Error::NoDaemon { why: Arc::new(why), hint })
}

fn body_kind(is_repeatable: bool) -> session::BodyKind {
    if is_repeatable { session::BodyKind::Replayable } else { session::BodyKind::Streaming }
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

fn response_head(response: &Response<ResponseBody>) -> ResponseHead<'_> {
    let (status, headers) = (response.status(), response.headers());
    ResponseHead { status, headers, is_end_of_stream: response.body().is_end_stream() }
}

/// Largest rest of an unwanted response body that is read to keep its connection: a longer one
/// costs more than a handshake.
const MAX_DISCARDED_BODY: usize = 64 << 10;
