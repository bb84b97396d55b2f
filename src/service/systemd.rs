//! systemd: the units in `systemd/`, and `systemctl`, `journalctl` and `loginctl`.
//!
//! A package brings the same units in a directory of its own. Those are used as they are, and updated
//! by the package; a file is written only for what differs from them, such as another address.

use std::fs;
use std::path::{Path, PathBuf};

use super::{
    Error, Reporter, ServiceCommand, ServiceEvent, ServiceSpec, ServiceStatus, SocketPath, journal,
    own_uid, remove_file, session_key, stamp, write_file,
};

/// The units of one profile, for this user or for the machine.
#[derive(Debug)]
pub(super) struct Systemd {
    system: bool,
    directory: PathBuf,
    /// Where a package puts its units.
    packaged: PathBuf,
    /// `@work` for another profile than the default one, between a unit's name and its kind.
    instance: String,
}

/// A unit as shipped, for a user and for the machine.
struct Unit {
    stem: &'static str,
    kind: &'static str,
    user: &'static str,
    system: &'static str,
}

const SERVICE: Unit = Unit {
    stem: "nexudus-proxy",
    kind: "service",
    user: include_str!("../../systemd/user/nexudus-proxy.service"),
    system: include_str!("../../systemd/nexudus-proxy.service"),
};
const DATA: Unit = Unit {
    stem: "nexudus-proxy",
    kind: "socket",
    user: include_str!("../../systemd/user/nexudus-proxy.socket"),
    system: include_str!("../../systemd/nexudus-proxy.socket"),
};
const ADMIN: Unit = Unit {
    stem: "nexudus-proxy-admin",
    kind: "socket",
    user: include_str!("../../systemd/user/nexudus-proxy-admin.socket"),
    system: include_str!("../../systemd/nexudus-proxy-admin.socket"),
};

const UNITS: [&Unit; 3] = [&SERVICE, &DATA, &ADMIN];

/// Returns the shipped units of a user, or of the machine.
pub(super) fn shipped(system: bool) -> Vec<&'static str> {
    UNITS.map(|unit| if system { unit.system } else { unit.user }).to_vec()
}

impl Systemd {
    pub(super) fn new(spec: &ServiceSpec, system: bool) -> Self {
        let directory = if system {
            PathBuf::from("/etc/systemd/system")
        } else {
            spec.config_dir.join("systemd/user")
        };
        let packaged = if system { "/usr/lib/systemd/system" } else { "/usr/lib/systemd/user" };
        let instance = spec.profile.as_ref().map(|profile| format!("@{profile}"));
        let instance = instance.unwrap_or_default();
        Self { system, directory, packaged: packaged.into(), instance }
    }

    pub(super) fn install(&self, spec: &ServiceSpec, report: Reporter<'_>) -> Result<(), Error> {
        self.validate(spec)?;
        self.require_systemd()?;
        let sockets = [self.put(&DATA, spec, report)?, self.put(&ADMIN, spec, report)?];
        let is_other = self.put(&SERVICE, spec, report)?;
        if self.system {
            session_key::make(report);
        }
        self.systemctl(["daemon-reload"]).run(report)?;
        if sockets.contains(&true) {
            // An open socket cannot be moved under a daemon that uses it.
            self.stop(report)?;
        } else if is_other {
            self.restart(report)?;
        }
        self.systemctl_all(&["enable", "--quiet", "--now"]).run(report)
    }

    pub(super) fn uninstall(&self, report: Reporter<'_>) -> Result<(), Error> {
        self.require_systemd()?;
        self.systemctl_all(&["disable", "--quiet", "--now"]).run(report)?;
        for unit in UNITS {
            remove_file(&self.path(unit), report)?;
        }
        self.systemctl(["daemon-reload"]).run(report)?;
        // They go with the package.
        self.files().into_iter().for_each(|path| report(ServiceEvent::Left(path)));
        Ok(())
    }

    /// Brings one unit up to date; returns whether another one was in effect before.
    fn put(&self, unit: &Unit, spec: &ServiceSpec, report: Reporter<'_>) -> Result<bool, Error> {
        let text = self.render(unit, spec);
        // One stamp for all three units: a socket that is written anew has to be closed.
        let stamped = match unit.kind {
            "service" => format!("# {}\n{text}", stamp::stamp(&shipped(self.system))),
            _ => text.clone(),
        };
        let before = self.file(unit).and_then(|path| fs::read_to_string(path).ok());
        let (own, packaged) = (self.path(unit), self.packaged.join(self.name(unit)));
        let now = if fs::read_to_string(&packaged).is_ok_and(|there| there == text) {
            // A file of our own would hide the package's, and its later versions.
            remove_file(&own, report)?;
            report(ServiceEvent::Kept(packaged));
            text
        } else {
            write_file(&own, &stamped, report)?;
            stamped
        };
        Ok(before.is_some_and(|before| before != now))
    }

