//! The command line: one file per command, one way to print, one way to fail.

mod client;
mod client_limits;
mod completions;
mod config;
mod control;
mod daemon_client;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
mod error;
mod flags;
mod hint;
mod login;
mod logout;
mod policy;
mod print;
mod prompt;
mod reach;
#[cfg(unix)]
mod run;
mod serve;
mod service;
mod status;
mod tail;
mod usage;
mod user;
mod wait;
mod whoami;

use std::ffi::OsString;
use std::panic;
use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub use error::{CliError, ExitCode};
pub use print::Printer;

use crate::config::{Environment, LoadedConfig, Override, Paths, Sources};

/// Log in to Nexudus once; every local tool then talks to it through localhost.
#[derive(Debug, Parser)]
#[command(name = "nexudus-proxy", version, styles = STYLES, arg_required_else_help = true)]
#[command(subcommand_required = true, disable_help_subcommand = true)]
#[command(after_help = "Every key of the configuration is a flag of `serve`, an environment \
    variable and a line of the file: see `serve --help` and `config show`.")]
struct Cli {
    #[command(flatten)]
    globals: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
struct GlobalArgs {
    /// Use the credentials, state and sockets of this profile
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,
    /// Read this configuration file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print data as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Say only what went wrong
    #[arg(short, long, global = true)]
    quiet: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: print::ColorWhen,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Log in, once: prove e-mail and password, and store them
    Login(login::LoginArgs),
    /// Remove the stored login and the session
    Logout(logout::LogoutArgs),
    /// Show who is logged in, and the account's defaults
    Whoami(whoami::WhoamiArgs),
    /// Check everything that a request needs, and say how to repair what fails
    Doctor(doctor::DoctorArgs),
    /// Run the daemon in the foreground
    Serve(serve::ServeArgs),
    /// Try it without an account: a simulated Nexudus and the proxy in front of it
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
    /// Named local keys, each with limits of its own
    Client(client::ClientArgs),
    /// Say what the rules let through
    Policy(policy::PolicyArgs),
    /// Run one command with a listener and a key of its own
    #[cfg(unix)]
    Run(run::RunArgs),
    /// Show what the daemon knows: session, requests, throttle, clients, addresses
    Status,
    /// Return when the daemon can serve
    Wait(wait::WaitArgs),
    /// Stop the daemon and wait until it has ended
    Stop,
    /// Have the daemon read its configuration again
    Reload,
    /// Have the daemon renew its token now
    Refresh,
    /// Have the daemon forget its token until unlocked, across restarts
    Lock,
    /// End a lock; a locked keyring is opened for it
    Unlock,
    /// Show requests as they end, without queries and bodies
    Tail(tail::TailArgs),
    /// Run the daemon as a service: systemd's or launchd's
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
    let when = print::ColorWhen::from_args(&args);
    let print = Printer::new(when);
    let is_json = print::wants_json(&args);
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        panic::set_hook(Box::new(move |info| print.panic(info)));
    }
    let run = || match run(args, when, print) {
        Ok(()) => ExitCode::Done,
        Err(failure) => print.error(&failure, is_json),
    };
    // The hook has said what there is to say.
    panic::catch_unwind(panic::AssertUnwindSafe(run)).unwrap_or(ExitCode::Failed)
}

fn run(args: Vec<OsString>, when: print::ColorWhen, print: Printer) -> Result<(), CliError> {
    let is_run = is_run_command(&args);
    let matches = Cli::command().color(when.into()).try_get_matches_from(args);
    let matches = matches.map_err(|error| match is_run && error.exit_code() != 0 {
        // What runs another command keeps the low codes for that one.
        true => CliError::Run(Box::new(error.into())),
        false => error.into(),
    })?;
    let line = Cli::from_arg_matches(&matches)?;
    let globals = line.globals;
    dispatch(line.command, &globals, print).map_err(|failure| {
        match globals.sources(vec![]).paths() {
            Ok(Paths { profile, .. }) => {
                CliError::InProfile { profile, failure: Box::new(failure) }
            }
            Err(_) => failure,
        }
    })
}

/// Says whether the command is `run`, before anything is parsed.
fn is_run_command(args: &[OsString]) -> bool {
    let command = args.iter().skip(1).find(|arg| !arg.as_encoded_bytes().starts_with(b"-"));
    command.is_some_and(|command| command == "run")
}

fn dispatch(command: Command, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    match command {
        Command::Login(options) => login::run(options, globals, print),
        Command::Logout(options) => logout::run(options, globals, print),
        Command::Whoami(options) => whoami::run(options, globals, print),
        Command::Doctor(options) => doctor::run(options, globals, print),
        Command::Serve(options) => {
            let sources = globals.sources(options.keys.into_overrides());
            let LoadedConfig { config, paths, warnings, .. } = sources.load()?;
            warnings.iter().for_each(|warning| print.warning(warning));
            serve::run(&config, &paths, &sources, print)
        }
        #[cfg(feature = "demo")]
        Command::Demo(options) => demo::run(&options, print),
        Command::Client(options) => client::run(options, globals, print),
        Command::Policy(options) => policy::run(options, globals, print),
        #[cfg(unix)]
        Command::Run(options) => run::run(options, globals, print),
        Command::Status => status::run(globals, print),
        Command::Wait(options) => wait::run(&options, globals, print),
        Command::Stop => control::stop(globals, print),
        Command::Reload => control::reload(globals, print),
        Command::Refresh => control::refresh(globals, print),
        Command::Lock => control::lock(globals, print),
        Command::Unlock => control::unlock(globals, print),
        Command::Tail(options) => tail::run(&options, globals, print),
        Command::Service(options) => service::run(&options, globals, print),
        Command::Config(options) => config::run(options, globals, print),
        Command::Completions(options) => completions::run(&options, print),
        Command::Man => completions::man(print),
    }
}

impl GlobalArgs {
    /// Merges these keys with the environment and the file.
    fn load(&self, flags: Vec<Override>) -> Result<LoadedConfig, CliError> {
        Ok(self.sources(flags).load()?)
    }

    fn sources(&self, flags: Vec<Override>) -> Sources {
        let verbosity = flags::verbosity(self.verbose, self.quiet);
        Sources {
            profile: self.profile.clone(),
            file: self.config.clone(),
            environment: Environment::from_process(),
            // A key that is given by name is meant more than `-v`.
            flags: verbosity.into_iter().chain(flags).collect(),
        }
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
