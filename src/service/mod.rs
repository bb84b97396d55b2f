//! The daemon as a service of this machine: the units of systemd, the agent of launchd or the scheduled
//! task of Windows, and the commands that act on them.
//!
//! The installed files are those of `systemd/`, `launchd/` and `windows/`, with the program's path, the
//! profile and the configured addresses put in. Every change is reported.

mod command;
mod error;
mod files;
mod journal;
mod launchd;
mod leftovers;
#[cfg(unix)]
mod program;
mod session_key;
mod stamp;
mod systemd;
mod task;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use self::command::ServiceCommand;
pub use self::error::Error;
use self::files::{remove_file, write_file};
use self::launchd::Launchd;
#[cfg(unix)]
pub use self::program::{SYSTEM_PROGRAM, copy_program, is_hidden_from_system};
use self::systemd::Systemd;
use self::task::Task;
use crate::config::Paths;

/// The program, its arguments and its sockets, as the service is to run it.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// The program, absolute.
    pub program: PathBuf,
    /// The arguments before `serve`: `--profile`, `--config`.
    pub arguments: Vec<String>,
    /// The profile, unless it is the default one.
    pub profile: Option<String>,
    /// The user's home directory.
    pub home: PathBuf,
    /// The directory of the user's configurations, such as `~/.config`.
    pub config_dir: PathBuf,
    /// The TCP addresses of the API.
    pub tcp: Vec<SocketAddr>,
    /// The unix socket of the API.
    pub unix: SocketPath,
    /// The directory of the sockets.
    pub runtime_dir: PathBuf,
    /// The directory of the profile's state.
    pub state_dir: PathBuf,
    /// How long requests in flight may take when the service stops.
    pub drain: Duration,
    /// Files of the user's daemon that outlive the service: configuration, state.
    pub data: Vec<PathBuf>,
}

/// Where the unix socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketPath {
    /// Beside the admin socket.
    Default,
    /// At this path, as configured.
    At(PathBuf),
    /// There is none.
    Off,
}

/// A service, installed or not.
#[derive(Debug)]
pub struct Service {
    spec: ServiceSpec,
    manager: Manager,
}

#[derive(Debug)]
enum Manager {
    Systemd(Systemd),
    Launchd(Launchd),
    Task(Task),
}

/// Something that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceEvent {
    /// A file was written.
    Wrote(PathBuf),
    /// A file was up to date already.
    Kept(PathBuf),
    /// A file was removed.
    Removed(PathBuf),
    /// A file or a directory was left where it is.
    Left(PathBuf),
    /// A command was run.
    Ran(String),
}

/// The status of an installed service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// The installed files.
    pub files: Vec<PathBuf>,
    /// Whether it starts with the machine or with the user's login.
    pub enabled: bool,
    /// Whether the service manager holds the sockets.
    pub listening: bool,
    /// The state in the service manager's terms: `active`, `inactive`, `failed`, ….
    pub state: String,
    /// The process.
    pub pid: Option<u32>,
    /// The daemon's own status text.
    pub says: Option<String>,
    /// How the last run ended, if it failed.
    pub result: Option<String>,
    /// The last error in the log of a service that has failed.
    pub last_error: Option<String>,
}

impl ServiceStatus {
    /// Says whether the service has failed, and the service manager does not start it again.
    pub fn has_failed(&self) -> bool {
        self.state == "failed"
    }
}

/// Receives each change.
pub type Reporter<'a> = &'a mut dyn FnMut(ServiceEvent);

impl Service {
    /// Finds the service manager of this system.
    ///
    /// # Errors
    ///
    /// [`Error::NoSystem`] and [`Error::SystemProfile`]: the service manager has no such service.
    pub fn new(spec: ServiceSpec, system: bool) -> Result<Self, Error> {
        let is_of_user = cfg!(target_os = "macos") || cfg!(windows);
        let manager = match (is_of_user, system) {
            (true, true) => return Err(Error::NoSystem),
            (true, false) if cfg!(windows) => {
                Manager::Task(Task::new(&spec, |name| std::env::var(name).ok()))
            }
            (true, false) => Manager::Launchd(Launchd::new(&spec)),
            (false, true) if spec.profile.is_some() => return Err(Error::SystemProfile),
            (false, system) => Manager::Systemd(Systemd::new(&spec, system)),
        };
        Ok(Self { spec, manager })
    }

