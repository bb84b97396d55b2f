//! The environment of the command of a `run`.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

use super::trust::TrustFiles;
use super::{no_proxy, variables};
use crate::config::Origin;
use crate::secret::Secret;

/// Sets the names that programs for Nexudus read. Tools that insist on logging in do so here, with the
/// key. They never get the real login.
pub(super) fn set_names(command: &mut Command, base_url: &str, email: &str, key: &Secret) {
    let users = variables::USER_NAMES.iter().chain(&variables::OWN_USER_NAMES);
    let passwords = variables::PASSWORD_NAMES.iter().chain(&variables::OWN_PASSWORD_NAMES);
    command
        .env(KEY_NAME, key.expose())
        .env_remove(TOTP_NAME)
        .envs(variables::BASE_URL_NAMES.map(|name| (name, base_url)))
        .envs(users.map(|name| (name, email)))
        .envs(variables::TOKEN_NAMES.iter().chain(passwords).map(|name| (name, key.expose())));
}

/// Takes the loopback out of the hosts that an inherited proxy is for: it would look for our listener
/// on its own machine.
pub(super) fn exempt_loopback(command: &mut Command) {
    for name in variables::NO_PROXY_NAMES {
        command.env(name, no_proxy::with_loopback(&std::env::var_os(name).unwrap_or_default()));
    }
}

/// A variable and its value.
pub(super) type Variable = (&'static str, OsString);

/// Returns what leads programs through our forward proxy at this URL, which answers for `origins`
/// itself.
pub(super) fn proxy_variables(proxy: &str, origins: &[Origin]) -> Vec<Variable> {
    // Two spellings of one list: programs differ in which of them they read first.
    let lists = variables::NO_PROXY_NAMES.map(|name| std::env::var_os(name).unwrap_or_default());
    let rest = no_proxy::without(&lists, origins);
    let mut all: Vec<Variable> = vec![("NODE_USE_ENV_PROXY", "1".into())];
    all.extend(variables::PROXY_NAMES.map(|name| (name, proxy.into())));
    all.extend(variables::NO_PROXY_NAMES.map(|name| (name, rest.clone().into())));
    all
}

/// Takes the proxies away that cannot be reached from inside an isolation.
#[cfg(target_os = "linux")]
pub(super) fn remove_proxies(command: &mut Command) {
    for name in variables::PROXY_NAMES.iter().chain(&variables::NO_PROXY_NAMES) {
        command.env_remove(name);
    }
    command.env_remove("NODE_USE_ENV_PROXY");
}

/// Takes the names of what the person's session offers away: it cannot be reached from inside.
#[cfg(target_os = "linux")]
pub(super) fn remove_sessions(command: &mut Command) {
    for name in SESSION_NAMES {
        command.env_remove(name);
    }
}

/// Returns what names the files by which programs trust our certificates, and for Java and an older
/// Node the proxy at `proxy_port` too.
pub(super) fn trust_variables(files: &TrustFiles, proxy_port: Option<u16>) -> Vec<Variable> {
    let (bundle, additions) = (files.bundle(), files.additions());
    let mut all: Vec<Variable> = vec![];
    all.extend(variables::BUNDLE_NAMES.map(|name| (name, bundle.clone().into())));
    all.extend(variables::ADDED_ANCHOR_NAMES.map(|name| (name, additions.clone().into())));
    all.push(("WGETRC", files.wget_settings().into()));
    all.push(("R_PROFILE_USER", files.r_profile().into()));
    let java = java_options(files, proxy_port);
    all.push(("JAVA_TOOL_OPTIONS", append("JAVA_TOOL_OPTIONS", " ", &java)));
    if proxy_port.is_some() {
        let preload = format!("--require {}", quoted(&files.node_preload()));
        all.push(("NODE_OPTIONS", append("NODE_OPTIONS", " ", &preload)));
    }
    // An empty entry stands for the directory that PHP was built with.
    let directory = format!(":{}", files.php_directory().display());
    all.push(("PHP_INI_SCAN_DIR", append("PHP_INI_SCAN_DIR", "", &directory)));
    all
}

/// Returns the options of a Java machine. One that is given twice counts the second time.
fn java_options(files: &TrustFiles, proxy_port: Option<u16>) -> String {
    let store = quoted(&files.java_store());
    let mut options = format!(
        "-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStoreType=PKCS12 \
         -Djavax.net.ssl.trustStorePassword="
    );
    if let Some(port) = proxy_port {
        for scheme in ["http", "https"] {
            options += &format!(" -D{scheme}.proxyHost=127.0.0.1 -D{scheme}.proxyPort={port}");
        }
        options += " -Dhttp.nonProxyHosts=localhost|127.*|[::1]";
    } else {
        // It names a file in the shared `/tmp` after its process number, which is small inside and so
        // another machine's too.
        options += " -XX:-UsePerfData";
    }
    options
}

/// Adds options to those that the variable holds, unless they are there.
fn append(name: &str, separator: &str, options: &str) -> OsString {
    let mut all = std::env::var_os(name).unwrap_or_default();
    if all.to_str().is_some_and(|all| all.contains(options)) {
        return all;
    }
    if !all.is_empty() {
        all.push(OsStr::new(separator));
    }
    all.push(options);
    all
}

/// Quotes a path that may hold blanks, as Java and Node read it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    if path.contains(char::is_whitespace) { format!("\"{path}\"") } else { path }
}

/// The key, for programs that know us.
const KEY_NAME: &str = "NEXUDUS_PROXY_KEY";

/// A code of the real login, which the command does not get.
const TOTP_NAME: &str = "NEXUDUS_TOTP";

/// Sockets and directories of the person's session: a program that finds the name tries them first.
#[cfg(target_os = "linux")]
const SESSION_NAMES: [&str; 6] = [
    "CREDENTIALS_DIRECTORY",
    "DBUS_SESSION_BUS_ADDRESS",
    "GNOME_KEYRING_CONTROL",
    "NOTIFY_SOCKET",
    "SSH_AUTH_SOCK",
    "XDG_RUNTIME_DIR",
];
