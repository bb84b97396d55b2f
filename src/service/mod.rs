//! The daemon as a service of this machine: systemd's units, launchd's agent, and the commands of
//! theirs that act on them.
//!
//! What is installed are the very files of `systemd/` and `launchd/`, with the program's path, the
//! profile and the addresses of the configuration put in. Everything that is done is told.

mod command;
mod launchd;
mod systemd;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use serde::Serialize;

use self::command::ServiceCommand;
use self::launchd::Launchd;
use self::systemd::Systemd;

/// What is run as a service.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// The program, absolute.
    pub program: PathBuf,
    /// What stands before `serve`: `--profile`, `--config`.
    pub arguments: Vec<String>,
    /// The profile, if it is another than the usual one.
    pub profile: Option<String>,
    /// The user's home directory.
    pub home: PathBuf,
    /// The directory of the user's configurations, such as `~/.config`.
    pub config_dir: PathBuf,
    /// Where requests come in.
    pub tcp: Vec<SocketAddr>,
    /// Where requests come in too; a path that the configuration names comes as it is.
    pub unix: SocketPath,
    /// The directory of the sockets.
    pub runtime_dir: PathBuf,
    /// How long requests under way may take at its end.
    pub drain: Duration,
}

/// Where the unix socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketPath {
    /// Beside the control socket.
    Default,
    /// Here.
    At(PathBuf),
    /// Nowhere.
    Off,
}

/// A service that may be installed or not.
#[derive(Debug)]
pub struct Service {
    spec: ServiceSpec,
    manager: Manager,
}

#[derive(Debug)]
enum Manager {
    Systemd(Systemd),
    Launchd(Launchd),
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceEvent {
    /// A file was written.
    Wrote(PathBuf),
    /// A file was as it should be.
    Kept(PathBuf),
    /// A file was removed.
    Removed(PathBuf),
    /// A command was run.
    Ran(String),
}

/// How an installed service is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// The installed files.
    pub files: Vec<PathBuf>,
    /// Whether it starts with the machine or with the user's login.
    pub enabled: bool,
    /// Whether the service manager holds the sockets.
    pub listening: bool,
    /// In the manager's own word: `active`, `inactive`, `failed`, ….
    pub state: String,
    /// The process.
    pub pid: Option<u32>,
    /// What the daemon says of itself.
    pub says: Option<String>,
    /// How the last run ended, if it failed.
    pub result: Option<String>,
}

/// Why nothing was done, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither systemd nor launchd is here.
    #[error("there is no service manager on this machine that nexudus-proxy knows")]
    NoManager,
    /// systemd is here, but none of this user's own.
    #[error("systemd runs no services for this user here")]
    NoUserManager,
    /// macOS has no keychain for a service of the machine.
    #[error("on macOS the service is a person's own: there is no --system")]
    NoSystem,
    /// The system unit has one login.
    #[error("the system service serves the default profile")]
    SystemProfile,
    /// It is not installed.
    #[error("the service is not installed")]
    NotInstalled,
    /// A service needs addresses that stay.
    #[error("{address} names no port: a service needs one that stays")]
    NoPort {
        /// The address.
        address: SocketAddr,
    },
    /// The path cannot be written into a unit.
    #[error("the path {} cannot stand in a unit: {why}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// A word of the configuration cannot be written into a unit.
    #[error("{word} cannot stand in a unit: it has characters that mean something to systemd")]
    Word {
        /// The word.
        word: String,
    },
    /// A file could not be written or removed.
    #[error("could not change {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A command could not be run.
    #[error("could not run `{line}`")]
    Command {
        /// The command.
        line: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A command has failed, and said why itself.
    #[error("`{line}` failed ({status})")]
    Failed {
        /// The command.
        line: String,
        /// How it ended.
        status: ExitStatus,
    },
}

/// Told of each thing that is done.
pub type Reporter<'a> = &'a mut dyn FnMut(ServiceEvent);

impl Service {
    /// Finds the service manager of this system.
    ///
    /// # Errors
    ///
    /// [`Error::NoSystem`] and [`Error::SystemProfile`]: what is asked for does not exist.
    pub fn new(subject: ServiceSpec, system: bool) -> Result<Self, Error> {
        let manager = match (cfg!(target_os = "macos"), system) {
            (true, true) => return Err(Error::NoSystem),
            (true, false) => Manager::Launchd(Launchd::new(&subject)),
            (false, true) if subject.profile.is_some() => return Err(Error::SystemProfile),
            (false, system) => Manager::Systemd(Systemd::new(&subject, system)),
        };
        Ok(Self { spec: subject, manager })
    }