    /// Writes the files and starts the service. Files that are up to date stay as they are.
    ///
    /// # Errors
    ///
    /// All but [`Error::NotInstalled`]; [`Error::NotStarted`] when everything is in place, and the
    /// service does not start.
    pub fn install(&self, report: Reporter<'_>) -> Result<(), Error> {
        self.write_and_start(report).map_err(|error| self.explain_failure(error))
    }

    fn write_and_start(&self, report: Reporter<'_>) -> Result<(), Error> {
        let nowhere = self.spec.tcp.iter().find(|address| address.port() == 0);
        if let Some(address) = nowhere {
            return Err(Error::NoPort { address: *address });
        }
        match &self.manager {
            Manager::Systemd(systemd) => systemd.install(&self.spec, report),
            Manager::Launchd(launchd) => launchd.install(&self.spec, report),
            Manager::Task(task) => task.install(&self.spec, report),
        }
    }

    /// Stops the service and removes its files, but not a package's; says whether there were any.
    ///
    /// # Errors
    ///
    /// [`Error::File`], and those of the service manager's commands.
    pub fn uninstall(&self, report: Reporter<'_>) -> Result<bool, Error> {
        if !self.is_installed() {
            return Ok(false);
        }
        match &self.manager {
            Manager::Systemd(systemd) => systemd.uninstall(report)?,
            Manager::Launchd(launchd) => launchd.uninstall(report)?,
            Manager::Task(task) => task.uninstall(report)?,
        }
        Ok(true)
    }

    /// Starts the service and its sockets.
    ///
    /// # Errors
    ///
    /// [`Error::NotInstalled`], and those of the service manager's commands.
    pub fn start(&self, report: Reporter<'_>) -> Result<(), Error> {
        self.require_installed()?;
        let started = match &self.manager {
            Manager::Systemd(systemd) => systemd.start(report),
            Manager::Launchd(launchd) => launchd.start(report),
            Manager::Task(task) => task.start(report),
        };
        started.map_err(|error| self.explain_failure(error))
    }

    /// Names the last error of a service that a failed command could not start.
    fn explain_failure(&self, error: Error) -> Error {
        let Error::Failed { .. } = &error else { return error };
        match self.status() {
            Ok(ServiceStatus { last_error: Some(cause), .. }) => Error::NotStarted { cause },
            Ok(_) | Err(_) => error,
        }
    }

    /// Starts the service anew if it runs. Its sockets stay open.
    ///
    /// # Errors
    ///
    /// As [`Service::start`].
    pub fn restart(&self, report: Reporter<'_>) -> Result<(), Error> {
        self.require_installed()?;
        match &self.manager {
            Manager::Systemd(systemd) => {
                systemd.restart(report).map_err(|error| self.explain_failure(error))
            }
            // These have no service of the machine, whose credentials are read at the start.
            Manager::Launchd(_) | Manager::Task(_) => Ok(()),
        }
    }

    /// Stops the service and its sockets, so that no request starts it again. A task ends with its
    /// daemon ([`Service::ends_with_daemon`]).
    ///
    /// # Errors
    ///
    /// As [`Service::start`].
    pub fn stop(&self, report: Reporter<'_>) -> Result<(), Error> {
        self.require_installed()?;
        match &self.manager {
            Manager::Systemd(systemd) => systemd.stop(report),
            Manager::Launchd(launchd) => launchd.stop(report),
            Manager::Task(_) => Ok(()),
        }
    }

    /// Queries the status from the service manager.
    ///
    /// # Errors
    ///
    /// As [`Service::start`].
    pub fn status(&self) -> Result<ServiceStatus, Error> {
        self.require_installed()?;
        let files = self.files();
        let state = match &self.manager {
            Manager::Systemd(systemd) => systemd.status()?,
            Manager::Launchd(launchd) => launchd.status()?,
            Manager::Task(task) => task.status()?,
        };
        let last_error = if state.has_failed() { self.last_error() } else { None };
        Ok(ServiceStatus { files, last_error, ..state })
    }

    /// Returns the last error in the service's log, if the log can be read and has one.
    fn last_error(&self) -> Option<String> {
        match &self.manager {
            Manager::Systemd(systemd) => systemd.last_error(),
            Manager::Launchd(_) | Manager::Task(_) => None,
        }
    }

