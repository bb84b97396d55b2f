//! `client`: named local keys. Works on the profile's file, whether a daemon runs or not; one that
//! does sees the change with the next request.

use std::time::SystemTime;

use clap::Subcommand;
use serde_json::json;

use super::running::in_effect;
use super::{Failure, Globals, Print, limits};
use crate::clients::{self, Clients, Limits, View};
use crate::clock::Clock;
use crate::config::{Anonymous, Config, Rule, in_profile, write_pace};

/// What `client` takes.
#[derive(clap::Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make a key for one tool and print it, once
    Add {
        /// What to call it, in logs and in `client list`
        name: String,
        #[command(flatten)]
        limits: limits::Flags,
    },
    /// Show every client, its limits and what it has used of them
    List,
    /// Make a client's key worthless, at once
    Revoke {
        /// Which
        name: String,
    },
}

/// Runs one of them.
pub(super) fn run(options: Options, globals: &Globals, print: Print) -> Result<(), Failure> {
    match options.act {
        Act::Add { name, limits } => add(&name, limits, globals, print),
        Act::List => list(globals, print),
        Act::Revoke { name } => revoke(&name, globals, print),
    }
}

fn add(name: &str, flags: limits::Flags, globals: &Globals, print: Print) -> Result<(), Failure> {
    let loaded = globals.load(vec![])?;
    let limits = flags.limits(SystemTime::now());
    // What the daemon lets through is known to it alone, where one runs.
    let (config, _) = in_effect(&loaded)?;
    limits::check(&limits, &config, print)?;
    let (expires, gone_round) = (limits.expires, gone_round(&limits, &config));
    let key = clients::add(&loaded.paths.profile_state(), name, limits)?;
    // The one place where a key is shown, and the only time.
    match globals.json {
        true => print.json(&json!({
            "name": name,
            "key": key.expose(),
            "expires": expires.map(written),
        }))?,
        false => print.line(key.expose())?,
    }
    if !globals.quiet {
        print.note(&keyless(&config));
        if let Some(said) = gone_round {
            print.note(&said);
        }
    }
    Ok(())
}

/// Says what a limited key does not keep anybody from.
fn keyless(config: &Config) -> String {
    if config.listen.expose {
        return "Callers without a key are refused: listen.expose is set.".to_owned();
    }
    match config.policy.anonymous {
        Anonymous::Full => {
            "Callers without a key may still do everything; policy.anonymous = \"read-only\" or \
             \"none\" changes that."
        }
        Anonymous::ReadOnly => "Callers without a key may still read everything.",
        Anonymous::None => "Callers without a key are refused.",
    }
    .to_owned()
}

/// Says what limits are worth on one machine, if there are any.
fn gone_round(limits: &Limits, config: &Config) -> Option<String> {
    if *limits == Limits::default() {
        return None;
    }
    // Where callers without a key may do no more, leaving it out is no way round.
    let (leave_out, set_none) = match limits::wider_without_key(limits, config) {
        Some(_) => ("leave the key out, or ", ", where policy.anonymous = \"none\""),
        None => ("", ""),
    };
    Some(format!(
        "On this machine a process of this user can go round these limits: it can {leave_out}make a \
         key of its own. They hold for another Unix user, or for a container that gets nothing but \
         the proxy's socket{set_none}."
    ))
}

fn list(globals: &Globals, print: Print) -> Result<(), Failure> {
    let paths = globals.sources(vec![]).paths()?;
    let directory = paths.profile_state();
    // Whatever is wrong with the file is told here; the view below only says that something is.
    clients::list(&directory)?;
    let views = Clients::new(&directory, Clock::system()).view().unwrap_or_default();
    if globals.json {
        return print.json(&views.iter().map(shown).collect());
    }
    let head = ["NAME", "MAY", "EXPIRES", "RATE", "USED"].map(str::to_owned);
    let rows = views.iter().map(|view| {
        let View { name, limits, counted, .. } = view;
        let used = limits.max_requests.map(|most| match counted {
            Some(used) => format!("{used} of {most}"),
            None => format!("unknown of {most}"),
        });
        [
            name.clone(),
            limits.to_string(),
            limits.expires.map_or_else(|| "never".to_owned(), |at| expiry(view, at)),
            limits.rate.map_or_else(|| "-".to_owned(), write_pace),
            used.unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    match views.is_empty() {
        true => {
            let said = "There are no clients yet: `nexudus-proxy client add NAME` makes one.";
            print.note(&in_profile(said, &paths.profile));
            Ok(())
        }
        false => print.table(&rows, ""),
    }
}

fn expiry(view: &View, at: SystemTime) -> String {
    match view.is_over {
        true => "expired".to_owned(),
        false => written(at),
    }
}

fn shown(view: &View) -> serde_json::Value {
    let texts =
        |rules: &[Rule]| rules.iter().map(Rule::text).map(str::to_owned).collect::<Vec<_>>();
    let View { name, limits, is_over, created, counted, .. } = view;
    json!({
        "name": name,
        "created": written(*created),
        "read_only": limits.read_only,
        "allow": texts(&limits.allow),
        "deny": texts(&limits.deny),
        "expires": limits.expires.map(written),
        "expired": is_over,
        "rate": limits.rate.map(write_pace),
        "max_requests": limits.max_requests,
        "used": counted,
    })
}

fn revoke(name: &str, globals: &Globals, print: Print) -> Result<(), Failure> {
    let directory = globals.sources(vec![]).paths()?.profile_state();
    clients::revoke(&directory, name)?;
    match globals.json {
        true => print.json(&json!({ "name": name, "revoked": true })),
        false => print.line(&format!("revoked {name}")),
    }
}

/// Writes a time as RFC 3339 wants it.
fn written(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
