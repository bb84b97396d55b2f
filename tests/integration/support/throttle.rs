//! The requests of a throttled caller, and the limits of a simulated Nexudus.

use std::time::Duration;

use nexudus_proxy::throttle;
use nexudus_simulator::{CounterKey, Scope, Simulator, Window};

use crate::support::Daemon;

/// The requests of a crowd.
#[derive(Clone, Copy)]
pub enum Kind {
    Read,
    Write,
}

impl Kind {
    /// Asks for the `number`th time.
    pub async fn ask(self, daemon: &Daemon, number: usize) -> u16 {
        let answer = match self {
            Self::Read => daemon.get(READ).await,
            Self::Write => daemon.post(WRITE, &format!("{{\"FullName\":\"{number}\"}}")).await,
        };
        answer.status().as_u16()
    }

    /// Returns the pace of such requests.
    pub fn view(self, daemon: &Daemon) -> throttle::LimiterStatus {
        let view = daemon.running.throttle().status();
        match self {
            Self::Read => view.reads,
            Self::Write => view.writes,
        }
    }

    /// Returns when each of them arrived, in milliseconds, and how it was answered.
    pub fn seen(self, upstream: &Simulator) -> Vec<(u64, u16)> {
        let target = match self {
            Self::Read => READ,
            Self::Write => WRITE,
        };
        let seen = upstream.requests().into_iter().filter(|seen| seen.target == target);
        seen.map(|seen| (seen.arrived_ms, seen.status.unwrap_or_default())).collect()
    }
}

pub fn window(limit: u32, millis: u64, scope: Scope) -> Window {
    Window { limit, per: Duration::from_millis(millis), scope, key: CounterKey::Global }
}

pub const READ: &str = "/api/spaces/coworkers?size=1";

pub const WRITE: &str = "/api/spaces/coworkers";
