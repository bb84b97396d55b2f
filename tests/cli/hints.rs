//! Every hint cures: the state of a problem is made, the command of its hint is typed, and the state
//! is gone.

#![cfg(all(unix, feature = "demo"))]

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nexudus_proxy::problem::ProblemKind;
use serde_json::Value as Json;

use crate::hints_login;
use crate::shared::cures::{Cure, assert_whole, commands};
use crate::shared::eventually;
use crate::support::daemon::{Nexudus, Served, exchange};
use crate::support::run::{Talk, WHY, problem, script, serving, stage};
use crate::support::{Home, home};

/// The kinds whose cure takes no more than a home directory.
const CURES: &[Cure] = &[
    (ProblemKind::KeyNeeded, a_key_that_is_needed),
    (ProblemKind::KeyRefused, a_key_that_was_revoked),
    (ProblemKind::KeyNotChecked, a_key_that_cannot_be_checked),
    (ProblemKind::RuleDenied, a_rule),
    (ProblemKind::ReadOnly, reading_only),
    (ProblemKind::SessionLocked, a_lock),
    (ProblemKind::NotLoggedIn, hints_login::no_login),
    (ProblemKind::LoginRefused, hints_login::an_old_password),
    (ProblemKind::TotpRequired, hints_login::a_second_factor),
    (ProblemKind::SessionExpired, hints_login::a_session_that_has_ended),
    (ProblemKind::CredentialsUnavailable, a_command_that_gives_no_password),
    (ProblemKind::SessionUnavailable, an_upstream_that_is_down),
    (ProblemKind::NoDaemonServes, a_run_that_was_stopped),
    (ProblemKind::DaemonServing, a_daemon_that_gives_no_place),
    (ProblemKind::DaemonNotRunning, no_daemon),
    (ProblemKind::ClientMissing, a_client_that_is_not_there),
    (ProblemKind::ClientExists, a_name_that_is_taken),
    (ProblemKind::ConfigInvalid, a_file_that_does_not_exist),
];

#[test]
fn every_kind_whose_hint_has_a_command_is_in_one_of_the_tables() {
    assert_whole("home", CURES);
}

