//! The limits of a daemon that an attacker has taken over: the sandbox of the unit, tried one effect
//! at a time by another program in its place.

use std::collections::BTreeMap;

use crate::machine::{ALICE, machine, serving};
use crate::shared::kernel_restricts_ports;

#[test]
fn the_unit_denies_each_effect_that_the_daemon_does_not_need() {
    let machine = machine();
    machine.install();
    let nexudus = machine.nexudus("");
    let port = nexudus.address().port();
    machine.write("/usr/local/lib/sandbox.pl", include_str!("sandbox.pl"));
    machine.run("mount -o remount,rw /proc/sys; mkdir -p /var/lib/nexudus-proxy; touch /tmp/marker-of-another /dev/marker");
    // Where the machine's sockets are.
    machine.run("systemctl start nexudus-proxy.socket");

    // Without the sandbox everything works: what is denied is denied by the unit.
    let outside = attempts(&machine.run(&format!("perl /usr/local/lib/sandbox.pl {port}")));
    let undone: Vec<_> = outside.iter().filter(|(_, done)| !**done).collect();
    assert!(undone.is_empty(), "{undone:?}");

    machine.run("rm -r /var/lib/nexudus-proxy");
    machine.edit(
        "nexudus-proxy.service",
        &format!(
            "[Service]\nType=oneshot\nExecPaths=/usr/bin/perl\nExecStart=\n\
             ExecStart=/usr/bin/perl /usr/local/lib/sandbox.pl {port}\n"
        ),
    );
    machine.run("systemctl start nexudus-proxy.service");
    let inside = attempts(&machine.journal("info"));

    assert_eq!(inside.len(), outside.len());
    for (name, done) in inside {
        assert_eq!(done, NEEDED.contains(&name.as_str()), "{name}");
    }
}

/// A unit test of `src/daemon/landlock.rs` shows that the kernel then refuses every other port.
#[test]
fn the_daemon_gives_up_every_port_but_the_configured_ones() {
    let (machine, nexudus) = serving("[log]\nlevel = \"debug\"\n");

    let expected = if kernel_restricts_ports() {
        format!("connections are confined  ports=\"{{53, {}}}\"", nexudus.address().port())
    } else {
        "this kernel cannot".to_owned()
    };
    let log = machine.journal("debug");
    assert!(log.contains(&expected), "{log}");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
}

fn attempts(told: &str) -> BTreeMap<String, bool> {
    let lines = told.lines().filter_map(|line| line.split_once(": "));
    let lines = lines.filter(|(_, outcome)| ["done", "denied"].contains(outcome));
    lines.map(|(name, outcome)| (name.to_owned(), outcome == "done")).collect()
}

/// The effects that the daemon needs.
const NEEDED: [&str; 3] = ["write its state", "ask whose connection it is", "call the upstream"];
