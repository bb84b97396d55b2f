//! `service`: the daemon as a unit of systemd, an agent of launchd or a task of Windows. Prints each
//! step.
//!
//! Only `install` needs the configuration: a service that a broken one has stopped must still be
//! looked at, stopped and removed.

mod install;
mod uninstall;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::daemon_client::{self, find_daemon};
use super::globals::{DaemonScope, GlobalArgs};
use super::{CliError, Printer, serve};
use crate::config::{Config, Diagnostic, Environment, Paths, Sources, UnixSocket};
use crate::problem::{ExitCode, ProblemKind};
use crate::service::{Error, Service, ServiceEvent, ServiceSpec, ServiceStatus, SocketPath};

/// The arguments of `service`.
#[derive(clap::Args, Debug)]
pub(super) struct ServiceArgs {
    #[command(subcommand)]
    action: ServiceAction,
    /// Whether `--system`, a global flag, asks for the service of the whole machine.
    #[arg(skip)]
    pub(super) system: bool,
}

#[derive(Debug, Subcommand)]
enum ServiceAction {
    /// Write its files and start it; again after a change of listen.tcp or of the program's path
    Install {
        /// Copy the program to /usr/local/bin without asking, where --system needs it there
        #[arg(long)]
        yes: bool,
    },
    /// Stop it and remove its files; says what is left
    Uninstall {
        /// Remove what is left too: drop-ins, configuration, state, encrypted credentials
        #[arg(long)]
        purge: bool,
        /// Purge without asking
        #[arg(long, requires = "purge")]
        yes: bool,
    },
    /// Start it, and open its sockets
    Start,
    /// Stop it, and close its sockets: no request starts it again
    Stop,
    /// Show what the service manager knows of it
    Status,
    /// Show its log
    Logs {
        /// How many lines
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
        lines: u32,
        /// Go on with what comes
        #[arg(short, long)]
        follow: bool,
    },
}

impl ServiceArgs {
    /// Says whether the service is to be installed.
    pub(super) fn is_install(&self) -> bool {
        matches!(self.action, ServiceAction::Install { .. })
    }
}

/// Changes or shows the service.
pub(super) fn run(
    options: &ServiceArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    if let ServiceAction::Install { yes } = options.action {
        return install::run(options.system, yes, globals, print);
    }
    let service = installed_service(options.system, globals)?;
    let mut steps = Steps::new(globals.json, print);
    match options.action {
        ServiceAction::Uninstall { purge, yes } => {
            uninstall::run(&service, purge.then_some(yes), globals, &mut steps)?;
        }
        ServiceAction::Start => service.start(&mut |event| steps.tell(event))?,
        ServiceAction::Stop => {
            service.stop(&mut |event| steps.tell(event))?;
            end_daemon(&service, globals, &steps)?;
        }
        ServiceAction::Status => return print_status(&service, globals, print),
        ServiceAction::Logs { lines, follow } => {
            return Ok(service.logs(lines, follow, globals.json)?);
        }
        ServiceAction::Install { .. } => {}
    }
    if globals.json { print.json(&json!({ "did": steps.events })) } else { Ok(()) }
}

/// Fails where the service has failed and systemd still holds its sockets: a connection would start it
/// once more, and wait for as long as that goes on.
pub(super) fn require_unfailed(globals: &GlobalArgs) -> Result<(), CliError> {
    for system in [false, true] {
        let status = installed_service(system, globals).ok().and_then(|it| it.status().ok());
        match status {
            Some(status) if status.has_failed() && status.listening => {
                return Err(failure(system, status));
            }
            // The commands talk to the user's own service first.
            Some(_) => return Ok(()),
            None => {}
        }
    }
    Ok(())
}

/// Returns why no daemon answers, if a service has failed: the user's own, or the machine's.
pub(super) fn explain_absence(globals: &GlobalArgs, error: CliError) -> CliError {
    let failed = [false, true].into_iter().find_map(|system| {
        let status = installed_service(system, globals).ok()?.status().ok()?;
        status.has_failed().then_some((system, status))
    });
    failed.map_or(error, |(system, status)| failure(system, status))
}

/// Says how the system's daemon is started on this machine, where a command asks for that one and it
/// does not run.
pub(super) fn advise_system_start(globals: &GlobalArgs, error: CliError) -> CliError {
    let is_asked_for = globals.scope() == DaemonScope::System;
    let (CliError::Problem(_) | CliError::Message { .. }) = &error else { return error };
    let general = ProblemKind::DaemonNotRunning.hint();
    match &error.reports()[..] {
        [report] if is_asked_for && report.hint.as_deref() == general => {
            let hint = system_start_hint(globals);
            CliError::message(error.exit_code(), report.message.clone(), Some(hint))
        }
        _ => error,
    }
}

