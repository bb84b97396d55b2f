//! The members: the real program on machines of their own, and what they say of themselves.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::engines::{self, Engines};
use crate::namespaces::Node;
use crate::until;

/// A member on its machine.
pub(crate) struct Member {
    pub(crate) node: Node,
    home: TempDir,
    origin: String,
    child: Option<Child>,
}

/// An answer of the program.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Member {
    /// Makes a member before the issuer at `origin`, and starts it.
    pub(crate) fn start(number: usize, origin: &str, ca: &str, engines: &Engines) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        fs::create_dir_all(path(".config/nexudus-proxy")).unwrap();
        fs::create_dir(path("handed")).unwrap();
        fs::write(path("ca.pem"), ca).unwrap();
        fs::write(path("handed/nexudus-key"), "a key of our own tests").unwrap();
        fs::write(path("handed/nexudus-fleet-key"), "5e".repeat(32)).unwrap();
        fs::write(path("handed/nexudus-fleet-password"), engines::PASSWORD).unwrap();
        fs::write(path("password"), crate::PASSWORD).unwrap();
        let text = configuration(number, &path("password"), engines);
        fs::write(path(".config/nexudus-proxy/config.toml"), text).unwrap();
        let node = Node::new(number);
        let mut member = Self { node, home, origin: origin.to_owned(), child: None };
        member.spawn();
        member
    }

    /// Starts a member that was killed, and waits until it has its session and the engine.
    pub(crate) fn start_again(&mut self) {
        self.spawn();
        until("it is back", || self.fleet_status()["connected"] == true);
    }

    fn spawn(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.node.command(PROGRAM);
        self.prepare(&mut command);
        command.args(["serve", "--upstream", &self.origin, "--ca-file"]).arg(self.path("ca.pem"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    fn prepare(&self, command: &mut Command) {
        command.env_clear().current_dir(self.home.path());
        command.env("HOME", self.home.path()).env("PATH", "/usr/bin:/bin");
        command.env("CREDENTIALS_DIRECTORY", self.path("handed"));
        command.env("TEST_FLEET_TIMING_DIVISOR", crate::FASTER.to_string());
    }

    /// Ends it as the kernel does when memory runs out.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().unwrap();
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Replaces the password that its credential command prints.
    pub(crate) fn set_password(&self, password: &str) {
        fs::write(self.path("password"), password).unwrap();
    }

    /// Runs a command of a person on this machine, and returns what it printed.
    pub(crate) fn run(&self, line: &str) -> String {
        let mut command = Command::new(PROGRAM);
        self.prepare(&mut command);
        let output = command.args(line.split(' ')).stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Asks Nexudus through the program, with a key or without one.
    pub(crate) fn get(&self, target: &str, key: Option<&str>) -> Option<Answer> {
        get(&self.socket(), target, key)
    }

    /// Asks the program itself.
    pub(crate) fn admin(&self, method: &str, path: &str) -> Option<Answer> {
        request(&self.state("run/admin.sock"), method, path, None, Duration::from_secs(60))
    }

    /// Has the program renew the session, and waits for nothing: a member that is cut off takes long.
    pub(crate) fn begin_refresh(&self) {
        let socket = self.state("run/admin.sock");
        std::thread::spawn(move || {
            request(&socket, "POST", "/v1/refresh", None, Duration::from_secs(60))
        });
    }

    /// Returns what `fleet status --json` is made of.
    pub(crate) fn fleet_status(&self) -> Value {
        let answer = self.admin("GET", "/v1/fleet");
        answer.and_then(|it| serde_json::from_str(&it.body).ok()).unwrap_or_default()
    }

    /// Returns the socket for callers.
    pub(crate) fn socket(&self) -> PathBuf {
        self.state("run/proxy.sock")
    }

    fn state(&self, name: &str) -> PathBuf {
        self.path(".local/state/nexudus-proxy").join(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            crate::report(&format!("member {}", self.node.address), &log);
        }
    }
}

/// Asks Nexudus through the socket of a member; `None` if nothing answers.
pub(crate) fn get(socket: &Path, target: &str, key: Option<&str>) -> Option<Answer> {
    request(socket, "GET", target, key, Duration::from_secs(30))
}

fn request(
    socket: &Path,
    method: &str,
    target: &str,
    key: Option<&str>,
    longest: Duration,
) -> Option<Answer> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(longest)).unwrap();
    let key = key.map(|key| format!("Nexudus-Proxy-Key: {key}\r\n")).unwrap_or_default();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{key}\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut text = vec![];
    stream.read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some(Answer { status: head.split(' ').nth(1)?.parse().ok()?, body: body.to_owned() })
}

fn configuration(number: usize, password: &Path, engines: &Engines) -> String {
    let stale = crate::CLIENTS_STALE * crate::FASTER;
    format!(
        "[listen]\ntcp = []\nunix = \"auto\"\n\n\
         [credentials]\nsource = \"command\"\nemail = \"{email}\"\n\
         command = [\"cat\", \"{password}\"]\n\n\
         [fleet]\nengine = \"{url}\"\nusername = \"nexudus\"\nca_file = \"{ca}\"\n\
         ports = [{port}]\nclients_stale = \"{stale}s\"\nname = \"member-{number}\"\n",
        email = crate::EMAIL,
        password = password.display(),
        url = engines.url(),
        ca = engines.ca_file().display(),
        port = engines::PORT,
        stale = stale.as_secs(),
    )
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_nexudus-proxy");
