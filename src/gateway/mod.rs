//! Local requests in, upstream requests out.
//!
//! Read `Gateway::answer` first: one request walks its lines from top to bottom. Each step takes
//! the proof that the step before it returned, so a request that was not admitted cannot be
//! allowed, and one that was not allowed cannot be sent.

mod authorize;
mod body;
mod caller;
mod connection;
mod contain;
mod explain;
mod guard;
mod headers;
mod hops;
mod login;
mod overrides;
mod policy;
mod respond;
mod scrub;
mod steps;
mod target;
mod tunnel;
mod visitor;

use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

pub use self::authorize::Manners;
pub use self::body::Body;
use self::caller::Caller;
pub use self::caller::Keys;
pub use self::connection::Connections;
pub use self::explain::{Explained, explain};
pub use self::guard::Guard;
pub use self::policy::Policy;
#[doc(hidden)]
pub use self::policy::Trial;
use self::policy::{Allowed, Verdict};
#[doc(hidden)]
pub use self::steps::Steps;
use self::visitor::Visitor;
use crate::listen::{Peer, Standing};
use crate::session::{self, Bearer, Session};
use crate::telemetry::{Outage, Part, Spent};
use crate::throttle::{self, Answer, Throttle, Turn};
use crate::upstream::{self, Keep, Kept, Relayed, Repeat, Upstream};

/// Answers local requests with the answers of one upstream.
#[derive(Debug)]
pub struct Gateway {
    guard: Guard,
    policy: Policy,
    keep: Keep,
    session: Session,
    throttle: Throttle,
    upstream: Upstream,
    manners: Manners,
    tells_time: bool,
    /// Requests that got no answer.
    outage: Arc<Outage>,
    /// Whose commands the hints name.
    profile: Arc<str>,
}

impl Gateway {
    /// Puts the steps of the path together.
    pub fn new(
        guard: Guard,
        policy: Policy,
        keep: Keep,
        session: Session,
        throttle: Throttle,
        upstream: Upstream,
        manners: Manners,
    ) -> Self {
        Self {
            outage: Arc::new(Outage::new(upstream.origin().to_string())),
            guard,
            policy,
            keep,
            session,
            throttle,
            upstream,
            manners,
            tells_time: false,
            profile: "default".into(),
        }
    }

    /// Says in `Server-Timing` where the time of a request went, if `tells`.
    #[must_use]
    pub fn telling_time(self, tells: bool) -> Self {
        Self { tells_time: tells, ..self }
    }

    /// Goes on with what another gateway before the same upstream has known of its failures.
    #[must_use]
    pub fn knowing(self, outage: Arc<Outage>) -> Self {
        Self { outage, ..self }
    }

    /// Names this profile in the commands that its answers advise.
    #[must_use]
    pub fn of_profile(self, profile: &str) -> Self {
        Self { profile: profile.into(), ..self }
    }

    /// Says what whoever has connected is to us, as far as it is known without waiting.
    fn standing(&self, peer: &Peer) -> Standing {
        self.guard.users().standing(peer)
    }

    /// Asks the user database what this user is to us.
    async fn settle(&self, uid: u32) -> Standing {
        self.guard.users().settle(uid).await
    }

    /// Finishes the answer to one local request: every error becomes a response.
    fn respond(
        &self,
        answered: Result<Response<Body>, Error>,
        client: Option<Arc<str>>,
        spent: &Spent,
    ) -> Response<Body> {
        let mut response = answered.unwrap_or_else(|error| {
            if let Error::Upstream(why) | Error::Read(why) = &error {
                self.outage.failed(respond::code(&error), &respond::causes(&**why), Instant::now());
            }
            respond::render_in(&self.profile, &error)
        });
        respond::name(&mut response, client);
        if self.tells_time {
            respond::tell_time(&mut response, spent);
        }
        response
    }

