//! launchd: the agent of `launchd/`, and `launchctl`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{
    Error, Reporter, ServiceCommand, ServiceSpec, ServiceStatus, SocketPath, own_uid, remove_file,
    write_file,
};
use crate::secure_fs;

/// The agent of one profile.
#[derive(Debug)]
pub(super) struct Launchd {
    label: String,
    home: PathBuf,
    domain: String,
    /// How long an end may take.
    stop_timeout: Duration,
}

const SHIPPED: &str = include_str!("../../launchd/nexudus-proxy.plist");

impl Launchd {
    pub(super) fn new(subject: &ServiceSpec) -> Self {
        let label = match &subject.profile {
            Some(profile) => format!("nexudus-proxy.{profile}"),
            None => "nexudus-proxy".to_owned(),
        };
        Self {
            label,
            home: subject.home.clone(),
            domain: format!("gui/{}", own_uid()),
            stop_timeout: subject.drain.saturating_add(STOP_MARGIN).max(MIN_STOP_TIMEOUT),
        }
    }

    pub(super) fn install(&self, subject: &ServiceSpec, tell: Reporter<'_>) -> Result<(), Error> {
        // launchd makes neither.
        for directory in [&subject.runtime_dir, &self.home.join("Library/Logs")] {
            secure_fs::create_dir(directory)
                .map_err(|source| Error::File { path: directory.clone(), source })?;
        }
        let is_other = write_file(&self.path(), &self.render(subject), tell)?;
        if is_other {
            self.stop(tell)?;
        }
        // One that a person has disabled would not be loaded.
        self.launchctl(["enable", &self.target()]).run(tell)?;
        self.start(tell)
    }

    pub(super) fn uninstall(&self, tell: Reporter<'_>) -> Result<(), Error> {
        self.stop(tell)?;
        remove_file(&self.path(), tell)
    }

    pub(super) fn start(&self, tell: Reporter<'_>) -> Result<(), Error> {
        if self.print_loaded()?.is_none() {
            let path = self.path().display().to_string();
            self.launchctl(["bootstrap", &self.domain, &path]).run(tell)?;
        }
        self.launchctl(["kickstart", &self.target()]).run(tell)
    }

    /// Unloads it: as long as launchd has its sockets, a request would start it again.
    pub(super) fn stop(&self, tell: Reporter<'_>) -> Result<(), Error> {
        if self.print_loaded()?.is_none() {
            return Ok(());
        }
        self.launchctl(["bootout", &self.target()]).run(tell)?;
        // It returns before the process has ended, and until then nothing of the name can be loaded.
        let deadline = Instant::now() + self.stop_timeout;
        while self.print_loaded()?.is_some() && Instant::now() < deadline {
            std::thread::sleep(UNLOAD_POLL_INTERVAL);
        }
        Ok(())
    }

    pub(super) fn status(&self) -> Result<ServiceStatus, Error> {
        let Some(printed) = self.print_loaded()? else {
            return Ok(ServiceStatus { state: "stopped".to_owned(), ..ServiceStatus::default() });
        };
        let of = |name: &str| {
            let line = printed.lines().find_map(|line| line.trim().strip_prefix(name));
            line.and_then(|rest| rest.strip_prefix(" = ")).map(str::to_owned)
        };
        Ok(ServiceStatus {
            enabled: true,
            listening: true,
            state: of("state").unwrap_or_default(),
            pid: of("pid").and_then(|pid| pid.parse().ok()),
            result: of("last exit code").filter(|code| !code.starts_with(['0', '('])),
            ..ServiceStatus::default()
        })
    }

    pub(super) fn logs(&self, lines: u32, follow: bool) -> ServiceCommand {
        let (lines, log) = (lines.to_string(), self.log().display().to_string());
        ServiceCommand::new(["tail", "-n", &lines])
            .args(follow.then_some("-F"))
            .args([log.as_str()])
    }

    pub(super) fn path(&self) -> PathBuf {
        self.home.join("Library/LaunchAgents").join(format!("{}.plist", self.label))
    }