    /// Writes the files and starts the service; what is right already stays as it is.
    ///
    /// # Errors
    ///
    /// All but [`Error::NotInstalled`].
    pub fn install(&self, tell: Reporter<'_>) -> Result<(), Error> {
        let nowhere = self.spec.tcp.iter().find(|address| address.port() == 0);
        if let Some(address) = nowhere {
            return Err(Error::NoPort { address: *address });
        }
        match &self.manager {
            Manager::Systemd(systemd) => systemd.install(&self.spec, tell),
            Manager::Launchd(launchd) => launchd.install(&self.spec, tell),
        }
    }

    /// Stops the service and removes its files; says whether there were any.
    ///
    /// # Errors
    ///
    /// [`Error::ConfigFile`], and what the service manager's commands end with.
    pub fn uninstall(&self, tell: Reporter<'_>) -> Result<bool, Error> {
        if !self.is_installed() {
            return Ok(false);
        }
        match &self.manager {
            Manager::Systemd(systemd) => systemd.uninstall(tell)?,
            Manager::Launchd(launchd) => launchd.uninstall(tell)?,
        }
        Ok(true)
    }

    /// Starts it and its sockets.
    ///
    /// # Errors
    ///
    /// [`Error::NotInstalled`], and what the service manager's commands end with.
    pub fn start(&self, tell: Reporter<'_>) -> Result<(), Error> {
        self.require_installed()?;
        match &self.manager {
            Manager::Systemd(systemd) => systemd.start(tell),
            Manager::Launchd(launchd) => launchd.start(tell),
        }
    }

    /// Stops it and its sockets, so that no request starts it again.
    ///
    /// # Errors
    ///
    /// As [`Service::start`].
    pub fn stop(&self, tell: Reporter<'_>) -> Result<(), Error> {
        self.require_installed()?;
        match &self.manager {
            Manager::Systemd(systemd) => systemd.stop(tell),
            Manager::Launchd(launchd) => launchd.stop(tell),
        }
    }

    /// Asks the service manager how it is.
    ///
    /// # Errors
    ///
    /// As [`Service::start`].
    pub fn status(&self) -> Result<ServiceStatus, Error> {
        self.require_installed()?;
        let files = self.paths().into_iter().filter(|path| path.exists()).collect();
        let state = match &self.manager {
            Manager::Systemd(systemd) => systemd.status()?,
            Manager::Launchd(launchd) => launchd.status()?,
        };
        Ok(ServiceStatus { files, ..state })
    }

    /// Shows its log on this terminal: the last `lines`, and with `follow` what comes.
    ///
    /// # Errors
    ///
    /// As [`Service::start`].
    pub fn logs(&self, lines: u32, follow: bool, json: bool) -> Result<(), Error> {
        self.require_installed()?;
        let command = match &self.manager {
            Manager::Systemd(systemd) => systemd.logs(lines, follow, json),
            Manager::Launchd(launchd) => launchd.logs(lines, follow),
        };
        let mut shown = command.clone().command();
        let status = shown.status().map_err(|source| command.spawn_error(source))?;
        // Ctrl-C ends what follows, and is no failure.
        match status.success() || status.code().is_none() {
            true => Ok(()),
            false => Err(Error::Failed { line: command.text(), status }),
        }
    }

    /// Says whether it goes on when its user logs out, where somebody knows.
    pub fn has_linger(&self) -> Option<bool> {
        match &self.manager {
            Manager::Systemd(systemd) => systemd.has_linger(),
            Manager::Launchd(_) => None,
        }
    }

    /// Says whether any of its files is there.
    pub fn is_installed(&self) -> bool {
        self.paths().iter().any(|path| path.exists())
    }

    fn paths(&self) -> Vec<PathBuf> {
        match &self.manager {
            Manager::Systemd(systemd) => systemd.paths(),
            Manager::Launchd(launchd) => vec![launchd.path()],
        }
    }

    fn require_installed(&self) -> Result<(), Error> {
        if self.is_installed() { Ok(()) } else { Err(Error::NotInstalled) }
    }
}

/// Writes a file unless it has that content already; says whether it was another one before.
fn write_file(path: &Path, content: &str, tell: Reporter<'_>) -> Result<bool, Error> {
    let wrong = |source| Error::File { path: path.to_owned(), source };
    let before = match fs::read(path) {
        Ok(before) => Some(before),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(wrong(error)),
    };
    if before.as_deref() == Some(content.as_bytes()) {
        tell(ServiceEvent::Kept(path.to_owned()));
        return Ok(false);
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(wrong)?;
    }
    fs::write(path, content).map_err(wrong)?;
    tell(ServiceEvent::Wrote(path.to_owned()));
    Ok(before.is_some())
}

fn remove_file(path: &Path, tell: Reporter<'_>) -> Result<(), Error> {
    match fs::remove_file(path) {
        Ok(()) => tell(ServiceEvent::Removed(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::File { path: path.to_owned(), source }),
    }
    Ok(())
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
    /// What the shipped files are made for.
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
            drain: Duration::from_secs(5),
        }
    }
}
