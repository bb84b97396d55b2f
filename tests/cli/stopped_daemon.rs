//! A daemon that is stopped (SIGSTOP, Ctrl-Z): its sockets accept, and nothing answers. Every command
//! says so within seconds and ends.

#![cfg(all(unix, feature = "demo"))]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::daemon::Nexudus;
use crate::support::{Home, home};

/// Each command that asks the daemon, and how it ends.
const ASKING: &[(&str, i32)] = &[
    ("login --email ada@example.test --password-stdin", 1),
    ("status", 1),
    ("status --json", 1),
    ("status --watch", 1),
    ("tail", 1),
    ("ui --no-open", 1),
    ("api /api/x", 1),
    ("open /ContentDownload/x", 1),
    ("env", 1),
    ("wait --timeout 6s", 1),
    ("wait --once", 1),
    ("stop", 1),
    ("reload", 1),
    ("refresh", 1),
    ("lock", 1),
    ("unlock", 1),
    ("whoami", 1),
    ("logout", 1),
    ("ca show", 1),
    ("ca export localhost", 1),
    ("ca trust --yes", 1),
    ("ca rotate", 1),
    ("fleet status", 1),
    ("fleet leave --yes", 1),
    ("approvals list", 1),
    ("approvals show a7k2m9qx", 1),
    ("approvals approve a7k2m9qx", 1),
    ("approvals deny a7k2m9qx", 1),
    ("approvals watch", 1),
    ("client list", 1),
    ("client add late", 1),
    ("client set late --read-only", 1),
    ("client rotate late", 1),
    ("client revoke late", 1),
    ("policy explain GET /api/x", 1),
    ("config show", 1),
    ("config path", 1),
    ("run -- true", 125),
    // A silent process holds the addresses that a service would need.
    ("service install", 1),
    ("serve --listen 127.0.0.1:0", 1),
];

/// The other commands, which ask no daemon: they end at once.
const ASKING_NONE: &[&str] = &[
    "config init",
    "config check",
    "config schema",
    // They read files, also those of a daemon that is gone.
    "audit show",
    "audit verify",
    "ca untrust",
    "completions bash",
    "man",
    // Where there is no service manager: `service.rs` and `tests/system` have one.
    "service uninstall --yes",
    "service start",
    "service stop",
    "service status",
    "service logs",
];

/// Those that other tests have, or that serve by themselves.
const ELSEWHERE: &[&str] = &["doctor", "demo"];

#[test]
fn every_command_is_in_one_of_the_tables() {
    let home = home();
    let listed = ASKING.iter().map(|(line, _)| *line).chain(ASKING_NONE.iter().copied());
    let listed: Vec<_> = listed.chain(ELSEWHERE.iter().copied()).collect();

    for command in commands(&home, "") {
        let is_listed = |line: &&&str| format!("{line} ").starts_with(&format!("{command} "));
        assert!(listed.iter().any(|line| is_listed(&line)), "{command}: what does it do then?");
    }
}

/// Returns every command, as the help lists them.
fn commands(home: &Home, above: &str) -> Vec<String> {
    let help = home.run(&format!("{above} --help"));
    let listed = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let listed = listed.lines().take_while(|line| !line.is_empty());
    // What is further in goes on with the line above.
    let named = listed.filter_map(|line| line.strip_prefix("  "));
    let names = named.filter_map(|line| line.split(' ').next().filter(|name| !name.is_empty()));
    let names: Vec<_> = names.filter(|name| *name != "help").map(str::to_owned).collect();
    if names.is_empty() {
        return vec![above.trim().to_owned()];
    }
    names.iter().flat_map(|name| commands(home, &format!("{above} {name}"))).collect()
}

#[test]
fn no_command_waits_for_a_daemon_that_does_not_answer() {
    let nexudus = Nexudus::start();
    let home = home();
    let daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    daemon.signal(Signal::SIGSTOP);
    let began = Instant::now();

    let running: Vec<_> = ASKING
        .iter()
        .map(|(line, code)| (*line, *code, start(&mut command(&home, line))))
        .collect();

    for (line, code, child) in running {
        let output = child.wait_with_output().unwrap();
        let said = home.format_output(output);
        assert!(said.contains("does not answer"), "{line}: {said}");
        assert!(said.ends_with(&format!("=> {code}\n")), "{line}: {said}");
        let by_number = format!("the daemon (process {}) does not answer", daemon.child.id());
        let is_told = ["run -- true", "serve --listen 127.0.0.1:0"].contains(&line);
        assert!(is_told || said.contains(&by_number), "{line}: {said}");
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let elsewhere = crate::support::home();
    let began = Instant::now();
    for line in ASKING_NONE {
        let home = if line.starts_with("config init") { &elsewhere } else { &home };
        // Nothing of this machine: the services of the person who runs the tests stay as they are.
        let said = home.transcript(command(home, line).env("PATH", elsewhere.root()));
        assert!(!said.contains("does not answer"), "{line}: {said}");
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let files = home.run("--user config path --config /dev/null");
    assert_eq!(files, "/dev/null\n=> 0\n", "what needs no daemon asks none");

    daemon.signal(Signal::SIGCONT);
    assert_eq!(home.run("wait"), "=> 0\n");
    assert!(!home.run("client list -q").contains("late"), "nothing was done behind its back");
}

#[test]
fn doctor_goes_on_where_the_daemon_does_not_answer() {
    let nexudus = Nexudus::start();
    let home = home();
    let daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    daemon.signal(Signal::SIGSTOP);

    let said = home.transcript(&mut command(&home, "doctor"));

    let line = format!("FAIL  daemon      0 ms      the daemon (process {})", daemon.child.id());
    assert!(said.contains(&line), "{said}");
    for check in ["config", "store", "login", "callers", "name", "tcp", "tls", "token"] {
        let is_there = |line: &str| line.split_whitespace().nth(1) == Some(check);
        assert!(said.lines().any(is_there), "{check}: {said}");
    }
    assert!(said.ends_with("=> 1\n"), "{said}");
}

/// The daemon ends while `tail` follows it: stopped for good, or only silent.
#[test]
fn a_command_that_may_wait_says_what_for() {
    let nexudus = Nexudus::start();
    let home = home();
    let daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    daemon.signal(Signal::SIGSTOP);

    let waiting = start(&mut command(&home, "wait --timeout 20s"));
    std::thread::sleep(Duration::from_secs(6));
    daemon.signal(Signal::SIGCONT);

    let said = home.format_output(waiting.wait_with_output().unwrap());
    assert_eq!(said, "! note: waiting for the daemon to be ready…\n=> 0\n");
}

#[test]
fn a_wait_that_is_too_short_to_be_sure_says_that_there_was_no_answer() {
    let nexudus = Nexudus::start();
    let home = home();
    let daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    daemon.signal(Signal::SIGSTOP);

    let said = home.transcript(&mut command(&home, "wait --timeout 1s"));

    assert_eq!(
        said,
        "! error: the daemon has given no answer after 1s\n\
         ! hint: It was waited for until it answers: it may be stopped (Ctrl-Z) or busy. \
         `nexudus-proxy doctor` names its process.\n\
         => 1\n"
    );
}

fn command(home: &Home, line: &str) -> Command {
    let mut command = home.command(line);
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command
}

fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}