    /// Returns what launchd knows of it, if it is loaded.
    fn print_loaded(&self) -> Result<Option<String>, Error> {
        let (is_loaded, printed) = self.launchctl(["print", &self.target()]).output()?;
        Ok(is_loaded.then_some(printed))
    }

    fn log(&self) -> PathBuf {
        self.home.join("Library/Logs").join(format!("{}.log", self.label))
    }

    fn target(&self) -> String {
        format!("{}/{}", self.domain, self.label)
    }

    fn launchctl<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> ServiceCommand {
        ServiceCommand::new(["launchctl"]).args(words)
    }

    /// Puts into the agent what is this installation's own.
    fn render(&self, subject: &ServiceSpec) -> String {
        let program = subject.program.display().to_string();
        let words = std::iter::once(program.as_str())
            .chain(subject.arguments.iter().map(String::as_str))
            .chain(["serve"]);
        let words: Vec<_> = words.map(|word| format!("\t{}", plist_string(word))).collect();
        let suffix = subject.profile.as_ref().map(|name| format!("-{name}")).unwrap_or_default();
        let socket =
            |stem: &str| unix_socket(&subject.runtime_dir.join(format!("{stem}{suffix}.sock")));
        let own = match &subject.unix {
            SocketPath::Default => Some(socket("proxy")),
            SocketPath::At(path) => Some(unix_socket(path)),
            SocketPath::Off => None,
        };
        let places = subject.tcp.iter().map(tcp_socket).chain(own).map(indent).collect::<Vec<_>>();
        let log = plist_string(&self.log().display().to_string());
        let text = replace_value(SHIPPED, "Label", &plist_string(&self.label));
        let text = replace_value(&text, "ProgramArguments", &plist_array(&words));
        let patience = self.stop_timeout.as_secs();
        let text = replace_value(&text, "ExitTimeOut", &format!("<integer>{patience}</integer>"));
        let text = replace_value(&text, "StandardErrorPath", &log);
        let text = replace_value(&text, "data", &plist_array(&places));
        replace_value(&text, "admin", &socket("admin"))
    }
}

fn tcp_socket(address: &SocketAddr) -> String {
    let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
    let (node, port) = (address.ip().to_string(), address.port().to_string());
    plist_dict(&[
        ("SockNodeName", plist_string(&node)),
        ("SockServiceName", plist_string(&port)),
        ("SockFamily", plist_string(family)),
    ])
}

fn unix_socket(path: &Path) -> String {
    let path = plist_string(&path.display().to_string());
    plist_dict(&[("SockPathName", path), ("SockPathMode", "<integer>384</integer>".to_owned())])
}

fn plist_dict(pairs: &[(&str, String)]) -> String {
    let pair = |(key, value): &(&str, String)| format!("\t<key>{key}</key>\n\t{value}\n");
    format!("<dict>\n{}</dict>", pairs.iter().map(pair).collect::<String>())
}

fn plist_array(items: &[String]) -> String {
    format!("<array>\n{}\n</array>", items.join("\n"))
}

fn plist_string(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<string>{text}</string>")
}

fn indent(text: String) -> String {
    text.lines().map(|line| format!("\t{line}")).collect::<Vec<_>>().join("\n")
}

/// Puts `value` in the place of what follows a key: a line of its own, or all up to the line that
/// closes it, which stands as far to the right.
fn replace_value(text: &str, key: &str, value: &str) -> String {
    let key = format!("<key>{key}</key>");
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        if line.trim() != key {
            continue;
        }
        let margin = &line[..line.len() - line.trim_start().len()];
        let first = lines.next().unwrap_or_default();
        if !first.contains("</") {
            let closes =
                |line: &&str| line.strip_prefix(margin).is_some_and(|it| it.starts_with("</"));
            let _ = lines.find(closes);
        }
        value.lines().for_each(|line| out.push_str(&format!("{margin}{line}\n")));
    }
    out
}

