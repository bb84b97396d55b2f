//! What is said where Nexudus gave no answer.

use http::StatusCode;

use super::ProblemSpec;
use crate::upstream::{Error as E, Retry, UnreachableReason};

/// Says what a request came to that got no answer.
pub(super) fn problem_for(error: &E, repeat: Retry) -> ProblemSpec {
    let unless = |read: &'static str, write: &'static str| match repeat {
        Retry::Safe => read,
        Retry::Never => write,
    };
    match error {
        E::Unreachable { reason, .. } => ProblemSpec::new(
            StatusCode::BAD_GATEWAY,
            "upstream.unreachable",
            "Nexudus unreachable",
            "Check the network; nothing was sent.",
        )
        .token(match reason {
            UnreachableReason::Dns => "dns_error",
            UnreachableReason::Refused => "connection_refused",
            UnreachableReason::TimedOut => "connection_timeout",
            UnreachableReason::Other => "destination_unavailable",
        }),
        E::Tls { certificate, .. } => ProblemSpec::new(
            StatusCode::BAD_GATEWAY,
            "upstream.tls",
            "No verified TLS connection",
            "Behind a TLS-inspecting proxy, name its certificate in upstream.ca_file.",
        )
        .token(match certificate {
            true => "tls_certificate_error",
            false => "tls_protocol_error",
        }),
        E::Closed { .. } => ProblemSpec::new(
            StatusCode::BAD_GATEWAY,
            "upstream.closed",
            "Closed without an answer",
            unless(
                "Send it again: nothing was changed. It was a new connection that ended; only on one \
                 that had been idle is a read repeated here.",
                WRITE_HINT,
            ),
        )
        .token("connection_terminated"),
        E::Malformed { .. } => ProblemSpec::new(
            StatusCode::BAD_GATEWAY,
            "upstream.closed",
            "No valid answer",
            unless(
                "Nothing was changed. If it comes again, look who answers: `nexudus-proxy doctor`.",
                WRITE_HINT,
            ),
        )
        .token("http_protocol_error"),
        E::Timeout { .. } => ProblemSpec::new(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream.timeout",
            "Nexudus too slow",
            unless(
                "Ask for less at a time, or raise upstream.header_timeout.",
                "A write may have been executed: look before you send it again, or raise \
                 upstream.header_timeout.",
            ),
        )
        .token("http_response_timeout"),
    }
}

const WRITE_HINT: &str = "A write may have been executed: look before you send it again.";
