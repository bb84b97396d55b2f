//! The variables that lead the programs of a shell through the forward proxy of a daemon.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::environment::{proxy_variables, trust_variables};
use super::trust::TrustFiles;
use super::variables;
use crate::config::Origin;

/// Writes the files below a profile's state, and returns the variables that name them and the proxy.
/// `root` is the daemon's intercept authority, in PEM; `key` is the client key of the shell, if there
/// is one.
///
/// # Errors
///
/// When a file cannot be written.
pub fn shell_variables(
    state: &Path,
    root: &str,
    proxy: SocketAddr,
    key: Option<&str>,
    origins: &[Origin],
) -> io::Result<Vec<(&'static str, OsString)>> {
    let files = TrustFiles::kept(state.join("shell"), root, proxy.port(), origins)?;
    let login = key.map(|key| format!("nexudus-proxy:{key}@")).unwrap_or_default();
    let mut all = proxy_variables(&format!("http://{login}{proxy}"), origins);
    all.extend(trust_variables(&files, Some(proxy.port())));
    Ok(all)
}

/// Returns the names of these variables.
pub fn shell_names() -> impl Iterator<Item = &'static str> {
    let single = [
        "NODE_USE_ENV_PROXY",
        "JAVA_TOOL_OPTIONS",
        "NODE_OPTIONS",
        "PHP_INI_SCAN_DIR",
        "R_PROFILE_USER",
        "WGETRC",
    ];
    let proxies = variables::PROXY_NAMES.into_iter().chain(variables::NO_PROXY_NAMES);
    let files = variables::BUNDLE_NAMES.into_iter().chain(variables::ADDED_ANCHOR_NAMES);
    single.into_iter().chain(proxies).chain(files)
}
