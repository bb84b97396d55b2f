//! `client`: named local keys, through the daemon that serves, or on the profile's file while none
//! runs. The next request sees the change.

use std::time::SystemTime;

use clap::Subcommand;
use serde_json::json;

use super::daemon_client::ClientStore;
use super::globals::GlobalArgs;
use super::{CliError, Printer, client_limits};
use crate::admin::client::Error;
use crate::clients::{ClientChange, ClientPolicy, ClientStatus};
use crate::config::{AnonymousAccess, Config, Rule, format_rate};

/// The arguments of `client`.
#[derive(clap::Args, Debug)]
pub(super) struct ClientArgs {
    #[command(subcommand)]
    action: ClientAction,
}

#[derive(Debug, Subcommand)]
enum ClientAction {
    /// Make a key for one tool and print it, once
    Add {
        /// The name in logs and in `client list`
        name: String,
        #[command(flatten)]
        limits: client_limits::LimitArgs,
    },
    /// Show every client, its limits and its use of them
    List,
    /// Make a client's key worthless, at once
    Revoke {
        /// The name of the client
        name: String,
    },
}

/// Runs the action.
pub(super) fn run(
    options: ClientArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    match options.action {
        ClientAction::Add { name, limits } => add(&name, limits, globals, print),
        ClientAction::List => list(globals, print),
        ClientAction::Revoke { name } => revoke(&name, globals, print),
    }
}

fn add(
    name: &str,
    flags: client_limits::LimitArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let limits = flags.limits(SystemTime::now());
    let clients = ClientStore::open(globals)?;
    let config = clients.config(globals)?;
    client_limits::check_rules(&limits, &config, print)?;
    let (expires, bypass) = (limits.expires, bypass_note(&limits, &config));
    let key = clients.apply(ClientChange::Add { name: name.to_owned(), limits })?;
    let key = key.ok_or(Error::VersionMismatch)?;
    // The key is printed only here, and once.
    if globals.json {
        print.json(&json!({
            "name": name,
            "key": key.expose(),
            "expires": expires.map(format_time),
        }))?;
    } else {
        print.line(key.expose())?;
    }
    if !globals.quiet {
        print.note(&anonymous_access_note(&config));
        if let Some(note) = bypass {
            print.note(&note);
        }
    }
    clients.announce(globals, print);
    Ok(())
}

/// Returns what clients without a key may still do.
fn anonymous_access_note(config: &Config) -> String {
    if config.listen.expose {
        return "Clients without a key are refused: listen.expose is set.".to_owned();
    }
    match config.policy.anonymous {
        AnonymousAccess::Full => {
            "Clients without a key may still do everything; policy.anonymous = \"read-only\" or \
             \"none\" changes that."
        }
        AnonymousAccess::ReadOnly => "Clients without a key may still read everything.",
        AnonymousAccess::None => "Clients without a key are refused.",
    }
    .to_owned()
}

/// Returns how limits can be bypassed on one machine, if there are any.
fn bypass_note(limits: &ClientPolicy, config: &Config) -> Option<String> {
    if *limits == ClientPolicy::default() {
        return None;
    }
    // Where clients without a key may do no more, leaving the key out bypasses nothing.
    let (leave_out, set_none) = match client_limits::access_without_key(limits, config) {
        Some(_) => ("leave the key out, or ", ", where policy.anonymous = \"none\""),
        None => ("", ""),
    };
    Some(format!(
        "On this machine a process of this user can go round these limits: it can {leave_out}make a \
         key of its own. They hold for another Unix user, or for a container that gets nothing but \
         the proxy's socket{set_none}."
    ))
}

fn list(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let clients = ClientStore::open(globals)?;
    let views = clients.list()?;
    clients.announce(globals, print);
    if globals.json {
        return print.json(&views.iter().map(client_json).collect());
    }
    let head = ["NAME", "MAY", "EXPIRES", "RATE", "USED"].map(str::to_owned);
    let rows = views.iter().map(|view| {
        let ClientStatus { name, limits, counted, .. } = view;
        let used = limits.max_requests.map(|most| match counted {
            Some(used) => format!("{used} of {most}"),
            None => format!("unknown of {most}"),
        });
        [
            name.clone(),
            limits.to_string(),
            limits.expires.map_or_else(|| "never".to_owned(), |at| format_expiry(view, at)),
            limits.rate.map_or_else(|| "-".to_owned(), format_rate),
            used.unwrap_or_else(|| "-".to_owned()),
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
    let texts =
        |rules: &[Rule]| rules.iter().map(Rule::as_str).map(str::to_owned).collect::<Vec<_>>();
    let ClientStatus { name, limits, is_expired: is_over, created, counted, .. } = view;
    json!({
        "name": name,
        "created": format_time(*created),
        "read_only": limits.read_only,
        "allow": texts(&limits.allow),
        "deny": texts(&limits.deny),
        "expires": limits.expires.map(format_time),
        "expired": is_over,
        "rate": limits.rate.map(format_rate),
        "max_requests": limits.max_requests,
        "used": counted,
    })
}

fn revoke(name: &str, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let clients = ClientStore::open(globals)?;
    clients.apply(ClientChange::Revoke { name: name.to_owned() })?;
    clients.announce(globals, print);
    if globals.json {
        print.json(&json!({ "name": name, "revoked": true }))
    } else {
        print.line(&format!("revoked {name}"))
    }
}

/// Formats a time as RFC 3339 wants it.
fn format_time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
