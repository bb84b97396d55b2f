//! systemd: the units of `systemd/`, and `systemctl`, `journalctl` and `loginctl`.

use std::path::{Path, PathBuf};

use super::{
    Error, Reporter, ServiceCommand, ServiceSpec, ServiceStatus, SocketPath, own_uid, remove_file,
    write_file,
};

/// The units of one profile, of this user or of the machine.
#[derive(Debug)]
pub(super) struct Systemd {
    system: bool,
    directory: PathBuf,
    /// `@work` for another profile than the usual one, between a unit's name and its kind.
    instance: String,
}

/// A unit as it is shipped, for a person and for the machine.
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

impl Systemd {
    pub(super) fn new(subject: &ServiceSpec, system: bool) -> Self {
        let directory = match system {
            true => PathBuf::from("/etc/systemd/system"),
            false => subject.config_dir.join("systemd/user"),
        };
        let instance = subject.profile.as_ref().map(|profile| format!("@{profile}"));
        Self { system, directory, instance: instance.unwrap_or_default() }
    }

    pub(super) fn install(&self, subject: &ServiceSpec, tell: Reporter<'_>) -> Result<(), Error> {
        self.validate(subject)?;
        self.require_systemd()?;
        let sockets = [
            write_file(&self.path(&DATA), &self.render(&DATA, subject), tell)?,
            write_file(&self.path(&ADMIN), &self.render(&ADMIN, subject), tell)?,
        ];
        let is_other = write_file(&self.path(&SERVICE), &self.render(&SERVICE, subject), tell)?;
        self.systemctl(["daemon-reload"]).run(tell)?;
        if sockets.contains(&true) {
            // An open socket cannot be moved under a daemon that uses it.
            self.stop(tell)?;
        } else if is_other {
            self.systemctl(["try-restart", &self.name(&SERVICE)]).run(tell)?;
        }
        self.systemctl_all(&["enable", "--quiet", "--now"]).run(tell)
    }

    pub(super) fn uninstall(&self, tell: Reporter<'_>) -> Result<(), Error> {
        self.require_systemd()?;
        self.systemctl_all(&["disable", "--quiet", "--now"]).run(tell)?;
        for path in self.paths() {
            remove_file(&path, tell)?;
        }
        self.systemctl(["daemon-reload"]).run(tell)
    }

    pub(super) fn start(&self, tell: Reporter<'_>) -> Result<(), Error> {
        self.require_systemd()?;
        self.systemctl_all(&["start"]).run(tell)
    }

    pub(super) fn stop(&self, tell: Reporter<'_>) -> Result<(), Error> {
        self.require_systemd()?;
        self.systemctl_all(&["stop"]).run(tell)
    }