#[test]
fn every_hint_that_can_be_typed_here_cures() {
    for (_, cure) in CURES {
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

/// The command shows what is wrong: only a person can repair the file.
fn a_key_that_cannot_be_checked() {
    let stage = Stage::new(&[]);
    let key = stage.home.run("client add agent");
    let key = key.lines().find(|line| line.starts_with("nxp_")).expect(&key).to_owned();
    stage.home.write(".local/state/nexudus-proxy/clients.json", "{");
    let (status, problem) = stage.get(Some(&key));
    assert_eq!((status, &problem["code"]), (403, &"guard.client".into()));

    let shown = shown(&stage.home, &problem, &[]);

    assert!(shown.contains("clients.json are damaged"), "{shown}");
}

/// The command shows the rule: a person decides.
fn a_rule() {
    let home = home();
    home.configure("[policy]\ndeny = ['GET /api/auth/**']\n");
    let stage = Stage::in_home(home, &[]);
    let (status, problem) = stage.get(None);
    assert_eq!((status, &problem["code"]), (403, &"policy.denied".into()));

    let shown = shown(&stage.home, &problem, &[("METHOD", "GET"), ("PATH", "/api/auth/me")]);

    assert!(shown.contains("denied by rule `GET /api/auth/**`"), "{shown}");
}

/// The command shows the command that fails.
fn a_command_that_gives_no_password() {
    let home = home();
    let login = "[credentials]\nemail = 'a@example.test'\ncommand = ['/bin/false']\n";
    let daemon = configured(&home, "https://localhost:1", login);
    let problem = refused(&home, &daemon);
    assert_eq!(problem["code"], "credentials.unavailable");

    let shown = shown(&home, &problem, &[]);

    assert!(shown.contains("credentials.command gave no password"), "{shown}");
}

/// The command shows the reason: the daemon goes on by itself.
fn an_upstream_that_is_down() {
    let home = home();
    // Reserved as long as the test runs, and nothing listens.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let login = "[credentials]\nemail = 'a@example.test'\ncommand = ['/bin/echo', 'x']\n";
    let daemon = configured(&home, &format!("https://127.0.0.1:{port}"), login);
    let problem = refused(&home, &daemon);
    assert_eq!(problem["code"], "session.unavailable");

    let shown = shown(&home, &problem, &[]);

    assert!(shown.contains("Connection refused"), "{shown}");
}

fn a_run_that_was_stopped() {
    let (_nexudus, home) = stage();
    let mut run = Talk::begin(script(&home, "run", WHY));
    assert_eq!(run.ask(), "200");
    assert!(home.run("stop").ends_with("=> 0\n"));
    assert_eq!(run.ask(), "503");
    let problem = problem(&home);
    assert_eq!(problem["code"], "daemon.draining");

    let command = commands(problem["hint"].as_str().unwrap()).remove(0);
    let _daemon = serving(&home, command.strip_prefix("nexudus-proxy ").unwrap());

    assert_eq!(run.ask(), "200");
    assert_eq!(run.end(), Some(0));
}

fn a_daemon_that_gives_no_place() {
    let stage = Stage::new(&[]);
    let asked = Command::new("curl")
        .args(["-s", "-X", "POST", "--unix-socket"])
        .arg(stage.home.path(".local/state/nexudus-proxy/run/admin.sock"))
        .arg("http://localhost/v1/handover")
        .output()
        .expect("the test needs curl: run scripts/prepare.sh");
    let problem: Json = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!(problem["code"], "daemon.serving");

    shown(&stage.home, &problem, &[]);

    assert!(stage.home.run("status").ends_with("=> 6\n"));
}

fn a_client_that_is_not_there() {
    let home = home();
    home.run("client add agent");
    let refused = home.run("client revoke agnet");
    assert!(refused.ends_with("=> 1\n"), "{refused}");

    let shown = shown(&home, &serde_json::json!({ "hint": refused }), &[]);

    assert!(shown.contains("agent  everything"), "{shown}");
}

fn a_name_that_is_taken() {
    let home = home();
    home.run("client add agent");
    let refused = home.run("client add agent");
    assert!(refused.ends_with("=> 1\n"), "{refused}");

    let shown = shown(&home, &serde_json::json!({ "hint": refused }), &[]);

    assert!(shown.contains("\nnxp_") || shown.starts_with("nxp_"), "a new key: {shown}");
    assert!(shown.contains("--rate"), "the limits: {shown}");
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
        Self::in_home(home(), flags)
    }

    fn in_home(home: Home, flags: &[&str]) -> Self {
        let nexudus = Nexudus::start();
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

/// Starts a daemon with this upstream and these keys, and no login of its own.
fn configured(home: &Home, upstream: &str, keys: &str) -> Served {
    home.configure(format!(
        "[upstream]\norigin = '{upstream}'\n[listen]\ntcp = ['127.0.0.1:0']\n\
         [session]\nstore = 'memory'\nwait = '10ms'\n{keys}"
    ));
    let mut serve = home.detached("serve");
    let daemon = Served::start({
        serve.stdout(Stdio::null()).stderr(Stdio::piped());
        serve
    });
    eventually("it has tried", || {
        let status = home.run("status --json");
        status.ends_with("=> 0\n") && status.contains("\"error\": {")
    });
    daemon
}

/// Returns the problem that a daemon answers with.
fn refused(home: &Home, daemon: &Served) -> Json {
    let mut stream = TcpStream::connect(("127.0.0.1", daemon.port(home))).unwrap();
    let (head, body) = exchange(&mut stream, "/api/auth/me");
    assert_eq!(&head[9..12], "503");
    serde_json::from_slice(&body).unwrap()
}

/// Types the commands of a hint, with these words in place of its own, and returns what they print.
fn shown(home: &Home, problem: &Json, words: &[(&str, &str)]) -> String {
    let hint = problem["hint"].as_str().unwrap();
    let commands = commands(hint);
    assert!(!commands.is_empty(), "{hint}");
    let typed = commands.iter().map(|command| {
        let replace = |command: String, (word, by): &(&str, &str)| command.replace(word, by);
        let command = words.iter().fold(command.clone(), replace);
        let told = typed(home, &command).output().unwrap();
        assert_ne!(told.status.code(), Some(2), "{command}: {told:?}");
        String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned()
    });
    typed.collect()
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
