//! `fleet`: the machines that share one session, and how one of them leaves.

use clap::Subcommand;
use serde_json::json;

use super::daemon_client::with_daemon;
use super::globals::GlobalArgs;
use super::prompt::confirm;
use super::visible::visible;
use super::{CliError, Printer};
use crate::admin::api::{FleetMember, FleetRole, FleetStatus, LanePace};
use crate::admin::format::{format_duration, pluralize};
use crate::problem::ExitCode;

/// The arguments of `fleet`.
#[derive(clap::Args, Debug)]
pub(super) struct FleetArgs {
    #[command(subcommand)]
    action: Option<FleetAction>,
}

#[derive(Debug, Subcommand)]
enum FleetAction {
    /// Show the machines that share the session, and the engine between them
    Status,
    /// Take this machine off the list: it serves no token until its daemon restarts
    Leave {
        /// Leave without asking
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the action.
pub(super) fn run(
    options: FleetArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    match options.action.unwrap_or(FleetAction::Status) {
        FleetAction::Status => status(globals, print),
        FleetAction::Leave { yes } => leave(yes, globals, print),
    }
}

fn status(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let fleet = require_fleet(globals)?;
    if globals.json {
        return print.json(&json!(fleet));
    }
    for (name, value) in rows(&fleet) {
        print.line(&format!("{name:<10} {value}"))?;
    }
    Ok(())
}

fn leave(yes: bool, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    require_fleet(globals)?;
    let question = "This machine serves no token until its daemon restarts. Leave the fleet?";
    if !yes && !confirm(question, "Give it with --yes.", print)? {
        return Err(CliError::message(ExitCode::Failed, "nothing has changed".to_owned(), None));
    }
    let fleet: FleetStatus =
        with_daemon(globals, async |daemon| Ok(daemon.post("/v1/fleet/leave").await?))?;
    if globals.json {
        return print.json(&json!(fleet));
    }
    print.line("left the fleet; the session of the others goes on")?;
    print.note("a restart joins it again, unless fleet.engine is empty by then");
    Ok(())
}

/// Asks whether the session of several machines may end, or be locked; says what else one can do.
pub(super) fn confirm_for_all(
    action: &str,
    yes: bool,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    // The daemon that serves is in the fleet, whatever the configuration of this user says. Without a
    // daemon, only this machine is told.
    let fleet = ask(globals).unwrap_or_default();
    let members = fleet.members.iter().filter(|member| member.is_present()).count();
    if members < 2 {
        return Ok(());
    }
    let question = format!("This {action} the session of {members} members. Go on?");
    if confirm(&question, "Give it with --yes.", print)? {
        return Ok(());
    }
    Err(CliError::message(
        ExitCode::Failed,
        "nothing has changed".to_owned(),
        Some("`nexudus-proxy lock --here` and `nexudus-proxy fleet leave` are for this one."),
    ))
}

fn ask(globals: &GlobalArgs) -> Result<FleetStatus, CliError> {
    with_daemon(globals, async |daemon| Ok(daemon.get("/v1/fleet").await?))
}

fn require_fleet(globals: &GlobalArgs) -> Result<FleetStatus, CliError> {
    let fleet = ask(globals)?;
    if fleet.configured {
        return Ok(fleet);
    }
    Err(CliError::message(
        ExitCode::Failed,
        "this machine shares its session with no other".to_owned(),
        Some("Set fleet.engine and restart the daemon; docs/fleet.md says how."),
    ))
}

fn rows(fleet: &FleetStatus) -> Vec<(&'static str, String)> {
    let mut rows = vec![("engine", engine(fleet))];
    let mut session = match fleet.generation {
        0 => "none yet".to_owned(),
        generation if fleet.committed => format!("generation {generation}"),
        generation => format!("generation {generation}, not yet in the engine"),
    };
    session.push_str(&format!(", epoch {}, fence {}", fleet.epoch, fleet.fence));
    rows.push(("session", session));
    rows.push(("role", role(fleet)));
    let states = [
        (fleet.locked, "locked"),
        (fleet.logged_out, "logged out"),
        (fleet.left, "this machine has left"),
        (fleet.apart, "this machine serves a session of its own, because it is cut off"),
        (fleet.behind, "the engine has lost what members know: nothing is spent meanwhile"),
    ];
    let states = states.into_iter().filter_map(|(applies, state)| applies.then_some(state));
    rows.extend(states.map(|state| ("state", state.to_owned())));
    let durability = fleet.durability.as_deref().unwrap_or("no write yet");
    rows.push(("durability", durability.to_owned()));
    rows.extend(fleet.paces.iter().map(|one| ("pace", pace(one))));
    rows.extend(fleet.members.iter().map(|one| ("member", member(one))));
    if fleet.clients_shared {
        rows.push(("clients", clients(fleet)));
    }
    if fleet.spares > 0 {
        let spares = pluralize(fleet.spares, "token pair");
        rows.push(("spares", format!("{spares} of logins that another login overtook")));
    }
    if fleet.strays > 0 {
        let strays = pluralize(fleet.strays, "session");
        rows.push(("strays", format!("{strays} of members that were cut off")));
    }
    rows
}

fn clients(fleet: &FleetStatus) -> String {
    let mut text = format!("{}, {} revoked", fleet.clients, fleet.clients_revoked);
    if fleet.clients_unopened > 0 {
        text.push_str(&format!(", {} refused: their records do not open", fleet.clients_unopened));
    }
    if fleet.clients_stale {
        text.push_str(
            "; callers with shared keys are refused until the engine is known to be current",
        );
    }
    text
}

fn role(fleet: &FleetStatus) -> String {
    match (fleet.role, fleet.lease.as_deref()) {
        (FleetRole::Holder, _) => "holder of the lease: this machine renews the session now".into(),
        (FleetRole::Member, None) => "member; the lease is free".to_owned(),
        (FleetRole::Member, Some("")) => "member; a member with another key has the lease".into(),
        (FleetRole::Member, Some(name)) => format!("member; {} has the lease", visible(name)),
    }
}

fn engine(fleet: &FleetStatus) -> String {
    let place = fleet.engine.as_deref().unwrap_or("not reached yet");
    let silence = fleet.silent_s.map(|silent| format!("silent for {}", format_duration(silent)));
    if fleet.connected {
        let trip = fleet.round_trip_ms.map(|ms| format!(", round trip {ms} ms"));
        return format!("{}{}", visible(place), trip.unwrap_or_default());
    }
    let trouble = fleet.trouble.as_deref().unwrap_or("not asked yet");
    let silence = silence.map(|silence| format!(", {silence}")).unwrap_or_default();
    format!("{}: {trouble}{silence}", visible(place))
}

fn pace(pace: &LanePace) -> String {
    let windows = pace.windows.join(" and ");
    let mut text = match pace.paced_by.as_str() {
        "fleet" => format!("{}: {windows}, paced by the fleet", pace.lane),
        "share" => format!("{}: {windows}, by a share while cut off from the fleet", pace.lane),
        _ => format!("{}: unpaced", pace.lane),
    };
    if let Some(path) = &pace.path {
        text.push_str(&format!(", for {}", visible(path)));
    }
    if let Some(paused) = pace.paused_ms {
        text.push_str(&format!(", paused {:.1} s by Nexudus", (paused as f64 / 1_000.0).max(0.1)));
    }
    text
}

fn member(member: &FleetMember) -> String {
    let name = member.name.as_deref().map_or("unreadable (another key)".into(), visible);
    let version = member.version.as_deref().map(|version| format!(" {}", visible(version)));
    let seen = match (member.here, member.is_present()) {
        (true, _) => "here".to_owned(),
        (false, true) => format!("lag {} s", member.seen_s),
        (false, false) => format!("not seen for {}", format_duration(member.seen_s)),
    };
    format!("{name}{}, {seen}", version.unwrap_or_default())
}
