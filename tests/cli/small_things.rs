//! Small things that many meet: a mistyped name, a flag in the wrong place, a restart meanwhile.

#![cfg(all(unix, feature = "demo"))]

use std::time::Instant;

use nix::sys::signal::Signal;

use crate::support::daemon::{Nexudus, PATIENCE, Tail, get};
use crate::support::home;

#[test]
fn tail_follows_a_restart_and_knows_which_clients_there_are() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    assert_eq!(
        home.run("tail --client typo"),
        "! error: there is no client `typo`\n\
         ! hint: `nexudus-proxy client list` shows the clients.\n\
         => 1\n"
    );
    let mut tail = Tail::start(&home, "tail --json");
    let first = shown(&mut tail, daemon.port(&home));
    assert!(first.contains("\"upstream_ms\":") && first.contains("\"queue_ms\":0"), "{first}");
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));

    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");

    let again = shown(&mut tail, daemon.port(&home));
    assert!(again.contains("/api/auth/me"), "{again}");
    assert!(tail.child.try_wait().unwrap().is_none(), "it goes on");
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

/// Asks until a line comes: what was asked before `tail` followed is not shown.
fn shown(tail: &mut Tail, port: u16) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert_eq!(get(port, "/api/auth/me"), "200");
        if let Some(line) = tail.next() {
            return line;
        }
        assert!(Instant::now() < deadline, "no line comes");
    }
}

#[test]
fn a_flag_of_the_configuration_before_the_command_is_told_its_place() {
    let said = home().run("--upstream https://secret.example login");

    assert_eq!(
        said,
        "! error: `--upstream` stands before the command\n\
         ! hint: Write it behind: `nexudus-proxy login --upstream …`.\n\
         => 2\n"
    );
    assert!(home().run("--upsteam x login").contains("unexpected argument '--upsteam'"));
}

#[test]
fn help_is_a_command_and_the_version_names_its_commit() {
    let home = home();

    assert_eq!(home.run("help login"), home.run("login --help"));
    assert!(home.run("help service install").contains("Examples:\n"));
    let version = home.run("--version");
    let (number, commit) = version.trim_end_matches(")\n=> 0\n").split_once(" (").unwrap();
    assert_eq!(number, concat!("nexudus-proxy ", env!("CARGO_PKG_VERSION")));
    let (commit, date) = commit.split_once(' ').unwrap();
    let is_hash = commit.len() >= 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_hash && date.len() == 10 || (commit, date) == ("unknown", "unknown"), "{version}");
}

/// Each hint for the system's daemon names what this machine has.
#[test]
fn commands_for_the_systems_daemon_never_lead_in_a_circle() {
    let home = home();
    let is_there = |path: &str| std::path::Path::new(path).exists();
    let start = if is_there("/etc/systemd/system/nexudus-proxy.service") {
        "Start it with `nexudus-proxy --system service start`, as root."
    } else if is_there("/run/systemd/system") {
        "Install it with `nexudus-proxy --system service install`, as root."
    } else {
        "Start it with `nexudus-proxy --system serve`, as root."
    };
    for command in ["status", "whoami", "lock", "client list", "tail", "wait --once"] {
        let said = home.run(&format!("--system {command}"));

        assert!(said.contains(&format!("! hint: {start}\n")), "{command}: {said}");
        assert!(said.ends_with("=> 6\n"), "{command}: {said}");
    }
    assert_eq!(
        home.run("--system run -- true"),
        format!("! error: the daemon is not running\n! hint: {start}\n=> 125\n")
    );
}
