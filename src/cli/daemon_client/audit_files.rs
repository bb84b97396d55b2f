//! The file of the audit: where the daemon of this configuration writes it.

use std::path::PathBuf;

use crate::audit::{Audit, AuditEvent, AuditRecord};
use crate::cli::globals::GlobalArgs;
use crate::cli::{CliError, Printer};
use crate::config::{self, AuditFile, LoadedConfig, Paths};
use crate::daemon;

/// Returns the file that is configured; `None` where the audit is off.
pub(in crate::cli) fn audit_path(globals: &GlobalArgs) -> Result<Option<PathBuf>, CliError> {
    let LoadedConfig { config, paths, .. } = globals.load(vec![])?;
    Ok(Audit::path(&config.audit, &paths.profile_state()))
}

/// Records what a command does itself because no daemon runs. To be called with the profile's lock, so
/// that no daemon writes the same file.
pub(in crate::cli) fn record_without_daemon(
    config: &config::Audit,
    paths: &Paths,
    (event, action): (AuditEvent, &'static str),
    client: Option<&str>,
    print: Printer,
) {
    let record = AuditRecord::without_daemon(event, action, client);
    if let Err(error) = Audit::append(config, &paths.profile_state(), &record) {
        print.warning(&format!("this is done, and could not be recorded in the audit: {error}"));
    }
}

/// Records a login that no daemon was told of: none runs, so that its lock is free.
pub(in crate::cli) fn record_login(config: &config::Audit, paths: &Paths, print: Printer) {
    if config.file == AuditFile::Off {
        return;
    }
    match daemon::lock_profile(paths) {
        Ok(_lock) => {
            let what = (AuditEvent::Login, "login");
            record_without_daemon(config, paths, what, None, print);
        }
        // A daemon has started meanwhile, and writes the record now.
        Err(error) => {
            print
                .warning(&format!("this is done, and could not be recorded in the audit: {error}"));
        }
    }
}

/// As [`record_without_daemon`], with the configuration as it is read now. Where that is not valid, no
/// daemon with an audit can run either.
pub(in crate::cli) fn record_as_configured(
    globals: &GlobalArgs,
    paths: &Paths,
    what: (AuditEvent, &'static str),
    print: Printer,
) {
    if let Ok(LoadedConfig { config, .. }) = globals.load(vec![]) {
        record_without_daemon(&config.audit, paths, what, None, print);
    }
}
