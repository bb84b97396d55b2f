//! Counts each request, and writes a log line about it if one is wanted.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::{Method, Response, StatusCode};
use tracing::Span;

use super::broadcast::RequestBroadcast;
use super::capture::Captures;
use super::data_threads::DataThreads;
use super::ended_request::{EndedRequest, PathText, PeerInfo, RequestLine, ResponseInfo};
use super::metrics::{self, ActionFailure, Metrics};
use super::repeats::Repeats;
use super::timing::RequestTiming;
use super::traceparent;
use super::truncate::truncate;

/// Counters and records of all requests.
#[derive(Debug)]
pub struct Telemetry {
    /// The counters.
    pub metrics: Metrics,
    /// The load of each data thread.
    pub threads: DataThreads,
    /// Each request as it ends, for subscribers.
    pub requests: RequestBroadcast,
    /// The content of requests, for readers that ask for it.
    pub captures: Captures,
    /// Refused requests, by user and code.
    pub rejections: Repeats<(Option<u32>, &'static str)>,
    /// Requests of users who are not allowed, by user.
    pub other_users: Repeats<Option<u32>>,
    /// Connections beyond a limit, by that limit.
    pub rejected_connections: Repeats<&'static str>,
    /// Refused peers that had left before the response, by its code.
    pub disconnects: Repeats<&'static str>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            metrics: Metrics::default(),
            threads: DataThreads::default(),
            requests: RequestBroadcast::default(),
            captures: Captures::default(),
            rejections: Repeats::new(Duration::from_secs(1)),
            other_users: Repeats::new(Duration::from_secs(1)),
            rejected_connections: Repeats::new(Duration::from_secs(60)),
            disconnects: Repeats::new(Duration::from_secs(1)),
        }
    }
}

impl Telemetry {
    /// Counts a response to a head that was malformed, too large or late, and never became a
    /// request.
    pub fn log_unparsed(&self, code: &'static str) {
        self.metrics.count_problem(code);
        tracing::debug!(code, "no request");
    }

    /// Logs how often each event of [`Repeats`] has repeated, for ever.
    pub async fn report_repeats(&self) {
        let rejections = self.rejections.report(|key, count| {
            let (uid, code) = key.copied().unzip();
            tracing::info!(code, uid = uid.flatten(), count, "more requests were refused");
        });
        let other_users = self.other_users.report(|uid, count| {
            let uid = uid.copied().flatten();
            tracing::debug!(uid, count, "more requests of another user");
        });
        let connections = self.rejected_connections.report(|limit, count| {
            tracing::warn!(limit, count, "more connections were refused");
        });
        let disconnects = self.disconnects.report(|code, count| {
            tracing::debug!(code, count, "more refused clients had left already");
        });
        tokio::join!(rejections, other_users, connections, disconnects);
    }
}

/// One request, from its head to the last byte of its response.
#[derive(Debug)]
pub struct AccessEntry {
    telemetry: Arc<Telemetry>,
    started: Instant,
    is_write: bool,
    status: Option<StatusCode>,
    bytes: u64,
    failure: Option<ActionFailure>,
    /// The log line, if one is wanted: never the query, headers or bodies.
    line: Option<Box<RequestLine>>,
}

impl AccessEntry {
    /// Begins with the head of a request. If a line is wanted, `peer` is called, and `loggable`
    /// writes the method and the path; without a peer there is no line.
    pub fn begin<B>(
        telemetry: &Arc<Telemetry>,
        request: &http::Request<B>,
        loggable: impl Fn(&str) -> &str,
        peer: impl FnOnce() -> Option<Arc<PeerInfo>>,
    ) -> Self {
        let id = NEXT_REQUEST_ID.fetch_add(1, Ordering::Relaxed);
        let is_wanted = telemetry.requests.has_subscribers()
            || tracing::enabled!(target: ACCESS_TARGET, tracing::Level::DEBUG);
        let line = is_wanted.then(peer).flatten().map(|peer| {
            Box::new(RequestLine {
                id,
                method: method_name(request.method(), &loggable),
                // Truncated after keys are removed: half a key could stay otherwise.
                path: PathText::new(&truncate(loggable(request.uri().path()))),
                peer,
                info: ResponseInfo::default(),
                timing: RequestTiming::default(),
                first_byte: None,
                accept: None,
                capture: telemetry.captures.begin(request.headers(), request.uri(), &loggable),
                trace_id: traceparent::trace_id(request.headers()).map(str::to_owned),
            })
        });
        Self {
            telemetry: telemetry.clone(),
            started: Instant::now(),
            is_write: metrics::is_write(request.method()),
            status: None,
            bytes: 0,
            failure: None,
            line,
        }
    }

