//! What a person may know about pacing.

use std::fmt;
use std::time::Duration;

use super::budget::Scope;
use super::window_inference::Window;

/// All kinds of requests at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ThrottleStatus {
    /// GET, HEAD and OPTIONS.
    pub reads: LimiterStatus,
    /// Everything else.
    pub writes: LimiterStatus,
    /// The daemon's own calls.
    pub own: LimiterStatus,
}

/// One kind of requests at one moment. Displayed, it is what `status` says.
#[derive(Clone, Debug, PartialEq)]
pub struct LimiterStatus {
    /// What is paced.
    pub paced: PacedScope,
    /// The shape of the paths that are paced, if it is not all.
    pub path: Option<String>,
    /// Time until which Nexudus has asked to wait.
    pub paused: Option<Duration>,
    /// Requests waiting for their turn.
    pub waiting: usize,
    /// Callers that they belong to.
    pub callers: usize,
    /// What may be sent, such as `10/100ms`; all of them hold at once.
    pub windows: Vec<Window>,
    /// Whether those were learned, and not configured.
    pub learned: bool,
    /// Requests sent this minute.
    pub minute: u64,
    /// Requests sent today (UTC).
    pub day: u64,
    /// Whether today's reach the least figure that Nexudus has published for a day.
    pub above_published: bool,
    /// Throttle answers since the start.
    pub throttled: u64,
    /// Requests sent again since the start.
    pub replayed: u64,
    /// Requests refused here since the start.
    pub refused: u64,
    /// Time that requests have waited since the start.
    pub waited: Duration,
}

/// What is paced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacedScope {
    /// Nothing.
    Nothing,
    /// One shape of paths.
    Shape,
    /// Every request of the kind.
    All,
}

impl From<&Scope> for PacedScope {
    fn from(scope: &Scope) -> Self {
        match scope {
            Scope::Nothing => Self::Nothing,
            Scope::Shape(_) => Self::Shape,
            Scope::All => Self::All,
        }
    }
}

impl fmt::Display for LimiterStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.paused {
            Some(left) => write!(f, "paused {:.1} s by Nexudus", at_least_a_tenth(left))?,
            None if self.paced == PacedScope::Nothing => f.write_str("unpaced")?,
            None if self.windows.is_empty() => f.write_str("throttled a moment ago")?,
            None => {
                let windows: Vec<_> = self.windows.iter().map(Window::to_string).collect();
                let how = if self.learned { "learned" } else { "configured" };
                write!(f, "{} ({how})", windows.join(" and "))?;
            }
        }
        if self.waiting > 0 {
            write!(f, ", {} waiting", self.waiting)?;
        }
        match &self.path {
            Some(path) => write!(f, ", for {path}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}", self.count, self.per)
    }
}

fn at_least_a_tenth(left: Duration) -> f64 {
    left.as_secs_f64().max(0.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_what_is_going_on() {
        let free = LimiterStatus {
            paced: PacedScope::Nothing,
            path: None,
            paused: None,
            waiting: 0,
            callers: 0,
            windows: vec![],
            learned: true,
            minute: 3,
            day: 30,
            above_published: false,
            throttled: 0,
            replayed: 0,
            refused: 0,
            waited: Duration::ZERO,
        };
        assert_eq!(free.to_string(), "unpaced");

        let left = Some(Duration::from_millis(800));
        let paused =
            LimiterStatus { paced: PacedScope::All, paused: left, waiting: 14, ..free.clone() };
        assert_eq!(paused.to_string(), "paused 0.8 s by Nexudus, 14 waiting");

        let windows = [(1, 100), (120, 60_000)]
            .map(|(count, per)| Window { count, per: Duration::from_millis(per) });
        let paced = LimiterStatus { paced: PacedScope::Shape, windows: windows.into(), ..free };
        let paced = LimiterStatus { path: Some("/api/spaces/*".into()), ..paced };
        assert_eq!(paced.to_string(), "1/100ms and 120/60s (learned), for /api/spaces/*");
    }
}
