//! `client`: named local keys, through the daemon that serves, or on the profile's file while none
//! runs. The next request sees the change.

use std::time::SystemTime;

use clap::Subcommand;
use serde_json::json;

use super::client_list::{format_time, limits_json, list};
use super::daemon_client::{ClientStore, FilesReason};
use super::globals::GlobalArgs;
use super::{CliError, Printer, client_limits, client_redaction};
use crate::admin::client::Error;
use crate::admin::format::pluralize;
use crate::clients::{
    self, ChangedKeys, ClientChange, ClientPolicy, ClientStatus, Limit, LimitChange, WebOrigin,
};
use crate::config::{AnonymousAccess, Config, format_rate};
use crate::gateway::Guide;
use crate::problem::{ExitCode, Report};
use crate::secret::Secret;

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
        /// Print beside it a text for the instructions of an agent that gets the key
        #[arg(long)]
        guide: bool,
        /// Let web pages of this origin send requests with the key, e.g. http://localhost:5173
        #[arg(long, value_name = "URL", value_parser = WebOrigin::parse)]
        origin: Option<WebOrigin>,
        // Last: its headings would go on.
        #[command(flatten)]
        limits: client_limits::LimitArgs,
    },
    /// Change the limits of a client; the key stays
    Set {
        /// The name of the client
        name: String,
        /// Let web pages of this origin, and of no other, send requests with the key
        #[arg(long, value_name = "URL", value_parser = WebOrigin::parse)]
        origin: Option<WebOrigin>,
        /// Print the text for the instructions of an agent, as the limits are then
        #[arg(long)]
        guide: bool,
        /// Remove this limit first; may be repeated
        #[arg(long, value_name = "LIMIT", help_heading = "Limits")]
        clear: Vec<ClearedLimit>,
        #[command(flatten)]
        limits: client_limits::LimitArgs,
    },
    /// Give a client a new key and print it, once; the old one is worthless at once
    Rotate {
        /// The name of the client
        name: String,
    },
    /// Show every client, its limits and its use of them
    List,
    /// Make a client's key worthless, at once
    Revoke {
        /// The name of the client
        name: String,
    },
}

/// A limit as the command line names it.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ClearedLimit {
    ReadOnly,
    Allow,
    Deny,
    Expires,
    Rate,
    MaxRequests,
    Ask,
    MaxWrites,
    MaxDeletes,
    MaxBytes,
    Origin,
    Redact,
    Resolve,
    ShareTokens,
}

impl From<ClearedLimit> for Limit {
    fn from(limit: ClearedLimit) -> Self {
        match limit {
            ClearedLimit::ReadOnly => Self::ReadOnly,
            ClearedLimit::Allow => Self::Allow,
            ClearedLimit::Deny => Self::Deny,
            ClearedLimit::Expires => Self::Expires,
            ClearedLimit::Rate => Self::Rate,
            ClearedLimit::MaxRequests => Self::MaxRequests,
            ClearedLimit::Ask => Self::Ask,
            ClearedLimit::MaxWrites => Self::MaxWrites,
            ClearedLimit::MaxDeletes => Self::MaxDeletes,
            ClearedLimit::MaxBytes => Self::MaxBytes,
            ClearedLimit::Origin => Self::Origin,
            ClearedLimit::Redact => Self::Redact,
            ClearedLimit::Resolve => Self::Resolve,
            ClearedLimit::ShareTokens => Self::ShareTokens,
        }
    }
}

/// Runs the action.
pub(super) fn run(
    options: ClientArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    match options.action {
        ClientAction::Add { name, limits, origin, guide } => {
            add(&name, (limits, origin), guide, globals, print)
        }
        ClientAction::Set { name, limits, origin, guide, clear } => {
            let is_given = |limit| limits.sets(limit) || limit == Limit::Origin && origin.is_some();
            let both = clear.iter().find(|limit| is_given(Limit::from(**limit)));
            if let Some(limit) = both.and_then(clap::ValueEnum::to_possible_value) {
                let limit = limit.get_name().to_owned();
                return Err(CliError::message(
                    ExitCode::Usage,
                    format!("`--{limit}` and `--clear {limit}` contradict each other"),
                    Some("Leave one out: a limit that is given takes the place of the old one."),
                ));
            }
            let clear = clear.into_iter().map(Limit::from).collect();
            let mut change = limits.change(SystemTime::now(), clear);
            change.given.origin = origin;
            set(&name, change, guide, globals, print)
        }
        ClientAction::Rotate { name } => rotate(&name, globals, print),
        ClientAction::List => list(globals, print),
        ClientAction::Revoke { name } => revoke(&name, globals, print),
    }
}

