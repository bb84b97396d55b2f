//! Every hint cures: the state of a problem is made, the command of its hint is typed, and the state
//! is gone.

#![cfg(all(unix, feature = "demo"))]

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nexudus_proxy::problem::ProblemKind;
use serde_json::Value as Json;

use crate::shared::eventually;
use crate::support::daemon::{Nexudus, Served, exchange};
use crate::support::{Home, home};

/// The kinds whose hint has a command that ends the problem, and the test below that types it.
const CURED: &[(ProblemKind, fn())] = &[
    (ProblemKind::KeyNeeded, a_key_that_is_needed),
    (ProblemKind::KeyRefused, a_key_that_was_revoked),
    (ProblemKind::ReadOnly, reading_only),
    (ProblemKind::SessionLocked, a_lock),
    (ProblemKind::DaemonNotRunning, no_daemon),
    (ProblemKind::ConfigInvalid, a_file_that_does_not_exist),
];

/// The other kinds with a command, and why no test here types it.
const NOT_HERE: &[(ProblemKind, &str)] = &[
    (ProblemKind::ForeignUser, "takes another user: tests/system/service_install.rs"),
    (ProblemKind::KeyNotChecked, "the command shows what is wrong: a person repairs the file"),
    (ProblemKind::RuleDenied, "the command shows the rule: a person decides"),
    (ProblemKind::CredentialsUnavailable, "the command shows what is wrong"),
    (ProblemKind::SessionUnavailable, "the command shows the reason: the daemon goes on by itself"),
    (ProblemKind::NotLoggedIn, "takes a keychain: tests/system/keyring_login.rs"),
    (ProblemKind::LoginRefused, "takes a keychain: tests/system/keyring_login.rs"),
    (ProblemKind::TotpRequired, "takes a keychain: tests/system/keyring_login.rs"),
    (ProblemKind::SessionExpired, "takes a session that has lapsed: tests/cli/login.rs"),
    (ProblemKind::CredentialsLocked, "takes a keyring: tests/system/keyring_prompts.rs"),
    (ProblemKind::NoDaemonServes, "takes a `run` that was stopped: tests/cli/run_handover.rs"),
    (ProblemKind::DaemonActivated, "takes systemd: tests/system/user_units.rs"),
    (ProblemKind::DaemonServing, "an answer to another daemon, which no person sees"),
];

#[test]
fn every_kind_whose_hint_has_a_command_is_cured_or_named() {
    let with_command: BTreeSet<_> = ProblemKind::ALL
        .iter()
        .filter(|kind| kind.hint().is_some_and(|hint| !commands(hint).is_empty()))
        .map(|kind| format!("{kind:?}"))
        .collect();
    // Its hints are those of each error of the configuration.
    let in_parts = format!("{:?}", ProblemKind::ConfigInvalid);
    let cured = CURED.iter().map(|(kind, _)| format!("{kind:?}"));
    let named = NOT_HERE.iter().map(|(kind, _)| format!("{kind:?}"));
    let listed: BTreeSet<_> = cured.chain(named).filter(|kind| *kind != in_parts).collect();

    assert_eq!(with_command, listed);
}

#[test]
fn every_command_in_a_hint_exists_with_its_flags() {
    let home = home();
    for kind in ProblemKind::ALL {
        for command in kind.hint().iter().flat_map(|hint| commands(hint)) {
            // clap refuses an unknown flag before it comes to the help.
            let told = typed(&home, &format!("{command} --help")).output().unwrap();
            let said = String::from_utf8_lossy(&told.stderr).into_owned();
            assert!(told.status.success(), "{kind:?}: {command}: {said}");
        }
    }
}

#[test]
fn every_hint_that_can_be_typed_here_cures() {
    for (_, cure) in CURED {
        cure();
    }
}

fn a_key_that_is_needed() {
    let stage = Stage::new(&["--policy-anonymous", "none"]);
    let (status, problem) = stage.get(None);
    assert_eq!((status, &problem["code"]), (403, &"guard.client".into()));

    let key = stage.new_key(&problem);

    assert_eq!(stage.get(Some(&key)).0, 200);
}

fn a_key_that_was_revoked() {
    let stage = Stage::new(&[]);
    let old = stage.home.run("client add old");
    let old = old.lines().find(|line| line.starts_with("nxp_")).expect(&old).to_owned();
    assert!(stage.home.run("client revoke old").ends_with("=> 0\n"));
    let (status, problem) = stage.get(Some(&old));
    assert_eq!((status, &problem["code"]), (403, &"guard.client".into()));

    let key = stage.new_key(&problem);

    assert_eq!(stage.get(Some(&key)).0, 200);
}

