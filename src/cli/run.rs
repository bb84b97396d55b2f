//! `run`: one command with a listener and a key of its own, both gone when it ends.

use std::ffi::OsString;
use std::time::SystemTime;

use super::config_flags::UpstreamOverrides;
use super::daemon_client::load_effective_config;
use super::globals::{DaemonScope, GlobalArgs};
use super::{CliError, Printer, client_limits, profile, serve, service};
use crate::config::{Config, LoadedConfig};
use crate::daemon::process;
use crate::problem::ExitCode;
use crate::run;

/// The arguments of `run`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Ends as the command does: with its exit code, or 128 and the number of \
    the signal that ended it. 125: run itself failed; 126: the command cannot be executed; 127: \
    it was not found.")]
pub(super) struct RunArgs {
    #[command(flatten)]
    limits: client_limits::LimitArgs,
    #[command(flatten)]
    upstream: UpstreamOverrides,
    /// The command and its arguments, after `--`
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the command.
pub(super) fn run(options: RunArgs, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    run_command(options, globals, print).map_err(|failure| {
        if matches!(failure, CliError::ChildExited(_) | CliError::Command { .. }) {
            failure
        } else {
            CliError::Run(Box::new(service::advise_system_start(globals, failure)))
        }
    })
}

fn run_command(options: RunArgs, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let is_system = globals.scope() == DaemonScope::System;
    let loaded = globals.load(options.upstream.into_overrides())?;
    if !is_system {
        profile::require_or_login(globals, &loaded)?;
    }
    let limits = options.limits.limits(SystemTime::now());
    loaded.warnings.iter().for_each(|warning| print.warning(warning));
    client_limits::check_rules(&limits, &loaded.config, print)?;
    // If a daemon runs, only the daemon knows which requests it allows.
    let (in_effect, is_served) = load_effective_config(&loaded, globals)?;
    if let Some(wider) =
        client_limits::access_without_key(&limits, &in_effect).filter(|_| !globals.quiet)
    {
        // Without a running daemon, this process serves the profile.
        let beside = if is_served {
            "a socket or an address of the daemon's own".to_owned()
        } else {
            format!("the socket {}", loaded.paths.run_socket().display())
        };
        print.warning(&format!(
            "these limits bind what goes through `$NEXUDUS_BASE_URL` or shows its key; at {beside}, \
             without that key, the command and every other process of this user may still {wider} \
             (policy.anonymous = \"none\" refuses them)"
        ));
    }
    let LoadedConfig { mut config, paths, .. } = loaded;
    if config.log.level == Config::default().log.level {
        // The terminal belongs to the command: what goes wrong is told by the responses.
        config.log.level = "off".to_owned();
    }
    serve::start_log(&config.log, print)?;
    process::harden();
    let command = run::run(&config, &paths, is_system, limits, &options.command);
    match serve::control_runtime()?.block_on(command)? {
        0 => Ok(()),
        code => Err(CliError::ChildExited(code)),
    }
}

impl From<run::Error> for CliError {
    fn from(error: run::Error) -> Self {
        match error {
            run::Error::Client(error) => error.into(),
            run::Error::Daemon(error) => error.into(),
            run::Error::System(error) => error.into(),
            run::Error::NotAdmitted { detail, hint } => {
                Self::message(ExitCode::Failed, detail, Some(&hint))
            }
            run::Error::NotLoggedIn { hint } => {
                Self::message(ExitCode::NotLoggedIn, "not logged in", Some(&hint))
            }
            run::Error::Command { program, source } => Self::Command { program, source },
            run::Error::Wait(error) => Self::Runtime(error),
        }
    }
}