/// Says whether a login is for the installed system service, which reads it from systemd.
pub(super) fn is_system_login(globals: &GlobalArgs) -> Result<bool, CliError> {
    let is_asked_for = globals.scope() == DaemonScope::System;
    Ok(is_asked_for && installed_service(true, globals)?.is_installed())
}

/// Has a running system service read its credentials again, which systemd hands over at the start.
pub(super) fn restart_system(globals: &GlobalArgs) -> Result<(), CliError> {
    let service = installed_service(true, globals)?;
    let mut steps = Steps::new(true, globals.printer());
    Ok(service.restart(&mut |event| steps.tell(event))?)
}

/// Returns how the system's daemon is started on this machine.
pub(super) fn system_start_hint(globals: &GlobalArgs) -> &'static str {
    if installed_service(true, globals).is_ok_and(|service| service.is_installed()) {
        "Start it with `nexudus-proxy service start`, as root."
    } else if Path::new(SYSTEMD_RUNS).is_dir() {
        "Install it with `nexudus-proxy service install`, as root."
    } else {
        "Start it with `nexudus-proxy serve`, as root."
    }
}

/// There where systemd is the service manager (sd_booted(3)).
const SYSTEMD_RUNS: &str = "/run/systemd/system";

fn failure(system: bool, status: ServiceStatus) -> CliError {
    let cause = status.last_error.or(status.result).unwrap_or_else(|| "see its log".to_owned());
    let flag = if system { " --system" } else { "" };
    let hint = format!(
        "Repair that, and run `nexudus-proxy service start{flag}`; `nexudus-proxy service \
         logs{flag}` has more lines."
    );
    let message = format!("the service has failed: {cause}");
    CliError::message(ExitCode::NotRunning, message, Some(&hint))
}

