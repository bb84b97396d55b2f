//! Checks of this machine: configuration, stores, the daemon, its addresses.

use std::path::PathBuf;

use super::check::{CheckOutcome, fail, ok, outcome_of, skip, warn};
use crate::cli::daemon_client::{OtherOrigin, RESTART_HINT};
use crate::clock::Clock;
use crate::config::{self, AnonymousAccess, Config, LoadedConfig, Paths};
use crate::credentials::{CredentialSource, Credentials, Error, Keychain};
use crate::session::SessionStatus;
use crate::{daemon, listen, peer, session};

pub(super) fn config(loaded: &LoadedConfig) -> CheckOutcome {
    let LoadedConfig { config, paths, warnings, .. } = loaded;
    if let Err(error) = daemon::check(config) {
        return outcome_of(&error);
    }
    let file = paths.config.display();
    match (warnings.as_slice(), paths.config.exists()) {
        ([], true) => ok(format!("{file} (profile {})", paths.profile)),
        ([], false) => ok(format!("defaults; no file at {file} (profile {})", paths.profile)),
        (warnings, _) => warn(warnings.join("; "), format!("Edit {file}.")),
    }
}

/// Writes an entry, reads it on another connection, deletes it. A running daemon may have its
/// login from another source.
pub(super) async fn store(
    config: &Config,
    paths: &Paths,
    credentials: &Credentials,
    daemon: Option<&SessionStatus>,
) -> CheckOutcome {
    let has_key = credentials.is_key_outside_keychain(&config.session);
    if credentials.uses_file() && credentials.has_file() {
        return file_store(config, credentials).await;
    }
    let wanted = credentials.uses_keychain() || !has_key;
    let Some(keychain) = credentials.keychain().filter(|_| wanted) else {
        return skip("no keychain is configured");
    };
    match session::self_test_keychain(keychain, &paths.profile_state(), &Clock::system()).await {
        Ok(()) => ok(format!(
            "{}: an entry was written, read on another connection and deleted",
            Keychain::product_name()
        )),
        Err(error) => {
            let source = daemon.and_then(|session| session.source.as_ref());
            let has_login = source.is_some_and(|source| source != Keychain::product_name())
                || !credentials.sources_beside_keychain().is_empty();
            let outcome = outcome_of(&error);
            let without = match (has_login, has_key) {
                (true, true) => "neither the login nor the session's key is read there",
                (true, false) => "the login is read elsewhere; each start logs in anew",
                (false, true) => "the session's key is read elsewhere",
                (false, false) => return outcome,
            };
            let finding = format!("{}; {without}", outcome.finding);
            warn(finding, "Nothing, if the check of the token passes.")
        }
    }
}

/// Writes a sealed file beside the login, reads it, deletes it.
async fn file_store(config: &Config, credentials: &Credentials) -> CheckOutcome {
    match credentials.test_file(&config.session).await {
        Ok(place) => ok(format!(
            "sealed files beside {}: one was written, read and deleted; {}",
            place.path.display(),
            place.key
        )),
        Err(error) => outcome_of(&error),
    }
}

/// Returns what to do where another origin is served than is configured.
fn other_origin_fix(other: &OtherOrigin) -> String {
    match other.run_pid {
        Some(_) => other.hint(),
        None => format!("{RESTART_HINT}."),
    }
}

/// Looks for the login at the configured origin, `own`; only a running daemon knows its own login.
pub(super) async fn login(
    credentials: &Credentials,
    own: &config::Origin,
    other: Option<&OtherOrigin>,
    paths: &Paths,
    daemon: Option<&SessionStatus>,
) -> CheckOutcome {
    let daemons = daemon.and_then(|session| session.account.as_ref().zip(session.source.as_ref()));
    match credentials.load().await {
        Ok(found) => {
            let finding = format!(
                "{} from the {}, the most explicit source that has one",
                found.login.email, found.source
            );
            if let Some(other) = other {
                return warn(
                    format!("{finding}; it is for {own}, and {other}"),
                    other_origin_fix(other),
                );
            }
            if let Some(why) = daemon.and_then(unreadable_login) {
                return warn(format!("{finding}; the daemon that runs: {why}"), KEYCHAIN_FIX);
            }
            if let Some(half) = credentials.incomplete_sources().first() {
                return warn(format!("{finding}; {half}"), "Complete that half, or take it away.");
            }
            if found.source == CredentialSource::Environment {
                let fix = "Any program of this user can read it there: prefer `nexudus-proxy login`, \
                           or a systemd credential.";
                return warn(finding, fix);
            }
            ok(finding)
        }
        Err(Error::Missing(_)) => match daemons {
            Some((account, source)) => ok(format!("{account} from the {source}, says the daemon")),
            None => without_password(own, paths),
        },
        Err(
            error @ (Error::Incomplete { .. }
            | Error::Command(_)
            | Error::Unusable(_)
            | Error::File(_)
            | Error::Locked
            | Error::Unavailable(_)),
        ) => outcome_of(&error),
    }
}

