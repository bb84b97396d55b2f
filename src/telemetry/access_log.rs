//! What each request leaves behind: counts, and a line for whoever reads lines.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use http::{Response, StatusCode};

use super::{
    Metrics, Repeats, RequestBroadcast, RequestRecord, RequestTiming, metrics, traceparent,
    truncate,
};

/// What requests leave behind, for all of them.
#[derive(Debug)]
pub struct Telemetry {
    /// The counts.
    pub metrics: Metrics,
    /// The requests themselves, for whoever watches.
    pub requests: RequestBroadcast,
    /// Refused requests, by user and code.
    pub rejections: Repeats<(Option<u32>, &'static str)>,
    /// Requests of users who are not let in, by user.
    pub other_users: Repeats<Option<u32>>,
    /// Connections that found no place, by the limit that was reached.
    pub rejected_connections: Repeats<&'static str>,
    /// Callers who did not wait for what they were told, by what that was.
    pub disconnects: Repeats<&'static str>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            metrics: Metrics::default(),
            requests: RequestBroadcast::default(),
            rejections: Repeats::new(Duration::from_secs(1)),
            other_users: Repeats::new(Duration::from_secs(1)),
            rejected_connections: Repeats::new(Duration::from_secs(60)),
            disconnects: Repeats::new(Duration::from_secs(1)),
        }
    }
}

impl Telemetry {
    /// Counts an answer to what never became a request: its head was malformed, too large or late.
    pub fn log_unparsed(&self, code: &'static str) {
        self.metrics.count_problem(code);
        tracing::debug!(code, "no request");
    }

    /// Logs how often what was logged once has happened since, for ever.
    pub async fn report_repeats(&self) {
        let refusals = self.rejections.report(|key, count| {
            let (uid, code) = key.copied().unzip();
            tracing::info!(code, uid = uid.flatten(), count, "refused more callers");
        });
        let strangers = self.other_users.report(|uid, count| {
            let uid = uid.copied().flatten();
            tracing::debug!(uid, count, "more requests of another user");
        });
        let turned_away = self.rejected_connections.report(|limit, count| {
            tracing::warn!(limit, count, "more connections were turned away");
        });
        let gone = self.disconnects.report(|code, count| {
            tracing::debug!(code, count, "more refused callers were gone already");
        });
        tokio::join!(refusals, strangers, turned_away, gone);
    }
}

/// One request, from its head to the last byte of its answer.
#[derive(Debug)]
pub struct AccessEntry {
    telemetry: Arc<Telemetry>,
    started: Instant,
    is_write: bool,
    status: Option<StatusCode>,
    bytes: u64,
    /// Only if somebody reads it: never its query, its headers or its bodies.
    line: Option<Box<AccessLine>>,
}

#[derive(Debug)]
struct AccessLine {
    id: u64,
    method: String,
    path: String,
    peer: Arc<PeerInfo>,
    info: ResponseInfo,
    trace_id: Option<String>,
}

/// Who called.
#[derive(Debug, Default)]
pub struct PeerInfo {
    /// An address, or the user and the process.
    pub peer: String,
    /// The user, where the kernel vouches for it.
    pub uid: Option<u32>,
    /// The process, once it is known.
    pub process: OnceLock<Process>,
}

/// A process: its number, and what it calls itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name, which it can choose itself.
    pub program: String,
}

/// What is known of an answer beside its status: travels with it as an extension.
#[derive(Clone, Debug, Default)]
pub struct ResponseInfo {
    /// The code, if the answer is our own.
    pub code: Option<&'static str>,
    /// The named client that asked.
    pub client: Option<Arc<str>>,
}

impl AccessEntry {
    /// Begins with the head of a request. If somebody reads it, `peer` is asked, and `loggable` says
    /// how its method and its path are written; without a caller there is no line.
    pub fn begin<B>(
        record: &Arc<Telemetry>,
        request: &http::Request<B>,
        loggable: impl Fn(&str) -> String,
        who: impl FnOnce() -> Option<Arc<PeerInfo>>,
    ) -> Self {
        let id = NEXT_REQUEST_ID.fetch_add(1, Ordering::Relaxed);
        let is_read = record.requests.has_subscribers()
            || tracing::enabled!(target: ACCESS_TARGET, tracing::Level::DEBUG);
        let line = is_read.then(who).flatten().map(|who| {
            Box::new(AccessLine {
                id,
                // Cut after a key was taken out: half of one would stay.
                method: truncate(&loggable(request.method().as_str())).into_owned(),
                path: truncate(&loggable(request.uri().path())).into_owned(),
                peer: who,
                info: ResponseInfo::default(),
                trace_id: traceparent::trace_id(request.headers()).map(str::to_owned),
            })
        });
        Self {
            telemetry: record.clone(),
            started: Instant::now(),
            is_write: metrics::is_write(request.method()),
            status: None,
            bytes: 0,
            line,
        }
    }

