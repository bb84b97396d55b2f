//! The command line: one file per command, one way to print, one way to fail.

mod api;
mod approvals;
mod audit;
mod ca;
mod client;
mod client_limits;
mod client_list;
mod client_redaction;
mod completions;
mod config;
mod config_flags;
mod control;
mod current_user;
mod daemon_client;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
#[cfg(unix)]
mod env;
mod error;
mod fleet;
mod globals;
mod help;
#[cfg(test)]
mod hint_commands;
mod local_api;
mod login;
mod logout;
mod open;
mod policy;
mod print;
mod profile;
mod prompt;
#[cfg(unix)]
mod run;
mod serve;
mod service;
mod status;
mod tail;
mod ui;
mod version;
mod visible;
mod wait;
mod waiting;
mod whoami;

use std::ffi::OsString;
use std::panic;

use clap::builder::styling::{AnsiColor, Styles};
use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub use error::CliError;
pub use print::Printer;

use self::config_flags::ConfigOverrides;
use self::globals::GlobalArgs;
use crate::problem::ExitCode;

/// Log in to Nexudus once; every local tool then talks to it through localhost.
#[derive(Debug, Parser)]
#[command(name = "nexudus-proxy", version = version::VERSION, styles = STYLES, arg_required_else_help = true)]
#[command(subcommand_required = true)]
#[command(after_help = "Every key of the configuration is a flag of `serve`, an environment \
    variable and a line of the file: see `serve --help` and `config show`.")]
struct Cli {
    #[command(flatten)]
    globals: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Log in, once: prove e-mail and password, and store them
    Login(login::LoginArgs),
    /// Remove the stored login and the session
    Logout(logout::LogoutArgs),
    /// Show who is logged in, and the account's defaults
    Whoami(ConfigOverrides),
    /// Check everything that a request needs, and say how to repair what fails
    Doctor(ConfigOverrides),
    /// Run the daemon in the foreground
    Serve(serve::ServeArgs),
    /// Try it without an account: a simulated Nexudus and the proxy in front of it
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
    /// The daemon's two certificate authorities: show, export, trust, rotate
    Ca(ca::CaArgs),
    /// Named local keys, each with limits of its own
    Client(client::ClientArgs),
    /// Decide about the calls that wait for a person
    Approvals(approvals::ApprovalsArgs),
    /// Read and check the record of what clients did
    Audit(audit::AuditArgs),
    /// Say which requests the rules allow
    Policy(policy::PolicyArgs),
    /// Run one command with a listener and a key of its own
    #[cfg(unix)]
    Run(run::RunArgs),
    /// Ask through the daemon, page by page
    Api(api::ApiArgs),
    /// Download a document through the daemon, and open it
    Open(open::OpenArgs),
    /// Print the variables that lead a shell's programs to the daemon, for `eval`
    #[cfg(unix)]
    Env(env::EnvArgs),
    /// Show what the daemon knows: session, requests, throttle, clients, addresses
    Status(status::StatusArgs),
    /// Return when the daemon can serve
    Wait(wait::WaitArgs),
    /// Stop the daemon and wait until it has ended
    Stop,
    /// Have the daemon read its configuration again
    Reload,
    /// Have the daemon renew its token now
    Refresh,
    /// Have the daemon forget its token until unlocked, across restarts
    Lock(control::LockArgs),
    /// End a lock; a locked keyring is opened for it
    Unlock,
    /// Show requests as they end, without queries and bodies
    Tail(tail::TailArgs),
    /// Open the inspector: a page with live requests, the session and the throttle, for you alone
    Ui(ui::UiArgs),
    /// The machines that share one session
    Fleet(fleet::FleetArgs),
    /// Run the daemon as a service: systemd's, launchd's or a task of Windows
    Service(service::ServiceArgs),
    /// Write, check and show the configuration
    Config(config::ConfigCommandArgs),
    /// Print the completions of a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page
    Man,
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default())
    .usage(AnsiColor::Yellow.on_default())
    .literal(AnsiColor::Green.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// Runs the program with these arguments, its own name first, and returns how it ended.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args.into_iter().collect();
    // This program again, on the way to the command of a `run`.
    #[cfg(unix)]
    if let Some(code) = crate::run::run_stage(&args) {
        return ExitCode::Child(code);
    }
    let when = print::ColorWhen::from_args(&args);
    let print = Printer::new(when);
    let is_json = print::wants_json(&args);
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        panic::set_hook(Box::new(move |info| print.panic(info)));
    }
    let run = || match run(args, when, print) {
        Ok(()) => ExitCode::Done,
        Err(error) => print.error(&error, is_json),
    };
    // The hook has printed the panic.
    panic::catch_unwind(panic::AssertUnwindSafe(run)).unwrap_or(ExitCode::Failed)
}