    /// Answers one local request. `client` is told who asks.
    async fn answer(
        &self,
        request: Request<Incoming>,
        visitor: &Visitor,
        spent: &mut Spent,
        client: &mut Option<Arc<str>>,
    ) -> Result<Response<Body>, Error> {
        let (verdict, caller) = self.judge(request, visitor, client)?;
        let (allowed, body) = match verdict {
            Verdict::Forward(allowed, _) if hops::left(allowed.head()) == Ok(Some(0)) => {
                return Ok(respond::options());
            }
            Verdict::Forward(allowed, body) => (allowed, body),
            Verdict::Login(request, caller) => {
                return Box::pin(login::answer(request, caller, self.guard.keys())).await;
            }
        };

        let needs = needs(self.keep.can_hold(&body));
        spent.on(Part::Token, self.session.ready(needs)).await?;
        // Only now is the body asked for (`100 Continue`), and before a turn: a slow caller holds
        // nobody up.
        let mut body = self.keep.look(body).await.map_err(Error::Body)?;
        self.policy.look(&allowed, &body)?;

        let mut turn = self.throttle.turn(allowed.method(), allowed.path(), caller);
        let is_without_tokens = allowed.is_without_tokens();
        let mut replayed = false;
        let response = loop {
            let (response, bearer) =
                self.send_in_turn(&mut turn, &allowed, &mut body, spent).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                break self.relay(response, allowed, &bearer)?;
            }
            // 401 is Nexudus's word for a dead token and for missing permission alike.
            let judging = self.session.judge(&bearer, allowed.method(), allowed.path());
            match spent.on(Part::Token, Box::pin(judging)).await {
                session::Verdict::Replay if body.is_repeatable() && !replayed => {
                    spent.on(Part::Upstream, response.into_body().discard(LEFT_OF_AN_ANSWER)).await;
                    replayed = true;
                }
                verdict @ (session::Verdict::Replay | session::Verdict::Permission) => {
                    let mut response = self.relay(response, allowed, &bearer)?;
                    respond::explain(&mut response, &verdict);
                    break response;
                }
                session::Verdict::Unavailable(error) => return Err(error.into()),
            }
        };
        match is_without_tokens {
            true => Box::pin(scrub::blank(response)).await,
            false => Ok(response),
        }
    }

    /// Says where a request goes, if it may go anywhere, and whose turns it takes.
    fn judge(
        &self,
        request: Request<Incoming>,
        visitor: &Visitor,
        client: &mut Option<Arc<str>>,
    ) -> Result<(Verdict<Incoming>, throttle::Caller), Error> {
        let admitted = guard::admit(request, visitor, &self.guard)?;
        *client = admitted.caller.name();
        let caller = sender(&admitted.caller, &visitor.peer);
        Ok((policy::allow(admitted, &self.policy)?, caller))
    }

    /// Makes an answer fit for this caller.
    fn relay(
        &self,
        response: Response<Relayed>,
        allowed: Allowed,
        bearer: &Bearer,
    ) -> Result<Response<Body>, Error> {
        let (mut head, mut body) = response.into_parts();
        headers::clean(&mut head, &allowed, &self.upstream, bearer);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // Locked meanwhile: what has been told to end then did not hear of this one.
            self.session.bearer()?;
            head.headers.extend(tunnel::ANNOUNCEMENT.clone());
            head.extensions.insert(tunnel::Held::new(self.guard.keys(), allowed.caller()));
        }
        body.leave(allowed.into_fields());
        Ok(Response::from_parts(head, Body::relayed(body)))
    }

    /// Sends in its turn, and again in other turns while Nexudus throttles and the wait allows;
    /// then the throttle answer is the caller's.
    async fn send_in_turn(
        &self,
        turn: &mut Turn<'_>,
        allowed: &Allowed,
        body: &mut Kept,
        spent: &mut Spent,
    ) -> Result<(Response<Relayed>, Bearer), Error> {
        let mut slot = spent.on(Part::Queue, turn.slot()).await?;
        loop {
            // Again: bodies and turns take their time, and some bodies turn out to be too large.
            let needs = needs(body.is_repeatable());
            let bearer = spent.on(Part::Token, self.session.take(needs)).await?;
            let response = spent.on(Part::Upstream, self.send(allowed, body, &bearer)).await?;
            match slot.judge(&answer(&response), body.is_repeatable()) {
                throttle::Verdict::Pass => {
                    if response.status() != StatusCode::UNAUTHORIZED {
                        self.session.proven(bearer.generation());
                    }
                    return Ok((response, bearer));
                }
                throttle::Verdict::Relay => return Ok((response, bearer)),
                throttle::Verdict::Again => {}
            }
            let another = spent.on(Part::Queue, turn.slot()).await;
            let Ok(another) = another else { return Ok((response, bearer)) };
            spent.on(Part::Upstream, response.into_body().discard(LEFT_OF_AN_ANSWER)).await;
            slot = another;
        }
    }

    async fn send(
        &self,
        allowed: &Allowed,
        body: &mut Kept,
        bearer: &Bearer,
    ) -> Result<Response<Relayed>, Error> {
        let progress = body.progress();
        let repeat = allowed.repeat(body);
        let to = authorize::To { upstream: &self.upstream, manners: &self.manners };
        let mut ask = authorize::with(allowed, body, bearer, to);
        let sent = match allowed.switches() {
            true => Box::pin(self.upstream.switch(&mut ask)).await,
            false => self.upstream.send(repeat, &mut ask).await,
        };
        if sent.is_ok() {
            self.outage.answered();
        }
        // A body that broke off is the caller's doing, not the upstream's.
        sent.map_err(|error| match progress.and_then(|progress| progress.fault()) {
            Some(fault) => Error::Body(fault),
            None if repeat == Repeat::Harmless => Error::Read(Arc::new(error)),
            None => Error::Upstream(Arc::new(error)),
        })
    }
}

