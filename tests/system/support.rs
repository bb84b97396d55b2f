//! The real program, and the tools that call it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use nexudus_simulator::{DEMO_EMAIL, DEMO_PASSWORD, Simulator};

/// The program before a simulated Nexudus, in a home that goes away.
pub(crate) struct Stage {
    pub(crate) simulator: Simulator,
    pub(crate) home: tempfile::TempDir,
    port: u16,
    daemon: Child,
}

impl Stage {
    /// Starts it as a part of what `within` makes of its command.
    pub(crate) fn of(
        simulator: Simulator,
        origin: &str,
        within: impl FnOnce(&Path, Command) -> Command,
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let ca = home.path().join("ca.pem");
        simulator.write_ca(&ca).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_nexudus-proxy"));
        program.args(["serve", "--listen", "127.0.0.1:0", "--store", "memory"]);
        program.args(["--upstream", origin, "--ca-file", ca.to_str().unwrap()]);
        let mut program = within(home.path(), program);
        program.env_clear().env("HOME", home.path()).env("NEXUDUS_PROXY_SESSION_WAIT", "5s");
        program.env("NEXUDUS_EMAIL", DEMO_EMAIL).env("NEXUDUS_PASSWORD", DEMO_PASSWORD);
        let mut daemon = program.env("PATH", PATH).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(daemon.stderr.take().unwrap());
        let (sender, told) = channel();
        // The pipe must be emptied, or the daemon would wait for us.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let Some(at) = line.split("\"address\":\"127.0.0.1:").nth(1) else { continue };
                let _ = sender.send(at.split('"').next().unwrap().parse().unwrap());
            }
        });
        let port = told.recv_timeout(Duration::from_secs(20)).expect("it listens");
        Self { simulator, home, port, daemon }
    }

    /// Returns where it listens.
    pub(crate) fn base(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Returns a tool without an environment of its own.
    pub(crate) fn tool(&self, program: &str) -> Command {
        let mut tool = Command::new(program);
        tool.env_clear().env("HOME", self.home.path()).env("PATH", PATH);
        tool.env("LC_ALL", "C.UTF-8").current_dir(self.home.path());
        tool
    }

    /// Returns what curl prints.
    pub(crate) fn curl(&self, arguments: &[&str]) -> String {
        let told = self.tool("curl").arg("-sS").args(arguments).output().unwrap();
        assert!(told.status.success(), "curl {arguments:?}: {}", text(&told.stderr));
        text(&told.stdout)
    }

    /// Returns what wget prints.
    pub(crate) fn wget(&self, arguments: &[&str]) -> String {
        let told = self.tool("wget").args(["-q", "-O-"]).args(arguments).output().unwrap();
        assert!(told.status.success(), "wget {arguments:?}: {told:?}");
        text(&told.stdout)
    }

    /// Counts the local connections so far.
    pub(crate) fn connections(&self) -> u64 {
        let socket = self.home.path().join(".local/state/nexudus-proxy/run/admin.sock");
        let socket = socket.to_str().unwrap();
        let metrics = self.curl(&["--unix-socket", socket, "http://localhost/metrics"]);
        let mut lines = metrics.lines();
        let count = lines.find_map(|line| line.strip_prefix("nexudus_proxy_connections_total "));
        count.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Where the tools are.
pub(crate) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