/// Ends the daemon of a service that its service manager cannot end.
fn end_daemon(service: &Service, globals: &GlobalArgs, steps: &Steps) -> Result<(), CliError> {
    if !service.ends_with_daemon() {
        return Ok(());
    }
    match daemon_client::end_daemon(globals) {
        Ok(_) => steps.line("stopped the daemon"),
        Err(error) if error.exit_code() == ExitCode::NotRunning => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The changes of a command, each printed as it is made.
struct Steps {
    events: Vec<ServiceEvent>,
    is_json: bool,
    print: Printer,
}

impl Steps {
    fn new(is_json: bool, print: Printer) -> Self {
        Self { events: vec![], is_json, print }
    }

    fn tell(&mut self, event: ServiceEvent) {
        self.line(&format_event(&event));
        self.events.push(event);
    }

    /// Prints a line for a person.
    fn line(&self, text: &str) {
        if !self.is_json {
            // A closed standard output does not stop an installation half-way.
            self.print.line(text).ok();
        }
    }
}

/// Returns the service as it may be installed, whatever its configuration says.
fn installed_service(system: bool, globals: &GlobalArgs) -> Result<Service, CliError> {
    let sources = sources(system, globals);
    let paths = sources.paths()?;
    let config = sources.load().map(|loaded| loaded.config).unwrap_or_default();
    Ok(Service::new(service_spec(&config, &paths, globals)?, system)?)
}

/// Returns where the service reads its configuration: the system service has its own environment,
/// not that of its installer.
fn sources(system: bool, globals: &GlobalArgs) -> Sources {
    let mut sources = globals.sources(vec![]);
    if system {
        sources.environment = Environment::from(SYSTEM_ENVIRONMENT);
    }
    sources
}

fn service_spec(
    config: &Config,
    paths: &Paths,
    globals: &GlobalArgs,
) -> Result<ServiceSpec, CliError> {
    let program = std::env::current_exe().map_err(CliError::Runtime)?;
    let mut arguments = vec![];
    let profile = (paths.profile != Config::default().profile).then(|| paths.profile.clone());
    if let Some(profile) = &profile {
        arguments.extend(["--profile".to_owned(), profile.clone()]);
    }
    if let Some(file) = &globals.config {
        let file = std::path::absolute(file).map_err(CliError::Runtime)?;
        arguments.extend(["--config".to_owned(), file.display().to_string()]);
    }
    let home = std::env::home_dir().ok_or(Diagnostic::NoHome)?;
    let configurations = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let configurations = configurations.filter(|path| path.is_absolute());
    Ok(ServiceSpec {
        program,
        arguments,
        profile,
        config_dir: configurations.unwrap_or_else(|| home.join(".config")),
        home,
        tcp: config.listen.tcp.clone(),
        unix: match &config.listen.unix {
            UnixSocket::Auto => SocketPath::Default,
            UnixSocket::Path(path) => SocketPath::At(path.clone()),
            UnixSocket::Off => SocketPath::Off,
        },
        runtime_dir: paths.runtime.clone(),
        state_dir: paths.profile_state(),
        drain: config.daemon.drain,
        data: uninstall::own_data(paths, globals.config.is_some()),
    })
}

fn format_event(event: &ServiceEvent) -> String {
    match event {
        ServiceEvent::Wrote(path) => format!("wrote {}", path.display()),
        ServiceEvent::Kept(path) => format!("unchanged {}", path.display()),
        ServiceEvent::Removed(path) => format!("removed {}", path.display()),
        ServiceEvent::Left(path) => format!("left {}", path.display()),
        ServiceEvent::Ran(line) => format!("ran {line}"),
    }
}

fn print_status(service: &Service, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    if !service.is_installed() {
        let output = json!({ "installed": false, "state": "not-installed" });
        let is_system = service.is_system();
        return Err(CliError::from(Error::NotInstalled { is_system }).with_output(output));
    }
    let mut state = service.status()?;
    if service.ends_with_daemon() {
        let daemon = serve::control_runtime()?.block_on(find_daemon(globals))?;
        if let Some(daemon) = daemon.serving() {
            "active".clone_into(&mut state.state);
            state.pid = Some(daemon.status.pid);
            state.listening = true;
        }
    }
    let lingers = service.has_linger();
    let is_up = !state.has_failed() && (state.listening || state.pid.is_some());
    if !globals.json {
        print.raw(format_status(&state, lingers, print).as_bytes())?;
        // The status is printed; only the exit code is left.
        return if is_up { Ok(()) } else { Err(CliError::AlreadyPrinted(ExitCode::NotRunning)) };
    }
    let mut output = json!(state);
    output["installed"] = json!(true);
    output["linger"] = json!(lingers);
    if is_up {
        return print.json(&output);
    }
    let flag = if service.is_system() { " --system" } else { "" };
    let (message, hint) = match &state.last_error {
        Some(error) => (
            format!("the service has failed: {error}"),
            format!("Repair that, and run `nexudus-proxy service start{flag}`."),
        ),
        None => (
            "the service neither runs nor listens".to_owned(),
            format!("Run `nexudus-proxy service start{flag}`."),
        ),
    };
    let error = CliError::message(ExitCode::NotRunning, message, Some(&hint));
    Err(error.with_output(output))
}

fn format_status(state: &ServiceStatus, lingers: Option<bool>, print: Printer) -> String {
    let process = state.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
    let says = state.says.as_ref().map(|says| format!(": {says}")).unwrap_or_default();
    let result = state.result.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    let sockets = match (state.listening, state.pid) {
        (true, Some(_)) => "open",
        (true, None) => "open: the next request starts it",
        (false, _) => "closed",
    };
    let starts = match (state.enabled, lingers) {
        (false, _) => "by hand",
        (true, None | Some(true)) => "by itself",
        (true, Some(false)) => "at your login, ends when you log out",
    };
    let mut rows = vec![("service", format!("{}{process}{result}{says}", state.state))];
    rows.extend(state.last_error.iter().map(|error| ("error", print.style("31", error))));
    rows.extend([("sockets", sockets.to_owned()), ("starts", starts.to_owned())]);
    rows.extend(state.files.iter().map(|path| ("file", path.display().to_string())));
    format_rows(rows, print)
}

/// Returns rows of a name and a value.
fn format_rows(rows: Vec<(&str, String)>, print: Printer) -> String {
    let row = |(name, value)| format!("{} {value}\n", print.style("2", &format!("{name:<8}")));
    rows.into_iter().map(row).collect()
}

/// The directories of the system unit.
const SYSTEM_ENVIRONMENT: [(&str, &str); 3] = [
    ("CONFIGURATION_DIRECTORY", "/etc/nexudus-proxy"),
    ("STATE_DIRECTORY", "/var/lib/nexudus-proxy"),
    ("RUNTIME_DIRECTORY", "/run/nexudus-proxy"),
];
