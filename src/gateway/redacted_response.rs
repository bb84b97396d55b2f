//! A response without personal values: what is not understood is not forwarded.
//!
//! The body is rewritten as it streams. Its first piece is rewritten before the head is sent, so that
//! a body that is no JSON at all becomes an error instead of a response that breaks off.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, DATE, HOST, LOCATION, RETRY_AFTER};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use http_body::Body as _;
use hyper::ext::ReasonPhrase;

use super::content::{Content, is_plain};
use super::error::Error;
use super::policy::{self, Allowed};
use super::redacted_body::{Begun, RedactedBody};
use super::response_body::ProxyBody;
use crate::listen::insert_sandbox_headers;
use crate::redact::{Redaction, ResponseRules, Rewriter};
use crate::telemetry::ResponseInfo;

/// How the response to one request is rewritten.
pub(super) struct ResponseRedaction {
    redaction: Arc<Redaction>,
    rewriter: Rewriter<ResponseRules>,
    /// Counts the values that are hidden.
    redactions: Arc<AtomicU64>,
    is_head: bool,
    /// How addresses on this proxy begin.
    base: String,
}

impl ResponseRedaction {
    /// Returns how the response to this request is rewritten, if it must be.
    pub(super) fn begin(allowed: &Allowed) -> Option<Box<Self>> {
        let request = allowed.redaction()?;
        let redaction = request.redaction().clone();
        let rewriter = redaction.rewriter(request.kind(), request.has_resolved());
        let is_head = allowed.method() == Method::HEAD;
        let host = allowed.head().headers.get(HOST).and_then(|host| host.to_str().ok());
        let base = format!("http://{}", host.unwrap_or_default());
        let redactions = request.redactions().clone();
        Some(Box::new(Self { redaction, rewriter, redactions, is_head, base }))
    }

    /// Rewrites a response.
    pub(super) async fn apply(
        self,
        response: Response<ProxyBody>,
    ) -> Result<Response<ProxyBody>, Error> {
        let (mut head, body) = response.into_parts();
        let has_body = !self.is_head && !body.is_end_stream();
        let is_json = is_json(&head.headers);
        let is_described = head.headers.contains_key(CONTENT_TYPE);
        self.clean_head(&mut head, is_json && (has_body || is_described))?;
        if !has_body {
            if self.is_head && !is_json && head.status.is_success() {
                return Err(refused());
            }
            return Ok(Response::from_parts(head, ProxyBody::full(Bytes::new())));
        }
        let rewritten = if is_json {
            let info = head.extensions.get_or_insert_default::<ResponseInfo>();
            info.replaced = Some(self.redactions.clone());
            body.try_map_content(|content| rewrite(content, self.rewriter, self.redactions)).await
        } else {
            None
        };
        match rewritten {
            Some(body) => Ok(Response::from_parts(head, body)),
            None if head.status.is_success() => Err(refused()),
            // The status of an error suffices: its text can be dropped.
            None => {
                head.headers.remove(CONTENT_TYPE);
                Ok(Response::from_parts(head, ProxyBody::full(Bytes::new())))
            }
        }
    }

    /// Leaves the headers that tell nothing. File names stand in `Content-Disposition`, addresses in
    /// `Link`, and a server can put anything into a header of its own.
    fn clean_head(&self, head: &mut Parts, has_json: bool) -> Result<(), Error> {
        head.extensions.remove::<ReasonPhrase>();
        let headers = std::mem::take(&mut head.headers);
        for (name, value) in &headers {
            if is_harmless(name, value) {
                head.headers.append(name.clone(), value.clone());
            }
        }
        if let Some(location) = headers.get(LOCATION) {
            let address = location.to_str().unwrap_or_default();
            // As `sanitize_response` has written it.
            let path = address.strip_prefix(&self.base).unwrap_or(address);
            if self.redaction.allows_location(path) {
                head.headers.insert(LOCATION, location.clone());
            } else if head.status.is_redirection() {
                let why = "the response leads to another address";
                return Err(policy::Error::Unredactable(why).into());
            }
        }
        if has_json {
            head.headers.insert(CONTENT_TYPE, JSON);
        }
        insert_sandbox_headers(&mut head.headers);
        Ok(())
    }
}

fn refused() -> Error {
    policy::Error::Unredactable("the response is not JSON").into()
}

/// Begins to rewrite the content; `None`: it is no JSON.
async fn rewrite(
    content: Content,
    rewriter: Rewriter<ResponseRules>,
    redactions: Arc<AtomicU64>,
) -> Option<Content> {
    match RedactedBody::begin(content, rewriter, redactions).await {
        Begun::NotJson => None,
        Begun::Whole(bytes) => Some(Content::Own(Some(bytes).filter(|bytes| !bytes.is_empty()))),
        Begun::Rest(body) => Some(Content::Redacted(body)),
    }
}

/// Says whether a header has a fixed form that tells nothing about a person.
fn is_harmless(name: &HeaderName, value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    let is_date = || httpdate::parse_http_date(text).is_ok();
    match *name {
        DATE => is_date(),
        RETRY_AFTER => is_date() || (text.len() <= 9 && text.bytes().all(|it| it.is_ascii_digit())),
        ALLOW => text.bytes().all(|it| it.is_ascii_uppercase() || b", ".contains(&it)),
        // Ours alone begins so; the upstream's was renamed.
        _ => name.as_str() == "proxy-status" && text.starts_with("nexudus-proxy;"),
    }
}

/// Says whether a body is announced as plain JSON. One that is not announced at all may be JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter().map(HeaderValue::as_bytes);
    let is_json = |kind: &[u8]| {
        let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
        let kind = kind.trim_ascii().to_ascii_lowercase();
        matches!(&*kind, b"application/json" | b"text/json") || kind.ends_with(b"+json")
    };
    is_plain(headers) && types.next().is_none_or(is_json) && types.next().is_none()
}

/// Texts in other encodings were converted.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
