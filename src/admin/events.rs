//! `/v1/events`: what happens, as it happens (server-sent events).
//!
//! `?kinds=ready,session,request` chooses; all by default. A reader that is too slow loses requests
//! and is told how many.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode, Uri};
use http_body::Frame;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::api::{Readiness, SessionStatus};
use super::connection_slots::{EndlessBody, IsOperator};
use super::{AdminContext, RuntimeState, problem_response};
use crate::telemetry::{BroadcastItem, RequestReceiver};

/// Answers with the events from now on.
pub(super) async fn stream(
    State(shared): State<Arc<AdminContext>>,
    Extension(IsOperator(is_operator)): Extension<IsOperator>,
    uri: Uri,
) -> Response<Body> {
    let Some(kinds) = EventKinds::parse(uri.query()) else {
        let detail = "kinds are ready, session and request";
        return problem_response(StatusCode::BAD_REQUEST, "admin.kinds", detail);
    };
    let Some(place) = shared.operator_slots(is_operator).acquire_event_stream() else {
        let detail = "too many readers follow the events";
        return problem_response(StatusCode::SERVICE_UNAVAILABLE, "daemon.overloaded", detail);
    };
    let events = EventSource::new(shared, kinds, place);
    let mut response = Response::new(Body::new(Unfold::new(events)));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.extensions_mut().insert(EndlessBody);
    response
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EventKinds {
    ready: bool,
    session: bool,
    request: bool,
}

impl EventKinds {
    fn parse(query: Option<&str>) -> Option<Self> {
        let pairs = query.into_iter().flat_map(|query| query.split('&'));
        let Some(chosen) = pairs.filter_map(|pair| pair.strip_prefix("kinds=")).next_back() else {
            return Some(Self { ready: true, session: true, request: true });
        };
        let mut kinds = Self { ready: false, session: false, request: false };
        for kind in chosen.split(',') {
            match kind {
                "ready" => kinds.ready = true,
                "session" => kinds.session = true,
                "request" => kinds.request = true,
                _ => return None,
            }
        }
        Some(kinds)
    }
}

/// One reader's events.
struct EventSource {
    shared: Arc<AdminContext>,
    kinds: EventKinds,
    session_changes: watch::Receiver<u64>,
    runtime: watch::Receiver<RuntimeState>,
    requests: Option<RequestReceiver>,
    readiness: Option<Readiness>,
    session: Option<SessionStatus>,
    pending: VecDeque<Bytes>,
    quiet_since: Instant,
    _place: OwnedSemaphorePermit,
}

impl EventSource {
    fn new(shared: Arc<AdminContext>, kinds: EventKinds, place: OwnedSemaphorePermit) -> Self {
        // Everything is subscribed to before the first look, so that nothing falls in between.
        let mut events = Self {
            kinds,
            session_changes: shared.session.subscribe(),
            runtime: shared.runtime.clone(),
            requests: kinds.request.then(|| shared.telemetry.requests.subscribe()),
            readiness: None,
            session: None,
            pending: VecDeque::new(),
            quiet_since: Instant::now(),
            _place: place,
            shared,
        };
        events.runtime.mark_unchanged();
        events.detect_changes();
        events
    }

    /// Waits for the next event; `None` when the daemon ends.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                self.quiet_since = Instant::now();
                return Some(event);
            }
            let silence = self.quiet_since + KEEP_ALIVE;
            tokio::select! {
                changed = self.session_changes.changed() => changed.ok()?,
                changed = self.runtime.changed() => changed.ok()?,
                news = next(&mut self.requests) => match news {
                    BroadcastItem::Request(request) => self.enqueue("request", &*request),
                    BroadcastItem::Lagged(count) => self.enqueue("lost", &count),
                    BroadcastItem::Closed => return None,
                },
                // A token expires without anybody saying so.
                () = tokio::time::sleep(READINESS_POLL_INTERVAL), if self.kinds.ready => {}
                () = tokio::time::sleep_until(silence) => self.pending.push_back(ALIVE),
            }
            self.detect_changes();
        }
    }

    /// Tells what has changed since the last look.
    fn detect_changes(&mut self) {
        if self.kinds.ready {
            let phase = self.runtime.borrow().lifecycle;
            let readiness = self.shared.readiness(phase);
            if self.readiness.as_ref() != Some(&readiness) {
                self.enqueue("ready", &readiness);
                self.readiness = Some(readiness);
            }
        }
        if self.kinds.session {
            let session = self.shared.session_status();
            let settled = SessionStatus {
                age_s: None,
                expires_in_s: None,
                renews_in_s: None,
                refresh_token_expires_in_s: None,
                ..session.clone()
            };
            if self.session.as_ref() != Some(&settled) {
                self.enqueue("session", &session);
                self.session = Some(settled);
            }
        }
    }

    fn enqueue(&mut self, name: &str, value: &impl Serialize) {
        // JSON on one line, as server-sent events want it.
        let data = serde_json::to_string(value).unwrap_or_default();
        self.pending.push_back(Bytes::from(format!("event: {name}\ndata: {data}\n\n")));
    }
}

async fn next(listener: &mut Option<RequestReceiver>) -> BroadcastItem {
    match listener {
        Some(listener) => listener.recv().await,
        None => std::future::pending().await,
    }
}

/// A body made of a function that waits for the next part.
struct Unfold(Pin<Box<dyn Future<Output = Step> + Send>>);

type Step = Option<(Bytes, EventSource)>;

impl Unfold {
    fn new(events: EventSource) -> Self {
        Self(Box::pin(Self::step(events)))
    }

    async fn step(mut events: EventSource) -> Step {
        let event = events.next().await?;
        Some((event, events))
    }
}

impl http_body::Body for Unfold {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let step = ready!(self.0.as_mut().poll(cx));
        Poll::Ready(step.map(|(event, events)| {
            self.0 = Box::pin(Self::step(events));
            Ok(Frame::data(event))
        }))
    }
}

/// Longest silence: proxies and readers take a longer one for death.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How often readiness is looked at without being told of a change.
const READINESS_POLL_INTERVAL: Duration = Duration::from_secs(1);

const ALIVE: Bytes = Bytes::from_static(b": alive\n\n");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_chosen_by_name() {
        let kinds = |query| EventKinds::parse(query).map(|it| (it.ready, it.session, it.request));

        assert_eq!(kinds(None), Some((true, true, true)));
        assert_eq!(kinds(Some("kinds=ready,request")), Some((true, false, true)));
        assert_eq!(kinds(Some("kinds=all")), None);
    }
}
