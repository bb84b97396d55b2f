//! The captured content of requests, for the readers of events that ask for it.
//!
//! `/v1/events?content=headers` captures as long as its reader stays; `queries` and `bodies` too, for
//! the daemon's own user, and for root alone where the daemon is the machine's. Everything is redacted
//! here, as for a client with `--redact`, before it leaves the process.

use std::io::Read as _;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::{Extension, Json};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use form_urlencoded::Serializer;

use super::api::{BodyContent, MessageContent, NamedValue, RequestContent};
use super::context::AdminContext;
use super::problem::AdminError;
use crate::config::{Origin, RedactMode};
use crate::peer::Peer;
use crate::redact::{FieldRules, Redaction, Redactor, TableName, redact_query};
use crate::telemetry::{Capture, CaptureScope, CapturedBody};

/// Handles `GET /v1/captures/{id}`.
pub(super) async fn show(
    State(context): State<Arc<AdminContext>>,
    Extension(peer): Extension<Peer>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<RequestContent>, Response> {
    let is_trusted = context.access.may_read_content(&peer);
    let scope = CaptureScope { queries: is_trusted, bodies: is_trusted };
    let content = id.ok().and_then(|Path(id)| describe(&context, id, scope));
    content.map(Json).ok_or_else(|| context.error_response(&AdminError::NotCaptured))
}

/// Parses the value of `?content=`: names with commas between.
pub(super) fn parse_scope(names: &str) -> Option<CaptureScope> {
    let mut scope = CaptureScope::default();
    for name in names.split(',') {
        match name {
            "headers" => {}
            "queries" => scope.queries = true,
            "bodies" => scope.bodies = true,
            _ => return None,
        }
    }
    Some(scope)
}

/// Describes the content of a request to a reader with this scope, redacted.
pub(super) fn describe(
    context: &AdminContext,
    request_id: u64,
    scope: CaptureScope,
) -> Option<RequestContent> {
    let capture = context.telemetry.captures.get(request_id)?;
    let redaction = redaction(context);
    let path = &capture.path;
    let query = capture.query.as_ref().filter(|_| scope.queries);
    let message = |headers: &[(&'static str, String)], body: Option<&CapturedBody>| {
        let headers = named(headers.iter().map(|(name, value)| (*name, redaction.scrub(value))));
        let mut message = MessageContent { headers, body: None };
        message.body = body.filter(|_| scope.bodies).map(|body| {
            let kind = message.header("content-type").unwrap_or_default();
            let coding = message.header("content-encoding").unwrap_or_default();
            redact_body(&redaction, path, (kind, coding), body)
        });
        message
    };
    let Capture { request_headers, response_headers, request, response, .. } = &*capture;
    Some(RequestContent {
        request_id,
        query: query.map(|query| named(redact_query(&redaction, path, query))),
        request: message(request_headers, request.as_ref()),
        response: message(response_headers, response.as_ref()),
    })
}

/// Returns what is hidden: what the table and the configuration say, under tokens of the reader's own.
fn redaction(context: &AdminContext) -> Arc<Redaction> {
    let redact = context.runtime.borrow().redact.clone();
    let fields = FieldRules::new(&redact.fields, &redact.keep);
    let origin = Origin::parse(&context.server.upstream).unwrap_or_else(Origin::nexudus);
    let redactor = Redactor::new(context.tokens.clone(), fields, &origin);
    redactor.redaction(RedactMode::Table, false, &TableName::Reader)
}

fn named<N: Into<String>>(values: impl IntoIterator<Item = (N, String)>) -> Vec<NamedValue> {
    let named = |(name, value): (N, String)| NamedValue { name: name.into(), value };
    values.into_iter().map(named).collect()
}

/// Redacts a body of this type and coding; what is not understood is not shown.
fn redact_body(
    redaction: &Arc<Redaction>,
    path: &str,
    (kind, coding): (&str, &str),
    body: &CapturedBody,
) -> BodyContent {
    let missing = |note: &str| BodyContent { text: None, note: Some(note.to_owned()) };
    let Some((bytes, is_cut)) = decode(body.bytes(), coding, body.is_cut()) else {
        return missing("not shown: its coding is not understood");
    };
    if bytes.is_empty() {
        return BodyContent { text: Some(String::new()), note: is_cut.then(|| CUT.to_owned()) };
    }
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == FORM {
        // A form that is cut may end in the middle of a value.
        let Some(form) = std::str::from_utf8(&bytes).ok().filter(|_| !is_cut) else {
            return missing("not shown: the form is not complete");
        };
        let fields = redact_query(redaction, path, form);
        let text = Serializer::new(String::new()).extend_pairs(fields).finish();
        return BodyContent { text: Some(text), note: None };
    }
    if !(kind.is_empty() || kind.ends_with("/json") || kind.ends_with("+json")) {
        return missing("not shown: only JSON and forms can be redacted");
    }
    let Ok(record) = redaction.record_kind(path) else {
        return missing("not shown: the path can be read in more than one way");
    };
    let mut rewriter = redaction.rewriter(record, false);
    let mut out = Vec::with_capacity(bytes.len());
    let written = rewriter.write(&bytes, &mut out);
    let is_whole = written.is_ok() && rewriter.finish(&mut out).is_ok();
    let note = if is_cut { Some(CUT) } else { (!is_whole).then_some(NO_JSON) };
    let note = note.map(str::to_owned);
    match String::from_utf8(out) {
        Ok(text) if is_whole || !text.trim().is_empty() => BodyContent { text: Some(text), note },
        Ok(_) | Err(_) => missing("not shown: it is no JSON"),
    }
}

/// Undoes the coding of a body. Returns it, and whether its end is missing.
fn decode(bytes: Vec<u8>, coding: &str, is_cut: bool) -> Option<(Vec<u8>, bool)> {
    let read = |decoder: &mut dyn std::io::Read| {
        let mut decoded = vec![];
        let limit = MAX_DECODED + 1;
        let read = decoder.take(limit).read_to_end(&mut decoded);
        let is_long = decoded.len() as u64 == limit;
        decoded.truncate(usize::try_from(MAX_DECODED).unwrap_or(usize::MAX));
        let is_broken = read.is_err();
        (!decoded.is_empty() || !is_broken).then_some((decoded, is_cut || is_long || is_broken))
    };
    match coding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Some((bytes, is_cut)),
        "gzip" | "x-gzip" => read(&mut MultiGzDecoder::new(&bytes[..])),
        "deflate" => read(&mut ZlibDecoder::new(&bytes[..])),
        _ => None,
    }
}

/// Most bytes of a body whose coding was undone: twice what is kept of one.
const MAX_DECODED: u64 = 1 << 20;

const FORM: &str = "application/x-www-form-urlencoded";

const NO_JSON: &str = "the rest is no JSON, and not shown";

const CUT: &str = "the rest is not kept";

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;
    use crate::clock::Clock;
    use crate::redact::TokenVault;

    #[test]
    fn a_body_is_shown_redacted_or_not_at_all() {
        let shown = |kind: &str, text: &str| show(kind, "", text.as_bytes());

        let json = shown("application/json", r#"{"Id":7,"FullName":"marker","Password":"marker"}"#);
        let text = json.text.unwrap();
        assert!(text.starts_with(r#"{"Id":7,"FullName":"«PII:NAME:"#), "{text}");
        assert!(text.ends_with(r#""Password":null}"#) && json.note.is_none(), "{text}");
        let form = shown(FORM, "CoworkerId=7&Email=marker%40x.test&password=123456&q=marker");
        let text = form.text.unwrap();
        assert!(text.starts_with("CoworkerId=7&Email=%C2%ABPII") && !text.contains("marker"));
        assert!(text.contains("&password=&"), "{text}");
        for (kind, text) in [
            ("text/csv", "FullName\nmarker"),
            ("text/html", "<p>marker"),
            ("application/json", "marker"),
            ("", "marker"),
            ("application/json", "FullName=marker"),
        ] {
            let hidden = shown(kind, text);
            assert!(hidden.text.is_none() && hidden.note.is_some(), "{kind} {text}: {hidden:?}");
        }
        let broken = shown("application/json", r#"{"Id":7,"FullName":"marker"#);
        assert_eq!(broken.text.as_deref(), Some(r#"{"Id":7,"FullName":"#));
        assert!(broken.note.is_some());
    }

    #[test]
    fn a_coding_is_undone_within_bounds() {
        let json = format!(r#"{{"FullName":"marker","Ids":[{}1]}}"#, "1,".repeat(3 << 20));
        let mut gzip = GzEncoder::new(vec![], Compression::fast());
        gzip.write_all(json.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut deflate = ZlibEncoder::new(vec![], Compression::fast());
        deflate.write_all(b"{\"Id\":7}").unwrap();
        let deflate = deflate.finish().unwrap();

        let shown = show("application/json", "gzip", &gzip);
        let text = shown.text.unwrap();
        assert!(text.starts_with(r#"{"FullName":"«PII:NAME:"#) && text.len() < 2 << 20);
        assert_eq!(shown.note.as_deref(), Some(CUT));
        let shown = show("application/json", "deflate", &deflate);
        assert_eq!(shown.text.as_deref(), Some(r#"{"Id":7}"#));
        for coding in ["br", "gzip, gzip", "zstd"] {
            assert!(show("application/json", coding, &gzip).text.is_none(), "{coding}");
        }
        assert!(show("application/json", "gzip", b"marker").text.is_none());
    }

    #[test]
    fn what_is_asked_for_is_chosen_by_name() {
        let scope = |queries, bodies| Some(CaptureScope { queries, bodies });

        assert_eq!(parse_scope("headers"), scope(false, false));
        assert_eq!(parse_scope("queries"), scope(true, false));
        assert_eq!(parse_scope("headers,queries,bodies"), scope(true, true));
        assert_eq!(parse_scope("all"), None);
        assert_eq!(parse_scope(""), None);
    }

    fn show(kind: &str, coding: &str, bytes: &[u8]) -> BodyContent {
        let vault = TokenVault::new(Clock::system());
        let redactor = Redactor::new(vault, FieldRules::default(), &Origin::nexudus());
        let redaction = redactor.redaction(RedactMode::Table, false, &TableName::Reader);
        let body = CapturedBody::of(bytes);
        redact_body(&redaction, "/api/spaces/coworkers", (kind, coding), &body)
    }
}
