//! Requests as an HTTP Archive (HAR 1.2), for the tools that read one.
//!
//! The file is complete after each request: a new entry takes the place of the end, which follows it in
//! the same write. So it does not matter how the command ends.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};

use crate::admin::api::{BodyContent, MessageContent, NamedValue, RequestContent, RequestRecord};
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::secure_fs;

/// An archive that is being written.
#[derive(Debug)]
pub(super) struct HarFile {
    file: File,
    path: PathBuf,
    /// The address of the daemon, with which URLs begin.
    base: String,
    /// Where the next entry begins.
    end: u64,
    entries: u64,
}

/// The archive cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("could not write {}", path.display())]
pub(super) struct HarError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Problem for HarError {
    fn details(&self) -> ProblemDetails {
        let kind = self.source.kind();
        ProblemKind::CommandFailed.with_hint(if kind == io::ErrorKind::AlreadyExists {
            "Name a file that does not exist: none is overwritten."
        } else if kind == io::ErrorKind::NotFound {
            "Make the directory first, or name another file."
        } else {
            "Name a file in a directory that you may write to, with room for it."
        })
    }
}

impl HarFile {
    /// Creates a file that only its owner can read, without entries.
    ///
    /// # Errors
    ///
    /// [`HarError`], also where the file exists.
    pub(super) fn create(path: &Path, base: String) -> Result<Self, HarError> {
        let failed = |source| HarError { path: path.to_owned(), source };
        let mut file = secure_fs::create_file(path).map_err(failed)?;
        let creator = json!({ "name": "nexudus-proxy", "version": env!("CARGO_PKG_VERSION") });
        let begin = format!("{{\"log\":{{\"version\":\"1.2\",\"creator\":{creator},\"entries\":[");
        file.write_all(format!("{begin}{END}").as_bytes()).map_err(failed)?;
        Ok(Self { file, path: path.to_owned(), base, end: begin.len() as u64, entries: 0 })
    }

    /// Adds a request, with what was captured of it.
    ///
    /// # Errors
    ///
    /// [`HarError`]; the file is complete without this request.
    pub(super) fn add(
        &mut self,
        request: &RequestRecord,
        content: Option<&RequestContent>,
    ) -> Result<(), HarError> {
        let comma = if self.entries > 0 { "," } else { "" };
        let entry = format!("{comma}\n{}", entry(request, content, &self.base));
        match self.write_at_end(&format!("{entry}{END}")) {
            Ok(()) => {
                self.end += entry.len() as u64;
                self.entries += 1;
                Ok(())
            }
            Err(source) => {
                // What was there before needs no more room than it had.
                let _ = self
                    .write_at_end(END)
                    .and_then(|()| self.file.set_len(self.end + END.len() as u64));
                Err(HarError { path: self.path.clone(), source })
            }
        }
    }

    fn write_at_end(&mut self, text: &str) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(text.as_bytes())
    }
}

/// Describes a request as an entry.
fn entry(request: &RequestRecord, content: Option<&RequestContent>, base: &str) -> Json {
    let times = &request.times_us;
    let total = times.total;
    let receive = total.saturating_sub(times.first_byte.unwrap_or(total));
    let connect = times.connect.min(times.upstream);
    let (send, wait) = (times.body, times.upstream - connect);
    let blocked = total.saturating_sub(send + connect + wait + receive);
    // The parts overlap where a request was sent twice: the whole is their sum, as HAR has it.
    let total = blocked + send + connect + wait + receive;
    let query = content.and_then(|content| content.query.as_deref()).unwrap_or_default();
    let mut sent = json!({
        "method": request.method,
        "url": url(base, &request.path, query),
        "httpVersion": HTTP_VERSION,
        "cookies": [],
        "headers": headers(content.map(|content| &content.request)),
        "queryString": query,
        "headersSize": -1,
        "bodySize": content.and_then(|it| length(&it.request)).unwrap_or(-1),
    });
    if let Some(BodyContent { text, note }) = content.and_then(|it| it.request.body.as_ref())
        && (note.is_some() || text.as_ref().is_some_and(|text| !text.is_empty()))
    {
        let kind = content.and_then(|content| content.request.header("content-type"));
        let text = text.as_deref().unwrap_or_default();
        sent["postData"] = json!({ "mimeType": kind.unwrap_or_default(), "text": text });
        comment(&mut sent["postData"], note.as_deref());
    }
    let connect = if connect == 0 { json!(-1) } else { millis(connect) };
    json!({
        "startedDateTime": started(&request.time, total),
        "time": millis(total),
        "request": sent,
        "response": response(request, content),
        "cache": {},
        "timings": {
            "blocked": millis(blocked), "dns": -1, "connect": connect, "ssl": -1,
            "send": millis(send), "wait": millis(wait), "receive": millis(receive),
        },
        "_resourceType": "fetch",
        "_requestId": request.request_id,
        "_client": request.client,
        "_program": request.program,
        "_code": request.code,
        "_sends": request.sends,
        "_traceId": request.trace_id,
    })
}

fn response(request: &RequestRecord, content: Option<&RequestContent>) -> Json {
    let message = content.map(|content| &content.response);
    let kind = message.and_then(|message| message.header("content-type"));
    let mut body = json!({ "size": request.bytes, "mimeType": kind.unwrap_or("x-unknown") });
    if let Some(BodyContent { text, note }) = message.and_then(|message| message.body.as_ref()) {
        if let Some(text) = text {
            body["text"] = json!(text);
        }
        comment(&mut body, note.as_deref());
    }
    json!({
        // A client that left before the response: as browsers write it.
        "status": request.status.unwrap_or(0),
        "statusText": request.code.as_deref().unwrap_or_default(),
        "httpVersion": HTTP_VERSION,
        "cookies": [],
        "headers": headers(message),
        "content": body,
        "redirectURL": "",
        "headersSize": -1,
        "bodySize": request.bytes,
    })
}