    /// Records the head of the response, and where the time until then went.
    pub fn record_response<B>(&mut self, response: &Response<B>, timing: &RequestTiming) {
        self.telemetry.metrics.record_timing(timing);
        self.status = Some(response.status());
        if let Some(line) = &mut self.line {
            line.timing = *timing;
            line.first_byte = Some(self.started.elapsed());
            line.capture_response(response);
        }
        let Some(info) = response.extensions().get::<ResponseInfo>() else { return };
        self.failure = info.failure;
        if let Some(code) = info.code {
            self.telemetry.metrics.count_problem(code);
        }
        if let Some(line) = &mut self.line {
            line.info = info.clone();
        }
    }

    /// Returns the span of the request, in which its log lines are; none where no line is wanted,
    /// so that it costs nothing.
    pub fn span(&self) -> Span {
        self.line.as_ref().map_or_else(
            Span::none,
            |line| tracing::debug_span!(target: ACCESS_TARGET, "request", request_id = line.id),
        )
    }

    /// Records what the response body has told so far of the action: whether it failed.
    pub fn set_failure(&mut self, failure: Option<ActionFailure>) {
        self.failure = failure;
    }

    /// Says whether anyone reads of this request: then its times are measured exactly.
    pub fn is_read(&self) -> bool {
        self.line.is_some()
    }

    /// Returns the status of the response, once there is one.
    pub fn status(&self) -> Option<u16> {
        self.status.map(|status| status.as_u16())
    }

    /// Says whether the body told a failure so far.
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Returns the bytes of the response body so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns when the head of the request had arrived.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Records how long the first request of a connection took to come, if anyone reads of it.
    pub fn set_accept(&mut self, took: impl FnOnce() -> Option<Duration>) {
        if let Some(line) = &mut self.line {
            line.accept = took();
        }
    }

    /// Begins to capture the bodies, where a reader asks for them; `request`: that of the request,
    /// where it is known as a whole.
    pub fn capture_bodies(&mut self, request: Option<&[u8]>) {
        if let Some(capture) = self.line.as_mut().and_then(|line| line.capture.as_mut()) {
            capture.begin_bodies(request);
        }
    }

    /// Captures a piece of the response's body, where a reader asks for it.
    pub fn capture(&mut self, piece: &[u8]) {
        if let Some(capture) = self.line.as_mut().and_then(|line| line.capture.as_mut()) {
            capture.append_response(piece);
        }
    }

    /// Records a part of the response body.
    pub fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

impl Drop for AccessEntry {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        self.telemetry.metrics.count_request(self.is_write, self.status, elapsed);
        self.telemetry.metrics.add_bytes(self.bytes);
        let count = |failure| self.telemetry.metrics.count_failure(self.is_write, failure);
        self.failure.into_iter().for_each(count);
        let Some(mut line) = self.line.take() else { return };
        let capture = line.capture.take();
        let RequestLine { id: request_id, method, path, peer, info, trace_id, .. } = &*line;
        let (method, path) = (&**method, path.as_str());
        let trace_id = trace_id.as_deref();
        let (uid, process, peer) = (peer.uid, peer.process.get(), peer.peer.as_str());
        let program = process.map(|it| it.program.as_str()).filter(|it| !it.is_empty());
        let pid = process.map(|it| it.pid);
        let failure = self.failure.map(ActionFailure::as_str);
        let (code, client) = (info.code, info.client.as_deref());
        let (elapsed_s, bytes) = (elapsed.as_secs_f64(), self.bytes);
        match self.status.map(|status| status.as_u16()) {
            // Without a status the client left before the response.
            None => tracing::debug!(
                target: ACCESS_TARGET,
                request_id, method, path, elapsed_s, peer, uid, pid, program, client, trace_id,
                "request abandoned"
            ),
            Some(status) => tracing::debug!(
                target: ACCESS_TARGET,
                request_id, method, path, status, elapsed_s, bytes, peer, uid, pid, program,
                code, failure, client, trace_id, "request"
            ),
        }
        if self.telemetry.requests.has_subscribers() {
            if let Some(capture) = capture {
                self.telemetry.captures.keep(line.id, capture);
            }
            let (ended, Self { status, failure, bytes, .. }) = (SystemTime::now(), &*self);
            let (status, failure, bytes) = (*status, *failure, *bytes);
            let ended = EndedRequest { line, ended, elapsed, status, failure, bytes };
            self.telemetry.requests.send(ended);
        }
    }
}

/// Returns the name of a method: one that everybody knows as it is, any other without a key.
fn method_name(method: &Method, loggable: impl Fn(&str) -> &str) -> Cow<'static, str> {
    const NAMES: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];
    match NAMES.iter().find(|name| **name == method.as_str()) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(truncate(loggable(method.as_str())).into_owned()),
    }
}

/// The target of request lines, for `log.level` directives.
pub(super) const ACCESS_TARGET: &str = "nexudus_proxy::access";

static NEXT_REQUEST_ID: AtomicU64 = AtomicU64::new(1);

#[cfg(test)]
mod tests;
