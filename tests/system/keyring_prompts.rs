//! The keyring's dialog: the daemon never opens it, `login` and `unlock` may.

use nexudus_simulator::DEMO_PASSWORD;

use crate::keyring::desktop;
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
