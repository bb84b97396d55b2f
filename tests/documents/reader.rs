//! A person who follows a page: a home directory, a simulated Nexudus, a daemon that is logged in.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD, Simulator};

/// The machine of the reader. All of it ends with the test.
pub(crate) struct Reader {
    home: tempfile::TempDir,
    simulator: Simulator,
    daemon: Option<Child>,
}

impl Reader {
    /// Prepares a home directory and a simulator; the daemon starts with the first block.
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let simulator = Simulator::builder()
            .account(Account::new(DEMO_EMAIL, DEMO_PASSWORD))
            .control(SocketAddr::from(([127, 0, 0, 1], 0)))
            .start()
            .unwrap();
        simulator.write_ca(&home.path().join("ca.pem")).unwrap();
        fs::create_dir(home.path().join("bin")).unwrap();
        let program = home.path().join("bin/nexudus-proxy");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_nexudus-proxy"), program).unwrap();
        fs::create_dir(home.path().join("run")).unwrap();
        // Without a terminal, curl would add its progress to what it prints.
        fs::write(home.path().join(".curlrc"), "silent\nshow-error\n").unwrap();
        Self { home, simulator, daemon: None }
    }

    /// Writes a file below the home directory.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs a block with the ports of this test, and returns what the terminal would show.
    ///
    /// Fails with the output if the block fails or takes longer than a minute.
    pub(crate) fn run(&mut self, interpreter: &[&str], block: &str) -> Result<String, String> {
        self.serve();
        let mut command = self.command("timeout");
        command.arg("60").args(interpreter).arg(self.localized(block));
        let output = command.stdin(Stdio::null()).output().unwrap();
        let bytes = [output.stdout, output.stderr].concat();
        let text = self.generalized(&String::from_utf8_lossy(&bytes));
        if output.status.success() { Ok(text) } else { Err(format!("{}: {text}", output.status)) }
    }

    /// Checks a configuration file, and returns what is wrong with it.
    pub(crate) fn check_configuration(&self, text: &str) -> Result<(), String> {
        self.write("checked.toml", text);
        let mut command = self.command("nexudus-proxy");
        let output =
            command.args(["--config", "checked.toml", "config", "check"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(text) }
    }

    /// Starts the daemon if none runs, and waits until requests can be served.
    fn serve(&mut self) {
        let has_ended = match &mut self.daemon {
            Some(daemon) => daemon.try_wait().unwrap().is_some(),
            None => true,
        };
        if has_ended {
            let log = fs::File::create(self.path("serve.log")).unwrap();
            let mut command = self.command("nexudus-proxy");
            command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            self.daemon = Some(command.spawn().unwrap());
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.command("nexudus-proxy").arg("wait").output().unwrap().status.success() {
            let log = fs::read_to_string(self.path("serve.log")).unwrap();
            assert!(Instant::now() < deadline, "the daemon does not serve:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Returns a command with the environment of the reader.
    fn command(&self, program: &str) -> Command {
        let directories = std::env::var("PATH").unwrap();
        let mut command = Command::new(match program {
            "nexudus-proxy" => self.path("bin/nexudus-proxy"),
            other => PathBuf::from(other),
        });
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", format!("{}:/usr/bin:/bin:{directories}", self.path("bin").display()))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("NEXUDUS_PROXY_UPSTREAM_ORIGIN", self.simulator.origin())
            .env("NEXUDUS_PROXY_UPSTREAM_CA_FILE", self.path("ca.pem"))
            .env("NEXUDUS_PROXY_LISTEN_TCP", "[\"localhost:0\"]")
            .env("NEXUDUS_PROXY_CREDENTIALS_EMAIL", DEMO_EMAIL)
            .env("NEXUDUS_PROXY_CREDENTIALS_COMMAND", format!("[\"echo\", \"{DEMO_PASSWORD}\"]"))
            .current_dir(self.home.path());
        command
    }

    /// Puts the ports and paths of this test in place of those that the pages print.
    fn localized(&self, block: &str) -> String {
        let control = self.simulator.control_address().unwrap().port();
        block
            .replace("/tmp/nexudus-simulator-6443.pem", &self.path("ca.pem").display().to_string())
            .replace("6398", &self.port().to_string())
            .replace("6443", &self.simulator.address().port().to_string())
            .replace("6444", &control.to_string())
    }

    /// Puts the ports and paths that the pages print in place of those of this test.
    fn generalized(&self, output: &str) -> String {
        output
            .replace(&self.home.path().display().to_string(), "~")
            .replace(&self.simulator.origin(), "https://spaces.nexudus.com")
            .replace(&format!(":{}", self.port()), ":6398")
    }

    /// Returns the port of the daemon.
    fn port(&self) -> u16 {
        let output = self.command("nexudus-proxy").args(["status", "--json"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let address = status["listening"]["tcp"][0].as_str().unwrap_or("127.0.0.1:6398");
        address.parse::<SocketAddr>().unwrap().port()
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
