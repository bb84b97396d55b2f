//! `wait --once`: how a daemon is, for a probe that runs a command.

#![cfg(all(unix, feature = "demo"))]

use nix::sys::signal::Signal;

use crate::shared::eventually;
use crate::support::daemon::Nexudus;
use crate::support::home;

#[test]
fn one_look_tells_a_probe_how_it_is() {
    let nexudus = Nexudus::start();
    let home = home();
    let look = || home.run("wait --once");
    assert_eq!(
        look(),
        "! error: the daemon is not running\n\
         ! hint: Start it with `nexudus-proxy serve`.\n\
         => 6\n"
    );

    let mut daemon = nexudus.serve(&home, |command| {
        command.env_remove("NEXUDUS_EMAIL").env_remove("NEXUDUS_PASSWORD");
    });
    eventually("it listens", || !look().ends_with("=> 6\n"));
    eventually("it has looked for a login", || look().ends_with("=> 3\n"));
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));

    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    assert_eq!(look(), "=> 0\n");
    assert_eq!(home.run("wait --once --json"), "{\n  \"ready\": true\n}\n=> 0\n");
    assert!(home.run("lock").ends_with("=> 0\n"));
    assert_eq!(
        look(),
        "! error: the daemon is not ready: the session is locked\n\
         ! hint: Run `nexudus-proxy unlock`.\n\
         => 1\n"
    );
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}