/// Classifies a missing password. The check of the token shows whether a session is stored without
/// one.
fn without_password(own: &config::Origin, paths: &Paths) -> CheckOutcome {
    let logins = session::origins_with_login(&paths.profile_state());
    if logins.is_empty() || logins.contains(own) {
        return warn(
            "no password is stored: not logged in, or with --session-only",
            "Run `nexudus-proxy login`, unless the check of the token passes.",
        );
    }
    let there: Vec<_> = logins.iter().map(ToString::to_string).collect();
    let there = there.join(" and ");
    warn(
        format!("the stored login is for {there}, not for {own}"),
        format!(
            "Run `nexudus-proxy login` to log in to {own} as well, or set upstream.origin back to \
             {there}."
        ),
    )
}

/// Returns why a daemon that runs cannot read what a person has stored.
fn unreadable_login(daemon: &SessionStatus) -> Option<String> {
    let error = daemon.error.as_ref().filter(|error| error.code.starts_with("credentials."))?;
    let cause = error.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
    Some(format!("{}{cause}", error.sentence))
}

const KEYCHAIN_FIX: &str = "Start the daemon again from a session where the keychain runs; it looks \
    again by itself where that comes back.";

/// Describes the running daemon. `keys` are those whose value in the daemon differs from the one
/// that is configured here; `own` is the configured origin.
pub(super) async fn daemon(
    is_there: bool,
    profile: &str,
    keys: &[&str],
    other: Option<&OtherOrigin>,
    own: &config::Origin,
) -> CheckOutcome {
    let counts = match keys {
        [] => String::new(),
        keys => format!(
            "; what it was started with counts below, not what is configured for {}",
            keys.join(", ")
        ),
    };
    match (is_there, other) {
        (_, Some(other)) => warn(
            format!("{other}, and {own} is configured here (profile {profile}){counts}"),
            other_origin_fix(other),
        ),
        (true, None) => ok(format!("one serves the profile {profile}{counts}")),
        (false, None) => warn("none runs", "Start one: `nexudus-proxy serve`."),
    }
}

pub(super) async fn port(config: &Config, is_there: bool) -> CheckOutcome {
    if config.listen.tcp.is_empty() {
        return skip("no TCP address is configured");
    }
    let addresses: Vec<_> = config.listen.tcp.iter().map(ToString::to_string).collect();
    let addresses = addresses.join(", ");
    if is_there {
        return ok(format!("{addresses}: the daemon has it"));
    }
    match listen::bind_tcp(&config.listen.tcp) {
        Ok(_) => ok(format!("{addresses}: free")),
        Err(error) => outcome_of(&error),
    }
}

/// Returns whether the TCP port is ours alone.
pub(super) async fn callers(config: &Config) -> CheckOutcome {
    if config.listen.tcp.is_empty() {
        return skip("no TCP address is configured: the unix socket identifies its peers");
    }
    let needs_key = config.listen.expose || config.policy.anonymous == AnonymousAccess::None;
    match (peer::can_identify_peers(), needs_key) {
        (true, _) => {
            let here = if config.listen.expose { " here" } else { "" };
            let elsewhere =
                if config.listen.expose { "; from elsewhere each needs a key" } else { "" };
            let named = allowed_others(config);
            ok(format!(
                "the system identifies the peers of TCP connections: other users{here} are \
                 refused{named}{elsewhere}"
            ))
        }
        (false, true) => ok("the system does not identify peers; each needs a key"),
        (false, false) => warn(
            "not available: the system does not identify the peers of TCP connections, so every local \
             user has access there",
            if cfg!(unix) {
                "Set listen.tcp = [] and use the unix socket, or policy.anonymous = \"none\"."
            } else {
                "Set policy.anonymous = \"none\" and give each tool a key: `client add`."
            },
        ),
    }
}

/// Lists the other users who are allowed.
fn allowed_others(config: &Config) -> String {
    let named = |key: &str, names: &[String]| {
        (!names.is_empty()).then(|| format!("{key} ({})", names.join(", ")))
    };
    let users = named("listen.users", &config.listen.users);
    let groups = named("listen.groups", &config.listen.groups);
    let named: Vec<_> = users.into_iter().chain(groups).collect();
    if named.is_empty() {
        String::new()
    } else {
        format!(", but for those of {}", named.join(" and "))
    }
}

/// Looks for the unit or agent in all directories of users and packages.
pub(super) async fn service(paths: &Paths) -> CheckOutcome {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let configuration = paths.config.parent().and_then(|ours| ours.parent());
    let places = [
        configuration.map(|above| above.join("systemd/user/nexudus-proxy.service")),
        Some(PathBuf::from("/etc/systemd/system/nexudus-proxy.service")),
        Some(PathBuf::from("/usr/lib/systemd/system/nexudus-proxy.service")),
        Some(PathBuf::from("/usr/lib/systemd/user/nexudus-proxy.service")),
        Some(home.join("Library/LaunchAgents/nexudus-proxy.plist")),
    ];
    let found: Vec<_> = places.into_iter().flatten().filter(|path| path.exists()).collect();
    match found.as_slice() {
        [] => skip("not installed as a service"),
        [one] => ok(format!("installed: {}", one.display())),
        [one, other, ..] => fail(
            format!("installed twice: {} and {}", one.display(), other.display()),
            "Remove one of them: two daemons cannot serve one profile.",
        ),
    }
}
