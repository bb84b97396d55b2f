//! The file of the audit: where the daemon of this configuration writes it.

use std::path::PathBuf;

use crate::audit::Audit;
use crate::cli::CliError;
use crate::cli::globals::GlobalArgs;
use crate::config::LoadedConfig;

/// Returns the file that is configured; `None` where the audit is off.
pub(in crate::cli) fn audit_path(globals: &GlobalArgs) -> Result<Option<PathBuf>, CliError> {
    let LoadedConfig { config, paths, .. } = globals.load(vec![])?;
    Ok(Audit::path(&config.audit, &paths.profile_state()))
}
