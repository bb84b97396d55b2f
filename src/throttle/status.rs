//! The pace of requests at one moment, for people and programs.

use serde::{Deserialize, Serialize};

use super::budget::Scope;
use super::shared_pace::KnownPace;

/// How fast requests may be sent to a host. Fields are added, never renamed or removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleStatus {
    /// GET, HEAD and OPTIONS.
    pub reads: LimiterStatus,
    /// All other methods.
    pub writes: LimiterStatus,
    /// The daemon's own calls, for tokens.
    pub own: LimiterStatus,
}

/// How fast one kind of requests may be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimiterStatus {
    /// For people: `unpaced`, `10/100ms (learned)`, `paused 0.8 s by Nexudus, 14 waiting`.
    pub state: String,
    /// The requests that are paced: `nothing`, `shape` or `all`.
    pub paced: String,
    /// The template of the paths that are paced, unless all are.
    pub path: Option<String>,
    /// Time until which Nexudus has asked to wait.
    pub paused_ms: Option<u64>,
    /// Requests in the queue.
    pub waiting: u64,
    /// Clients that the requests in the queue belong to.
    pub callers: u64,
    /// The windows, such as `10/100ms`; all of them hold at once.
    pub windows: Vec<String>,
    /// Whether the windows were learned; else they are configured.
    pub learned: bool,
    /// Requests sent this minute.
    pub minute: u64,
    /// Requests sent today (UTC).
    pub day: u64,
    /// Whether today's reach the least figure that Nexudus has published for a day. It warns, and
    /// blocks nothing.
    pub above_published: bool,
    /// Throttle responses since the start.
    pub throttled: u64,
    /// Requests sent again since the start.
    pub replayed: u64,
    /// Requests refused here since the start.
    pub refused: u64,
    /// Time that requests have waited since the start.
    pub waited_ms: u64,
    /// Which machine decides when a request is sent: `machine` (this one alone), `fleet`, or `share`:
    /// this one by its share of the common pace, while it is cut off from the fleet.
    #[serde(default)]
    pub paced_by: String,
}

/// Returns who paces, as [`LimiterStatus::paced_by`] says it.
pub(super) fn paced_by(known: Option<&KnownPace>) -> &'static str {
    match known.filter(|known| !known.pace.windows.is_empty()) {
        None => MACHINE,
        Some(known) if known.is_apart => SHARE,
        Some(_) => FLEET,
    }
}

impl LimiterStatus {
    /// Returns the same with `paced`, `path` and `state`, which sums up the rest.
    pub(super) fn described(self, scope: &Scope) -> Self {
        let (paced, path) = match scope {
            Scope::Nothing => (NOTHING, None),
            Scope::Template(path) => ("shape", Some(path.clone())),
            Scope::All => ("all", None),
        };
        let status = Self { paced: paced.to_owned(), path, ..self };
        Self { state: status.describe(), ..status }
    }

    fn describe(&self) -> String {
        let mut state = match self.paused_ms {
            Some(left) => format!("paused {:.1} s by Nexudus", (left as f64 / 1_000.0).max(0.1)),
            None if self.paced == NOTHING => "unpaced".to_owned(),
            None if self.windows.is_empty() => "throttled a moment ago".to_owned(),
            None => {
                let origin = if self.learned { "learned" } else { "configured" };
                format!("{} ({origin})", self.windows.join(" and "))
            }
        };
        match self.paced_by.as_str() {
            FLEET => state += ", paced by the fleet",
            SHARE => state += ", by a share while cut off from the fleet",
            _ => {}
        }
        if self.waiting > 0 {
            state += &format!(", {} waiting", self.waiting);
        }
        if let Some(path) = &self.path {
            state += &format!(", for {path}");
        }
        state
    }
}

/// [`LimiterStatus::paced_by`]
const MACHINE: &str = "machine";
const FLEET: &str = "fleet";
const SHARE: &str = "share";

/// [`LimiterStatus::paced`] while no request is paced.
const NOTHING: &str = "nothing";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::throttle::window_inference::Window;

    #[test]
    fn the_state_says_what_is_going_on() {
        let free = LimiterStatus { learned: true, ..LimiterStatus::default() };
        assert_eq!(free.clone().described(&Scope::Nothing).state, "unpaced");

        let paused = LimiterStatus { paused_ms: Some(800), waiting: 14, ..free.clone() };
        let paused = paused.described(&Scope::All);
        assert_eq!(paused.state, "paused 0.8 s by Nexudus, 14 waiting");
        assert_eq!(paused.paced, "all");

        let windows = [(1, 100), (120, 60_000)]
            .map(|(count, per)| Window { count, per: Duration::from_millis(per) }.to_string());
        let paced = LimiterStatus { windows: windows.into(), ..free };
        let paced = paced.described(&Scope::Template("/api/spaces/*".to_owned()));
        assert_eq!(paced.state, "1/100ms and 120/60s (learned), for /api/spaces/*");
        assert_eq!((paced.paced.as_str(), paced.path.as_deref()), ("shape", Some("/api/spaces/*")));
    }
}
