//! Responses to what never becomes a request, as bytes: made once, sent without any work.

use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue};

use super::{insert_headers, problem_json, status};
use crate::config::Limits;
use crate::listen::{Rejection, Rejections};
use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// Why bytes on a connection never become a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::gateway) enum UnparsedRequest {
    /// The head is not as RFC 9112 wants it.
    #[error("the request is not well-formed HTTP/1.1")]
    NotHttp,
    /// The request line has no target that can be read.
    #[error("the request line holds no well-formed target")]
    NotATarget,
    /// The client speaks HTTP/2 without having asked.
    #[error("the request is HTTP/2, which is not spoken here")]
    Http2,
    /// The head is larger than allowed.
    #[error("the request head is larger than {bytes} bytes or has more than {fields} fields")]
    HeadTooLarge {
        /// `limits.header_bytes`.
        bytes: usize,
        /// `limits.headers`.
        fields: usize,
    },
    /// The target is longer than allowed.
    #[error("the request target is too long")]
    TargetTooLong,
    /// A client speaks no TLS where it is spoken: to an address of `listen.tls`, behind `CONNECT`.
    #[error("the connection begins with something other than TLS, which is spoken here")]
    NotTls,
    /// The name in the TLS handshake is not that of `CONNECT`.
    #[error("the TLS handshake names another host than CONNECT")]
    OtherServerName,
    /// The head did not arrive within `limits.header_timeout`.
    #[error("the request head did not arrive in time")]
    HeadTimeout,
}

impl Problem for UnparsedRequest {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::NotHttp => ProblemKind::MalformedRequest
                .with_hint("Send an HTTP/1.1 request as RFC 9112 writes it."),
            Self::NotATarget => ProblemKind::MalformedTarget.with_hint(
                "Begin with `METHOD /path HTTP/1.1`; percent-encode spaces, `\"`, `<` and `>` in \
                 the path and the query.",
            ),
            Self::Http2 => ProblemKind::MalformedRequest
                .with_hint("Speak HTTP/1.1: curl does without --http2-prior-knowledge."),
            Self::NotTls => ProblemKind::MalformedRequest.with_hint(
                "Write https:// in the URL; behind CONNECT, speak TLS or send the URL in absolute form.",
            ),
            Self::OtherServerName => {
                ProblemKind::ForeignHost.with_hint("Send CONNECT for the host that TLS names.")
            }
            Self::HeadTooLarge { .. } => ProblemKind::HeadTooLarge.into(),
            Self::TargetTooLong => ProblemKind::TargetTooLong.into(),
            Self::HeadTimeout => ProblemKind::RequestTimeout
                .with_hint("Send the whole head at once, or raise limits.header_timeout."),
        }
    }
}

/// Makes the responses to what never becomes a request.
pub(in crate::gateway) fn prebuilt(limits: &Limits) -> Rejections {
    let head = UnparsedRequest::HeadTooLarge { bytes: limits.header_bytes, fields: limits.headers };
    Rejections {
        malformed: rejection(UnparsedRequest::NotHttp),
        malformed_target: rejection(UnparsedRequest::NotATarget),
        http2: rejection(UnparsedRequest::Http2),
        headers_too_large: rejection(head),
        target_too_long: rejection(UnparsedRequest::TargetTooLong),
        head_timeout: rejection(UnparsedRequest::HeadTimeout),
    }
}

/// Writes a whole response, for where there is no request that hyper could respond to. The
/// connection always ends with it.
pub(in crate::gateway) fn rejection(error: UnparsedRequest) -> Rejection {
    let details = error.details();
    let status = status(details.kind);
    let body = problem_json(&details, &error.to_string());
    let mut headers = HeaderMap::new();
    insert_headers(&mut headers, &details);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let reason = status.canonical_reason().unwrap_or_default();
    let mut response = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &headers {
        response.extend_from_slice(name.as_str().as_bytes());
        response.extend_from_slice(b": ");
        response.extend_from_slice(value.as_bytes());
        response.extend_from_slice(b"\r\n");
    }
    response.extend_from_slice(b"\r\n");
    response.extend_from_slice(&body);
    Rejection { code: details.kind.code(), response: response.into() }
}
