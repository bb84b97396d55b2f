//! hyper's own refusals, recognised by the bytes that hyper writes and by the texts of its errors.
//!
//! hyper's server itself responds to a head that it cannot read, without a hook for that response,
//! and `hyper::Error` distinguishes too few reasons (`is_parse_too_large` is true for a head and
//! for a target, and there is no predicate for a malformed target). So this file, and no other,
//! knows what hyper writes. Its tests run hyper itself and name the version that they were written
//! for.

use http::StatusCode;

/// Returns the status of a response that hyper itself has written: one write, a head without a
/// body, and without the header that each of our responses carries.
pub(super) fn rejection_status(written: &[u8]) -> Option<StatusCode> {
    let is_bare = written.len() < MAX_REJECTION_BYTES
        && written.starts_with(b"HTTP/1.1 4")
        && written.ends_with(b"\r\n\r\n")
        && !contains(written, b"x-content-type-options");
    let status = StatusCode::from_bytes(written.get(9..12).filter(|_| is_bare)?).ok()?;
    REJECTION_STATUSES.contains(&status).then_some(status)
}

/// Says whether hyper has refused the target of a request. `unread` holds the bytes that hyper had
/// received and not processed.
///
/// A space ends a target, so that hyper takes what follows it for a version.
pub(super) fn is_about_target(error: &hyper::Error, unread: &[u8]) -> bool {
    let line = unread.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    match error.to_string().as_str() {
        "invalid URI" => true,
        "invalid HTTP version parsed" => {
            line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")
        }
        _ => false,
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The statuses of hyper's own refusals: a malformed head, a target and a head beyond its limits.
const REJECTION_STATUSES: [StatusCode; 3] = [
    StatusCode::BAD_REQUEST,
    StatusCode::URI_TOO_LONG,
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
];

/// hyper's refusals have about 85 bytes: status line, `content-length` and `date`.
const MAX_REJECTION_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// The version of hyper that the rest of this file was checked against.
    const HYPER: &str = "1.12.0";

    #[test]
    fn the_words_of_hyper_were_checked_against_this_version() {
        let lock = include_str!("../../Cargo.lock").replace('\r', "");

        assert!(
            lock.contains(&format!("name = \"hyper\"\nversion = \"{HYPER}\"\n")),
            "hyper is no longer {HYPER}: look for an API in place of hyper_rejection.rs, or see \
             that its tests still hold, and name the new version"
        );
    }

    #[tokio::test]
    async fn every_refusal_of_hyper_is_recognised_and_its_reason_known() {
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(65_535));
        let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(200_000));
        for (request, status, about_target) in [
            ("G@T / HTTP/1.1\r\n\r\n", 400, false),
            ("GET / HTTP/1.2\r\n\r\n", 400, false),
            ("GET / HTTP/1.1\r\na b: c\r\n\r\n", 400, false),
            ("GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400, false),
            ("GET /a b HTTP/1.1\r\n\r\n", 400, true),
            ("GET /\u{7f} HTTP/1.1\r\n\r\n", 400, true),
            ("GET a/b HTTP/1.1\r\n\r\n", 400, true),
            (&long, 414, false),
            (&large, 431, false),
        ] {
            let (written, error, unread) = refused(request).await;
            let shown: String = request.chars().take(40).collect();

            assert!(error.is_parse(), "{shown}: {error}");
            assert_eq!(error.is_parse_too_large(), status != 400, "{shown}: {error}");
            assert_eq!(rejection_status(&written).map(|it| it.as_u16()), Some(status), "{shown}");
            assert_eq!(is_about_target(&error, &unread), about_target, "{shown}: {error}");
        }
    }

    #[test]
    fn a_response_of_ours_is_none_of_hypers() {
        for head in [
            "HTTP/1.1 400 Bad Request\r\nx-content-type-options: nosniff\r\n\r\n",
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            "\r\n",
            "",
        ] {
            assert_eq!(rejection_status(head.as_bytes()), None, "{head}");
        }
    }

    /// Sends a request to hyper, and returns the bytes that hyper writes, its error, and the bytes
    /// that it has not read.
    async fn refused(request: &str) -> (Vec<u8>, hyper::Error, Vec<u8>) {
        let (near, mut far) = duplex(1 << 20);
        far.write_all(request.as_bytes()).await.unwrap();
        far.shutdown().await.unwrap();
        let never = service_fn(async |_: Request<Incoming>| {
            Ok::<_, Infallible>(Response::new(String::new()))
        });
        let mut http = http1::Builder::new();
        let mut connection = http
            .max_header_size(128 << 10)
            .half_close(true)
            .serve_connection(TokioIo::new(near), never);
        let error = (&mut connection).await.expect_err(request);
        let unread = connection.into_parts().read_buf.to_vec();
        let mut written = vec![];
        far.read_to_end(&mut written).await.unwrap();
        (written, error, unread)
    }
}
