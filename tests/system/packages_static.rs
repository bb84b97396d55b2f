//! The static binary, alone in an empty root directory: no library, no certificates, no names, no
//! device, no process list.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD, Simulator};

use crate::packages::artefact;
use crate::shared::run_with_input;
use crate::support::text;

#[test]
#[ignore = "takes the packages: make check-packages runs it"]
fn it_logs_in_serves_and_resumes_with_a_key_in_a_file() {
    let room = Room::new();
    room.configure("ca_file = \"/ca.pem\"\n");

    let mut login = room.command("login --email ada@example.test --password-stdin");
    let login = run_with_input(&mut login, &format!("{DEMO_PASSWORD}\n"));
    assert!(login.status.success(), "{}", text(&login.stderr));
    let mut first = Serving::start(&room, &[]);
    assert_eq!(first.get("/api/auth/me"), "200");
    first.end();
    let second = Serving::start(&room, &[]);

    assert_eq!(second.get("/api/auth/me"), "200");
    assert_eq!(room.simulator.token_calls().len(), 1, "the restart resumes the session");
    let files = std::fs::read_dir(room.root.path()).unwrap();
    assert_eq!(files.count(), 4, "nothing is written beside /state");
}

#[test]
#[ignore = "takes the packages: make check-packages runs it"]
fn without_certificates_it_trusts_those_it_brings_and_no_other() {
    let room = Room::new();
    room.configure("");
    let login = [("NEXUDUS_EMAIL", DEMO_EMAIL), ("NEXUDUS_PASSWORD", DEMO_PASSWORD)];

    let mut serving = Serving::start(&room, &login);
    let refused = serving.log_until("UnknownIssuer");
    assert!(serving.seen.contains("this system has no trust anchors"), "{}", serving.seen);
    assert!(!refused.contains(DEMO_PASSWORD));
    assert_eq!(room.simulator.token_calls().len(), 0, "the login stays here");

    // Who names anchors wants no others.
    let named = [("SSL_CERT_FILE", "/missing.pem")];
    let mut command = room.command("serve --listen 127.0.0.1:0 --socket off");
    let said = command.envs(named).output().unwrap();
    let said = text(&said.stderr);
    assert!(said.contains("could not load the trust anchors"), "{said}");
}

/// A root directory with the program, a configuration and a place for its state.
struct Room {
    simulator: Simulator,
    root: tempfile::TempDir,
}

impl Room {
    fn new() -> Self {
        let simulator = Simulator::builder().account(Account::new(DEMO_EMAIL, DEMO_PASSWORD));
        let simulator = simulator.start().unwrap();
        let root = tempfile::tempdir().unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(root.path(), mode).unwrap();
        simulator.write_ca(&root.path().join("ca.pem")).unwrap();
        std::fs::create_dir(root.path().join("state")).unwrap();
        std::os::unix::fs::chown(root.path().join("state"), Some(USER), Some(USER)).unwrap();
        let room = Self { simulator, root };
        room.unpack();
        room
    }

    fn unpack(&self) {
        let mut tar = Command::new("tar");
        tar.arg("--extract").arg("--file").arg(artefact("-linux-musl.tar.gz"));
        tar.args(["--strip-components=1", "--wildcards", "*/nexudus-proxy", "--directory"]);
        assert!(tar.arg(self.root.path()).status().unwrap().success());
    }

    fn configure(&self, upstream: &str) {
        let port = self.simulator.address().port();
        // There is no hosts file.
        let text = format!(
            "[upstream]\norigin = \"https://localhost:{port}\"\naddress = \"127.0.0.1\"\n{upstream}\
             [session]\nkey = \"file\"\n[log]\nformat = \"json\"\n"
        );
        std::fs::write(self.root.path().join("config.toml"), text).unwrap();
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={USER}:{USER}")).arg(self.root.path());
        command.args(["/nexudus-proxy", "--config", "/config.toml"]);
        command.args(line.split_whitespace());
        command.env_clear().env("PATH", crate::support::PATH).env("HOME", "/state");
        command
    }
}

/// A daemon in the room.
struct Serving {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    seen: String,
    port: String,
}

impl Serving {
    fn start(room: &Room, environment: &[(&str, &str)]) -> Self {
        let mut command = room.command("serve --listen 127.0.0.1:0");
        command.envs(environment.iter().copied()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut serving = Self { child, log, seen: String::new(), port: String::new() };
        let line = serving.log_until("\"address\":\"127.0.0.1:");
        let port = line.split("127.0.0.1:").nth(1).unwrap();
        port.split('"').next().unwrap().clone_into(&mut serving.port);
        serving
    }

    fn log_until(&mut self, wanted: &str) -> String {
        loop {
            let mut line = String::new();
            let count = self.log.read_line(&mut line).unwrap();
            assert!(count > 0, "no {wanted} in: {}", self.seen);
            self.seen.push_str(&line);
            if line.contains(wanted) {
                return line;
            }
        }
    }

    fn get(&self, path: &str) -> String {
        let mut curl = crate::machine::program(crate::machine::User(USER), "curl");
        curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]);
        curl.arg(format!("http://127.0.0.1:{}{path}", self.port));
        text(&curl.output().unwrap().stdout)
    }

    fn end(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let _ = std::io::stderr().write_all(self.seen.as_bytes());
        }
    }
}

/// The number of a user without an entry anywhere.
const USER: u32 = 54321;