/// What comes after the drain: a token request under way (30 s) and its write, with room.
const STOP_MARGIN: Duration = Duration::from_secs(40);

const MIN_STOP_TIMEOUT: Duration = Duration::from_secs(60);

const UNLOAD_POLL_INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_shipped_is_what_is_installed() {
        let subject = ServiceSpec::shipped(None);

        assert_eq!(Launchd::new(&subject).render(&subject), SHIPPED);
    }

    #[test]
    fn the_shipped_agent_is_a_property_list_with_the_keys_that_launchd_knows() {
        let agent = parsed(SHIPPED);

        assert_eq!(agent["Label"], "nexudus-proxy");
        assert_eq!(agent["LimitLoadToSessionType"], "Aqua");
        assert_eq!(agent["ProgramArguments"], json!(["/usr/local/bin/nexudus-proxy", "serve"]));
        assert_eq!(agent["KeepAlive"], json!({ "SuccessfulExit": false }));
        let known = [
            "EnvironmentVariables",
            "ExitTimeOut",
            "KeepAlive",
            "Label",
            "LimitLoadToSessionType",
            "ProcessType",
            "ProgramArguments",
            "RunAtLoad",
            "Sockets",
            "StandardErrorPath",
            "Umask",
        ];
        assert!(agent.as_object().unwrap().keys().eq(known), "{agent}");
        let sockets = agent["Sockets"].as_object().unwrap();
        assert!(sockets.keys().eq(["admin", "data"]), "{sockets:?}");
        let places = sockets["data"].as_array().unwrap().iter().chain([&sockets["admin"]]);
        for place in places {
            let place = place.as_object().unwrap();
            let tcp = ["SockFamily", "SockNodeName", "SockServiceName"];
            let unix = ["SockPathMode", "SockPathName"];
            assert!(place.keys().eq(tcp) || place.keys().eq(unix), "{place:?}");
            assert!(place.get("SockPathMode").is_none_or(|mode| *mode == 0o600));
        }
    }

    #[test]
    fn an_agent_has_the_program_the_profile_and_the_addresses_put_in_and_nothing_else() {
        let subject = ServiceSpec {
            program: "/Users/ana/R & D/nexudus-proxy".into(),
            arguments: ["--profile".to_owned(), "work".to_owned()].to_vec(),
            home: "/Users/ana".into(),
            tcp: vec!["[::1]:7000".parse().unwrap()],
            unix: SocketPath::At("/Users/ana/np.sock".into()),
            runtime_dir: "/Users/ana/run".into(),
            drain: Duration::from_secs(30),
            ..ServiceSpec::shipped(Some("work"))
        };

        let mut expected = parsed(SHIPPED);
        expected["Label"] = json!("nexudus-proxy.work");
        expected["ProgramArguments"] =
            json!(["/Users/ana/R & D/nexudus-proxy", "--profile", "work", "serve"]);
        expected["ExitTimeOut"] = json!(70);
        expected["StandardErrorPath"] = json!("/Users/ana/Library/Logs/nexudus-proxy.work.log");
        let socket = |path: &str| json!({ "SockPathName": path, "SockPathMode": 0o600 });
        let address =
            json!({ "SockNodeName": "::1", "SockServiceName": "7000", "SockFamily": "IPv6" });
        expected["Sockets"] = json!({
            "data": [address, socket("/Users/ana/np.sock")],
            "admin": socket("/Users/ana/run/admin-work.sock"),
        });

        assert_eq!(parsed(&Launchd::new(&subject).render(&subject)), expected);
    }

    /// Reads it with Python's own parser, which refuses what is no property list.
    fn parsed(text: &str) -> Value {
        const READ: &str = "import json, plistlib, sys\n\
            print(json.dumps(plistlib.load(sys.stdin.buffer, fmt=plistlib.FMT_XML)))";
        let mut python = Command::new("python3");
        python.args(["-c", READ]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = python.spawn().expect("python3 is there");
        python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success(), "no property list:\n{text}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}
