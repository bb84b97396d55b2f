//! A request that has ended, as it waits for its readers.
//!
//! The thread that served it hands over what it has at hand; the record is made where it is read.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Response, StatusCode};
use smallvec::SmallVec;

use super::capture::Capture;
use super::metrics::ActionFailure;
use super::request_record::{RequestRecord, RequestTimes};
use super::timing::{RequestTiming, Stage, Step};

/// A request that has ended.
#[derive(Debug)]
pub(super) struct EndedRequest {
    pub(super) line: Box<RequestLine>,
    /// When it ended.
    pub(super) ended: SystemTime,
    /// How long it took.
    pub(super) elapsed: Duration,
    /// `None`: the client left before the response.
    pub(super) status: Option<StatusCode>,
    pub(super) failure: Option<ActionFailure>,
    /// Bytes of the response body.
    pub(super) bytes: u64,
}

/// What is known of a request while it runs, where somebody reads of it.
#[derive(Debug)]
pub(super) struct RequestLine {
    pub(super) id: u64,
    pub(super) method: Cow<'static, str>,
    pub(super) path: PathText,
    pub(super) peer: Arc<PeerInfo>,
    pub(super) info: ResponseInfo,
    pub(super) timing: RequestTiming,
    /// From the head of the request to the head of the response.
    pub(super) first_byte: Option<Duration>,
    /// From accepting the connection to the head of its first request.
    pub(super) accept: Option<Duration>,
    /// The content, where a reader asks for it.
    pub(super) capture: Option<Box<Capture>>,
    pub(super) trace_id: Option<String>,
}

/// A path; a short one without memory of its own, which another thread would free.
#[derive(Debug)]
pub(super) struct PathText(SmallVec<[u8; 64]>);

/// The peer of a request, for the log.
#[derive(Debug, Default)]
pub struct PeerInfo {
    /// An address, or the user and the process.
    pub peer: String,
    /// The user, where the kernel vouches for it.
    pub uid: Option<u32>,
    /// The process, once it has been looked up.
    pub process: OnceLock<Process>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The number of the process.
    pub pid: u32,
    /// The name of the process, which it can choose itself.
    pub program: String,
}

/// Facts for the log beside the status: an extension of the response.
#[derive(Clone, Debug, Default)]
pub struct ResponseInfo {
    /// The code, if the response is our own.
    pub code: Option<&'static str>,
    /// The body of such a response, shared with it: read again only for a subscriber.
    pub problem: Option<Bytes>,
    /// The named client that sent the request.
    pub client: Option<Arc<str>>,
    /// The failure that the body tells, as far as it is known with the head.
    pub failure: Option<ActionFailure>,
    /// Values that were replaced so far, where the client is redacted.
    pub replaced: Option<Arc<AtomicU64>>,
}

impl PathText {
    pub(super) fn new(path: &str) -> Self {
        Self(SmallVec::from_slice(path.as_bytes()))
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl EndedRequest {
    /// Makes the record of it.
    pub(super) fn record(&self) -> RequestRecord {
        let RequestLine { id, method, path, peer, info, timing, trace_id, .. } = &*self.line;
        let told = info.problem.as_deref().and_then(|body| serde_json::from_slice(body).ok());
        let ToldProblem { detail, hint } = told.unwrap_or_default();
        let process = peer.process.get();
        RequestRecord {
            time: humantime::format_rfc3339_millis(self.ended).to_string(),
            request_id: *id,
            method: method.to_string(),
            path: path.as_str().to_owned(),
            status: self.status.map(|status| status.as_u16()),
            code: info.code.map(str::to_owned),
            detail,
            hint,
            failure: self.failure.map(|failure| failure.as_str().to_owned()),
            elapsed_ms: u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            token_ms: timing.millis(Stage::Token),
            queue_ms: timing.millis(Stage::Queue),
            upstream_ms: timing.millis(Stage::Upstream),
            times_us: self.line.times(self.elapsed),
            redacted: info.replaced.as_ref().map(|count| count.load(Ordering::Relaxed)),
            sends: timing.sends(),
            bytes: self.bytes,
            client: info.client.as_deref().map(str::to_owned),
            peer: peer.peer.clone(),
            uid: peer.uid,
            pid: process.map(|it| it.pid),
            program: process.map(|it| it.program.clone()).filter(|it| !it.is_empty()),
            trace_id: trace_id.clone(),
        }
    }
}

impl RequestLine {
    /// Captures the head of the response, and a response of our own as a whole.
    pub(super) fn capture_response<B>(&mut self, response: &Response<B>) {
        let Some(capture) = &mut self.capture else { return };
        capture.set_response_headers(response.headers());
        let info = response.extensions().get::<ResponseInfo>();
        if let Some(problem) = info.and_then(|info| info.problem.as_deref()) {
            capture.set_problem(problem);
        }
    }

    /// Returns where the time of the request went, which took `elapsed` in all.
    fn times(&self, elapsed: Duration) -> RequestTimes {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let timing = &self.timing;
        let guard = timing.passed_micros(Step::Guard);
        RequestTimes {
            accept: self.accept.map(micros),
            guard,
            policy: timing.passed_micros(Step::Policy).saturating_sub(guard),
            body: timing.micros(Stage::Body),
            queue: timing.micros(Stage::Queue),
            token: timing.micros(Stage::Token),
            connect: timing.connect_micros(),
            upstream: timing.micros(Stage::Upstream),
            first_byte: self.first_byte.map(micros),
            total: micros(elapsed),
        }
    }
}

/// The part of our own problem documents that the log repeats.
#[derive(Debug, Default, serde::Deserialize)]
struct ToldProblem {
    detail: Option<String>,
    hint: Option<String>,
}
