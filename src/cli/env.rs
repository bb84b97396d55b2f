//! `env`: the variables that lead the programs of a shell to the daemon, for `eval`.
//!
//! The login's own variables stay as they are: a daemon that is started in the same shell reads them, and
//! would try to log in with a placeholder. Programs that log in do so at the daemon, with any login.

mod intercept;

use std::net::SocketAddr;

use super::daemon_client::{FilesReason, FoundDaemon, effective_config, find_daemon};
use super::globals::GlobalArgs;
use super::local_api::KEY_VARIABLE;
use super::{CliError, Printer, serve};
use crate::admin::client::Error;
use crate::clients;
use crate::config::{AnonymousAccess, Config, LoadedConfig};
use crate::problem::ExitCode;
use crate::run;
use crate::run::variables::{
    BASE_URL_NAMES, PASSWORD_NAMES, PLACEHOLDER_EMAIL, TOKEN_NAMES, USER_NAMES,
};

/// The arguments of `env`.
#[derive(clap::Args, Debug)]
pub(super) struct EnvArgs {
    /// The shell that reads it; by default the one of $SHELL
    #[arg(long, value_name = "SHELL")]
    shell: Option<Shell>,
    /// Lead programs through the daemon's forward proxy too: those that cannot change their base URL
    #[arg(long)]
    intercept: bool,
    /// Take the variables away again
    #[arg(long)]
    undo: bool,
}

/// A shell, by its way to set a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    /// sh, bash, zsh
    Sh,
    /// fish
    Fish,
    /// PowerShell
    Powershell,
}

/// Prints the lines.
pub(super) fn run(args: &EnvArgs, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let shell = args.shell.unwrap_or_else(Shell::detect);
    if args.undo {
        let names = BASE_URL_NAMES.iter().chain(&TOKEN_NAMES).chain(&USER_NAMES);
        let intercepted = args.intercept.then(run::shell_names).into_iter().flatten();
        let names = names.chain(&PASSWORD_NAMES).copied().chain(intercepted);
        if globals.json {
            return print.json(&names.collect());
        }
        return print.raw(names.map(|name| shell.unset(name)).collect::<String>().as_bytes());
    }
    let (url, needs_key) = base_url(globals)?;
    let key =
        std::env::var(KEY_VARIABLE).ok().filter(|key| clients::is_well_formed(key.as_bytes()));
    if key.is_none() && needs_key && !globals.quiet {
        print.warning("clients without a key are refused: set NEXUDUS_PROXY_KEY first");
    }
    let secret = key.as_deref().unwrap_or(PLACEHOLDER);
    let mut values: Vec<(&str, String)> = (BASE_URL_NAMES.iter().map(|name| (*name, url.clone())))
        .chain(TOKEN_NAMES.iter().map(|name| (*name, secret.to_owned())))
        .chain(USER_NAMES.iter().map(|name| (*name, PLACEHOLDER_EMAIL.to_owned())))
        .chain(PASSWORD_NAMES.iter().map(|name| (*name, secret.to_owned())))
        .collect();
    if args.intercept {
        values.extend(intercept::variables(globals, key.as_deref())?);
    }
    if globals.json {
        let fields = values.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
        return print.json(&serde_json::Value::Object(fields.collect()));
    }
    let lines = values.into_iter().map(|(name, value)| shell.set(name, &value));
    print.raw(lines.collect::<String>().as_bytes())
}

/// Returns where the daemon that serves listens, as a program of this machine reaches it, and whether
/// each request needs a client key.
fn base_url(globals: &GlobalArgs) -> Result<(String, bool), CliError> {
    let LoadedConfig { config, paths, .. } = globals.load(vec![])?;
    let daemon = match serve::control_runtime()?.block_on(find_daemon(globals))? {
        FoundDaemon::Serving(daemon) => daemon,
        FoundDaemon::None(reason @ FilesReason::Refused { .. }) => {
            return configured_url(&config, &reason, globals);
        }
        FoundDaemon::None(reason @ FilesReason::NoDaemon) => return Err(Error::from(reason).into()),
    };
    let (config, _) = effective_config(&config, &paths, &daemon.status);
    let needs_key = config.listen.expose || config.policy.anonymous == AnonymousAccess::None;
    let Some(address) = daemon.status.listening.tcp.first() else {
        return Err(CliError::message(
            ExitCode::Failed,
            "the daemon has no TCP address, and a base URL needs one",
            Some("Give listen.tcp an address, or use `nexudus-proxy run -- COMMAND`."),
        ));
    };
    Ok((format!("http://{}", reachable(*address)), needs_key))
}

/// Returns the address that is configured here, for a user who may send requests to the system's daemon
/// and no commands.
fn configured_url(
    config: &Config,
    reason: &FilesReason,
    globals: &GlobalArgs,
) -> Result<(String, bool), CliError> {
    let known = config.listen.tcp.iter().find(|address| address.port() != 0);
    let Some(address) = known else {
        let hint = "Ask one of them for its address, and set NEXUDUS_BASE_URL to that.";
        return Err(CliError::message(ExitCode::Failed, reason.to_string(), Some(hint)));
    };
    if !globals.quiet {
        globals.printer().note(&format!(
            "{reason}: this is the usual address, if they have configured no other"
        ));
    }
    Ok((format!("http://{}", reachable(*address)), false))
}

/// Names an address of all interfaces by the loopback one.
fn reachable(address: SocketAddr) -> String {
    match address.ip() {
        ip if ip.is_unspecified() || ip.is_loopback() => format!("localhost:{}", address.port()),
        _ => address.to_string(),
    }
}

impl Shell {
    /// Returns the shell that a person has logged in with.
    fn detect() -> Self {
        let shell = std::env::var("SHELL").unwrap_or_default();
        if cfg!(windows) {
            Self::Powershell
        } else if shell.ends_with("/fish") {
            Self::Fish
        } else {
            Self::Sh
        }
    }

    /// Returns the line that sets a variable. A value may hold what the shell's own did.
    fn set(self, name: &str, value: &str) -> String {
        match self {
            Self::Sh => format!("export {name}='{}'\n", value.replace('\'', "'\\''")),
            Self::Fish => {
                let value = value.replace('\\', "\\\\").replace('\'', "\\'");
                format!("set -gx {name} '{value}'\n")
            }
            Self::Powershell => format!("$env:{name} = '{}'\n", value.replace('\'', "''")),
        }
    }

    fn unset(self, name: &str) -> String {
        match self {
            Self::Sh => format!("unset {name}\n"),
            Self::Fish => format!("set -e {name}\n"),
            Self::Powershell => {
                format!("Remove-Item Env:{name} -ErrorAction SilentlyContinue\n")
            }
        }
    }
}

/// The value of a token and a password that nothing checks: the daemon replaces the one, and answers the
/// other itself.
const PLACEHOLDER: &str = "nexudus-proxy";