    pub(super) fn start(&self, report: Reporter<'_>) -> Result<(), Error> {
        self.require_systemd()?;
        self.systemctl_all(&["start"]).run(report)
    }

    pub(super) fn restart(&self, report: Reporter<'_>) -> Result<(), Error> {
        self.require_systemd()?;
        self.systemctl(["try-restart", &self.name(&SERVICE)]).run(report)
    }

    pub(super) fn stop(&self, report: Reporter<'_>) -> Result<(), Error> {
        self.require_systemd()?;
        self.systemctl_all(&["stop"]).run(report)
    }

    pub(super) fn status(&self) -> Result<ServiceStatus, Error> {
        self.require_systemd()?;
        let wanted = "--property=ActiveState,UnitFileState,MainPID,StatusText,Result";
        let show = |unit| Ok(self.systemctl(["show", wanted, &self.name(unit)]).output()?.1);
        let (service, data) = (show(&SERVICE)?, show(&DATA)?);
        let of = |output: &str, name: &str| {
            let found = output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_default().to_owned()
        };
        let some = |text: String| (!text.is_empty()).then_some(text);
        let pid = of(&service, "MainPID").parse().ok().filter(|pid| *pid > 0);
        Ok(ServiceStatus {
            files: vec![],
            enabled: of(&service, "UnitFileState") == "enabled",
            listening: of(&data, "ActiveState") == "active",
            state: of(&service, "ActiveState"),
            pid,
            // systemd keeps the last status text of a process that has ended.
            says: some(of(&service, "StatusText")).filter(|_| pid.is_some()),
            result: some(of(&service, "Result")).filter(|result| result != "success"),
            last_error: None,
        })
    }

    pub(super) fn is_system(&self) -> bool {
        self.system
    }

    /// Returns the last error in the journal of the service.
    pub(super) fn last_error(&self) -> Option<String> {
        let name = self.name(&SERVICE);
        let lines = ServiceCommand::new(["journalctl"])
            .args((!self.system).then_some("--user"))
            .args(["--no-pager", "--quiet", "--output=json", "--lines=60", "--unit", &name]);
        journal::last_error(&lines.output().ok()?.1)
    }

    /// Returns the directories in which `systemctl edit` writes.
    pub(super) fn drop_ins(&self) -> Vec<PathBuf> {
        UNITS.map(|unit| format!("{}.d", self.path(unit).display()).into()).to_vec()
    }

    pub(super) fn logs(&self, lines: u32, follow: bool, json: bool) -> ServiceCommand {
        let (lines, name) = (lines.to_string(), self.name(&SERVICE));
        let user = (!self.system).then_some("--user");
        let output = if json { "--output=json" } else { "--output=short" };
        ServiceCommand::new(["journalctl"])
            .args(user)
            .args(["--no-pager", output, "--lines", &lines])
            .args(follow.then_some("--follow"))
            .args(["--unit", &name])
    }

    pub(super) fn has_linger(&self) -> Option<bool> {
        if self.system {
            return None;
        }
        let uid = own_uid().to_string();
        let query =
            ServiceCommand::new(["loginctl", "show-user", &uid, "--property=Linger", "--value"]);
        // `loginctl` shows no user who is not logged in, unless they linger.
        query.output().ok().map(|(_, said)| said.trim() == "yes")
    }