    pub(super) fn status(&self) -> Result<ServiceStatus, Error> {
        self.require_systemd()?;
        let wanted = "--property=ActiveState,UnitFileState,MainPID,StatusText,Result";
        let show = |unit| Ok(self.systemctl(["show", wanted, &self.name(unit)]).output()?.1);
        let (service, data) = (show(&SERVICE)?, show(&DATA)?);
        let of = |shown: &str, name: &str| {
            let found = shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
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
            // What it said last outlives it.
            says: some(of(&service, "StatusText")).filter(|_| pid.is_some()),
            result: some(of(&service, "Result")).filter(|result| result != "success"),
        })
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
        let asked =
            ServiceCommand::new(["loginctl", "show-user", &uid, "--property=Linger", "--value"]);
        // A user who is not logged in has none to show, unless they linger.
        asked.output().ok().map(|(_, said)| said.trim() == "yes")
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        [&SERVICE, &DATA, &ADMIN].map(|unit| self.path(unit)).to_vec()
    }

    /// Says whether systemd answers, the user's own where that is what is meant.
    fn require_systemd(&self) -> Result<(), Error> {
        // As `sd_booted(3)` tells it; the answer below is the same for two different causes.
        let is_booted = || Path::new("/run/systemd/system").is_dir();
        let (_, said) = self.systemctl(["is-system-running"]).output()?;
        match said.trim() {
            "" | "offline" | "unknown" if !self.system && is_booted() => Err(Error::NoUserManager),
            "" | "offline" | "unknown" => Err(Error::NoManager),
            _ => Ok(()),
        }
    }

    /// Says whether what is put into a unit can stand there, and whether it can run the program.
    fn validate(&self, subject: &ServiceSpec) -> Result<(), Error> {
        let program = &subject.program;
        let wrong = |why| Err(Error::Path { path: program.clone(), why });
        if !program.to_str().is_some_and(is_literal) {
            return wrong("it has characters that mean something to systemd");
        }
        let hidden = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];
        if self.system && hidden.iter().any(|hidden| program.starts_with(hidden)) {
            return wrong("the system service sees no home and no temporary directory");
        }
        let socket = match &subject.unix {
            SocketPath::At(path) => Some(path.to_string_lossy()),
            SocketPath::Default | SocketPath::Off => None,
        };
        let words = subject.arguments.iter().map(|word| word.as_str().into()).chain(socket);
        match words.into_iter().find(|word| !is_literal(word)) {
            Some(word) => Err(Error::Word { word: word.into_owned() }),
            None => Ok(()),
        }
    }

    /// Puts into a unit what is this installation's own. Comments stay as they are.
    fn render(&self, unit: &Unit, subject: &ServiceSpec) -> String {
        let text = if self.system { unit.system } else { unit.user };
        let mut rendered = String::with_capacity(text.len());
        let mut listens = Some(subject);
        for line in text.lines() {
            if unit.stem == DATA.stem && line.starts_with("ListenStream=") {
                // The first of them stands for all.
                let listens = listens.take().map(|subject| self.listen_lines(subject, text));
                rendered.push_str(&listens.unwrap_or_default());
                continue;
            }
            match line.starts_with('#') {
                true => rendered.push_str(line),
                false => rendered.push_str(&self.personalize(line, subject)),
            }
            rendered.push('\n');
        }
        rendered
    }

    fn personalize(&self, line: &str, subject: &ServiceSpec) -> String {
        let program = subject.program.display().to_string();
        let arguments = subject.arguments.iter().map(|word| format!(" {word}")).collect::<String>();
        let mut line = line.to_owned();
        if !self.instance.is_empty() {
            for unit in [&SERVICE, &DATA, &ADMIN] {
                let shipped = format!("{}.{}", unit.stem, unit.kind);
                line = line.replace(&shipped, &self.name(unit));
            }
            line = line.replace("/admin.sock", &format!("/{}", self.socket("admin")));
        }
        // Last and once: the installation's own words may hold the shipped ones.
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

    /// The places of the configuration, as lines of the unit.
    fn listen_lines(&self, subject: &ServiceSpec, shipped: &str) -> String {
        let usual = shipped.lines().find(|line| line.ends_with("/proxy.sock"));
        let unix = match &subject.unix {
            SocketPath::Default => {
                usual.map(|line| line.replace("proxy.sock", &self.socket("proxy")))
            }
            SocketPath::At(path) => Some(format!("ListenStream={}", path.display())),
            SocketPath::Off => None,
        };
        let tcp = subject.tcp.iter().map(|address| format!("ListenStream={address}"));
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

    /// An act on all units; the sockets first, or one of them would start what is being stopped.
    fn systemctl_all(&self, words: &[&str]) -> ServiceCommand {
        let names = [&DATA, &ADMIN, &SERVICE].map(|unit| self.name(unit));
        let words = words.iter().copied();
        self.systemctl(words).args(names.iter().map(String::as_str))
    }
}

/// Says whether systemd reads it as it is: no space parts it, no `%` or `$` stands for more.
fn is_literal(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_alphanumeric() || "/._+-@:,=~".contains(c))
}