/// Answers in the place of a daemon of `profile` that cannot be called.
pub fn unserved(
    profile: &str,
    why: impl std::error::Error + Send + Sync + 'static,
    hint: &'static str,
) -> Response<Body> {
    respond::render_in(profile, &Error::Unserved { why: Arc::new(why), hint })
}

/// Says what token a body needs.
fn needs(is_repeatable: bool) -> session::Body {
    if is_repeatable { session::Body::Replayable } else { session::Body::Once }
}

/// Says between whom turns are shared: clients, else processes as far as the kernel tells them
/// apart, else connections.
fn sender(caller: &Caller, peer: &Peer) -> throttle::Caller {
    match (caller, peer) {
        (Caller::Client(client), _) => throttle::Caller::Key(client.name().clone()),
        (Caller::Keyless, Peer::Tcp { remote, .. }) => throttle::Caller::Connection(*remote),
        (Caller::Keyless, Peer::Unix { pid: Some(pid), .. }) => throttle::Caller::Process(*pid),
        (Caller::Keyless, Peer::Unix { uid, pid: None }) => throttle::Caller::User(*uid),
    }
}

fn answer(response: &Response<Relayed>) -> Answer<'_> {
    let (status, headers) = (response.status(), response.headers());
    Answer { status, headers, ended: response.body().is_end_stream() }
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
    Body(upstream::Fault),
    /// The upstream gave no answer to what may have changed something.
    #[error(transparent)]
    Upstream(Arc<upstream::Error>),
    /// The upstream gave no answer to what is harmless to send again.
    #[error(transparent)]
    Read(Arc<upstream::Error>),
    /// More connections than `limits.connections`.
    #[error("too many local connections are open")]
    Overloaded,
    /// The request came after the time to finish was over.
    #[error("the daemon is stopping")]
    Draining,
    /// No daemon could be called, and none be started.
    #[error("no daemon serves this command now")]
    Unserved {
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
const LEFT_OF_AN_ANSWER: usize = 64 << 10;