fn headers(message: Option<&MessageContent>) -> Json {
    json!(message.map(|message| message.headers.as_slice()).unwrap_or_default())
}

fn comment(part: &mut Json, note: Option<&str>) {
    if let Some(note) = note {
        part["comment"] = json!(note);
    }
}

/// Returns the length of a body that its sender announced.
fn length(message: &MessageContent) -> Option<i64> {
    message.header("content-length")?.parse().ok()
}

fn url(base: &str, path: &str, query: &[NamedValue]) -> String {
    if query.is_empty() {
        return format!("{base}{path}");
    }
    let pairs = query.iter().map(|it| (&it.name, &it.value));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("{base}{path}?{query}")
}

/// Returns when a request began that ended at `ended` and took so many microseconds.
fn started(ended: &str, micros: u64) -> String {
    let took = SignedDuration::from_micros(i64::try_from(micros).unwrap_or(i64::MAX));
    let begun = ended.parse::<Timestamp>().ok().and_then(|time| time.checked_sub(took).ok());
    begun.map_or_else(|| ended.to_owned(), |begun| format!("{begun:.3}"))
}

/// Returns microseconds as HAR has times: in milliseconds.
fn millis(micros: u64) -> Json {
    let micros = u32::try_from(micros).unwrap_or(u32::MAX);
    json!(f64::from(micros) / 1_000.0)
}

/// The end of the file.
const END: &str = "\n]}}\n";

/// The listeners of programs speak this version.
const HTTP_VERSION: &str = "HTTP/1.1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::RequestTimes;

    fn record(path: &str) -> RequestRecord {
        RequestRecord {
            time: "2026-03-04T15:30:01.250Z".to_owned(),
            request_id: 7,
            method: "POST".to_owned(),
            path: path.to_owned(),
            status: Some(200),
            elapsed_ms: 250,
            bytes: 12,
            times_us: RequestTimes {
                body: 1_000,
                queue: 9_000,
                connect: 30_000,
                upstream: 200_000,
                first_byte: Some(240_000),
                total: 250_000,
                ..RequestTimes::default()
            },
            ..RequestRecord::default()
        }
    }

    #[test]
    fn the_file_is_complete_after_each_request_and_private() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.har");
        let read = || -> Json { serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap() };

        let mut har = HarFile::create(&path, "http://127.0.0.1:6398".to_owned()).unwrap();
        assert_eq!(read()["log"]["entries"], json!([]));
        for nth in 1..=3 {
            har.add(&record(&format!("/api/{nth}")), None).unwrap();
            let entries = read()["log"]["entries"].as_array().unwrap().clone();
            assert_eq!(entries.len(), nth);
            let url = format!("http://127.0.0.1:6398/api/{nth}");
            assert_eq!(entries[nth - 1]["request"]["url"], url);
        }

        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let again = HarFile::create(&path, String::new()).unwrap_err();
        assert!(again.details().hint.unwrap().contains("none is overwritten"));
        assert_eq!(read()["log"]["entries"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn the_parts_of_the_time_add_up_to_the_whole() {
        let entry = entry(&record("/api/x"), None, "http://localhost");

        assert_eq!(entry["startedDateTime"], "2026-03-04T15:30:01.000Z");
        let timings = &entry["timings"];
        assert_eq!((&timings["send"], &timings["connect"]), (&json!(1.0), &json!(30.0)));
        assert_eq!((&timings["wait"], &timings["receive"]), (&json!(170.0), &json!(10.0)));
        assert_eq!((&timings["blocked"], &entry["time"]), (&json!(39.0), &json!(250.0)));
    }

    #[test]
    fn what_was_captured_stands_where_har_has_it() {
        let named =
            |name: &str, value: &str| NamedValue { name: name.to_owned(), value: value.to_owned() };
        let json_type =
            vec![named("content-type", "application/json"), named("content-length", "9")];
        let body = |text: Option<&str>, note: Option<&str>| BodyContent {
            text: text.map(str::to_owned),
            note: note.map(str::to_owned),
        };
        let content = RequestContent {
            request_id: 7,
            query: Some(vec![named("size", "1"), named("q", "«PII:TEXT:1»")]),
            request: MessageContent {
                headers: json_type.clone(),
                body: Some(body(Some("{\"a\":1}"), None)),
            },
            response: MessageContent { headers: json_type, body: Some(body(None, Some("cut"))) },
        };

        let entry = entry(&record("/api/x"), Some(&content), "http://localhost");

        let (request, response) = (&entry["request"], &entry["response"]);
        assert_eq!(request["url"], "http://localhost/api/x?size=1&q=%C2%ABPII%3ATEXT%3A1%C2%BB");
        assert_eq!(request["queryString"][1]["value"], "«PII:TEXT:1»");
        assert_eq!(request["postData"]["text"], "{\"a\":1}");
        assert_eq!((&request["bodySize"], &response["bodySize"]), (&json!(9), &json!(12)));
        assert_eq!(response["content"]["mimeType"], "application/json");
        assert_eq!(response["content"]["comment"], "cut");
        assert_eq!(response["headers"][0]["name"], "content-type");
    }
}