/// The program's path in the files as they are shipped.
const SHIPPED: &str = "/usr/local/bin/nexudus-proxy";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_is_what_is_installed() {
        for system in [false, true] {
            let systemd = Systemd::new(&subject(None), system);
            for unit in [SERVICE, DATA, ADMIN] {
                let shipped = if system { unit.system } else { unit.user };
                assert_eq!(systemd.render(&unit, &subject(None)), shipped);
            }
        }
    }

    #[test]
    fn a_unit_has_the_program_the_profile_and_the_addresses_put_in_and_nothing_else() {
        let subject = ServiceSpec {
            program: "/opt/np/nexudus-proxy".into(),
            arguments: ["--profile".to_owned(), "work".to_owned()].to_vec(),
            tcp: vec!["127.0.0.1:7000".parse().unwrap()],
            ..subject(Some("work"))
        };
        let systemd = Systemd::new(&subject, false);

        let changed = |unit: &Unit| {
            let (rendered, shipped) = (systemd.render(unit, &subject), unit.user);
            let is_new = |line: &&str| !shipped.lines().any(|known| known == *line);
            rendered.lines().filter(is_new).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            changed(&SERVICE),
            [
                "Requires=nexudus-proxy@work.socket nexudus-proxy-admin@work.socket",
                "After=nexudus-proxy@work.socket nexudus-proxy-admin@work.socket",
                "Sockets=nexudus-proxy@work.socket nexudus-proxy-admin@work.socket",
                "ExecStart=/opt/np/nexudus-proxy --profile work serve",
                "ExecReload=/opt/np/nexudus-proxy --profile work reload",
                "Also=nexudus-proxy@work.socket nexudus-proxy-admin@work.socket",
            ]
        );
        assert_eq!(
            changed(&DATA),
            ["ListenStream=127.0.0.1:7000", "ListenStream=%t/nexudus-proxy/proxy-work.sock",]
        );
        assert_eq!(
            changed(&ADMIN),
            ["ListenStream=%t/nexudus-proxy/admin-work.sock", "Service=nexudus-proxy@work.service",]
        );
    }

    #[test]
    fn a_program_beside_the_shipped_one_is_put_in_once() {
        let program = "/usr/local/bin/nexudus-proxy-0.1.0";
        let subject = ServiceSpec {
            program: program.into(),
            arguments: ["--config".to_owned(), "/etc/nexudus-proxy.socket/c.toml".to_owned()]
                .into(),
            ..subject(Some("work"))
        };
        let systemd = Systemd::new(&subject, false);

        let put_in = |line: &str| systemd.personalize(line, &subject);

        assert_eq!(
            put_in("ExecStart=/usr/local/bin/nexudus-proxy serve"),
            format!("ExecStart={program} --config /etc/nexudus-proxy.socket/c.toml serve")
        );
        assert_eq!(
            put_in("ExecPaths=/usr/local/bin/nexudus-proxy"),
            format!("ExecPaths={program}")
        );
    }

    #[test]
    fn a_program_that_a_unit_cannot_name_or_see_is_refused() {
        let own = Systemd::new(&subject(None), false);
        let system = Systemd::new(&subject(None), true);

        let is_good = |systemd: &Systemd, program: &str| {
            let subject = ServiceSpec { program: program.into(), ..subject(None) };
            systemd.validate(&subject).is_ok()
        };
        assert!(is_good(&own, "/home/ana/.cargo/bin/nexudus-proxy"));
        assert!(!is_good(&own, "/home/ana/my programs/nexudus-proxy"));
        assert!(!is_good(&own, "/home/%u/nexudus-proxy"));
        assert!(is_good(&system, "/usr/local/bin/nexudus-proxy"));
        assert!(!is_good(&system, "/home/ana/.cargo/bin/nexudus-proxy"));
    }

    #[test]
    fn a_configuration_or_a_socket_that_a_unit_cannot_name_is_refused() {
        for system in [false, true] {
            let refused = |path: &str| {
                let arguments = ["--config".to_owned(), path.to_owned()].to_vec();
                let argument = ServiceSpec { arguments, ..subject(None) };
                let socket = ServiceSpec { unix: SocketPath::At(path.into()), ..subject(None) };
                [argument, socket].map(|subject| {
                    match Systemd::new(&subject, system).validate(&subject) {
                        Err(Error::Word { word }) => Some(word),
                        other => other.map(|()| None).unwrap(),
                    }
                })
            };
            for path in ["/home/ana/my configs/np", "/home/%u/np", "/home/ana/$np"] {
                assert_eq!(refused(path), [(); 2].map(|()| Some(path.to_owned())));
            }
            // Only the program has to be seen from inside the sandbox.
            assert_eq!(refused("/home/ana/np-1.2_3"), [None, None]);
        }
    }

    fn subject(profile: Option<&str>) -> ServiceSpec {
        ServiceSpec::shipped(profile)
    }
}
