//! Local requests in, upstream requests out.
//!
//! Read `Gateway::handle` first: one request walks its lines from top to bottom. Each step takes
//! the proof that the step before it returned, so a request that was not admitted cannot be
//! allowed, and one that was not allowed cannot be sent. The steps are public, so that benchmarks
//! and fuzz targets call the same functions as the daemon.

mod attempts;
mod body_changes;
mod call_record;
mod catch_panic;
mod client_auth;
mod content;
mod envelope;
mod error;
mod error_response;
mod explain;
mod forward;
mod guard;
mod guide;
mod headers;
mod in_flight;
mod login_material;
mod max_forwards;
mod method_override;
mod outbound;
mod path_interpretations;
mod peer_identity;
mod pending_body;
mod pending_connection;
mod policy;
mod preflight;
mod redacted_body;
mod redacted_request;
mod redacted_response;
mod response_body;
mod response_headers;
mod run_responses;
mod server;
mod tls_listener;
mod token_endpoint;
mod token_path;
mod web_page;
mod websocket;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response, StatusCode};
use http_body::Body as _;

use self::attempts::Attempts;
use self::body_changes::BodyChanges;
use self::call_record::CallRecord;
pub use self::client_auth::ClientAuthenticator;
use self::client_auth::ClientIdentity;
use self::content::Content;
use self::error::Error;
pub use self::explain::{Explanation, Question, explain, explain_use};
pub use self::forward::{ForwardListener, intercept, open_connect, send_plain};
use self::guard::CurrentAdmission;
pub use self::guard::{Admitted, Guard, admit};
pub use self::guide::Guide;
pub use self::outbound::{Destination, HeaderPolicy, build as build_request};
pub use self::peer_identity::ConnectionPeer;
pub use self::pending_connection::{ListenerKind, PendingConnection};
pub use self::policy::{Allowed, Decision, Policy, decide, path_with_api};
pub use self::response_body::ProxyBody;
pub use self::response_headers::sanitize_response;
pub use self::run_responses::{no_daemon_response, reject_forward, reject_host};
pub use self::server::Server;
pub use self::tls_listener::TlsListener;
use crate::approvals::Approvals;
use crate::audit::Audit;
use crate::clients::ClientUse;
use crate::peer::UserAcl;
use crate::problem::{Problem as _, ProblemKind};
use crate::session::{self, Bearer, Session, UnauthorizedCause};
use crate::telemetry::{ActionFailure, RequestTiming, Stage, Step, UpstreamErrors};
use crate::throttle::{Permit, RetryDecision, Throttle};
use crate::upstream::{BodyBuffer, ClientBody, ReplayBody, Retry, Upstream};

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
    /// The calls that wait for a person.
    approvals: Approvals,
    /// The record of what clients do, if there is one.
    audit: Option<Audit>,
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
            approvals: Approvals::unattended(),
            audit: None,
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

    /// Asks a person about the requests that a rule wants one asked about; without this, such a
    /// request is refused.
    #[must_use]
    pub fn with_approvals(self, approvals: Approvals) -> Self {
        Self { approvals, ..self }
    }

    /// Records what clients do.
    #[must_use]
    pub fn with_audit(self, audit: Option<Audit>) -> Self {
        Self { audit, ..self }
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
    /// `record` receives what becomes known on the way, also where a later step fails.
    async fn handle(
        &self,
        request: Request<ClientBody>,
        sender: &ConnectionPeer,
        timing: &mut RequestTiming,
        record: &mut CallRecord,
    ) -> Result<Response<ProxyBody>, Error> {
        self.begin(&request, sender, record)?;
        let admitted = match guard::admit_current(request, sender, &self.guard)? {
            CurrentAdmission::Admitted(admitted) => admitted,
            CurrentAdmission::Outdated(again) => again.await?,
        };
        record.set_client(admitted.client());
        if let Some(tokens) = self.policy.unread_tokens(admitted.client()) {
            Box::pin(self.wait_tokens(tokens)).await?;
        }
        // The decision ends here: what lives on makes the future of every request larger.
        let (allowed, body, counted) = match self.decide_and_count(admitted, timing)? {
            (Decision::Forward(allowed, body), counted) => (allowed, body, counted),
            (Decision::Options(_), _) => return Ok(error_response::options_response()),
            (Decision::Guide(client, host), _) => {
                let to = (sender.target(), self.upstream.origin());
                return Ok(guide::respond(&self.policy, &client, host.as_ref(), to));
            }
            (Decision::TokenEndpoint(request, by), _) => return self.grant(request, by).await,
        };
        let incoming = (body, counted);
        let mut body = self.prepare_body(&allowed, incoming, sender, record, timing).await?;
        let mut attempts = Attempts::new(&self.throttle, &allowed, sender);
        let mut permit = timing.measure(Stage::Queue, attempts.reservation.acquire()).await?;
        let (response, bearer, cause) = loop {
            let kind = body_kind(body.is_repeatable());
            let bearer = timing.measure(Stage::Token, self.session.acquire(kind)).await?;
            let sending = self.send(&allowed, &mut body, &bearer);
            let response = timing.measure_send(sending).await?;
            match self.review(permit, (&response, &bearer), &body, &mut attempts, timing).await? {
                Next::Respond(cause) => break (response, bearer, cause),
                Next::SendAgain(another) => {
                    // Boxed, because it is rare, and would make the future of every request larger.
                    permit = Box::pin(attempts.give_up(response, another, timing)).await?;
                }
            }
        };
        let Some(changes) = BodyChanges::of(&allowed) else {
            return self.map_response(response, allowed, &bearer, cause);
        };
        let response = self.map_response(response, allowed, &bearer, cause)?;
        // Boxed, because few responses are changed.
        timing.measure(Stage::Upstream, Box::pin(changes.apply(response))).await
    }

    /// Judges a request, and counts it where its client's requests are counted; not yet one that is
    /// still to be judged by its body.
    fn decide_and_count(
        &self,
        admitted: Admitted<ClientBody>,
        timing: &mut RequestTiming,
    ) -> Result<(Decision<ClientBody>, Option<policy::PendingCount>), Error> {
        timing.mark(Step::Guard);
        let decision = decide(admitted, &self.policy)?;
        let counted = match &decision {
            Decision::Forward(allowed, _) if allowed.awaits_body() => None,
            Decision::Forward(allowed, _) => {
                policy::count(allowed.client(), allowed.use_by_head())?
            }
            Decision::Options(client) => policy::count(client, ClientUse::default())?,
            Decision::Guide(..) | Decision::TokenEndpoint(..) => None,
        };
        timing.mark(Step::Policy);
        Ok((decision, counted))
    }

    /// Sends the request once, with this token.
    async fn send(
        &self,
        allowed: &Allowed,
        body: &mut ReplayBody,
        bearer: &Bearer,
    ) -> Result<Response<Content>, Error> {
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
        let response =
            sent.map_err(|error| match progress.and_then(|progress| progress.error()) {
                // A body that broke off is an error of the client, not of the upstream.
                Some(error) => Error::Body(error),
                None if retry == Retry::Safe => Error::UpstreamRead(Arc::new(error)),
                None => Error::Upstream(Arc::new(error)),
            })?;
        self.upstream_errors.record_success();
        Ok(if content::needs_text(&response) {
            Box::pin(content::peek(response)).await
        } else {
            response.map(Content::Unread)
        })
    }

    /// Decides whether the client gets this response or the request is sent again.
    ///
    /// A throttled request is sent again as long as the throttle gives another permit; a request
    /// whose token was replaced is sent again once, and so is a read that Nexudus failed to answer.
    async fn review<'a>(
        &self,
        permit: Permit<'_>,
        (response, bearer): (&Response<Content>, &Bearer),
        body: &ReplayBody,
        attempts: &mut Attempts<'a>,
        timing: &mut RequestTiming,
    ) -> Result<Next<'a>, Error> {
        let decision = permit.observe(&content::head_of(response), body.is_repeatable());
        let is_failed = attempts.repeats_failed_read(response, body);
        let Attempts { allowed, reservation, is_renewed, .. } = attempts;
        timing.set_connect_micros(allowed.connect_micros());
        if decision == RetryDecision::Retry || is_failed {
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
        response: Response<Content>,
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
            let (auth, idle) = (self.guard.client_auth(), self.body_buffer.idle_timeout());
            head.extensions.insert(websocket::WebSocketOwner::new(auth, allowed.client(), idle));
        }
        body.recycle_headers(allowed.into_headers());
        let has_failed = body.says_action_failed(head.status);
        let can_be_envelope = envelope::can_be_envelope(&head, &body.size_hint());
        let body = ProxyBody::from_upstream(body, can_be_envelope);
        let mut response = Response::from_parts(head, body);
        if has_failed {
            error_response::record_failure(&mut response, ActionFailure::ActionFailed);
        }
        if let Some(cause) = cause {
            error_response::annotate_unauthorized(&mut response, &cause);
        }
        Ok(response)
    }

    /// Responds to a request for a token. Boxed, because few requests come here.
    fn grant(
        &self,
        request: Request<ClientBody>,
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
            error_response::render_for_profile(&self.profile, client.as_deref(), &error)
        });
        error_response::record_client(&mut response, client);
        if self.has_server_timing {
            error_response::add_server_timing(&mut response, timing);
        }
        response
    }
}

/// The step that follows a response of the upstream.
enum Next<'a> {
    /// The client gets it; a 401 with its cause.
    Respond(Option<UnauthorizedCause>),
    /// The request is sent again, with this permit or with a new one.
    SendAgain(Option<Permit<'a>>),
}

fn body_kind(is_repeatable: bool) -> session::BodyKind {
    if is_repeatable { session::BodyKind::Replayable } else { session::BodyKind::Streaming }
}
