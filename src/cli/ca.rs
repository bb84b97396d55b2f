//! `ca`: the two certificate authorities of the daemon that serves, and who trusts one of them.

mod trust;

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::daemon_client::with_daemon;
use super::globals::GlobalArgs;
use super::{CliError, Printer};
use crate::admin::api::{AuthorityReport, AuthorityRoot, AuthorityState};
use crate::admin::format::format_duration;
use crate::ca::{AuthorityKind, TrustEntry};
use crate::secure_fs;

/// The arguments of `ca`.
#[derive(clap::Args, Debug)]
pub(super) struct CaArgs {
    #[command(subcommand)]
    action: CaAction,
}

#[derive(Debug, Subcommand)]
enum CaAction {
    /// Show both: what each covers, until when, and where it is trusted
    Show,
    /// Print a root certificate, for programs that take a file of trusted roots
    Export {
        /// Which one
        kind: AuthorityName,
        /// Write it to this file
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Let this person's browsers and tools trust the localhost authority; the system's with --system
    Trust {
        /// Which one: localhost alone can be trusted
        #[arg(default_value = "localhost")]
        kind: AuthorityName,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Undo what `ca trust` has done
    Untrust,
    /// Make another authority; what trusts the old one has to trust the new one
    Rotate {
        /// Which one; without it, each that there is
        kind: Option<AuthorityName>,
    },
}

/// An authority as the command line names it.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum AuthorityName {
    Intercept,
    Localhost,
}

impl From<AuthorityName> for AuthorityKind {
    fn from(name: AuthorityName) -> Self {
        match name {
            AuthorityName::Intercept => Self::Intercept,
            AuthorityName::Localhost => Self::Localhost,
        }
    }
}

/// Runs the action.
pub(super) fn run(args: CaArgs, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    match args.action {
        CaAction::Show => show(globals, print),
        CaAction::Export { kind, output } => export(kind.into(), output, globals, print),
        CaAction::Trust { kind, yes } => trust::trust(kind.into(), yes, globals, print),
        CaAction::Untrust => trust::untrust(globals, print),
        CaAction::Rotate { kind } => rotate(kind.map(AuthorityKind::from), globals, print),
    }
}

fn show(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let reports: Vec<AuthorityReport> =
        with_daemon(globals, async |daemon| Ok(daemon.get("/v1/ca").await?))?;
    let trusted = trust::entries(globals)?;
    if globals.json {
        let described = reports.iter().map(|report| {
            let mut json = json!(report);
            let places: Vec<_> = of(report, &trusted).map(|entry| json!(entry.store)).collect();
            json["trusted"] = json!(places);
            json
        });
        return print.json(&described.collect());
    }
    for report in &reports {
        print.raw(describe(report, &trusted, globals, print).as_bytes())?;
    }
    Ok(())
}

/// Returns the places where the root of this report is trusted.
fn of<'a>(
    report: &'a AuthorityReport,
    trusted: &'a [TrustEntry],
) -> impl Iterator<Item = &'a TrustEntry> {
    trusted.iter().filter(|entry| report.sha256.as_ref() == Some(&entry.sha256))
}

fn describe(
    report: &AuthorityReport,
    trusted: &[TrustEntry],
    globals: &GlobalArgs,
    print: Printer,
) -> String {
    let mut rows = vec![("state", state(report).to_owned())];
    if let Some(name) = &report.name {
        rows.push(("root", name.clone()));
    }
    if !report.names.is_empty() {
        rows.push(("covers", report.names.join(", ")));
    }
    if let Some((end, left)) = report.not_after.as_ref().zip(report.expires_in_s) {
        rows.push(("until", format!("{end} ({})", format_duration(left))));
    }
    if let Some(sha256) = &report.sha256 {
        rows.push(("sha-256", sha256.clone()));
    }
    if let Some(file) = &report.file {
        rows.push(("file", file.display().to_string()));
    }
    if report.kind == AuthorityKind::Localhost && report.name.is_some() {
        let places: Vec<_> = of(report, trusted).map(|entry| entry.store.to_string()).collect();
        let nowhere = || "by nothing that `nexudus-proxy ca trust` has changed".to_owned();
        rows.push(("trusted", if places.is_empty() { nowhere() } else { places.join("; ") }));
    }
    if let Some(trouble) = report.trouble() {
        rows.push(("trouble", print.style("33", &trouble.finding)));
        rows.push(("", print.style("2", &globals.as_typed(&trouble.fix))));
    }
    let mut text = format!("{}\n", print.style("1", report.kind.name()));
    for (name, value) in rows {
        let name = print.style("2", &format!("{name:<8}"));
        text.push_str(format!("  {name} {value}").trim_end());
        text.push('\n');
    }
    text
}

