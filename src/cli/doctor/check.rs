//! The result of one check, and how it is made.

use std::future::Future;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::admin::api::SelfCheck;
use crate::cli::CliError;
use crate::problem::{Problem, Report};

/// One check, as it is printed.
#[derive(Debug, Serialize)]
pub(super) struct CheckResult {
    pub(super) check: &'static str,
    pub(super) verdict: CheckStatus,
    pub(super) finding: String,
    pub(super) fix: Option<String>,
    pub(super) elapsed_ms: u64,
}

/// The result of a check, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CheckStatus {
    Ok,
    Warn,
    Fail,
    Skip,
}

/// The outcome of a check, before its time is known.
#[derive(Debug)]
pub(super) struct CheckOutcome {
    pub(super) verdict: CheckStatus,
    pub(super) finding: String,
    pub(super) fix: Option<String>,
}

impl CheckResult {
    /// Adds the name and the time of the check.
    pub(super) fn new(check: &'static str, finding: CheckOutcome, elapsed: Duration) -> Self {
        let CheckOutcome { verdict, finding, fix } = finding;
        let elapsed_ms = elapsed.as_millis().try_into().unwrap_or(u64::MAX);
        Self { check, verdict, finding, fix, elapsed_ms }
    }

    /// Takes over a check that the daemon has made; one that this version does not know keeps its
    /// place under `daemon`.
    pub(super) fn from_daemon(made: SelfCheck, elapsed: Duration) -> Self {
        let check = ["store", "login"].into_iter().find(|name| *name == made.check);
        let verdict = match made.verdict.as_str() {
            "ok" => CheckStatus::Ok,
            "skip" => CheckStatus::Skip,
            "fail" => CheckStatus::Fail,
            _ => CheckStatus::Warn,
        };
        let outcome = CheckOutcome { verdict, finding: made.finding, fix: made.fix };
        Self::new(check.unwrap_or("daemon"), outcome, elapsed)
    }
}

/// The check passed.
pub(super) fn ok(finding: impl Into<String>) -> CheckOutcome {
    CheckOutcome { verdict: CheckStatus::Ok, finding: finding.into(), fix: None }
}

/// The check passed, and a person should know more.
pub(super) fn warn(finding: impl Into<String>, fix: impl Into<String>) -> CheckOutcome {
    CheckOutcome { verdict: CheckStatus::Warn, finding: finding.into(), fix: Some(fix.into()) }
}

/// The check failed.
pub(super) fn fail(finding: impl Into<String>, fix: impl Into<String>) -> CheckOutcome {
    CheckOutcome { verdict: CheckStatus::Fail, finding: finding.into(), fix: Some(fix.into()) }
}

/// The check could not be made.
pub(super) fn skip(finding: impl Into<String>) -> CheckOutcome {
    CheckOutcome { verdict: CheckStatus::Skip, finding: finding.into(), fix: None }
}

/// Puts the first report of a problem on one line.
pub(super) fn outcome_of(problem: &impl Problem) -> CheckOutcome {
    failed_with(Report::all(problem))
}

/// Does the same for a failure of a command.
pub(super) fn reported(error: &CliError) -> CheckOutcome {
    failed_with(error.reports())
}

fn failed_with(reports: Vec<Report>) -> CheckOutcome {
    let Report { message, causes, hint } = reports.into_iter().next().unwrap_or_default();
    let parts: Vec<_> = std::iter::once(message).chain(causes).collect();
    CheckOutcome { verdict: CheckStatus::Fail, finding: parts.join(": "), fix: hint }
}

/// Runs a check and measures its time.
pub(super) async fn timed(
    check: &'static str,
    work: impl Future<Output = CheckOutcome>,
) -> CheckResult {
    let began = Instant::now();
    let finding = work.await;
    CheckResult::new(check, finding, began.elapsed())
}