fn run(args: Vec<OsString>, when: print::ColorWhen, print: Printer) -> Result<(), CliError> {
    let is_run = is_run_command(&args);
    let command = help::with_examples(Cli::command());
    let misplaced = error::misplaced_flag(&args, &command);
    let is_json = print::wants_json(&args);
    let parsed = command.color(when.into()).try_get_matches_from(args);
    if is_json && parsed.as_ref().is_err_and(|error| error.kind() == ErrorKind::DisplayVersion) {
        return version::print_json(print);
    }
    let matches = parsed.map_err(|error| {
        let is_help = error.exit_code() == 0;
        let is_unknown = error.kind() == ErrorKind::UnknownArgument;
        let error = match misplaced.filter(|_| is_unknown) {
            Some(misplaced) => misplaced,
            None => CliError::from(error),
        };
        // The low exit codes belong to the command of `run`.
        if is_run && !is_help { CliError::Run(Box::new(error)) } else { error }
    })?;
    let cli = Cli::from_arg_matches(&matches)?;
    let globals = cli.globals;
    let print = print.with_quiet(globals.quiet);
    let done =
        check_profile(&cli.command, &globals).and_then(|()| dispatch(cli.command, &globals, print));
    done.map_err(|error| CliError::AsTyped {
        profile: globals.profile_name(),
        scope: globals.scope_flag(),
        error: Box::new(service::advise_system_start(&globals, error)),
    })
}

/// Refuses a profile of which there is no trace: a mistyped name must not look like a fresh start.
fn check_profile(command: &Command, globals: &GlobalArgs) -> Result<(), CliError> {
    match command {
        // These make a profile, need none, or may get the login from a source of their own.
        Command::Login(_) | Command::Serve(_) | Command::Completions(_) | Command::Man => Ok(()),
        #[cfg(feature = "demo")]
        Command::Demo(_) => Ok(()),
        #[cfg(unix)]
        Command::Run(_) => Ok(()),
        Command::Config(args) if args.needs_no_profile() => Ok(()),
        // The system's service has one profile, and says so.
        Command::Service(args) if args.is_install() && globals.system => Ok(()),
        Command::Service(args) if args.is_install() => {
            profile::require_or_login(globals, &globals.load(vec![])?)
        }
        #[cfg(unix)]
        Command::Env(_) => Ok(globals.sources(vec![]).require_profile()?),
        Command::Logout(_)
        | Command::Whoami(_)
        | Command::Doctor(_)
        | Command::Ca(_)
        | Command::Client(_)
        | Command::Approvals(_)
        | Command::Audit(_)
        | Command::Policy(_)
        | Command::Api(_)
        | Command::Open(_)
        | Command::Status(_)
        | Command::Wait(_)
        | Command::Stop
        | Command::Reload
        | Command::Refresh
        | Command::Lock(_)
        | Command::Fleet(_)
        | Command::Unlock
        | Command::Tail(_)
        | Command::Ui(_)
        | Command::Service(_)
        | Command::Config(_) => Ok(globals.sources(vec![]).require_profile()?),
    }
}

/// Returns whether the command is `run`, before anything is parsed.
fn is_run_command(args: &[OsString]) -> bool {
    let command = args.iter().skip(1).find(|arg| !arg.as_encoded_bytes().starts_with(b"-"));
    command.is_some_and(|command| command == "run")
}

fn dispatch(command: Command, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    match command {
        Command::Login(args) => login::run(args, globals, print),
        Command::Logout(options) => logout::run(options, globals, print),
        Command::Whoami(overrides) => whoami::run(overrides, globals, print),
        Command::Doctor(overrides) => doctor::run(overrides, globals, print),
        Command::Serve(args) => serve::run(args, globals, print),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(&args, print),
        Command::Ca(args) => ca::run(args, globals, print),
        Command::Client(args) => client::run(args, globals, print),
        Command::Approvals(args) => approvals::run(args, globals, print),
        Command::Audit(args) => audit::run(args, globals, print),
        Command::Policy(args) => policy::run(args, globals, print),
        #[cfg(unix)]
        Command::Run(args) => run::run(args, globals, print),
        Command::Api(args) => api::run(&args, globals, print),
        Command::Open(args) => open::run(&args, globals, print),
        #[cfg(unix)]
        Command::Env(args) => env::run(&args, globals, print),
        Command::Status(args) => status::run(&args, globals, print),
        Command::Wait(args) => wait::run(&args, globals, print),
        Command::Stop => control::stop(globals, print),
        Command::Reload => control::reload(globals, print),
        Command::Refresh => control::refresh(globals, print),
        Command::Lock(args) => control::lock(&args, globals, print),
        Command::Fleet(args) => fleet::run(args, globals, print),
        Command::Unlock => control::unlock(globals, print),
        Command::Tail(args) => tail::run(&args, globals, print),
        Command::Ui(args) => ui::run(&args, globals, print),
        Command::Service(mut args) => {
            args.system = globals.system;
            service::run(&args, globals, print)
        }
        Command::Config(args) => config::run(args, globals, print),
        Command::Completions(args) => {
            completions::run(&args, help::with_examples(Cli::command()), print)
        }
        Command::Man => completions::man(help::with_examples(Cli::command()), print),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
