//! The engine of a fleet.

use super::check::{CheckOutcome, fail, ok, outcome_of, skip, warn};
use crate::admin::format::pluralize;
use crate::clock::Clock;
use crate::config::Config;
use crate::fleet::{Fleet, FleetStatus};

/// Examines the engine, if the configuration names one. The secrets of a service are not this
/// person's: while it serves, their absence here is no fault.
pub(super) async fn engine(
    config: &Config,
    is_served: bool,
    status: Option<&FleetStatus>,
) -> Option<CheckOutcome> {
    match status.map_or(0, |status| status.clients_unopened) {
        0 => {}
        number => return Some(unopened(number)),
    }
    let fleet = match Fleet::from_config(config, &Clock::system()).await {
        Ok(fleet) => fleet?,
        Err(error) if is_served => return Some(skip(format!("not examined from here: {error}"))),
        Err(error) => return Some(outcome_of(&error)),
    };
    Some(match fleet.examine().await {
        Err(error) => fail(
            format!("the engine of the fleet cannot be reached: {error}"),
            "Correct `fleet.engine`, or look at the engine; requests are served meanwhile.",
        ),
        Ok(report) if report.is_wrong => {
            fail(report.finding, report.fix.unwrap_or_else(|| LOOK.to_owned()))
        }
        Ok(report) if report.is_risky => {
            warn(report.finding, report.fix.unwrap_or_else(|| LOOK.to_owned()))
        }
        Ok(report) => ok(report.finding),
    })
}

fn unopened(number: u64) -> CheckOutcome {
    let finding = format!("the fleet's records of {} do not open", pluralize(number, "client"));
    fail(
        finding,
        "Give this machine the keys of the fleet; if it has them, revoke these clients and add them \
         again: another program writes to the engine.",
    )
}

const LOOK: &str = "Look into the log of the engine.";
