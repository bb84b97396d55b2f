//! `/v1/events`: what happens, as it happens (server-sent events).
//!
//! `?kinds=ready,session,request,approval` chooses; all by default. `&content=headers` has the content of
//! requests captured as long as the reader stays; the kind `content` brings it with each request. A reader
//! that is too slow loses requests and receives their number.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::api::{Readiness, SessionReport};
use super::connection_slots::EndlessBody;
use super::content::{describe, parse_scope};
use super::context::{AdminContext, RuntimeState};
use super::problem::AdminError;
use crate::peer::Peer;
use crate::session::SessionStatus;
use crate::telemetry::{
    BroadcastItem, CaptureReader, CaptureScope, RequestReceiver, RequestRecord,
};

/// The query of `GET /v1/events`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct EventParams {
    kinds: Option<String>,
    content: Option<String>,
}

/// Responds to `GET /v1/events` with the events from now on.
pub(super) async fn stream(
    State(context): State<Arc<AdminContext>>,
    Extension(peer): Extension<Peer>,
    params: Result<Query<EventParams>, QueryRejection>,
) -> Result<Response, AdminError> {
    let Query(params) = params.map_err(|_| AdminError::UnknownEvents)?;
    let kinds = EventKinds::parse(params.kinds.as_deref()).ok_or(AdminError::UnknownEvents)?;
    let names = params.content.as_deref();
    let scope = names.map(|names| parse_scope(names).ok_or(AdminError::UnknownContent));
    let scope = scope.transpose()?;
    let is_private = scope.is_some_and(|scope| scope.queries || scope.bodies);
    if is_private && !context.access.may_read_content(&peer) {
        return Err(AdminError::ContentForbidden);
    }
    let permit = context.slots(&peer).acquire_event_stream();
    let permit = permit.ok_or(AdminError::TooManyReaders)?;
    if let Some(scope) = scope {
        tracing::info!(
            uid = peer.uid(),
            queries = scope.queries,
            bodies = scope.bodies,
            "the content of requests is captured for a reader"
        );
    }
    let source = EventSource::new(context, kinds, scope, permit);
    let events = stream::unfold(source, async |mut source| {
        let event = source.next().await?;
        Some((Ok::<_, Infallible>(event), source))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE_INTERVAL).text("alive");
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    response.extensions_mut().insert(EndlessBody);
    Ok(response)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct EventKinds {
    ready: bool,
    session: bool,
    request: bool,
    approval: bool,
    content: bool,
}

impl EventKinds {
    /// Parses the names of kinds with commas between; without names, all kinds are chosen.
    fn parse(names: Option<&str>) -> Option<Self> {
        let Some(names) = names else {
            let all =
                Self { ready: true, session: true, request: true, approval: true, content: true };
            return Some(all);
        };
        let mut kinds = Self::default();
        for name in names.split(',') {
            match name {
                "ready" => kinds.ready = true,
                "session" => kinds.session = true,
                "request" => kinds.request = true,
                "approval" => kinds.approval = true,
                "content" => kinds.content = true,
                _ => return None,
            }
        }
        Some(kinds)
    }
}

/// The events of one reader.
struct EventSource {
    context: Arc<AdminContext>,
    kinds: EventKinds,
    session_changes: watch::Receiver<u64>,
    runtime: watch::Receiver<RuntimeState>,
    requests: Option<RequestReceiver>,
    /// When requests are received again.
    next_batch: Instant,
    approvals: watch::Receiver<u64>,
    /// The content that is captured as long as this reader stays.
    capture: Option<(CaptureReader, CaptureScope)>,
    /// The last readiness that was sent, to see changes.
    readiness: Option<Readiness>,
    /// The last status that was sent, without its times.
    session: Option<SessionReport>,
    pending: VecDeque<Event>,
    _permit: OwnedSemaphorePermit,
}

impl EventSource {
    fn new(
        context: Arc<AdminContext>,
        kinds: EventKinds,
        scope: Option<CaptureScope>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        // All subscriptions come before the first reading of the state, so that no event falls in
        // between.
        let mut source = Self {
            kinds,
            session_changes: context.session.subscribe(),
            runtime: context.runtime.clone(),
            requests: kinds.request.then(|| context.telemetry.requests.subscribe()),
            next_batch: Instant::now(),
            approvals: context.approvals.subscribe(),
            capture: scope.map(|scope| (context.telemetry.captures.subscribe(scope), scope)),
            readiness: None,
            session: None,
            pending: VecDeque::new(),
            _permit: permit,
            context,
        };
        source.runtime.mark_unchanged();
        source.detect_changes();
        if kinds.approval {
            source.enqueue_approvals();
        }
        source
    }

    /// Waits for the next event; `None` when the daemon ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            tokio::select! {
                changed = self.session_changes.changed() => changed.ok()?,
                changed = self.runtime.changed() => changed.ok()?,
                changed = self.approvals.changed(), if self.kinds.approval => {
                    changed.ok()?;
                    self.enqueue_approvals();
                }
                item = recv(&mut self.requests, self.next_batch) => {
                    self.enqueue_item(item)?;
                    while let Some(item) = self.requests.as_mut().and_then(|it| it.try_recv()) {
                        self.enqueue_item(item)?;
                    }
                    self.next_batch = Instant::now() + BATCH_INTERVAL;
                }
                // A token expires without a change of the session.
                () = tokio::time::sleep(READINESS_POLL_INTERVAL), if self.kinds.ready => {}
            }
            self.detect_changes();
        }
    }

    /// Enqueues the changes since the last call.
    fn detect_changes(&mut self) {
        if self.kinds.ready {
            let lifecycle = self.runtime.borrow().lifecycle;
            let readiness = self.context.readiness(lifecycle);
            if self.readiness.as_ref() != Some(&readiness) {
                self.enqueue("ready", &readiness);
                self.readiness = Some(readiness);
            }
        }
        if self.kinds.session {
            let session = self.context.session_report();
            let without_times = SessionReport {
                status: SessionStatus {
                    saved: false,
                    renewals: 0,
                    age: None,
                    expires_in: None,
                    renews_in: None,
                    refresh_token_expires_in: None,
                    ..session.status.clone()
                },
                ..session.clone()
            };
            if self.session.as_ref() != Some(&without_times) {
                self.enqueue("session", &session);
                self.session = Some(without_times);
            }
        }
    }

    /// Enqueues an item; `None` when the daemon ends.
    fn enqueue_item(&mut self, item: BroadcastItem) -> Option<()> {
        match item {
            BroadcastItem::Request(request) => self.enqueue_request(&request),
            BroadcastItem::Lagged(count) => self.enqueue("lost", &count),
            BroadcastItem::Closed => return None,
        }
        Some(())
    }

    /// Enqueues a request, and before it what was captured of it, if its reader asks for that here.
    fn enqueue_request(&mut self, request: &RequestRecord) {
        let scope = self.capture.as_ref().filter(|_| self.kinds.content).map(|(_, scope)| *scope);
        let content = scope.and_then(|scope| describe(&self.context, request.request_id, scope));
        if let Some(content) = content {
            self.enqueue("content", &content);
        }
        self.enqueue("request", request);
    }

    fn enqueue_approvals(&mut self) {
        let number = *self.approvals.borrow_and_update();
        self.enqueue("approval", &number);
    }

    fn enqueue(&mut self, name: &str, value: &impl Serialize) {
        // A value that is no JSON would be a bug: structs of strings and numbers always are.
        if let Ok(event) = Event::default().event(name).json_data(value) {
            self.pending.push_back(event);
        }
    }
}

/// Waits for an item, but not before `next_batch`: until then no request wakes this thread, which would
/// cost the thread that serves it a system call.
async fn recv(requests: &mut Option<RequestReceiver>, next_batch: Instant) -> BroadcastItem {
    tokio::time::sleep_until(next_batch).await;
    match requests {
        Some(requests) => requests.recv().await,
        None => std::future::pending().await,
    }
}

/// Longest silence: proxies and readers take a longer one for a dead connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// How long requests are gathered before the next of them are told: a person sees no difference, and
/// 40,000 requests a second are fewer in that time than a reader may be behind.
const BATCH_INTERVAL: Duration = Duration::from_millis(10);

/// How often readiness is checked without a change.
const READINESS_POLL_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_chosen_by_name() {
        let kinds = |names| EventKinds::parse(names).map(|it| (it.ready, it.session, it.request));

        assert_eq!(kinds(None), Some((true, true, true)));
        assert_eq!(kinds(Some("ready,request")), Some((true, false, true)));
        assert_eq!(kinds(Some("all")), None);
    }
}
