//! The one vocabulary of log fields. A field that is not listed here is not logged.

/// Number of a local request, unique within the process.
pub const REQUEST_ID: &str = "request_id";
