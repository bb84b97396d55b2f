//! The JSON of the last day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `GET /v1/history`: the last day, a column for each figure, an element for each minute.
///
/// `?after=SECONDS` leaves out the minutes that began at that time or before. The last minute is the
/// one that runs: its figures still grow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HistoryReport {
    /// [`super::API_VERSION`].
    pub api: u32,
    /// When the daemon started. All times are seconds since 1970.
    pub started: u64,
    /// The present time.
    pub now: u64,
    /// Length of a minute, in seconds.
    pub step_s: u64,
    /// Most minutes that are kept.
    pub capacity: usize,
    /// When each minute began.
    pub time: Vec<u64>,
    /// Requests that ended in it, by class of status: `2xx`, …; `none`: the client left first.
    pub requests: BTreeMap<String, Vec<u64>>,
    /// Percentiles in milliseconds, such as `upstream_p95`; `None` without a request. Estimated within
    /// the buckets of the metrics.
    pub latency_ms: BTreeMap<String, Vec<Option<f32>>>,
    /// Throttle responses of Nexudus.
    pub throttled: Vec<u64>,
    /// Requests in the queue at its end.
    pub waiting: Vec<u64>,
    /// Local connections at its end.
    pub connections: Vec<u64>,
    /// Resident memory of the daemon at its end, where the system tells.
    pub memory_bytes: Vec<Option<u64>>,
    /// The latest events of the session, oldest first.
    pub events: Vec<SessionEvent>,
}

/// An event of the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEvent {
    /// When, in seconds since 1970.
    pub time: u64,
    /// `started`, `login`, `resumed`, `renewed`, `failed`, `ready`, `unready` or `locked`.
    pub kind: String,
    /// One sentence.
    pub sentence: String,
}
