//! `service`: the daemon as a unit of systemd or an agent of launchd. Says each thing that it does.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::{Code, Failure, Globals, Print, reach, serve};
use crate::admin::client::Client;
use crate::admin::wire::Status;
use crate::config::{Config, Environment, Loaded, Paths, Problem, Sources, UnixSocket};
use crate::service::{Deed, Error, Place, Service, State, Subject};

/// What `service` takes.
#[derive(clap::Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    act: Act,
    /// The service of the whole machine (systemd, as root), not this user's own
    #[arg(long, global = true)]
    system: bool,
}

#[derive(Debug, Subcommand)]
enum Act {
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

/// Does it.
pub(super) fn run(options: &Options, globals: &Globals, print: Print) -> Result<(), Failure> {
    let Loaded { config, paths, .. } = sources(options.system, globals).load()?;
    let subject = subject(&config, &paths, globals)?;
    let service = Service::of(subject, options.system)?;
    let mut deeds = vec![];
    let mut tell = |deed: Deed| {
        if !globals.json {
            print.line(&told(&deed)).ok();
        }
        deeds.push(deed);
    };
    match options.act {
        Act::Install => {
            if !service.is_installed() {
                alone(options.system, globals)?;
            }
            service.install(&mut tell)?;
        }
        Act::Uninstall => {
            if !service.uninstall(&mut tell)? && !globals.json {
                print.line("nothing is installed")?;
            }
        }
        Act::Start => service.start(&mut tell)?,
        Act::Stop => service.stop(&mut tell)?,
        Act::Status => return show(&service, globals, print),
        Act::Logs { lines, follow } => {
            return Ok(service.logs(lines, follow, globals.json)?);
        }
    }
    if globals.json {
        print.json(&json!({ "did": deeds }))?;
    }
    if matches!(options.act, Act::Install) && service.lingers() == Some(false) {
        print.note(LINGER);
    }
    Ok(())
}

/// The system's service reads what it will find there, not what its installer has.
fn sources(system: bool, globals: &Globals) -> Sources {
    let mut sources = globals.sources(vec![]);
    if system {
        sources.environment = Environment::from(SYSTEM);
    }
    sources
}

fn subject(config: &Config, paths: &Paths, globals: &Globals) -> Result<Subject, Failure> {
    let program = std::env::current_exe().map_err(Failure::Runtime)?;
    let mut arguments = vec![];
    let profile = (paths.profile != Config::default().profile).then(|| paths.profile.clone());
    if let Some(profile) = &profile {
        arguments.extend(["--profile".to_owned(), profile.clone()]);
    }
    if let Some(file) = &globals.config {
        let file = std::path::absolute(file).map_err(Failure::Runtime)?;
        arguments.extend(["--config".to_owned(), file.display().to_string()]);
    }
    let home = std::env::home_dir().ok_or(Problem::Homeless)?;
    let configurations = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let configurations = configurations.filter(|path| path.is_absolute());
    Ok(Subject {
        program,
        arguments,
        profile,
        configurations: configurations.unwrap_or_else(|| home.join(".config")),
        home,
        tcp: config.listen.tcp.clone(),
        unix: match &config.listen.unix {
            UnixSocket::Auto => Place::Usual,
            UnixSocket::Path(path) => Place::At(path.clone()),
            UnixSocket::Off => Place::Off,
        },
        runtime: paths.runtime.clone(),
        drain: config.daemon.drain,
    })
}

/// A daemon that somebody has started by hand holds the addresses that the service needs.
fn alone(system: bool, globals: &Globals) -> Result<(), Failure> {
    let sockets = match system {
        true => vec![sources(true, globals).paths()?.admin_socket()],
        false => reach::sockets(globals)?.into_iter().take(1).collect(),
    };
    let running: Option<Status> = serve::control()?
        .block_on(async { Client::find(&sockets).await.ok()?.get("/v1/status").await.ok() });
    match running {
        None => Ok(()),
        Some(status) => Err(Failure::Other {
            sentence: format!(
                "a daemon runs already, and not as a service: process {}",
                status.pid
            ),
            code: Code::Failed,
            hint: Some("Stop it first: `nexudus-proxy stop`.".to_owned()),
        }),
    }
}

fn told(deed: &Deed) -> String {
    match deed {
        Deed::Wrote(path) => format!("wrote {}", path.display()),
        Deed::Kept(path) => format!("unchanged {}", path.display()),
        Deed::Removed(path) => format!("removed {}", path.display()),
        Deed::Ran(line) => format!("ran {line}"),
    }
}

fn show(service: &Service, globals: &Globals, print: Print) -> Result<(), Failure> {
    if !service.is_installed() {
        return Err(Failure::Shown {
            shown: json!({ "installed": false, "state": "not-installed" }),
            failure: Box::new(Error::NotInstalled.into()),
        });
    }
    let state = service.state()?;
    let lingers = service.lingers();
    let is_up = state.listening || state.pid.is_some();
    if !globals.json {
        print.raw(text(&state, lingers, print).as_bytes())?;
        // What is to be said is said.
        return if is_up { Ok(()) } else { Err(Failure::Silent(Code::NotRunning)) };
    }
    let mut shown = json!(state);
    shown["installed"] = json!(true);
    shown["linger"] = json!(lingers);
    if is_up {
        return print.json(&shown);
    }
    let failure = Failure::Other {
        sentence: "the service neither runs nor listens".to_owned(),
        code: Code::NotRunning,
        hint: Some("Run `nexudus-proxy service start`.".to_owned()),
    };
    Err(Failure::Shown { shown, failure: Box::new(failure) })
}

fn text(state: &State, lingers: Option<bool>, print: Print) -> String {
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
    let row = |(name, value)| format!("{} {value}\n", print.accent("2", &format!("{name:<8}")));
    rows.into_iter().map(row).collect()
}

/// Returns how to exit.
pub(super) fn code(error: &Error) -> Code {
    match error {
        Error::NoSystem | Error::SystemProfile | Error::NoPort { .. } | Error::Word { .. } => {
            Code::Usage
        }
        Error::NotInstalled => Code::NotRunning,
        Error::NoManager
        | Error::NoUserManager
        | Error::Path { .. }
        | Error::File { .. }
        | Error::Command { .. }
        | Error::Failed { .. } => Code::Failed,
    }
}

/// Where the system unit has what is its own.
const SYSTEM: [(&str, &str); 3] = [
    ("CONFIGURATION_DIRECTORY", "/etc/nexudus-proxy"),
    ("STATE_DIRECTORY", "/var/lib/nexudus-proxy"),
    ("RUNTIME_DIRECTORY", "/run/nexudus-proxy"),
];

const LINGER: &str = "It ends when you log out, and starts with your next login. \
    `loginctl enable-linger` keeps it running from the machine's start on.";