fn add(
    name: &str,
    (flags, origin): (client_limits::LimitArgs, Option<WebOrigin>),
    has_guide: bool,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let limits = ClientPolicy { origin, ..flags.limits(SystemTime::now()) };
    let clients = ClientStore::open(globals)?;
    let config = clients.config(globals)?;
    client_limits::check_rules(&limits, &config, print)?;
    let (expires, bypass) = (limits.expires, bypass_note(&limits, &config));
    let guide = has_guide.then(|| Guide::of_client(&limits, &config));
    let page = limits.origin.as_ref().map(page_note);
    let asking = asking_note(&limits, globals);
    let unredacted = client_redaction::bypass(&limits, &config);
    let keys = clients.apply(ClientChange::Add { name: name.to_owned(), limits }, print)?;
    let key = keys.new.ok_or(Error::VersionMismatch)?;
    let shown = match &guide {
        Some(guide) => show_key_and_guide(name, &key, expires, guide, globals, print),
        None => show_key(name, &key, expires, globals, print),
    };
    shown.map_err(|error| {
        let undone = clients.apply(ClientChange::Revoke { name: name.to_owned() }, print);
        unshown(error, undone, "the client was not added")
    })?;
    if !globals.quiet {
        print.note(&anonymous_access_note(&config));
        asking.iter().for_each(|note| print.note(note));
        bypass.into_iter().chain(page).for_each(|note| print.note(&note));
        unredacted.iter().for_each(|note| print.note(note));
    }
    if let Some(reason @ FilesReason::Refused { .. }) = clients.files_reason() {
        print.warning(&format!(
            "{reason}, and does not know this key: ask one of them to run {}",
            "`nexudus-proxy --system client add NAME`"
        ));
    }
    clients.announce(globals, print);
    Ok(())
}

fn set(
    name: &str,
    change: LimitChange,
    has_guide: bool,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let is_changed = !change.is_empty();
    if !is_changed && !has_guide {
        return Err(CliError::message(
            ExitCode::Usage,
            "there is no limit to change",
            Some("Name one, such as `--rate 5/s` or `--clear expires`; `--help` lists them."),
        ));
    }
    let clients = ClientStore::open(globals)?;
    let limits = change.apply(&find(&clients, name)?.limits);
    let config = clients.config(globals)?;
    let guide = has_guide.then(|| Guide::of_client(&limits, &config).text(name));
    if is_changed {
        client_limits::check_rules(&limits, &config, print)?;
        clients.apply(ClientChange::set(name, change), print)?;
    }
    if !globals.quiet {
        asking_note(&limits, globals).iter().for_each(|note| print.note(note));
    }
    clients.announce(globals, print);
    if globals.json {
        let mut json = limits_json(&limits);
        json["name"] = name.into();
        if let Some(guide) = guide {
            json["guide"] = guide.into();
        }
        return print.json(&json);
    }
    print.line(&format!("{name} may: {limits}{}", bounds(&limits)))?;
    guide.map_or(Ok(()), |guide| print.line(&format!("\n{guide}")))
}

/// Returns how a person answers the calls that a client asks about, if there are any.
fn asking_note(limits: &ClientPolicy, globals: &GlobalArgs) -> Option<String> {
    (!limits.ask.is_empty()).then(|| {
        globals.as_typed(
            "What it asks about waits for you: `nexudus-proxy approvals watch` tells of each call, \
             `nexudus-proxy approvals approve ID` lets it through.",
        )
    })
}

