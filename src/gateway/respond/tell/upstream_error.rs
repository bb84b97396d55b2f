//! What is said where Nexudus gave no answer.

use http::StatusCode;

use super::Told;
use crate::upstream::{Error as E, Repeat, Unreachable};

/// Says what a request came to that got no answer.
pub(super) fn tell(error: &E, repeat: Repeat) -> Told {
    let unless = |read: &'static str, write: &'static str| match repeat {
        Repeat::Harmless => read,
        Repeat::Never => write,
    };
    match error {
        E::Unreachable { reason, .. } => Told::new(
            StatusCode::BAD_GATEWAY,
            "upstream.unreachable",
            "Nexudus unreachable",
            "Check the network; nothing was sent.",
        )
        .token(match reason {
            Unreachable::Name => "dns_error",
            Unreachable::Refused => "connection_refused",
            Unreachable::Slow => "connection_timeout",
            Unreachable::Other => "destination_unavailable",
        }),
        E::Tls { certificate, .. } => Told::new(
            StatusCode::BAD_GATEWAY,
            "upstream.tls",
            "No verified TLS connection",
            "Behind a TLS-inspecting proxy, name its certificate in upstream.ca_file.",
        )
        .token(match certificate {
            true => "tls_certificate_error",
            false => "tls_protocol_error",
        }),
        E::Closed { .. } => Told::new(
            StatusCode::BAD_GATEWAY,
            "upstream.closed",
            "Closed without an answer",
            unless(
                "Send it again: nothing was changed. It was a new connection that ended; only on one \
                 that had been idle is a read repeated here.",
                WRITTEN,
            ),
        )
        .token("connection_terminated"),
        E::Malformed { .. } => Told::new(
            StatusCode::BAD_GATEWAY,
            "upstream.closed",
            "No valid answer",
            unless(
                "Nothing was changed. If it comes again, look who answers: `nexudus-proxy doctor`.",
                WRITTEN,
            ),
        )
        .token("http_protocol_error"),
        E::Timeout { .. } => Told::new(
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

const WRITTEN: &str = "A write may have been executed: look before you send it again.";
