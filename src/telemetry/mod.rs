//! Logs, metrics and records of requests. Nothing here decides anything.
//!
//! One vocabulary of log fields: `request_id method path status elapsed_s bytes peer uid pid
//! program client code trace_id generation attempt retry_in_s expires_in_s slept_s address origin
//! signal in_flight error cause failed failure count limit thread threads queries bodies`. `path` is without its query.
//! A duration is a number of seconds, and the name of its field ends in `_s`.

mod access_log;
mod broadcast;
mod capture;
mod data_threads;
mod ended_request;
mod format;
#[cfg(unix)]
mod journal;
mod json_format;
mod log_line;
mod logs;
mod metrics;
mod nonblocking;
mod repeats;
mod request_record;
mod timing;
mod traceparent;
mod truncate;
mod upstream_errors;

pub use self::access_log::{AccessEntry, Telemetry};
pub use self::broadcast::{BroadcastItem, RequestBroadcast, RequestReceiver};
pub use self::capture::{Capture, CaptureReader, CaptureScope, CapturedBody, Captures};
pub use self::data_threads::{DataThreads, ThreadConnection, ThreadLoad};
pub use self::ended_request::{PeerInfo, Process, ResponseInfo};
#[cfg(unix)]
pub use self::journal::set_log_ending;
pub use self::logs::{Error, LineFormat, LogFilter, LogGuard, dropped, set_level, start};
pub use self::metrics::{
    ActionFailure, BUCKET_BOUNDS, Histogram, METHOD_KINDS, Metrics, OpenConnection, STATUS_CLASSES,
};
pub use self::repeats::Repeats;
pub use self::request_record::{RequestRecord, RequestTimes};
pub use self::timing::{RequestTiming, STAGES, Stage, Step};
pub use self::truncate::{escape_truncated, truncate};
pub use self::upstream_errors::UpstreamErrors;