    /// Notes the head of the answer, and where the time until then went.
    pub fn record_response<B>(&mut self, response: &Response<B>, spent: &RequestTiming) {
        self.telemetry.metrics.record_timing(spent);
        self.status = Some(response.status());
        let Some(noted) = response.extensions().get::<ResponseInfo>() else { return };
        if let Some(code) = noted.code {
            self.telemetry.metrics.count_problem(code);
        }
        if let Some(line) = &mut self.line {
            line.info = noted.clone();
        }
    }

    /// Notes a part of the answer's body.
    pub fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

impl Drop for AccessEntry {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        self.telemetry.metrics.count_request(self.is_write, self.status, elapsed);
        self.telemetry.metrics.add_bytes(self.bytes);
        let Some(line) = self.line.take() else { return };
        let AccessLine { id: request_id, method, path, peer: who, info: noted, trace_id } = *line;
        let (peer, uid, process) = (who.peer.as_str(), who.uid, who.process.get());
        let pid = process.map(|process| process.pid);
        let program = process.map(|it| it.program.as_str()).filter(|it| !it.is_empty());
        let ResponseInfo { code, client } = noted;
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let (bytes, client) = (self.bytes, client.as_deref());
        match self.status.map(|status| status.as_u16()) {
            // Without a status the caller left before it was answered.
            None => tracing::debug!(
                target: ACCESS_TARGET,
                request_id, method, path, elapsed_ms, peer, uid, pid, program, client, trace_id,
                "request abandoned"
            ),
            Some(status) => tracing::debug!(
                target: ACCESS_TARGET,
                request_id, method, path, status, elapsed_ms, bytes, peer, uid, pid, program,
                code, client, trace_id, "request"
            ),
        }
        if self.telemetry.requests.has_subscribers() {
            self.telemetry.requests.send(RequestRecord {
                time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
                request_id,
                method,
                path,
                status: self.status.map(|status| status.as_u16()),
                code: code.map(str::to_owned),
                elapsed_ms,
                bytes,
                client: client.map(str::to_owned),
                peer: peer.to_owned(),
                uid,
                pid,
                program: program.map(str::to_owned),
                trace_id,
            });
        }
    }
}

/// The target of request lines, for `log.level` directives.
pub const ACCESS_TARGET: &str = "nexudus_proxy::access";

static NEXT_REQUEST_ID: AtomicU64 = AtomicU64::new(1);

#[cfg(test)]
mod tests {
    use super::super::BroadcastItem;
    use super::*;

    #[tokio::test]
    async fn whoever_watches_sees_the_path_and_never_the_query() {
        let record = Arc::<Telemetry>::default();
        let mut listener = record.requests.subscribe();
        let request = http::Request::get("/api/x?password=hunter2").body(()).unwrap();

        let process = Process { pid: 7, program: "curl".to_owned() };
        let who =
            PeerInfo { peer: "somebody".to_owned(), uid: Some(1000), process: process.into() };
        let mut access = AccessEntry::begin(&record, &request, str::to_owned, || Some(who.into()));
        let mut response = Response::new(());
        response.extensions_mut().insert(ResponseInfo { code: Some("guard.user"), client: None });
        access.record_response(&response, &RequestTiming::default());
        access.add_bytes(7);
        drop(access);

        let BroadcastItem::Request(seen) = listener.recv().await else { panic!("not a request") };
        assert_eq!((seen.path.as_str(), seen.status, seen.bytes), ("/api/x", Some(200), 7));
        assert_eq!(seen.code.as_deref(), Some("guard.user"));
        assert_eq!(
            (seen.uid, seen.pid, seen.program.as_deref()),
            (Some(1000), Some(7), Some("curl"))
        );
        assert!(!serde_json::to_string(&*seen).unwrap().contains("hunter2"));
        assert_eq!(record.metrics.problems(), [("guard.user", 1)].into());
    }

    #[tokio::test]
    async fn a_key_in_the_place_of_the_method_is_taken_out_as_one_in_the_path_is() {
        let record = Arc::<Telemetry>::default();
        let mut listener = record.requests.subscribe();
        let request = http::Request::builder().method("SECRET").uri("/x").body(()).unwrap();
        let loggable = |text: &str| text.replace("SECRET", "[redacted]");

        drop(AccessEntry::begin(&record, &request, loggable, || Some(Arc::default())));

        let BroadcastItem::Request(seen) = listener.recv().await else { panic!("not a request") };
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("[redacted]", "/x"));
    }

    #[tokio::test]
    async fn nothing_is_kept_for_nobody() {
        let record = Arc::<Telemetry>::default();
        drop(record.requests.subscribe());
        let request = http::Request::get("/").body(()).unwrap();

        let unread = |_: &str| panic!("nobody reads it");
        let access = AccessEntry::begin(&record, &request, unread, || panic!("nobody asked"));

        assert!(access.line.is_none());
    }
}
