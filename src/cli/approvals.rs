//! `approvals`: the calls that wait for a person, and the decision.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use super::daemon_client::{connect, with_daemon};
use super::globals::GlobalArgs;
use super::visible::{visible, visible_lines};
use super::{CliError, Printer, serve};
use crate::admin::api::{
    ApprovalDecision, ApprovalPhase, ApprovalRecord, Event, StandingRecord, WaitingCalls,
};
use crate::admin::client::AdminClient;
use crate::config::parse_duration;

/// The arguments of `approvals`.
#[derive(clap::Args, Debug)]
pub(super) struct ApprovalsArgs {
    #[command(subcommand)]
    action: Option<ApprovalsAction>,
}

#[derive(Debug, Subcommand)]
enum ApprovalsAction {
    /// Show the calls that wait, and the permissions that stand
    List,
    /// Show one call, byte for byte as it would be sent
    Show {
        /// As `approvals list` shows it
        id: String,
    },
    /// Let a call through, once, when its client sends it again
    Approve {
        /// As `approvals list` shows it
        #[arg(required = true)]
        ids: Vec<String>,
        /// As often as its client likes, for this time, e.g. 10m
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        during: Option<Duration>,
        /// And every other call of the client that the same rule asks about
        #[arg(long, requires = "during")]
        rule: bool,
    },
    /// Refuse a call, or end a permission that stands
    Deny {
        /// As `approvals list` shows it
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Print each call as it comes
    Watch,
}

/// Runs the action.
pub(super) fn run(
    options: ApprovalsArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    match options.action.unwrap_or(ApprovalsAction::List) {
        ApprovalsAction::List => list(globals, print),
        ApprovalsAction::Show { id } => show(&id, globals, print),
        ApprovalsAction::Approve { ids, during, rule } => {
            let for_s = during.map(|during| during.as_secs().max(1));
            let decision =
                ApprovalDecision { approve: true, for_s, by_rule: rule, ..<_>::default() };
            decide(&ids, &decision, globals, print)
        }
        ApprovalsAction::Deny { ids } => decide(&ids, &ApprovalDecision::default(), globals, print),
        ApprovalsAction::Watch => watch(globals, print),
    }
}

fn list(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let found: WaitingCalls =
        with_daemon(globals, async |daemon| Ok(daemon.get("/v1/approvals").await?))?;
    if globals.json {
        return print.json(&json!(found));
    }
    if found == WaitingCalls::default() {
        print.note("no call waits for a person");
        return Ok(());
    }
    let head = ["ID", "STATE", "CLIENT", "CALL", "RULE"].map(str::to_owned);
    let calls = found.calls.iter().map(|call| {
        let state = format!("{} ({} left)", phase(call.phase), left(call.left_s));
        let rules = call.rules.iter().map(|rule| visible(rule)).collect::<Vec<_>>().join(", ");
        [call.id.clone(), state, sender(call.client.as_deref(), call.uid), in_short(call), rules]
    });
    let standing = found.standing.iter().map(|it: &StandingRecord| {
        let state = format!("permitted ({} left)", left(it.left_s));
        let all = "every call of this rule".to_owned();
        [it.id.clone(), state, sender(it.client.as_deref(), it.uid), all, visible(&it.rule)]
    });
    let rows: Vec<_> = std::iter::once(head).chain(calls).chain(standing).collect();
    print.table(&rows, "")
}

fn show(id: &str, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let path = record_path(id);
    let call: ApprovalRecord = with_daemon(globals, async |daemon| Ok(daemon.get(&path).await?))?;
    if globals.json { print.json(&json!(call)) } else { print.line(&in_full(&call)) }
}

/// Returns the path of one call; what is no identifier is found nowhere.
fn record_path(id: &str) -> String {
    let is_plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    format!("/v1/approvals/{}", if is_plain { id } else { "-" })
}

fn decide(
    ids: &[String],
    decision: &ApprovalDecision,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let mut decided = vec![];
    for id in ids {
        let decision = ApprovalDecision { id: id.clone(), ..decision.clone() };
        let record: ApprovalRecord = with_daemon(globals, async |daemon| {
            Ok(daemon.post_json("/v1/approvals", &decision).await?)
        })?;
        if !globals.json {
            let done = if decision.approve { "approved" } else { "denied" };
            let call = if record.method.is_empty() { String::new() } else { in_short(&record) };
            print.line(format!("{done} {id} {call}").trim_end())?;
        }
        decided.push(record);
    }
    if globals.json {
        return print.json(&json!(decided));
    }
    if decision.approve && !globals.quiet {
        print.note("a call that is still held is sent now; another when its client sends it again");
    }
    Ok(())
}

/// Prints until the reader has gone or the daemon has ended.
fn watch(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    serve::control_runtime()?.block_on(async {
        let daemon = connect(globals).await?;
        let mut events = daemon.events("approval").await?;
        let mut seen = BTreeSet::new();
        while let Some(event) = events.try_next().await? {
            match event {
                Event::Approval(_) => {}
                Event::Ready(_)
                | Event::Session(_)
                | Event::Content(_)
                | Event::Request(_)
                | Event::Lost(_) => {
                    continue;
                }
            }
            for call in waiting(&daemon).await? {
                if seen.insert(call.id.clone()) && !print_call(&call, globals, print)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    })
}

async fn waiting(daemon: &AdminClient) -> Result<Vec<ApprovalRecord>, CliError> {
    let found: WaitingCalls = daemon.get("/v1/approvals").await?;
    let waiting = found.calls.into_iter().filter(|call| call.phase == ApprovalPhase::Waiting);
    Ok(waiting.collect())
}

/// Prints a call that has come; returns whether stdout is still read.
fn print_call(
    call: &ApprovalRecord,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<bool, CliError> {
    if globals.json {
        return print.stream_line(&json!(call).to_string());
    }
    let client = sender(call.client.as_deref(), call.uid);
    print.stream_line(&format!("{}  {client}  {}", call.id, in_short(call)))
}

/// Describes a call in one line: `DELETE coworker 1400100137: Ada Lovelace`.
fn in_short(call: &ApprovalRecord) -> String {
    let Some(subject) = &call.subject else {
        return format!("{} {}", visible(&call.method), visible(&call.target));
    };
    let action = match &call.command {
        Some(command) => format!("RUN {}", visible(command)),
        None => visible(&call.method),
    };
    let name = match (&call.name, &call.name_error) {
        (Some(name), _) => format!(": {}", visible(name)),
        (None, Some(error)) => format!(" (name unknown: {})", visible(error)),
        (None, None) => String::new(),
    };
    format!("{action} {}{name}", visible(subject))
}

fn in_full(call: &ApprovalRecord) -> String {
    let mut lines = vec![
        in_short(call),
        format!("state:   {}, {} left", phase(call.phase), left(call.left_s)),
        format!("asked:   {}", call.asked),
        format!("client:  {}", sender(call.client.as_deref(), call.uid)),
    ];
    lines.extend(call.rules.iter().map(|rule| format!("rule:    {}", visible(rule))));
    lines.push(format!("to:      {}", visible(&call.origin)));
    lines.push(format!("request: {} {}", visible(&call.method), visible(&call.target)));
    let headers = [("type", &call.content_type), ("coding", &call.content_encoding)];
    for (name, value) in headers {
        lines.extend(
            value.iter().map(|value| format!("{:<8} {}", format!("{name}:"), visible(value))),
        );
    }
    lines.push(format!("body:    {} bytes", call.body_bytes));
    if let Some(body) = call.body.as_ref().filter(|body| !body.is_empty()) {
        lines.push(visible_lines(body));
    }
    if let Some(base64) = &call.body_base64 {
        lines.push(format!("  base64: {base64}"));
    }
    lines.join("\n")
}

fn sender(client: Option<&str>, uid: Option<u32>) -> String {
    match (client, uid) {
        (Some(client), _) => client.to_owned(),
        (None, Some(uid)) => format!("no key (uid {uid})"),
        (None, None) => "no key".to_owned(),
    }
}

fn phase(phase: ApprovalPhase) -> &'static str {
    match phase {
        ApprovalPhase::Waiting => "waits",
        ApprovalPhase::Approved => "approved",
        ApprovalPhase::Denied => "denied",
        ApprovalPhase::Late => "too late",
    }
}

fn left(seconds: u64) -> String {
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    let duration = parse_duration(text).filter(|duration| !duration.is_zero());
    duration.ok_or("a duration is written 30s, 10m or 1h")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_shown_with_a_name_and_with_every_character_of_it() {
        let mut call = ApprovalRecord {
            method: "DELETE".to_owned(),
            target: "/api/spaces/coworkers/1400100137".to_owned(),
            subject: Some("coworker 1400100137".to_owned()),
            name: Some("Ada\u{202e} Lovelace".to_owned()),
            body: Some("{\u{1b}}".to_owned()),
            body_bytes: 3,
            ..ApprovalRecord::default()
        };
        assert_eq!(in_short(&call), "DELETE coworker 1400100137: Ada⟨U+202E⟩ Lovelace");
        assert!(in_full(&call).ends_with("body:    3 bytes\n  | {⟨U+001B⟩}"), "{}", in_full(&call));

        call.name = None;
        call.name_error = Some("Nexudus responded with 404".to_owned());
        call.command = Some("COWORKER_DELETE".to_owned());
        assert_eq!(
            in_short(&call),
            "RUN COWORKER_DELETE coworker 1400100137 (name unknown: Nexudus responded with 404)"
        );
        call.subject = None;
        assert_eq!(in_short(&call), "DELETE /api/spaces/coworkers/1400100137");
    }
}
