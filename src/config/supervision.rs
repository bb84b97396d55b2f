//! The sections by which a person supervises clients: `[approval]` and `[audit]`.

use std::path::PathBuf;
use std::time::Duration;

/// `[approval]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Longest time a request is held before it is answered that it waits for a person.
    pub hold: Duration,
    /// How long a person may take, and how long a yes or a no is good for.
    pub timeout: Duration,
}

/// `[audit]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Where the record is written.
    pub file: AuditFile,
    /// Longest time a request is held until it can be recorded.
    pub wait: Duration,
    /// The size at which a new file is begun, in bytes.
    pub size: u64,
    /// Refuse a write of a client that cannot be recorded.
    pub required: bool,
}

/// `audit.file`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditFile {
    /// Nowhere.
    Off,
    /// `audit.jsonl` in the profile's state directory.
    Auto,
    /// Here.
    Path(PathBuf),
}
