//! Every hint cures, where that takes a real keyring, or a machine with systemd and other users:
//! `tests/cli/hints.rs` has the others.

use nexudus_proxy::problem::ProblemKind;
use nexudus_simulator::{DEMO_PASSWORD, Simulator};

use crate::keyring::desktop;
use crate::machine::{ALICE, BOB, Machine, machine};
use crate::service_install::for_person;
use crate::shared::cures::{Cure, assert_whole, commands};

const CURES: &[Cure] = &[
    (ProblemKind::CredentialsLocked, a_locked_keyring),
    (ProblemKind::ForeignUser, another_user),
    (ProblemKind::DaemonActivated, a_daemon_that_any_request_starts),
];

#[test]
fn every_hint_that_takes_real_ground_cures() {
    assert_whole("ground", CURES);
    for (kind, cure) in CURES {
        // A machine's network takes the thread that boots it.
        let cured = std::thread::spawn(cure).join();
        assert!(cured.is_ok(), "{kind:?}");
    }
}

fn a_locked_keyring() {
    let desktop = desktop();
    desktop.run("login --email ada@example.test --password-stdin", DEMO_PASSWORD);
    desktop.lock();
    let _daemon = desktop.serve();
    let told = desktop.run("whoami", "");
    assert_eq!(told.code, 8, "{told:?}");
    let _person = desktop.person();

    let command = commands(&told.err).remove(0);
    let cured = desktop.run(command.strip_prefix("nexudus-proxy ").unwrap(), "");

    assert_eq!(cured.code, 0, "{cured:?}");
    assert_eq!(desktop.run("whoami", "").code, 0);
}

fn another_user() {
    let (machine, _nexudus) = persons_service();
    let told = machine.tried_as(BOB, "curl -s http://localhost:6398/api/auth/me").out;
    let problem: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(problem["code"], "guard.user");
    let hint = problem["hint"].as_str().unwrap();
    assert!(hint.contains("`users = [\"bob\"]` below `[listen]`"), "{hint}");

    machine.run(
        "sed -i 's/^users = .*/users = [\"alice\", \"bob\"]/' \
         /home/alice/.config/nexudus-proxy/config.toml",
    );
    machine.run_as(ALICE, &commands(hint).remove(0));

    assert_eq!(machine.get(BOB, "/api/auth/me"), "200");
}

fn a_daemon_that_any_request_starts() {
    let (machine, _nexudus) = persons_service();
    let refused = machine.tried_as(ALICE, "nexudus-proxy stop");
    assert_eq!(refused.code, 1, "{refused:?}");

    machine.run_as(ALICE, &commands(&refused.err).remove(0));

    assert_eq!(machine.tried_as(ALICE, "nexudus-proxy status").code, 6);
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "000");
}

/// A machine on which Alice has installed the service, and the Nexudus that it asks.
fn persons_service() -> (Machine, Simulator) {
    let machine = machine();
    let nexudus = for_person(&machine, "alice");
    machine.run_as(ALICE, "nexudus-proxy service install");
    machine.run_as(ALICE, "nexudus-proxy wait");
    (machine, nexudus)
}
