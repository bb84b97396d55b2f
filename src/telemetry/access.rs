//! The line that each request leaves behind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};

/// What is told of one request: never its query, its headers or its bodies.
#[derive(Debug)]
pub struct Access {
    id: u64,
    method: Method,
    path: String,
    status: Option<StatusCode>,
}

impl Access {
    /// Begins a line, if anybody wants to read it.
    pub fn wanted(method: &Method, path: &str) -> Option<Self> {
        tracing::enabled!(target: TARGET, tracing::Level::DEBUG).then(|| Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            method: method.clone(),
            path: path.to_owned(),
            status: None,
        })
    }

    /// Notes the answer's status.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Writes the line. Without a status the caller left before it was answered.
    pub fn log(self, elapsed: Duration) {
        let Self { id: request_id, method, path, status } = self;
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        match status.map(|status| status.as_u16()) {
            Some(status) => tracing::debug!(
                target: TARGET, request_id, %method, path, status, elapsed_ms, "request"
            ),
            None => tracing::debug!(
                target: TARGET, request_id, %method, path, elapsed_ms, "request abandoned"
            ),
        }
    }
}

/// The target of request lines, for `log.level` directives.
pub const TARGET: &str = "nexudus_proxy::access";

static NEXT: AtomicU64 = AtomicU64::new(1);
