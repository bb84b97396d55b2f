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

use super::places::{Follows, IsOperator};
use super::wire::{Readiness, Session};
use super::{Now, Shared, problem};
use crate::telemetry::{Listener, News};

/// Answers with the events from now on.
pub(super) async fn stream(
    State(shared): State<Arc<Shared>>,
    Extension(IsOperator(is_operator)): Extension<IsOperator>,
    uri: Uri,
) -> Response<Body> {
    let Some(kinds) = Kinds::read(uri.query()) else {
        let detail = "kinds are ready, session and request";
        return problem(StatusCode::BAD_REQUEST, "admin.kinds", detail);
    };
    let Some(place) = shared.places(is_operator).follow() else {
        let detail = "too many readers follow the events";
        return problem(StatusCode::SERVICE_UNAVAILABLE, "daemon.overloaded", detail);
    };
    let events = Events::new(shared, kinds, place);
    let mut response = Response::new(Body::new(Unfold::new(events)));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.extensions_mut().insert(Follows);
    response
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kinds {
    ready: bool,
    session: bool,
    request: bool,
}

impl Kinds {
    fn read(query: Option<&str>) -> Option<Self> {
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
struct Events {
    shared: Arc<Shared>,
    kinds: Kinds,
    changes: watch::Receiver<u64>,
    now: watch::Receiver<Now>,
    requests: Option<Listener>,
    readiness: Option<Readiness>,
    session: Option<Session>,
    told: VecDeque<Bytes>,
    quiet_since: Instant,
    _place: OwnedSemaphorePermit,
}

impl Events {
    fn new(shared: Arc<Shared>, kinds: Kinds, place: OwnedSemaphorePermit) -> Self {
        // Everything is subscribed to before the first look, so that nothing falls in between.
        let mut events = Self {
            kinds,
            changes: shared.session.subscribe(),
            now: shared.now.clone(),
            requests: kinds.request.then(|| shared.record.feed.listen()),
            readiness: None,
            session: None,
            told: VecDeque::new(),
            quiet_since: Instant::now(),
            _place: place,
            shared,
        };
        events.now.mark_unchanged();
        events.look();
        events
    }

    /// Waits for the next event; `None` when the daemon ends.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.told.pop_front() {
                self.quiet_since = Instant::now();
                return Some(event);
            }
            let silence = self.quiet_since + KEEP_ALIVE;
            tokio::select! {
                changed = self.changes.changed() => changed.ok()?,
                changed = self.now.changed() => changed.ok()?,
                news = next(&mut self.requests) => match news {
                    News::Request(request) => self.tell("request", &*request),
                    News::Lost(count) => self.tell("lost", &count),
                    News::End => return None,
                },
                // A token expires without anybody saying so.
                () = tokio::time::sleep(LOOK_AGAIN), if self.kinds.ready => {}
                () = tokio::time::sleep_until(silence) => self.told.push_back(ALIVE),
            }
            self.look();
        }
    }

    /// Tells what has changed since the last look.
    fn look(&mut self) {
        if self.kinds.ready {
            let phase = self.now.borrow().phase;
            let readiness = self.shared.readiness(phase);
            if self.readiness.as_ref() != Some(&readiness) {
                self.tell("ready", &readiness);
                self.readiness = Some(readiness);
            }
        }
        if self.kinds.session {
            let session = self.shared.session_now();
            let settled = Session {
                age_s: None,
                expires_in_s: None,
                renews_in_s: None,
                refresh_token_expires_in_s: None,
                ..session.clone()
            };
            if self.session.as_ref() != Some(&settled) {
                self.tell("session", &session);
                self.session = Some(settled);
            }
        }
    }

    fn tell(&mut self, name: &str, value: &impl Serialize) {
        // JSON on one line, as server-sent events want it.
        let data = serde_json::to_string(value).unwrap_or_default();
        self.told.push_back(Bytes::from(format!("event: {name}\ndata: {data}\n\n")));
    }
}

async fn next(listener: &mut Option<Listener>) -> News {
    match listener {
        Some(listener) => listener.next().await,
        None => std::future::pending().await,
    }
}

/// A body made of a function that waits for the next part.
struct Unfold(Pin<Box<dyn Future<Output = Step> + Send>>);

type Step = Option<(Bytes, Events)>;

impl Unfold {
    fn new(events: Events) -> Self {
        Self(Box::pin(Self::step(events)))
    }

    async fn step(mut events: Events) -> Step {
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
const LOOK_AGAIN: Duration = Duration::from_secs(1);

const ALIVE: Bytes = Bytes::from_static(b": alive\n\n");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_chosen_by_name() {
        let kinds = |query| Kinds::read(query).map(|it| (it.ready, it.session, it.request));

        assert_eq!(kinds(None), Some((true, true, true)));
        assert_eq!(kinds(Some("kinds=ready,request")), Some((true, false, true)));
        assert_eq!(kinds(Some("kinds=all")), None);
    }
}
