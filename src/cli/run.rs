//! `run`: one command with a listener and a key of its own, both gone when it ends.

use std::error::Error as _;
use std::ffi::OsString;
use std::time::SystemTime;

use super::config_flags::UpstreamOverrides;
use super::daemon_client::load_effective_config;
use super::globals::{DaemonScope, GlobalArgs};
use super::{CliError, Printer, client_limits, profile, serve, service};
use crate::clients::ClientPolicy;
use crate::config::{Config, LoadedConfig};
use crate::daemon::process;
use crate::problem::{ExitCode, Report};
use crate::run::{self, Reach, RunSummary};

/// The arguments of `run`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Ends as the command does: with its exit code, or 128 and the number of \
    the signal that ended it. 125: run itself failed; 126: the command cannot be executed; 127: \
    it was not found.")]
pub(super) struct RunArgs {
    /// Set the base URL names alone: no proxy, no certificate authority
    #[arg(long, conflicts_with = "isolate")]
    no_intercept: bool,
    /// Let the command reach nothing but Nexudus through this program (Linux)
    #[arg(long)]
    isolate: bool,
    /// Another host that an isolated command reaches, e.g. pypi.org or db.example:5432; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", requires = "isolate")]
    also: Vec<String>,
    #[command(flatten)]
    upstream: UpstreamOverrides,
    // Behind the others: its headings would go on.
    #[command(flatten)]
    limits: client_limits::LimitArgs,
    /// The command and its arguments; `--` before it is the end of our own options
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
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
    // An isolated command reaches nothing but what adds its key.
    if !options.isolate && !globals.quiet {
        warn_of_ways_around(&limits, &loaded, globals, print)?;
    }
    let LoadedConfig { mut config, paths, .. } = loaded;
    if config.log.level == Config::default().log.level {
        // The terminal belongs to the command: what goes wrong is told by the responses.
        config.log.level = "off".to_owned();
    }
    serve::start_log(&config.log, print)?;
    process::harden();
    let reach = if options.isolate {
        Reach::Isolate(options.also)
    } else if options.no_intercept {
        Reach::BaseUrl
    } else {
        Reach::Intercept
    };
    let is_own = runs_this_program(&options.command);
    let command = run::run(&config, &paths, is_system, limits, &reach, &options.command);
    let summary = serve::control_runtime()?.block_on(command)?;
    let is_told = !globals.quiet && !is_own;
    if let Some(warning) = nothing_came(&reach, summary).filter(|_| is_told) {
        print.warning(&warning);
    }
    match summary.exit_code {
        0 => Ok(()),
        code => Err(CliError::ChildExited(code)),
    }
}

/// Warns where the command can do more than its limits allow.
fn warn_of_ways_around(
    limits: &ClientPolicy,
    loaded: &LoadedConfig,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    // If a daemon runs, only the daemon knows which requests it allows.
    let (in_effect, is_served) = load_effective_config(loaded, globals)?;
    let Some(wider) = client_limits::access_without_key(limits, &in_effect) else { return Ok(()) };
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
    Ok(())
}

/// Says whether the command runs this program itself, which asks the daemon by its socket.
fn runs_this_program(command: &[OsString]) -> bool {
    let is_name = |word: &str| word.rsplit('/').next() == Some(env!("CARGO_PKG_NAME"));
    let words = command.iter().map(|word| word.to_string_lossy());
    words.into_iter().any(|word| word.split_whitespace().any(is_name))
}

/// Says why a command that made no request may have made none.
fn nothing_came(reach: &Reach, summary: RunSummary) -> Option<String> {
    let RunSummary { requests: 0, others, failed_handshakes, .. } = summary else { return None };
    let cause = match reach {
        _ if failed_handshakes > 0 => {
            "its TLS does not trust the certificate of this run: it brings a list of its own"
        }
        Reach::BaseUrl => "it reads none of the base URL names: leave --no-intercept out",
        Reach::Intercept if others > 0 => "it used the proxy for other hosts alone",
        Reach::Intercept => {
            "it uses no proxy, or made no request: with --isolate (Linux) every program comes here"
        }
        Reach::Isolate(_) => "it made none, or looked for another host: --also HOST lets it there",
    };
    Some(format!("no request of the command came through here; the likely cause: {cause}"))
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
            error @ (run::Error::Authority(_)
            | run::Error::Files(_)
            | run::Error::Isolation { .. }
            | run::Error::AddressOrigin(_)
            | run::Error::MalformedHost(_)
            | run::Error::TooManyHosts(_)
            | run::Error::SharedAuditDirectory(_)
            | run::Error::Descriptor(_)
            | run::Error::NotLinux) => without_command(&error),
            run::Error::Wait(error) => Self::Runtime(error),
        }
    }
}

/// Makes the report of a run that failed before its command could be started.
fn without_command(error: &run::Error) -> CliError {
    let hint = match error {
        run::Error::Isolation { .. } => {
            "The kernel, or the container around this, must allow unprivileged user namespaces; \
             without --isolate the command runs as usual."
        }
        run::Error::AddressOrigin(_) => {
            "Give upstream.origin, each [[host]] and each --also a name instead of an address."
        }
        run::Error::MalformedHost(_) => "Write --also pypi.org, or --also db.example:5432.",
        run::Error::TooManyHosts(_) => "Name fewer hosts with --also.",
        run::Error::SharedAuditDirectory(_) => {
            "Give audit.file a directory of its own: the files that follow a full one are in it too."
        }
        run::Error::Descriptor(_) => "Redirect it from or to an ordinary file or a pipe.",
        run::Error::NotLinux => "Leave --isolate out.",
        run::Error::Authority(_)
        | run::Error::Files(_)
        | run::Error::Client(_)
        | run::Error::Daemon(_)
        | run::Error::System(_)
        | run::Error::NotAdmitted { .. }
        | run::Error::NotLoggedIn { .. }
        | run::Error::Command { .. }
        | run::Error::Wait(_) => {
            "Set TMPDIR to a directory that this user can write, and that is none of this program's \
             own."
        }
    };
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let report = Report {
        message: error.to_string(),
        causes: causes.map(ToString::to_string).collect(),
        hint: Some(hint.to_owned()),
    };
    CliError::Message { report, exit_code: ExitCode::Failed }
}
