//! A look at the engine, for `doctor`: whether a fleet works on it, and how safely.

use std::time::UNIX_EPOCH;

use shared_session::engine::{ConnectError, Examination, Finding, Level, Transport, examine};

use super::convert::millis;
use super::{EngineReport, Fleet};

impl Fleet {
    /// Tries everything that a member does on the engine, with keys of its own.
    ///
    /// # Errors
    ///
    /// Why there is no connection.
    pub async fn examine(&self) -> Result<EngineReport, String> {
        let (options, clock) = (self.options().clone(), self.clock().clone());
        let wall = move || millis(clock.now().wall.duration_since(UNIX_EPOCH).unwrap_or_default());
        let found = examine(options, wall).await;
        found.map(|found| report(&found)).map_err(|error: ConnectError| error.to_string())
    }
}

fn report(found: &Examination) -> EngineReport {
    let findings = found.findings();
    let is = |level: Level| findings.iter().any(|finding| finding.level() == level);
    let lacks_rights = findings.iter().any(|finding| matches!(finding, Finding::Denied(_)));
    // The worst finding comes first.
    let fix = match findings.iter().find_map(Finding::hint) {
        Some(hint) if lacks_rights => Some(format!("{hint} `{}`", found.acl)),
        hint => hint.map(str::to_owned),
    };
    let told = findings.iter().map(ToString::to_string);
    let parts: Vec<_> = std::iter::once(summary(found)).chain(told).collect();
    let (is_wrong, is_risky) = (is(Level::Wrong), is(Level::Risky));
    EngineReport { finding: parts.join("; "), is_wrong, is_risky, fix }
}

fn summary(found: &Examination) -> String {
    let program = match &found.program {
        Some((program, version)) => format!("{program} {version}"),
        None => "an engine".to_owned(),
    };
    let transport = match found.transport {
        Transport::Tls => "TLS",
        Transport::Loopback => "loopback",
        Transport::Unix => "a Unix socket",
    };
    format!("{program} over {transport}, round trip {} ms", found.round_trip.as_millis())
}
