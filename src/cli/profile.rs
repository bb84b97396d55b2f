//! A profile that is named for the first time: by a login, or by mistake.

use super::CliError;
use super::globals::GlobalArgs;
use crate::config::{LoadedConfig, LoginSource};
use crate::daemon;

/// Accepts a profile of which there is a trace, or for which a source beside the keychain holds a
/// login: a first `serve` in a container has nothing but its environment.
pub(super) fn require_or_login(
    globals: &GlobalArgs,
    loaded: &LoadedConfig,
) -> Result<(), CliError> {
    let Err(unknown) = globals.sources(vec![]).require_profile() else { return Ok(()) };
    let credentials = daemon::credentials(&loaded.config, &loaded.paths);
    let is_named = loaded.config.credentials.source != LoginSource::Auto;
    if is_named || !credentials.sources_beside_keychain().is_empty() {
        Ok(())
    } else {
        Err(unknown.into())
    }
}
