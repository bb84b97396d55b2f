//! What each request leaves behind: counts, and a line for whoever reads lines.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use http::{Method, Response, StatusCode};

use super::{Feed, Request, Spent, Tally, tally, trace};

/// What requests leave behind, for all of them.
#[derive(Debug, Default)]
pub struct Record {
    /// The counts.
    pub tally: Tally,
    /// The requests themselves, for whoever watches.
    pub feed: Feed,
}

impl Record {
    /// Counts an answer to what never became a request: its head was malformed, too large or late.
    pub fn unread(&self, code: &'static str) {
        self.tally.answer(code);
        tracing::debug!(code, "no request");
    }
}

/// One request, from its head to the last byte of its answer.
#[derive(Debug)]
pub struct Access {
    record: Arc<Record>,
    started: Instant,
    writes: bool,
    status: Option<StatusCode>,
    bytes: u64,
    /// Only if somebody reads it: never its query, its headers or its bodies.
    line: Option<Box<Line>>,
}

#[derive(Debug)]
struct Line {
    id: u64,
    method: Method,
    path: String,
    who: Arc<Who>,
    noted: Noted,
    trace: Option<String>,
}

/// Who called.
#[derive(Debug, Default)]
pub struct Who {
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
pub struct Noted {
    /// The code, if the answer is our own.
    pub code: Option<&'static str>,
    /// The named client that asked.
    pub client: Option<Arc<str>>,
}

impl Access {
    /// Begins with the head of a request. If somebody reads it, `loggable` says how its path is
    /// written, and `who` is asked.
    pub fn begin<B>(
        record: &Arc<Record>,
        request: &http::Request<B>,
        loggable: impl FnOnce(&str) -> String,
        who: impl FnOnce() -> Arc<Who>,
    ) -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let is_read =
            record.feed.is_wanted() || tracing::enabled!(target: TARGET, tracing::Level::DEBUG);
        let line = is_read.then(|| {
            Box::new(Line {
                id,
                method: request.method().clone(),
                path: loggable(request.uri().path()),
                who: who(),
                noted: Noted::default(),
                trace: trace::id(request.headers()).map(str::to_owned),
            })
        });
        Self {
            record: record.clone(),
            started: Instant::now(),
            writes: tally::writes(request.method()),
            status: None,
            bytes: 0,
            line,
        }
    }

    /// Notes the head of the answer, and where the time until then went.
    pub fn answered<B>(&mut self, response: &Response<B>, spent: &Spent) {
        self.record.tally.spent(spent);
        self.status = Some(response.status());
        let Some(noted) = response.extensions().get::<Noted>() else { return };
        if let Some(code) = noted.code {
            self.record.tally.answer(code);
        }
        if let Some(line) = &mut self.line {
            line.noted = noted.clone();
        }
    }

    /// Notes a part of the answer's body.
    pub fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        self.record.tally.request(self.writes, self.status, elapsed);
        self.record.tally.sent(self.bytes);
        let Some(line) = self.line.take() else { return };
        let Line { id: request_id, method, path, who, noted, trace: trace_id } = *line;
        let (peer, uid, process) = (who.peer.as_str(), who.uid, who.process.get());
        let pid = process.map(|process| process.pid);
        let program = process.map(|it| it.program.as_str()).filter(|it| !it.is_empty());
        let Noted { code, client } = noted;
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let (bytes, client) = (self.bytes, client.as_deref());
        match self.status.map(|status| status.as_u16()) {
            // Without a status the caller left before it was answered.
            None => tracing::debug!(
                target: TARGET,
                request_id, %method, path, elapsed_ms, peer, uid, pid, program, client, trace_id,
                "request abandoned"
            ),
            Some(status) => tracing::debug!(
                target: TARGET,
                request_id, %method, path, status, elapsed_ms, bytes, peer, uid, pid, program,
                code, client, trace_id, "request"
            ),
        }
        if self.record.feed.is_wanted() {
            self.record.feed.tell(Request {
                time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
                request_id,
                method: method.to_string(),
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
pub const TARGET: &str = "nexudus_proxy::access";

static NEXT: AtomicU64 = AtomicU64::new(1);

#[cfg(test)]
mod tests {
    use super::super::News;
    use super::*;

    #[tokio::test]
    async fn whoever_watches_sees_the_path_and_never_the_query() {
        let record = Arc::<Record>::default();
        let mut listener = record.feed.listen();
        let request = http::Request::get("/api/x?password=hunter2").body(()).unwrap();

        let process = Process { pid: 7, program: "curl".to_owned() };
        let who = Who { peer: "somebody".to_owned(), uid: Some(1000), process: process.into() };
        let mut access = Access::begin(&record, &request, str::to_owned, || who.into());
        let mut response = Response::new(());
        response.extensions_mut().insert(Noted { code: Some("guard.user"), client: None });
        access.answered(&response, &Spent::default());
        access.sent(7);
        drop(access);

        let News::Request(seen) = listener.next().await else { panic!("not a request") };
        assert_eq!((seen.path.as_str(), seen.status, seen.bytes), ("/api/x", Some(200), 7));
        assert_eq!(seen.code.as_deref(), Some("guard.user"));
        assert_eq!(
            (seen.uid, seen.pid, seen.program.as_deref()),
            (Some(1000), Some(7), Some("curl"))
        );
        assert!(!serde_json::to_string(&*seen).unwrap().contains("hunter2"));
        assert_eq!(record.tally.answers(), [("guard.user", 1)].into());
    }

    #[tokio::test]
    async fn nothing_is_kept_for_nobody() {
        let record = Arc::<Record>::default();
        drop(record.feed.listen());
        let request = http::Request::get("/").body(()).unwrap();

        let unread = |_: &str| panic!("nobody reads it");
        let access = Access::begin(&record, &request, unread, || panic!("nobody asked"));

        assert!(access.line.is_none());
    }
}
