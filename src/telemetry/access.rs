//! What each request leaves behind: counts, and a line for whoever reads lines.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use http::{Response, StatusCode};

use super::{Feed, Repeats, Request, Spent, Tally, tally, trace, truncate};

/// What requests leave behind, for all of them.
#[derive(Debug)]
pub struct Record {
    /// The counts.
    pub tally: Tally,
    /// The requests themselves, for whoever watches.
    pub feed: Feed,
    /// Refused requests, by user and code.
    pub refusals: Repeats<(Option<u32>, &'static str)>,
    /// Requests of users who are not let in, by user.
    pub strangers: Repeats<Option<u32>>,
    /// Connections that found no place, by the limit that was reached.
    pub turned_away: Repeats<&'static str>,
    /// Callers who did not wait for what they were told, by what that was.
    pub gone: Repeats<&'static str>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            tally: Tally::default(),
            feed: Feed::default(),
            refusals: Repeats::new(Duration::from_secs(1)),
            strangers: Repeats::new(Duration::from_secs(1)),
            turned_away: Repeats::new(Duration::from_secs(60)),
            gone: Repeats::new(Duration::from_secs(1)),
        }
    }
}

impl Record {
    /// Counts an answer to what never became a request: its head was malformed, too large or late.
    pub fn unread(&self, code: &'static str) {
        self.tally.answer(code);
        tracing::debug!(code, "no request");
    }

    /// Logs how often what was logged once has happened since, for ever.
    pub async fn report(&self) {
        let refusals = self.refusals.report(|key, count| {
            let (uid, code) = key.copied().unzip();
            tracing::info!(code, uid = uid.flatten(), count, "refused more callers");
        });
        let strangers = self.strangers.report(|uid, count| {
            let uid = uid.copied().flatten();
            tracing::debug!(uid, count, "more requests of another user");
        });
        let turned_away = self.turned_away.report(|limit, count| {
            tracing::warn!(limit, count, "more connections were turned away");
        });
        let gone = self.gone.report(|code, count| {
            tracing::debug!(code, count, "more refused callers were gone already");
        });
        tokio::join!(refusals, strangers, turned_away, gone);
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
    method: String,
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
    /// Begins with the head of a request. If somebody reads it, `who` is asked, and `loggable` says
    /// how its method and its path are written; without a caller there is no line.
    pub fn begin<B>(
        record: &Arc<Record>,
        request: &http::Request<B>,
        loggable: impl Fn(&str) -> String,
        who: impl FnOnce() -> Option<Arc<Who>>,
    ) -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let is_read =
            record.feed.is_wanted() || tracing::enabled!(target: TARGET, tracing::Level::DEBUG);
        let line = is_read.then(who).flatten().map(|who| {
            Box::new(Line {
                id,
                // Cut after a key was taken out: half of one would stay.
                method: truncate(&loggable(request.method().as_str())).into_owned(),
                path: truncate(&loggable(request.uri().path())).into_owned(),
                who,
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
                request_id, method, path, elapsed_ms, peer, uid, pid, program, client, trace_id,
                "request abandoned"
            ),
            Some(status) => tracing::debug!(
                target: TARGET,
                request_id, method, path, status, elapsed_ms, bytes, peer, uid, pid, program,
                code, client, trace_id, "request"
            ),
        }
        if self.record.feed.is_wanted() {
            self.record.feed.tell(Request {
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
        let mut access = Access::begin(&record, &request, str::to_owned, || Some(who.into()));
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
    async fn a_key_in_the_place_of_the_method_is_taken_out_as_one_in_the_path_is() {
        let record = Arc::<Record>::default();
        let mut listener = record.feed.listen();
        let request = http::Request::builder().method("SECRET").uri("/x").body(()).unwrap();
        let loggable = |text: &str| text.replace("SECRET", "[redacted]");

        drop(Access::begin(&record, &request, loggable, || Some(Arc::default())));

        let News::Request(seen) = listener.next().await else { panic!("not a request") };
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("[redacted]", "/x"));
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
