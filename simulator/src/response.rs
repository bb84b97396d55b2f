//! An answer before it is written: status, headers, body, and how it is delivered.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

/// The outcome of a request.
pub(crate) enum Outcome {
    Answer(SimulatedResponse),
    /// Bytes that may not be HTTP, then the end of the connection.
    Raw(Bytes),
    Close,
    Reset,
    Hang,
}

#[derive(Clone, Debug)]
pub(crate) struct SimulatedResponse {
    pub(crate) status: u16,
    /// The reason phrase, when it is not the usual one.
    pub(crate) reason: Option<&'static str>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: ResponseBody,
    pub(crate) delivery: Delivery,
}

#[derive(Clone, Debug)]
pub(crate) enum ResponseBody {
    Bytes(Bytes),
    /// This many bytes of the pattern.
    Pattern(u64),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) framing: Framing,
    /// Bytes per piece; 0: as large as convenient.
    pub(crate) chunk: usize,
    pub(crate) pause: Duration,
    /// The body stops after this many bytes, and the connection with it.
    pub(crate) cut: Option<u64>,
    /// A cut is a reset, not a close.
    pub(crate) reset: bool,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) early_hints: bool,
    /// The connection ends after this answer without having said so.
    pub(crate) close_after: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    #[default]
    Length,
    Chunked,
    UntilClose,
    DoubleLength,
    LengthAndChunked,
}

impl SimulatedResponse {
    pub(crate) fn empty(status: u16) -> Self {
        Self::with_body(status, None, Bytes::new())
    }

    pub(crate) fn json(status: u16, value: &Value) -> Self {
        Self::with_body(status, Some("application/json; charset=utf-8"), value.to_string().into())
    }

    pub(crate) fn html(status: u16, page: impl Into<Bytes>) -> Self {
        Self::with_body(status, Some("text/html; charset=utf-8"), page.into())
    }

    pub(crate) fn text(status: u16, text: impl Into<Bytes>) -> Self {
        Self::with_body(status, Some("text/plain; charset=utf-8"), text.into())
    }

    pub(crate) fn with_body(status: u16, kind: Option<&str>, body: Bytes) -> Self {
        // The triple ASP.NET adds to every answer.
        let mut headers = vec![
            ("Cache-Control".to_owned(), "no-cache".to_owned()),
            ("Pragma".to_owned(), "no-cache".to_owned()),
            ("Expires".to_owned(), "-1".to_owned()),
        ];
        headers.extend(kind.map(|kind| ("Content-Type".to_owned(), kind.to_owned())));
        let body = ResponseBody::Bytes(body);
        Self { status, reason: None, headers, body, delivery: Delivery::default() }
    }

    pub(crate) fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Returns whether this status has no body, whatever the body says.
    pub(crate) fn is_bodiless(&self) -> bool {
        self.status < 200 || self.status == 204 || self.status == 304
    }
}

impl ResponseBody {
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Pattern(length) => *length,
        }
    }

    /// Returns at most `most` bytes from an offset, without copying; empty at the end.
    pub(crate) fn piece(&self, from: u64, most: usize) -> Bytes {
        let left = self.length().saturating_sub(from);
        let length = (most as u64).min(left) as usize;
        match self {
            Self::Bytes(bytes) => bytes.slice(from as usize..from as usize + length),
            Self::Pattern(_) => {
                let start = (from % PATTERN_PERIOD) as usize;
                let block = pattern_block();
                block.slice(start..(start + length).min(block.len()))
            }
        }
    }
}

/// Returns the byte at an offset of every generated download.
pub fn pattern_byte(offset: u64) -> u8 {
    (offset % PATTERN_PERIOD) as u8
}

/// A prime, so that a shifted or repeated block of any usual size shows.
const PATTERN_PERIOD: u64 = 251;

fn pattern_block() -> &'static Bytes {
    static BLOCK: OnceLock<Bytes> = OnceLock::new();
    BLOCK.get_or_init(|| (0..PATTERN_PERIOD * 262).map(pattern_byte).collect::<Vec<_>>().into())
}

/// Returns the usual reason phrase.
pub(crate) fn reason_phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Unknown")
}

/// Returns Nexudus' login page, as a browser would get it.
pub(crate) fn login_page() -> &'static str {
    "<!DOCTYPE html><html><head><title>Log in - Nexudus</title></head><body>\
     <form action=\"/login\" method=\"post\"><input name=\"Email\">\
     <input name=\"Password\" type=\"password\"></form></body></html>"
}

/// Returns an IIS-like error page.
pub(crate) fn error_page(status: u16) -> String {
    format!(
        "<!DOCTYPE html><html><head><title>{status} - {0}</title></head>\
         <body><h1>Server Error</h1><h2>{status} - {0}</h2></body></html>",
        reason_phrase(status)
    )
}

/// Returns the envelope of a write.
pub(crate) fn envelope(status: u16, message: &str, value: Value, success: bool) -> Value {
    json!({
        "Status": status, "Message": message, "Value": value,
        "OpenInDialog": false, "OpenInWindow": false, "RedirectURL": null, "JavaScript": null,
        "UpdatedOn": null, "UpdatedBy": null, "Errors": null, "WasSuccessful": success,
    })
}

/// Returns the envelope of a validation error.
pub(crate) fn invalid(property: &str) -> SimulatedResponse {
    let envelope = json!({
        "Message": format!("{property}: is a required field"), "Value": null,
        "Errors": [{
            "AttemptedValue": null, "Message": "is a required field", "PropertyName": property,
        }],
        "WasSuccessful": false,
    });
    SimulatedResponse::json(400, &envelope)
}
