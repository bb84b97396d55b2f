//! `service`: the daemon as a unit of systemd or an agent of launchd. Prints each step.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::globals::GlobalArgs;
use super::{CliError, Printer, daemon_client, serve};
use crate::admin::api::Status;
use crate::admin::client::AdminClient;
use crate::config::{Config, Diagnostic, Environment, LoadedConfig, Paths, Sources, UnixSocket};
use crate::problem::ExitCode;
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
    Install,
    /// Stop it and remove its files
    Uninstall,
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
        matches!(self.action, ServiceAction::Install)
    }
}

/// Changes or shows the service.
pub(super) fn run(
    options: &ServiceArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let LoadedConfig { config, paths, .. } = sources(options.system, globals).load()?;
    let subject = service_spec(&config, &paths, globals)?;
    let service = Service::new(subject, options.system)?;
    let mut events = vec![];
    let mut tell = |event: ServiceEvent| {
        if !globals.json {
            print.line(&format_event(&event)).ok();
        }
        events.push(event);
    };
    match options.action {
        ServiceAction::Install => {
            if !service.is_installed() {
                ensure_no_daemon(options.system, globals)?;
            }
            service.install(&mut tell)?;
        }
        ServiceAction::Uninstall => {
            if !service.uninstall(&mut tell)? && !globals.json {
                print.line("nothing is installed")?;
            }
        }
        ServiceAction::Start => service.start(&mut tell)?,
        ServiceAction::Stop => service.stop(&mut tell)?,
        ServiceAction::Status => return print_status(&service, globals, print),
        ServiceAction::Logs { lines, follow } => {
            return Ok(service.logs(lines, follow, globals.json)?);
        }
    }
    if globals.json {
        print.json(&json!({ "did": events }))?;
    }
    if matches!(options.action, ServiceAction::Install) && service.has_linger() == Some(false) {
        print.note(LINGER_NOTE);
    }
    Ok(())
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
        drain: config.daemon.drain,
    })
}

/// Fails where a daemon that was started by hand holds the addresses that the service needs.
fn ensure_no_daemon(system: bool, globals: &GlobalArgs) -> Result<(), CliError> {
    let sockets = if system {
        vec![sources(true, globals).paths()?.admin_socket()]
    } else {
        daemon_client::admin_sockets(globals)?.into_iter().take(1).collect()
    };
    let running: Option<Status> = serve::control_runtime()?
        .block_on(async { AdminClient::find(&sockets).await.ok()?.get("/v1/status").await.ok() });
    match running {
        None => Ok(()),
        Some(status) => Err(CliError::message(
            ExitCode::Failed,
            format!("a daemon runs already, and not as a service: process {}", status.pid),
            Some("Stop it first: `nexudus-proxy stop`."),
        )),
    }
}

fn format_event(event: &ServiceEvent) -> String {
    match event {
        ServiceEvent::Wrote(path) => format!("wrote {}", path.display()),
        ServiceEvent::Kept(path) => format!("unchanged {}", path.display()),
        ServiceEvent::Removed(path) => format!("removed {}", path.display()),
        ServiceEvent::Ran(line) => format!("ran {line}"),
    }
}

fn print_status(service: &Service, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    if !service.is_installed() {
        let output = json!({ "installed": false, "state": "not-installed" });
        return Err(CliError::from(Error::NotInstalled).with_output(output));
    }
    let state = service.status()?;
    let lingers = service.has_linger();
    let is_up = state.listening || state.pid.is_some();
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
    let error = CliError::message(
        ExitCode::NotRunning,
        "the service neither runs nor listens",
        Some("Run `nexudus-proxy service start`."),
    );
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
    let mut rows = vec![
        ("service", format!("{}{process}{result}{says}", state.state)),
        ("sockets", sockets.to_owned()),
        ("starts", starts.to_owned()),
    ];
    rows.extend(state.files.iter().map(|path| ("file", path.display().to_string())));
    let row = |(name, value)| format!("{} {value}\n", print.style("2", &format!("{name:<8}")));
    rows.into_iter().map(row).collect()
}

/// The directories of the system unit.
const SYSTEM_ENVIRONMENT: [(&str, &str); 3] = [
    ("CONFIGURATION_DIRECTORY", "/etc/nexudus-proxy"),
    ("STATE_DIRECTORY", "/var/lib/nexudus-proxy"),
    ("RUNTIME_DIRECTORY", "/run/nexudus-proxy"),
];

const LINGER_NOTE: &str = "It ends when you log out, and starts with your next login. \
    `loginctl enable-linger` keeps it running from the machine's start on.";
