//! The keyring's dialog: the daemon never opens it, `login` and `unlock` may.

use nexudus_simulator::DEMO_PASSWORD;

use crate::keyring::{desktop, without_collection};
use crate::shared::eventually;

const LOGIN: &str = "login --email ada@example.test --password-stdin";

#[test]
fn only_login_and_unlock_ask_for_a_locked_keyring_to_be_opened() {
    let desktop = desktop();
    desktop.run(LOGIN, DEMO_PASSWORD);
    desktop.lock();
    let _daemon = desktop.serve();

    for (line, code) in [("whoami", 8), ("doctor", 1), ("status", 0), ("logout", 8)] {
        assert_eq!(desktop.run(line, "").code, code, "{line}");
    }
    assert!(!desktop.was_asked(), "an unexpected dialog");

    let told = desktop.run("unlock", "");
    assert!(desktop.was_asked());
    assert_eq!(told.code, 8, "{told:?}");
    assert!(told.err.contains("error: the credential store is locked\n"), "{told:?}");
    std::fs::remove_file(desktop.path("asked")).unwrap();

    let told = desktop.run(LOGIN, DEMO_PASSWORD);
    assert!(desktop.was_asked());
    assert_eq!(
        told.err,
        "error: could not use the Secret Service\n  \
           caused by: the credential store is locked\n\
         hint: Unlock it in a desktop session, or give the login as a systemd credential.\n"
    );
    assert_eq!((told.code, desktop.simulator.token_calls().len()), (8, 1));
}

#[test]
fn where_the_keyring_is_locked_no_key_file_appears() {
    let desktop = desktop();
    desktop.lock();

    let told = desktop.run(LOGIN, DEMO_PASSWORD);

    assert_eq!(told.code, 8, "{told:?}");
    let state = desktop.path(".local/state/nexudus-proxy");
    let names = std::fs::read_dir(state).into_iter().flatten().flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    assert!(!names.iter().any(|name| name == "session.key"), "{names:?}");
    assert!(desktop.simulator.token_calls().is_empty());
}

/// A new user, or WSL: the provider runs, and has no place for entries.
#[test]
fn a_keyring_without_a_default_collection_gets_one_or_is_named() {
    let desktop = without_collection();

    for line in [LOGIN, "unlock"] {
        let told = desktop.run(line, DEMO_PASSWORD);
        assert_eq!(told.code, 8, "{line}: {told:?}");
        assert!(told.err.contains("the Secret Service has no default collection"), "{told:?}");
        assert!(!told.out.contains("unlocked"), "{told:?}");
        assert!(told.err.contains("which asks for a password and makes one"), "{told:?}");
    }
    assert!(!desktop.path(".local/state/nexudus-proxy/session.key").exists());
    assert!(desktop.was_asked());

    let _person = desktop.person();
    let told = desktop.run(LOGIN, DEMO_PASSWORD);
    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!(desktop.run("whoami", "").code, 0);
}

#[test]
fn unlock_opens_the_keyring_and_the_daemon_serves_at_once() {
    let desktop = desktop();
    desktop.run(LOGIN, DEMO_PASSWORD);
    desktop.lock();
    let _daemon = desktop.serve();
    assert_eq!(desktop.run("whoami", "").code, 8);
    let _person = desktop.person();

    let told = desktop.run("unlock", "");

    assert_eq!(told.err, "note: the Secret Service is open now\n");
    assert!(told.out.starts_with("unlocked; token: valid "), "{told:?}");
    assert_eq!((told.code, desktop.run("whoami", "").code), (0, 0));
    assert_eq!(desktop.simulator.token_calls().len(), 1, "it resumes what was saved");
}

#[test]
fn login_opens_the_keyring_before_it_asks_for_anything() {
    let desktop = desktop();
    desktop.lock();
    let _person = desktop.person();

    let told = desktop.run(LOGIN, DEMO_PASSWORD);

    assert_eq!(told.code, 0, "{told:?}");
    eventually("it is kept", || desktop.entries() == 3);
}
