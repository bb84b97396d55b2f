//! launchd: the agent in `launchd/`, and `launchctl`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{
    Error, Reporter, ServiceCommand, ServiceSpec, ServiceStatus, SocketPath, own_uid, remove_file,
    stamp, write_file,
};
use crate::secure_fs;

/// The agent of one profile.
#[derive(Debug)]
pub(super) struct Launchd {
    label: String,
    home: PathBuf,
    domain: String,
    /// How long the daemon may take to stop.
    stop_timeout: Duration,
}

/// The agent as shipped.
pub(super) const SHIPPED: &str = include_str!("../../launchd/nexudus-proxy.plist");

impl Launchd {
    pub(super) fn new(spec: &ServiceSpec) -> Self {
        let label = match &spec.profile {
            Some(profile) => format!("nexudus-proxy.{profile}"),
            None => "nexudus-proxy".to_owned(),
        };
        Self {
            label,
            home: spec.home.clone(),
            domain: format!("gui/{}", own_uid()),
            stop_timeout: spec.drain.saturating_add(STOP_MARGIN).max(MIN_STOP_TIMEOUT),
        }
    }

    pub(super) fn install(&self, spec: &ServiceSpec, report: Reporter<'_>) -> Result<(), Error> {
        // launchd creates neither.
        for directory in [&spec.runtime_dir, &self.home.join("Library/Logs")] {
            secure_fs::create_dir(directory)
                .map_err(|source| Error::File { path: directory.clone(), source })?;
        }
        let stamped = format!("{}<!-- {} -->\n", self.render(spec), stamp::stamp(&[SHIPPED]));
        let is_other = write_file(&self.path(), stamped, report)?;
        if is_other {
            self.stop(report)?;
        }
        // launchd does not load an agent that a person has disabled.
        self.launchctl(["enable", &self.target()]).run(report)?;
        self.start(report)
    }

    pub(super) fn uninstall(&self, report: Reporter<'_>) -> Result<(), Error> {
        self.stop(report)?;
        remove_file(&self.path(), report)
    }

    pub(super) fn start(&self, report: Reporter<'_>) -> Result<(), Error> {
        if self.print_loaded()?.is_none() {
            let path = self.path().display().to_string();
            self.launchctl(["bootstrap", &self.domain, &path]).run(report)?;
        }
        self.launchctl(["kickstart", &self.target()]).run(report)
    }

    /// Unloads the agent: while launchd has its sockets, a request would start it again.
    pub(super) fn stop(&self, report: Reporter<'_>) -> Result<(), Error> {
        if self.print_loaded()?.is_none() {
            return Ok(());
        }
        self.launchctl(["bootout", &self.target()]).run(report)?;
        // The command returns before the process has ended. Until then no agent of this label
        // loads.
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

    /// Returns what `launchctl print` says of the agent, if the agent is loaded.
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

    /// Returns the agent with the paths, arguments and sockets of this installation.
    fn render(&self, spec: &ServiceSpec) -> String {
        let program = spec.program.display().to_string();
        let words = std::iter::once(program.as_str())
            .chain(spec.arguments.iter().map(String::as_str))
            .chain(["serve"]);
        let words: Vec<_> = words.map(|word| format!("\t{}", plist_string(word))).collect();
        let suffix = spec.profile.as_ref().map(|name| format!("-{name}")).unwrap_or_default();
        let socket =
            |stem: &str| unix_socket(&spec.runtime_dir.join(format!("{stem}{suffix}.sock")));
        let own = match &spec.unix {
            SocketPath::Default => Some(socket("proxy")),
            SocketPath::At(path) => Some(unix_socket(path)),
            SocketPath::Off => None,
        };
        let places = spec.tcp.iter().map(tcp_socket).chain(own).map(indent).collect::<Vec<_>>();
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

/// Replaces the value after a key: one line, or all lines up to the closing tag with the same
/// indentation.
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

/// Time after the drain: a token request in flight (30 s) and its write, with room.
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
    fn the_installed_agent_is_the_shipped_one() {
        let spec = ServiceSpec::shipped(None);

        assert_eq!(Launchd::new(&spec).render(&spec), SHIPPED);
    }

    #[test]
    fn the_shipped_agent_is_a_property_list_of_known_keys() {
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
    fn an_agent_differs_from_the_shipped_one_in_program_profile_and_addresses_alone() {
        let spec = ServiceSpec {
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

        assert_eq!(parsed(&Launchd::new(&spec).render(&spec)), expected);
    }

    /// Reads the agent with Python's parser, which refuses anything but a property list.
    fn parsed(text: &str) -> Value {
        const READ: &str = "import json, plistlib, sys\n\
            print(json.dumps(plistlib.load(sys.stdin.buffer, fmt=plistlib.FMT_XML)))";
        let mut python = Command::new("python3");
        python.args(["-c", READ]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = python.spawn().expect("python3 is there");
        python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success(), "not a property list:\n{text}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}
