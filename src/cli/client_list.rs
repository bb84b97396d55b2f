//! `client list`: every client, its limits, and what it has used of them.

use std::time::SystemTime;

use serde_json::json;

use super::daemon_client::ClientStore;
use super::globals::GlobalArgs;
use super::{CliError, Printer};
use crate::clients::{Budget, BudgetStatus, ClientPolicy, ClientStatus, Metered};
use crate::config::{Rule, format_rate, format_size};

/// Prints every client, its limits and what it has used of them.
pub(super) fn list(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let clients = ClientStore::open(globals)?;
    let views = clients.list()?;
    clients.announce(globals, print);
    if globals.json {
        return print.json(&views.iter().map(client_json).collect());
    }
    let head = ["NAME", "MAY", "EXPIRES", "RATE", "USED"].map(str::to_owned);
    let rows = views.iter().map(|view| {
        let ClientStatus { name, limits, .. } = view;
        [
            name.clone(),
            limits.to_string(),
            limits.expires.map_or_else(|| "never".to_owned(), |at| format_expiry(view, at)),
            limits.rate.map_or_else(|| "-".to_owned(), format_rate),
            used(view),
        ]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    if views.is_empty() {
        let note = "There are no clients yet: `nexudus-proxy client add NAME` makes one.";
        print.note(&globals.as_typed(note));
        return Ok(());
    }
    print.table(&rows, "")
}

fn format_expiry(view: &ClientStatus, at: SystemTime) -> String {
    if view.is_expired { "expired".to_owned() } else { format_time(at) }
}

fn client_json(view: &ClientStatus) -> serde_json::Value {
    let ClientStatus { name, limits, is_expired: is_over, created, counted, .. } = view;
    let mut json = limits_json(limits);
    json["name"] = name.as_str().into();
    json["created"] = format_time(*created).into();
    json["expired"] = (*is_over).into();
    json["used"] = (*counted).into();
    json["budgets"] = json!(view.budgets);
    json
}

/// Returns the limits of a client as JSON.
pub(super) fn limits_json(limits: &ClientPolicy) -> serde_json::Value {
    let texts =
        |rules: &[Rule]| rules.iter().map(Rule::as_str).map(str::to_owned).collect::<Vec<_>>();
    json!({
        "read_only": limits.read_only,
        "allow": texts(&limits.allow),
        "deny": texts(&limits.deny),
        "ask": texts(&limits.ask),
        "max_writes": limits.budgets.writes.as_ref().map(Budget::format_count),
        "max_deletes": limits.budgets.deletes.as_ref().map(Budget::format_count),
        "max_bytes": limits.budgets.bytes.as_ref().map(Budget::format_bytes),
        "expires": limits.expires.map(format_time),
        "rate": limits.rate.map(format_rate),
        "max_requests": limits.max_requests,
        "origin": limits.origin,
        "redact": limits.redaction.mode,
        "resolve": limits.redaction.resolve,
        "share_tokens": limits.redaction.share_tokens,
    })
}

/// Returns what a client has used of what is limited, and when it comes back.
fn used(view: &ClientStatus) -> String {
    let unknown = || "unknown".to_owned();
    let all = view.limits.max_requests.map(|most| {
        let used = view.counted.map_or_else(unknown, |used| used.to_string());
        format!("{used} of {most}")
    });
    let budgets = view.budgets.iter().map(|BudgetStatus { metered, budget, used, back }| {
        let amount = |number: u64| match metered {
            Metered::Bytes => format_size(number),
            Metered::Requests | Metered::Writes | Metered::Deletes => number.to_string(),
        };
        let used = used.map_or_else(unknown, amount);
        let back = back.map(|at| format!(" until {}", format_time(at))).unwrap_or_default();
        format!("{used} of {} {}{back}", amount(budget.most), metered.as_str())
    });
    let all: Vec<_> = all.into_iter().chain(budgets).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}

/// Formats a time as RFC 3339 wants it.
pub(super) fn format_time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