    /// Returns what an uninstall leaves: drop-ins, configuration, state, encrypted credentials.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let drop_ins = match &self.manager {
            Manager::Systemd(systemd) => systemd.drop_ins(),
            Manager::Launchd(_) | Manager::Task(_) => vec![],
        };
        let data = if self.is_system() { leftovers::of_system() } else { self.spec.data.clone() };
        leftovers::existing(drop_ins.into_iter().chain(data))
    }

    /// Removes these leftovers.
    ///
    /// # Errors
    ///
    /// [`Error::File`] with the first that cannot be removed.
    pub fn purge(&self, paths: &[PathBuf], report: Reporter<'_>) -> Result<(), Error> {
        paths.iter().try_for_each(|path| leftovers::remove(path, report))
    }

    /// Shows the log on this terminal: the last `lines`, and with `follow` every new line.
    ///
    /// # Errors
    ///
    /// As [`Service::start`].
    pub fn logs(&self, lines: u32, follow: bool, json: bool) -> Result<(), Error> {
        self.require_installed()?;
        let command = match &self.manager {
            Manager::Systemd(systemd) => systemd.logs(lines, follow, json),
            Manager::Launchd(launchd) => launchd.logs(lines, follow),
            Manager::Task(task) => task.logs(lines, follow),
        };
        let mut process = command.clone().command();
        let status = process.status().map_err(|source| command.spawn_error(source))?;
        // Ctrl-C ends `--follow`, which is not a failure.
        if status.success() || status.code().is_none() {
            Ok(())
        } else {
            Err(Error::Failed { line: command.text(), status })
        }
    }

    /// Says whether it is the service of the whole machine.
    pub fn is_system(&self) -> bool {
        matches!(&self.manager, Manager::Systemd(systemd) if systemd.is_system())
    }

    /// Says whether the service runs on when its user logs out; `None` if that is not known.
    pub fn has_linger(&self) -> Option<bool> {
        match &self.manager {
            Manager::Systemd(systemd) => systemd.has_linger(),
            Manager::Launchd(_) | Manager::Task(_) => None,
        }
    }

    /// Says whether the service manager neither ends the daemon nor knows whether it runs.
    pub fn ends_with_daemon(&self) -> bool {
        matches!(&self.manager, Manager::Task(_))
    }

    /// Says whether any file of the service exists, be it a package's.
    pub fn is_installed(&self) -> bool {
        !self.files().is_empty()
    }

    /// Says whether the service runs, or starts with the next request.
    pub fn is_active(&self) -> bool {
        self.status().is_ok_and(|status| status.listening || status.pid.is_some())
    }

    fn files(&self) -> Vec<PathBuf> {
        match &self.manager {
            Manager::Systemd(systemd) => systemd.files(),
            Manager::Launchd(launchd) => leftovers::existing([launchd.path()]),
            Manager::Task(task) => leftovers::existing([task.path()]),
        }
    }

    fn require_installed(&self) -> Result<(), Error> {
        if self.is_installed() {
            return Ok(());
        }
        Err(Error::NotInstalled { is_system: self.is_system() })
    }
}

/// Returns where the definition of a profile's task is, on Windows.
pub fn task_file(paths: &Paths) -> PathBuf {
    paths.profile_state().join(task::FILE)
}

/// Says which program wrote this file of a service, if this one would write another text.
pub fn older_writer(file: &Path) -> Option<String> {
    let units = [false, true].map(systemd::shipped);
    let kinds = units.into_iter().chain([vec![launchd::SHIPPED], vec![task::SHIPPED]]);
    stamp::older_writer(file, &kinds.collect::<Vec<_>>())
}

#[cfg(unix)]
fn own_uid() -> u32 {
    nix::unistd::getuid().as_raw()
}

#[cfg(not(unix))]
fn own_uid() -> u32 {
    0
}

#[cfg(test)]
impl ServiceSpec {
    /// Returns the installation that the shipped files are written for.
    fn shipped(profile: Option<&str>) -> Self {
        Self {
            program: "/usr/local/bin/nexudus-proxy".into(),
            arguments: vec![],
            profile: profile.map(str::to_owned),
            home: "/Users/you".into(),
            config_dir: "/Users/you/.config".into(),
            tcp: vec!["127.0.0.1:6398".parse().unwrap(), "[::1]:6398".parse().unwrap()],
            unix: SocketPath::Default,
            runtime_dir: "/Users/you/.local/state/nexudus-proxy/run".into(),
            state_dir: "/Users/you/.local/state/nexudus-proxy".into(),
            drain: Duration::from_secs(5),
            data: vec![],
        }
    }
}
