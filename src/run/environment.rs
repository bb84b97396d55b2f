//! What the command of a `run` finds in its environment.

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

#[expect(dead_code, reason = "for the forward proxy of a run")]
/// Leads programs through our forward proxy at this port, which answers for `origins` itself.
pub(super) fn set_proxy(command: &mut Command, port: u16, origins: &[Origin]) {
    let proxy = format!("http://127.0.0.1:{port}");
    command.envs(variables::PROXY_NAMES.map(|name| (name, &proxy)));
    // Two spellings of one list: programs differ in which of them they read first.
    let lists = variables::NO_PROXY_NAMES.map(|name| std::env::var_os(name).unwrap_or_default());
    let rest = no_proxy::without(&lists, origins);
    command.envs(variables::NO_PROXY_NAMES.map(|name| (name, &rest)));
    command.env("NODE_USE_ENV_PROXY", "1");
}

/// Takes the proxies away that cannot be reached from inside an isolation.
pub(super) fn remove_proxies(command: &mut Command) {
    for name in variables::PROXY_NAMES.iter().chain(&variables::NO_PROXY_NAMES) {
        command.env_remove(name);
    }
    command.env_remove("NODE_USE_ENV_PROXY");
}

/// Takes the names of what the person's session offers away: it cannot be reached from inside.
pub(super) fn remove_sessions(command: &mut Command) {
    for name in SESSION_NAMES {
        command.env_remove(name);
    }
}

/// Names the files by which programs trust our certificates, and for Java and an older Node the proxy
/// at `proxy_port` too.
pub(super) fn set_trust(command: &mut Command, files: &TrustFiles, proxy_port: Option<u16>) {
    let bundle = files.bundle();
    command.envs(variables::BUNDLE_NAMES.map(|name| (name, &bundle)));
    let additions = files.additions();
    command.envs(variables::ADDED_ANCHOR_NAMES.map(|name| (name, &additions)));
    command.env("JAVA_TOOL_OPTIONS", append("JAVA_TOOL_OPTIONS", &java_options(files, proxy_port)));
    if proxy_port.is_some() {
        let preload = format!("--require {}", quoted(&files.node_preload()));
        command.env("NODE_OPTIONS", append("NODE_OPTIONS", &preload));
    }
    // An empty entry stands for the directory that PHP was built with.
    let mut directories = std::env::var_os("PHP_INI_SCAN_DIR").unwrap_or_default();
    directories.push(":");
    directories.push(files.php_directory());
    command.env("PHP_INI_SCAN_DIR", directories);
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
    }
    options
}

/// Adds options to those that the variable holds.
fn append(name: &str, options: &str) -> OsString {
    let mut all = std::env::var_os(name).unwrap_or_default();
    if !all.is_empty() {
        all.push(OsStr::new(" "));
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
const SESSION_NAMES: [&str; 6] = [
    "CREDENTIALS_DIRECTORY",
    "DBUS_SESSION_BUS_ADDRESS",
    "GNOME_KEYRING_CONTROL",
    "NOTIFY_SOCKET",
    "SSH_AUTH_SOCK",
    "XDG_RUNTIME_DIR",
];