/// Returns the limits that say not what, but how much and how long.
fn bounds(limits: &ClientPolicy) -> String {
    let rate = limits.rate.map(|rate| format!("rate {}", format_rate(rate)));
    let count = limits.max_requests.map(|most| format!("{} in all", pluralize(most, "request")));
    let expires = limits.expires.map(|at| format!("expires {}", format_time(at)));
    let budgets = (!limits.budgets.is_empty()).then(|| limits.budgets.to_string());
    [rate, count, budgets, expires]
        .into_iter()
        .flatten()
        .map(|bound| format!("; {bound}"))
        .collect()
}

fn rotate(name: &str, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let clients = ClientStore::open(globals)?;
    let limits = find(&clients, name)?.limits;
    let keys = clients.apply(ClientChange::Rotate { name: name.to_owned() }, print)?;
    let key = keys.new.ok_or(Error::VersionMismatch)?;
    show_key(name, &key, limits.expires, globals, print).map_err(|error| {
        let Some(key) = keys.replaced else { return error };
        let undone = clients.apply(ClientChange::Restore { name: name.to_owned(), key }, print);
        unshown(error, undone, "the client keeps its old key")
    })?;
    clients.announce(globals, print);
    if limits.is_expired(SystemTime::now()) {
        print.warning(&globals.as_typed(&format!(
            "the client has expired: `nexudus-proxy client set {name} --clear expires` lets it in \
             again"
        )));
    }
    Ok(())
}

/// Returns the client of this name.
fn find(clients: &ClientStore, name: &str) -> Result<ClientStatus, CliError> {
    let found = clients.list()?.into_iter().find(|client| client.name == name);
    Ok(found.ok_or_else(|| clients::Error::Missing { name: name.to_owned() })?)
}

/// Prints a key: only here, and once. A reader that has gone did not get it.
fn show_key(
    name: &str,
    key: &Secret,
    expires: Option<SystemTime>,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let text = if globals.json {
        let expires = expires.map(format_time);
        format!("{:#}", json!({ "name": name, "key": key.expose(), "expires": expires }))
    } else {
        key.expose().to_owned()
    };
    match print.stream_line(&text)? {
        true => Ok(()),
        false => Err(CliError::Output(std::io::ErrorKind::BrokenPipe.into())),
    }
}

/// Prints a key, and the text for the agent that gets it.
fn show_key_and_guide(
    name: &str,
    key: &Secret,
    expires: Option<SystemTime>,
    guide: &Guide,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    if !globals.json {
        show_key(name, key, expires, globals, print)?;
        return print.line(&format!("\n{}", guide.text(name)));
    }
    let expires = expires.map(format_time);
    let json = json!({
        "name": name,
        "key": key.expose(),
        "expires": expires,
        "guide": guide.text(name),
    });
    match print.stream_line(&format!("{json:#}"))? {
        true => Ok(()),
        false => Err(CliError::Output(std::io::ErrorKind::BrokenPipe.into())),
    }
}

/// Says that a key was made and could not be shown, and what became of it.
fn unshown(error: CliError, undone: Result<ChangedKeys, CliError>, outcome: &str) -> CliError {
    let CliError::Output(source) = error else { return error };
    let mut causes = vec![source.to_string()];
    let outcome = match undone {
        Ok(_) => outcome.to_owned(),
        Err(error) => {
            causes.extend(error.reports().into_iter().map(|report| report.message));
            "and the new key could not be taken back".to_owned()
        }
    };
    CliError::Message {
        report: Report {
            message: format!("could not show the new key: {outcome}"),
            causes,
            hint: Some("Print it where there is room, or to a terminal.".to_owned()),
        },
        exit_code: ExitCode::Failed,
    }
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

/// Returns what a key for web pages means.
fn page_note(origin: &WebOrigin) -> String {
    format!(
        "Each script that a page of {origin} loads can use this key: give it no more than the page \
         needs (docs/web-apps.md)."
    )
}

/// Returns how limits can be bypassed on one machine, if there are any.
fn bypass_note(limits: &ClientPolicy, config: &Config) -> Option<String> {
    if limits.is_unlimited() {
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

fn revoke(name: &str, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let clients = ClientStore::open(globals)?;
    clients.apply(ClientChange::Revoke { name: name.to_owned() }, print)?;
    clients.announce(globals, print);
    if globals.json {
        print.json(&json!({ "name": name, "revoked": true }))
    } else {
        print.line(&format!("revoked {name}"))
    }
}
