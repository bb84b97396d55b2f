//! Checks of this machine: configuration, stores, the daemon, its addresses.

use std::net::SocketAddr;
use std::path::Path;

use super::check::{CheckOutcome, fail, ok, outcome_of, skip, warn};
use crate::admin::api::AuthorityReport;
use crate::cli::daemon_client::{
    FilesReason, OtherOrigin, RESTART_HINT, RunningDemo, ServingDaemon, origins_with_login,
    self_test_keychain,
};
use crate::config::{self, AnonymousAccess, Config, LoadedConfig, Paths};
use crate::credentials::{CredentialSource, Credentials, Error, Keychain};
use crate::session::SessionStatus;
use crate::{daemon, listen, peer};

pub(super) fn config(loaded: &LoadedConfig) -> CheckOutcome {
    let LoadedConfig { paths, warnings, .. } = loaded;
    if let Err(error) = daemon::check_loaded(loaded) {
        return outcome_of(&error);
    }
    let file = paths.config.display();
    match (warnings.as_slice(), paths.config.exists()) {
        ([], true) => {
            with_packaged_config(ok(format!("{file} (profile {})", paths.profile)), &paths.config)
        }
        ([], false) => ok(format!("defaults; no file at {file} (profile {})", paths.profile)),
        (warnings, _) => warn(warnings.join("; "), format!("Edit {file}.")),
    }
}

/// Names the `file` that the system's daemon has read.
pub(super) fn config_of_system(file: &Path) -> CheckOutcome {
    with_packaged_config(ok(format!("{} (the system's daemon)", file.display())), file)
}

/// Warns of a newer configuration that a package has put beside the `file` in use.
fn with_packaged_config(outcome: CheckOutcome, file: &Path) -> CheckOutcome {
    let beside = |ending: &str| format!("{}{ending}", file.display());
    let mut newer = NEW_CONFIG_ENDINGS.map(beside).into_iter();
    let Some(newer) = newer.find(|path| Path::new(path).exists()) else { return outcome };
    warn(
        format!("{}; an update of the package brought {newer}", outcome.finding),
        format!(
            "Compare them (`diff {} {newer}`), take over what you need, and remove {newer}.",
            file.display()
        ),
    )
}

/// The endings that dpkg and rpm give to a new configuration beside a changed one.
const NEW_CONFIG_ENDINGS: [&str; 3] = [".dpkg-dist", ".dpkg-new", ".rpmnew"];

/// Warns of a daemon that goes on running the program from before an update.
pub(super) fn with_daemon_version(outcome: CheckOutcome, version: &str) -> CheckOutcome {
    let own = env!("CARGO_PKG_VERSION");
    if version == own {
        return outcome;
    }
    warn(
        format!("{}; it runs version {version}, this program is {own}", outcome.finding),
        "Restart it: `nexudus-proxy service stop`, then `nexudus-proxy service start`; a `serve` \
         that you started by hand has to be started anew.",
    )
}

/// Warns of a daemon that goes on with values that a reload could not change.
pub(super) fn with_restart_needed(outcome: CheckOutcome, keys: &[String]) -> CheckOutcome {
    if keys.is_empty() {
        return outcome;
    }
    warn(
        format!("{}; not applied until a restart: {}", outcome.finding, keys.join(", ")),
        "Restart it: `nexudus-proxy service stop`, then `nexudus-proxy service start`; a `serve` \
         that you started by hand has to be started anew.",
    )
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
    match self_test_keychain(keychain, paths).await {
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
    let logins = origins_with_login(paths);
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
/// that is configured here; `own` is the configured origin. `start`: how one is started.
pub(super) fn daemon(
    is_there: bool,
    profile: &str,
    keys: &[&str],
    other: Option<&OtherOrigin>,
    own: &config::Origin,
    start: &str,
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
        (false, None) => warn("none runs", start),
    }
}

/// Describes a system's daemon that refuses this user.
pub(super) fn refusing_daemon(reason: &FilesReason) -> CheckOutcome {
    warn(
        format!("the system's runs; {reason}"),
        "Requests of this user are served if its listen.users names this user. For the rest, ask root or \
         one of its admin.users: `nexudus-proxy --system doctor`.",
    )
}

/// Looks whether each configured address is free, or the daemon's.
pub(super) async fn port(
    config: &Config,
    is_there: bool,
    demo: Option<&RunningDemo>,
) -> CheckOutcome {
    let places = config.tcp_addresses();
    if places.is_empty() {
        return skip("no TCP address is configured");
    }
    let named = |(key, addresses): &(&str, Vec<SocketAddr>)| {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let beside = if *key == "listen.tcp" { String::new() } else { format!(" ({key})") };
        format!("{}{beside}", addresses.join(", "))
    };
    let all = places.iter().map(named).collect::<Vec<_>>().join(", ");
    if is_there {
        return ok(format!("{all}: the daemon has it"));
    }
    for place in &places {
        let demo = demo.filter(|demo| demo.listens_at(&place.1));
        match (listen::bind_tcp(&place.1), demo) {
            (Ok(_), _) => {}
            (Err(_), Some(demo)) => {
                return warn(
                    format!("{}: the `demo` that runs has it (process {})", named(place), demo.pid),
                    "Nothing now; end the demo before you start a daemon.",
                );
            }
            (Err(error), None) if place.0 == "listen.tcp" => return outcome_of(&error),
            (Err(source), None) => {
                return outcome_of(&daemon::Error::ListenAt { key: place.0, source });
            }
        }
    }
    ok(format!("{all}: free"))
}

/// Judges the certificate authorities of the daemon that serves.
pub(super) fn authorities(serving: Option<&ServingDaemon>) -> CheckOutcome {
    let Some(daemon) = serving else {
        return skip("no daemon runs: only a daemon reads its certificate authorities");
    };
    let reports = &daemon.status.authorities;
    let mut troubles: Vec<_> = reports.iter().filter_map(AuthorityReport::trouble).collect();
    troubles.sort_by_key(|trouble| !trouble.is_failure);
    if let Some(worst) = troubles.first() {
        let findings: Vec<_> = troubles.iter().map(|trouble| trouble.finding.as_str()).collect();
        let judge = if worst.is_failure { fail } else { warn };
        return judge(findings.join("; "), worst.fix.clone());
    }
    let known: Vec<_> = reports
        .iter()
        .filter_map(|report| {
            let day = report.not_after.as_ref()?.split('T').next()?;
            Some(format!("{} until {day}", report.kind))
        })
        .collect();
    if known.is_empty() { skip("none is needed yet") } else { ok(known.join(", ")) }
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
