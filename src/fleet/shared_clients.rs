//! The named clients of a fleet, as this machine's member knows them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The named clients of a fleet, and how old that knowledge may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedClients {
    /// Whether the member has read what it has kept.
    pub has_started: bool,
    /// The records, by identifier.
    pub records: Arc<BTreeMap<String, SharedClient>>,
    /// Whether these are all that the engine has, and the engine is current.
    pub is_known: bool,
    /// Until when callers with keys are served, on the boot clock; `None`: not before the fleet is
    /// heard of.
    pub serves_until: Option<Duration>,
}

/// A named client.
#[derive(Clone, PartialEq, Eq)]
pub enum SharedClient {
    /// The client is there.
    Live {
        /// Orders the records.
        fence: u64,
        /// The data that the machines keep about it: the hash of its key among others.
        payload: String,
    },
    /// Its key was revoked.
    Revoked,
    /// Its record does not open.
    Unopened,
}

impl fmt::Debug for SharedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live { fence, .. } => write!(f, "Live({fence})"),
            Self::Revoked => f.write_str("Revoked"),
            Self::Unopened => f.write_str("Unopened"),
        }
    }
}