fn state(report: &AuthorityReport) -> &'static str {
    match (report.state, report.durable) {
        (AuthorityState::None, _) => "none: nothing has needed one yet",
        (AuthorityState::Waiting, _) => "waits for the session's key",
        (AuthorityState::Stored, true) => "stored, sealed with the session's key",
        (AuthorityState::Stored, false) => {
            "stored, sealed with a key that is lost at the next reboot"
        }
        (AuthorityState::Memory, _) => "in memory: ends with the daemon",
        (AuthorityState::Unusable, _) => "unusable",
    }
}

/// Asks the daemon for an authority, which it makes if there is none.
fn fetch(path: &str, kind: AuthorityKind, globals: &GlobalArgs) -> Result<AuthorityRoot, CliError> {
    with_daemon(globals, async |daemon| {
        Ok(daemon.post_json(path, &json!({ "kind": kind })).await?)
    })
}

fn export(
    kind: AuthorityKind,
    output: Option<PathBuf>,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let root = fetch("/v1/ca/export", kind, globals)?;
    if let Some(path) = &output {
        secure_fs::atomic_write(path, root.pem.as_bytes()).map_err(CliError::Output)?;
    }
    if globals.json {
        print.json(&json!(root))?;
    } else if output.is_none() {
        print.raw(root.pem.as_bytes())?;
    }
    if kind == AuthorityKind::Intercept && !globals.quiet {
        print.note(
            "It vouches for the configured hosts: give it to one program at a time, and to no store of \
             the system or of a browser.",
        );
    }
    Ok(())
}

fn rotate(
    kind: Option<AuthorityKind>,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let before: Vec<AuthorityReport> =
        with_daemon(globals, async |daemon| Ok(daemon.get("/v1/ca").await?))?;
    let is_there = |report: &&AuthorityReport| report.state != AuthorityState::None;
    let kinds: Vec<_> = match kind {
        Some(kind) => vec![kind],
        None => before.iter().filter(is_there).map(|report| report.kind).collect(),
    };
    let mut made = vec![];
    for kind in kinds {
        made.push(fetch("/v1/ca/rotate", kind, globals)?.report);
    }
    if globals.json {
        print.json(&json!(made))?;
    }
    if made.is_empty() {
        print.note("There is no certificate authority yet: nothing has needed one.");
    }
    let trusted = trust::entries(globals)?;
    for report in &made {
        if !globals.json {
            let end = report.not_after.as_deref().unwrap_or_default();
            let name = report.name.as_deref().unwrap_or_default();
            print.line(&format!("{}: {name}, until {end}", report.kind))?;
        }
        if !globals.quiet {
            print.note(&globals.as_typed(&trust_again(report, &trusted)));
        }
    }
    Ok(())
}

/// Says what has to be done so that the new root is trusted as the old one was.
fn trust_again(report: &AuthorityReport, trusted: &[TrustEntry]) -> String {
    match report.kind {
        AuthorityKind::Intercept => {
            "Shells and programs that have the old intercept root keep failing until they are started \
             again; `nexudus-proxy ca export intercept` prints the new one for a file of your own."
                .to_owned()
        }
        AuthorityKind::Localhost if trusted.is_empty() => {
            "What trusts the old localhost root has to trust the new one: `nexudus-proxy ca export \
             localhost` prints it, `nexudus-proxy ca trust` adds it."
                .to_owned()
        }
        AuthorityKind::Localhost => {
            "The old localhost root is still trusted, the new one is not: `nexudus-proxy ca trust` \
             replaces it."
                .to_owned()
        }
    }
}