fn reading_only() {
    let stage = Stage::new(&["--read-only"]);
    let (status, problem) = stage.exchange("POST", "/api/echo", None);
    assert_eq!((status, &problem["code"]), (403, &"policy.read-only".into()));

    let key = stage.new_key(&problem);

    assert_eq!(stage.exchange("POST", "/api/echo", Some(&key)).0, 200);
}

fn a_lock() {
    let stage = Stage::new(&[]);
    assert!(stage.home.run("lock").ends_with("=> 0\n"));
    let (status, problem) = stage.get(None);
    assert_eq!((status, &problem["code"]), (423, &"session.locked".into()));

    let command = commands(problem["hint"].as_str().unwrap()).remove(0);
    assert!(typed(&stage.home, &command).output().unwrap().status.success(), "{command}");

    eventually("it serves", || stage.get(None).0 == 200);
}

fn no_daemon() {
    let home = home();
    let refused = home.run("status");
    assert!(refused.ends_with("=> 6\n"), "{refused}");

    // On a port of its own: the usual one may be taken on this machine.
    let mut serving = typed(&home, &commands(&refused).remove(0));
    serving.env("NEXUDUS_PROXY_LISTEN_TCP", "127.0.0.1:0").stderr(Stdio::null());
    let mut serving = Reaped(serving.spawn().unwrap());

    eventually("it is there", || home.run("status").ends_with("=> 0\n"));
    assert!(home.run("stop").ends_with("=> 0\n"));
    assert!(serving.0.wait().unwrap().success());
}

fn a_file_that_does_not_exist() {
    let home = home();
    let refused = home.run("config check --config elsewhere/my.toml");
    assert!(refused.ends_with("=> 2\n"), "{refused}");

    let command = commands(&refused).remove(0);
    assert!(typed(&home, &command).output().unwrap().status.success(), "{command}");

    let checked = home.run("config check --config elsewhere/my.toml");
    assert!(checked.ends_with("=> 0\n"), "{checked}");
}

/// A daemon that is logged in, with these flags.
struct Stage {
    home: Home,
    port: u16,
    _nexudus: Nexudus,
    _daemon: Served,
}

impl Stage {
    fn new(flags: &[&str]) -> Self {
        let (nexudus, home) = (Nexudus::start(), home());
        let daemon = nexudus.serve(&home, |command| {
            command.args(flags);
        });
        assert_eq!(home.run("wait"), "=> 0\n");
        let port = daemon.port(&home);
        Self { home, port, _nexudus: nexudus, _daemon: daemon }
    }

    fn get(&self, key: Option<&str>) -> (u16, Json) {
        self.exchange("GET", "/api/auth/me", key)
    }

    fn exchange(&self, method: &str, path: &str, key: Option<&str>) -> (u16, Json) {
        let key = key.map(|key| format!("Nexudus-Proxy-Key: {key}\r\n")).unwrap_or_default();
        let mut stream =
            Rewritten(TcpStream::connect(("127.0.0.1", self.port)).unwrap(), method, key);
        let (head, body) = exchange(&mut stream, path);
        (head[9..12].parse().unwrap(), serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Types the command of a hint that makes a key, for the request that was refused.
    fn new_key(&self, problem: &Json) -> String {
        let command = commands(problem["hint"].as_str().unwrap()).remove(0);
        let command = command.replace("NAME", "cure").replace("METHOD /path", "POST /api/echo");
        let told = typed(&self.home, &command).output().unwrap();
        let said = String::from_utf8(told.stdout).unwrap();
        let key = said.lines().find(|line| line.starts_with("nxp_"));
        key.unwrap_or_else(|| panic!("{command}: {said}")).to_owned()
    }
}

/// Writes a request of another method, with a key.
struct Rewritten<'a>(TcpStream, &'a str, String);

impl std::io::Read for Rewritten<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl std::io::Write for Rewritten<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let length = if self.1 == "POST" { "Content-Length: 0\r\n" } else { "" };
        let text = text.replacen("GET", self.1, usize::from(text.starts_with("GET ")));
        let text = text.replacen("Host:", &format!("{}{length}Host:", self.2), 1);
        self.0.write_all(text.as_bytes()).map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// A process that ends with the test.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the commands that a sentence advises.
fn commands(said: &str) -> Vec<String> {
    let quoted = said.split('`').skip(1).step_by(2);
    quoted.filter(|it| it.starts_with("nexudus-proxy ")).map(str::to_owned).collect()
}

/// Returns what a shell makes of a command, in this home.
fn typed(home: &Home, command: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_nexudus-proxy"));
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {command}")]).env_clear().env("PATH", path);
    shell.env("HOME", home.root()).current_dir(home.root()).stdin(Stdio::null());
    shell
}