    /// Returns the files of the units that are in effect.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        UNITS.iter().filter_map(|unit| self.file(unit)).collect()
    }

    /// Returns the file of a unit, if there is one: systemd, too, takes a package's last.
    fn file(&self, unit: &Unit) -> Option<PathBuf> {
        [self.path(unit), self.packaged.join(self.name(unit))].into_iter().find(|it| it.exists())
    }

    /// Checks that systemd responds: the user's own, or the machine's.
    fn require_systemd(&self) -> Result<(), Error> {
        // As in `sd_booted(3)`: `systemctl` prints the same for two different causes.
        let is_booted = || Path::new("/run/systemd/system").is_dir();
        let (_, said) = self.systemctl(["is-system-running"]).output()?;
        match said.trim() {
            "" | "offline" | "unknown" if !self.system && is_booted() => Err(Error::NoUserManager),
            "" | "offline" | "unknown" => Err(Error::NoManager),
            _ => Ok(()),
        }
    }

    /// Checks that the paths and words can be used in a unit, and that the unit can run the
    /// program.
    fn validate(&self, spec: &ServiceSpec) -> Result<(), Error> {
        let program = &spec.program;
        let wrong = |why| Err(Error::Path { path: program.clone(), why });
        if !program.to_str().is_some_and(is_literal) {
            return wrong("it has characters that are special to systemd");
        }
        #[cfg(unix)]
        if self.system && super::is_hidden_from_system(program) {
            return wrong("the system service sees no home directory and no temporary directory");
        }
        let socket = match &spec.unix {
            SocketPath::At(path) => Some(path.to_string_lossy()),
            SocketPath::Default | SocketPath::Off => None,
        };
        let words = spec.arguments.iter().map(|word| word.as_str().into()).chain(socket);
        match words.into_iter().find(|word| !is_literal(word)) {
            Some(word) => Err(Error::Word { word: word.into_owned() }),
            None => Ok(()),
        }
    }

    /// Returns a unit with the paths, arguments and sockets of this installation. Comments stay as
    /// they are.
    fn render(&self, unit: &Unit, spec: &ServiceSpec) -> String {
        let text = if self.system { unit.system } else { unit.user };
        let mut rendered = String::with_capacity(text.len());
        let mut listens = Some(spec);
        for line in text.lines() {
            if unit.stem == DATA.stem && line.starts_with("ListenStream=") {
                // All sockets of this installation replace the first line.
                let listens = listens.take().map(|spec| self.listen_lines(spec, text));
                rendered.push_str(&listens.unwrap_or_default());
                continue;
            }
            if line.starts_with('#') {
                rendered.push_str(line);
            } else {
                rendered.push_str(&self.personalize(line, spec));
            }
            rendered.push('\n');
        }
        rendered
    }

    fn personalize(&self, line: &str, spec: &ServiceSpec) -> String {
        let program = spec.program.display().to_string();
        let arguments = spec.arguments.iter().map(|word| format!(" {word}")).collect::<String>();
        let mut line = line.to_owned();
        if !self.instance.is_empty() {
            for unit in UNITS {
                let shipped = format!("{}.{}", unit.stem, unit.kind);
                line = line.replace(&shipped, &self.name(unit));
            }
            line = line.replace("/admin.sock", &format!("/{}", self.socket("admin")));
        }
        // Last and once: the installed path may contain the shipped one.
        let mut parts = line.split(SHIPPED);
        let mut personal = parts.next().unwrap_or_default().to_owned();
        for after in parts {
            personal.push_str(&program);
            if [" serve", " reload"].iter().any(|act| after.starts_with(act)) {
                personal.push_str(&arguments);
            }
            personal.push_str(after);
        }
        personal
    }

    /// Returns the sockets of the configuration as lines of the unit.
    fn listen_lines(&self, spec: &ServiceSpec, shipped: &str) -> String {
        let usual = shipped.lines().find(|line| line.ends_with("/proxy.sock"));
        let unix = match &spec.unix {
            SocketPath::Default => {
                usual.map(|line| line.replace("proxy.sock", &self.socket("proxy")))
            }
            SocketPath::At(path) => Some(format!("ListenStream={}", path.display())),
            SocketPath::Off => None,
        };
        let tcp = spec.tcp.iter().map(|address| format!("ListenStream={address}"));
        tcp.chain(unix).map(|line| format!("{line}\n")).collect()
    }

    fn socket(&self, stem: &str) -> String {
        format!("{stem}{}.sock", self.instance.replace('@', "-"))
    }

    fn name(&self, unit: &Unit) -> String {
        format!("{}{}.{}", unit.stem, self.instance, unit.kind)
    }

    fn path(&self, unit: &Unit) -> PathBuf {
        self.directory.join(self.name(unit))
    }

    fn systemctl<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> ServiceCommand {
        ServiceCommand::new(["systemctl"]).args((!self.system).then_some("--user")).args(words)
    }

    /// Returns a command for all units. The sockets come first, or one of them would start the
    /// service that is being stopped.
    fn systemctl_all(&self, words: &[&str]) -> ServiceCommand {
        let names = [&DATA, &ADMIN, &SERVICE].map(|unit| self.name(unit));
        let words = words.iter().copied();
        self.systemctl(words).args(names.iter().map(String::as_str))
    }
}

/// Says whether systemd reads a word literally: no space splits it, no `%` or `$` expands in it.
fn is_literal(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_alphanumeric() || "/._+-@:,=~".contains(c))
}

/// The program's path in the files as they are shipped.
const SHIPPED: &str = "/usr/local/bin/nexudus-proxy";

#[cfg(test)]
mod tests;
