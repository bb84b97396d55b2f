//! `ca trust` and `ca untrust`: the stores of this person, or with `--system` that of everybody.

use std::path::PathBuf;

use serde_json::json;

use super::fetch;
use crate::admin::api::AuthorityReport;
use crate::ca::{
    AuthorityKind, ConstrainedRoot, Removal, TrustEntry, TrustError, TrustRecord, TrustStore,
    localhost_root,
};
use crate::cli::daemon_client::trust_record;
use crate::cli::globals::{DaemonScope, GlobalArgs};
use crate::cli::prompt::confirm;
use crate::cli::{CliError, Printer};
use crate::problem::ExitCode;

/// Adds the root of the localhost authority.
pub(super) fn trust(
    kind: AuthorityKind,
    yes: bool,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    require_localhost(kind)?;
    let stores = stores(globals)?;
    let answer = fetch("/v1/ca/export", kind, globals)?;
    require_durable(&answer.report)?;
    // The daemon may be another user's: its word is not enough for a store of trusted roots.
    let root = localhost_root(&answer.pem).map_err(|why| {
        let message =
            format!("the daemon's certificate is not one of this machine's names alone: {why}");
        CliError::message(ExitCode::Failed, message, Some("It was not added to any store."))
    })?;
    if !yes && !confirm(&question(&root, &stores), "Give it with --yes.", print)? {
        return Err(CliError::message(ExitCode::Failed, "nothing was changed", None));
    }
    let mut places = Places::open(globals)?;
    let mut added = vec![];
    for store in stores {
        let entry = TrustEntry::new(store, &root);
        let old: Vec<_> = places.entries()?.into_iter().filter(|it| is_older(it, &entry)).collect();
        places.add(&entry, &root)?;
        for old in old {
            places.remove(&old)?;
        }
        if !globals.json {
            print.line(&format!("trusted by {}", entry.store))?;
        }
        added.push(entry);
    }
    if globals.json {
        return print
            .json(&json!({ "name": root.name(), "sha256": root.sha256(), "added": added }));
    }
    if !globals.quiet {
        print.note(&globals.as_typed(
            "Browsers that run see it after a restart; `nexudus-proxy ca untrust` undoes it.",
        ));
    }
    Ok(())
}

/// Says whether an entry is for an earlier root in the same store.
fn is_older(entry: &TrustEntry, new: &TrustEntry) -> bool {
    entry.store == new.store && entry.sha256 != new.sha256
}

/// Removes every root that `ca trust` has added.
pub(super) fn untrust(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    if globals.scope() == DaemonScope::System {
        require_root()?;
    }
    let mut places = Places::open(globals)?;
    let mut removed = vec![];
    for entry in places.entries()? {
        let found = places.remove(&entry)?;
        if !globals.json {
            let what = match found {
                Removal::Removed => "no longer trusted by",
                Removal::Absent => "was not trusted any more by",
            };
            print.line(&format!("{}: {what} {}", entry.name, entry.store))?;
        }
        removed.push(json!({ "entry": entry, "found": found == Removal::Removed }));
    }
    if globals.json {
        return print.json(&json!({ "removed": removed }));
    }
    if removed.is_empty() {
        print.note("There is nothing to undo: `ca trust` has added nothing that is still there.");
    }
    Ok(())
}

/// Returns what `ca trust` has added: with `--system` to the system's store.
pub(super) fn entries(globals: &GlobalArgs) -> Result<Vec<TrustEntry>, CliError> {
    Places::open(globals)?.entries()
}

/// The stores that were changed, with their record.
enum Places {
    /// Those of this person.
    Person(TrustRecord),
    /// The system's, which is its own record; `None` where there is none that we know.
    System(Option<TrustStore>),
}

impl Places {
    fn open(globals: &GlobalArgs) -> Result<Self, CliError> {
        if globals.scope() == DaemonScope::System {
            return Ok(Self::System(TrustStore::of_system().ok()));
        }
        Ok(Self::Person(trust_record(globals)?))
    }

    fn entries(&self) -> Result<Vec<TrustEntry>, CliError> {
        Ok(match self {
            Self::Person(record) => record.entries().to_vec(),
            Self::System(Some(store)) => store.own_entries()?,
            Self::System(None) => vec![],
        })
    }

    fn add(&mut self, entry: &TrustEntry, root: &ConstrainedRoot) -> Result<(), CliError> {
        if let Self::Person(record) = self {
            record.insert(entry.clone())?;
        }
        entry.store.add(root).map_err(|error| self.take_back(entry, error))
    }

    /// Removes an entry whose root was not added from the record.
    fn take_back(&mut self, entry: &TrustEntry, error: TrustError) -> CliError {
        let is_absent = matches!(entry.store.remove(entry), Ok(_) | Err(TrustError::Other { .. }));
        if let Self::Person(record) = self
            && (is_absent || matches!(error, TrustError::Program { .. }))
            && let Err(error) = record.remove(entry)
        {
            return error.into();
        }
        error.into()
    }

    fn remove(&mut self, entry: &TrustEntry) -> Result<Removal, CliError> {
        let removed = entry.store.remove(entry)?;
        if let Self::Person(record) = self {
            record.remove(entry)?;
        }
        Ok(removed)
    }
}

fn require_localhost(kind: AuthorityKind) -> Result<(), CliError> {
    match kind {
        AuthorityKind::Localhost => Ok(()),
        AuthorityKind::Intercept => Err(CliError::message(
            ExitCode::Usage,
            "the intercept authority cannot be trusted by a store: it vouches for Nexudus itself, and \
             a browser that trusts it would believe this machine instead of Nexudus",
            Some("Give it to one program: `nexudus-proxy ca export intercept` prints it."),
        )),
    }
}

/// A root whose key is gone tomorrow would be trusted for two years all the same.
fn require_durable(report: &AuthorityReport) -> Result<(), CliError> {
    if report.durable {
        return Ok(());
    }
    Err(CliError::message(
        ExitCode::Failed,
        "this certificate authority would be lost: the daemon has no key that outlives a reboot to seal \
         it with",
        Some(
            "Log in with a keychain, or set session.key (docs/login.md); until then give programs the \
             file of `nexudus-proxy ca export localhost`.",
        ),
    ))
}

fn stores(globals: &GlobalArgs) -> Result<Vec<TrustStore>, CliError> {
    if globals.scope() == DaemonScope::System {
        require_root()?;
        return Ok(vec![TrustStore::of_system()?]);
    }
    let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"));
    let home = home.map(PathBuf::from).filter(|home| home.is_absolute());
    let home = home.ok_or_else(|| {
        let message = "there is no home directory, and so no trust store of this person";
        CliError::message(ExitCode::Failed, message, Some("Set HOME."))
    })?;
    Ok(TrustStore::of_person(&home))
}

/// The system's store belongs to root.
fn require_root() -> Result<(), CliError> {
    #[cfg(unix)]
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(CliError::message(
        ExitCode::Failed,
        "only root may change the system's trust store",
        Some(
            "Run the command again with sudo; without --system it changes the stores of this user.",
        ),
    ))
}

/// Says what is about to change, for a person who decides.
fn question(root: &ConstrainedRoot, stores: &[TrustStore]) -> String {
    let mut text =
        format!("The certificate `{}`\n  SHA-256 {}\nis added to\n", root.name(), root.sha256());
    for store in stores {
        text.push_str(&format!("  {store}\n"));
    }
    text.push_str(
        "Programs that use them then trust certificates of this daemon for localhost, 127.0.0.1 and ::1,\n\
         and for no other name.\nAdd it?",
    );
    text
}
