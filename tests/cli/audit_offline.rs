//! The record of what is done beside a daemon, and without one; and a record that is cut off.

#![cfg(all(unix, feature = "demo"))]

use std::fs;

use nexudus_simulator::DEMO_PASSWORD;

use crate::shared::eventually;
use crate::support::home;
use crate::support::login::{SESSION_ONLY, place};
use crate::support::run::{configuration, script, serving, stage};

const AUDIT: &str = ".local/state/nexudus-proxy/audit.jsonl";

#[test]
fn a_login_without_a_daemon_is_recorded() {
    let place = place();
    place.configure("key_command = [\"printf\", \"sixteen bytes ok\"]\n[audit]\nfile = \"auto\"");

    let said = place.given(SESSION_ONLY, DEMO_PASSWORD);

    assert!(said.ends_with("=> 0\n") && !said.contains("recorded"), "{said}");
    let shown = place.home.run("audit show");
    for part in ["  login  ", "action=login", "detail=no daemon ran"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains(DEMO_PASSWORD) && shown.ends_with("=> 0\n"), "{shown}");
    assert!(place.home.run("audit verify").starts_with("1 line in 1 file, 1 to 1, unbroken\n"));
}

#[test]
fn the_key_of_a_run_is_in_the_record_of_what_serves_it() {
    let (upstream, home) = stage();
    let settings = configuration(&upstream, &home, "none");
    home.configure(format!("{settings}[audit]\nfile = 'auto'\n"));
    let keys = || {
        let shown = home.run("audit show");
        let keys = shown.lines().filter(|line| line.contains("  keys  "));
        let keys = keys.filter(|line| line.contains("client=run-"));
        keys.map(|line| line.contains("action=revoke")).collect::<Vec<_>>()
    };

    let alone = home.transcript(&mut script(&home, "run -q", "true"));
    assert_eq!(alone, "=> 0\n");
    assert_eq!(keys(), [false, true], "{}", home.run("audit show"));

    let daemon = serving(&home, "serve");
    let beside = home.transcript(&mut script(&home, "run -q", "true"));
    assert_eq!(beside, "=> 0\n");
    eventually("the daemon writes", || keys() == [false, true, false, true]);
    drop(daemon);
    let verified = home.run("audit verify");
    assert!(verified.contains("unbroken") && verified.ends_with("=> 0\n"), "{verified}");
}

#[test]
fn a_record_that_was_emptied_is_not_called_whole() {
    let home = home();
    home.configure("[audit]\nfile = \"auto\"\n");
    for line in ["client add one -q", "client add two -q"] {
        assert!(home.run(line).ends_with("=> 0\n"));
    }
    assert!(home.run("audit verify").starts_with("2 lines in 1 file, 1 to 2, unbroken\n"));

    fs::write(home.path(AUDIT), "").unwrap();

    let emptied = "! error: lines 1 to 2 of the audit are missing\n";
    let said = home.run("audit verify");
    assert!(said.starts_with(emptied) && said.ends_with("=> 1\n"), "{said}");
    assert!(home.run("client add three -q").ends_with("=> 0\n"));
    let said = home.run("audit verify");
    assert!(said.starts_with(emptied) && said.ends_with("=> 1\n"), "the next line hides nothing");
    assert!(home.run("audit show").contains("missing=2"));

    fs::copy(home.path(AUDIT), home.path("copy.jsonl")).unwrap();
    fs::write(home.path("none.jsonl"), "").unwrap();
    let none = home.run("audit verify --file none.jsonl");
    assert!(none.contains("! error: there is no audit at none.jsonl") && none.ends_with("=> 1\n"));
}
