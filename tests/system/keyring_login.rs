//! Login, restart, whoami, logout through real entries; a keyring that is locked, late or killed.

use std::path::Path;

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD, Simulator};

use crate::keyring::{BOB, Desktop, desktop, without_keyring};
use crate::shared::eventually;

const LOGIN: &str = "login --email ada@example.test --password-stdin";

#[test]
fn a_login_outlives_the_daemon_and_ends_with_logout() {
    let desktop = desktop();

    let told = desktop.run(LOGIN, DEMO_PASSWORD);
    assert_eq!(told.out, "logged in as Ada Example <ada@example.test> (profile default)\n");
    assert_eq!(told.code, 0, "{}", told.err);
    assert_eq!(desktop.entries(), 3, "address, password and the key of the session file");

    for _restart in 0..2 {
        let _daemon = desktop.serve();
        let told = desktop.run("whoami --json", "");
        assert!(told.out.contains("\"through\": \"daemon\""), "{told:?}");
    }
    assert_eq!(desktop.simulator.token_calls().len(), 1, "a restart resumes");
    let doctor = desktop.run("doctor", "");
    assert!(doctor.out.contains("read on another connection and deleted"), "{doctor:?}");
    assert_eq!((doctor.code, desktop.entries()), (0, 3));

    let told = desktop.run("logout", "");
    assert_eq!((told.out.as_str(), told.code), ("logged out (profile default)\n", 0), "{told:?}");
    assert_eq!(desktop.entries(), 0);
    let told = desktop.run("whoami", "");
    assert_eq!(told.code, 3);
    assert!(told.err.starts_with("error: not logged in\n"), "{told:?}");
}

#[test]
fn a_running_daemon_is_told_of_login_and_logout() {
    let desktop = desktop();
    let _daemon = desktop.serve();
    assert_eq!(desktop.run("whoami", "").code, 3);

    let told = desktop.run(LOGIN, DEMO_PASSWORD);
    assert!(!told.err.contains("warning"), "{told:?}");
    eventually("it serves", || desktop.run("whoami", "").code == 0);
    assert_eq!(desktop.simulator.token_calls().len(), 1, "the daemon takes over the pair");

    let told = desktop.run("logout", "");
    assert!(!told.err.contains("warning"), "{told:?}");
    let told = desktop.run("whoami", "");
    assert_eq!((told.code, told.out.as_str()), (3, ""), "{told:?}");
    assert_eq!(desktop.entries(), 0, "nor does it write anything again");

    desktop.run(LOGIN, DEMO_PASSWORD);
    eventually("it serves again", || desktop.run("whoami", "").code == 0);
}

#[test]
fn another_profile_has_entries_of_its_own() {
    let desktop = desktop();
    desktop.run(LOGIN, DEMO_PASSWORD);

    let told = desktop.run("whoami --profile work", "");

    assert_eq!(told.code, 2, "there is no such profile: {told:?}");
    desktop.run("logout --profile work", "");
    assert_eq!(desktop.run("whoami", "").code, 0);
}

/// Both upstreams know the account and its password.
#[test]
fn a_stored_password_is_given_to_the_origin_that_accepted_it_and_to_no_other() {
    let desktop = desktop();
    assert_eq!(desktop.run(LOGIN, DEMO_PASSWORD).code, 0);
    let account = Account::new(DEMO_EMAIL, DEMO_PASSWORD);
    let other = Simulator::builder().account(account).start().unwrap();
    let (a, b) = (desktop.simulator.origin(), other.origin());
    let authorities = format!("{}{}", desktop.simulator.ca_pem(), other.ca_pem());
    std::fs::write(desktop.path("ca.pem"), authorities).unwrap();
    let serve_at = |from: &str, to: &str| {
        let path = desktop.path(".config/nexudus-proxy/config.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text.replace(from, to)).unwrap();
    };

    serve_at(&a, &b);
    {
        let _daemon = desktop.serve();
        let told = desktop.run("whoami", "");
        let said = format!("the stored login is for {a}, not for {b}\n");
        assert!(told.code == 3 && told.err.contains(&said), "{told:?}");
    }
    // Nor where nothing is left but the keychain's entries.
    std::fs::remove_dir_all(desktop.path(".local/state/nexudus-proxy")).unwrap();
    assert_eq!(desktop.run("whoami", "").code, 3);
    assert!(other.requests().is_empty(), "{:?}", other.requests());

    assert_eq!(desktop.run(LOGIN, DEMO_PASSWORD).code, 0);
    assert_eq!(desktop.entries(), 5, "two logins, and the key of the session files");
    serve_at(&b, &a);
    assert_eq!(desktop.run("whoami", "").code, 0, "the first one is still there");
    assert_eq!(desktop.run("logout", "").code, 0);
    assert_eq!(desktop.entries(), 0, "a logout ends both");
}

#[test]
fn a_session_only_login_keeps_no_password() {
    let desktop = desktop();
    desktop.run(LOGIN, DEMO_PASSWORD);

    let told = desktop.run(&format!("{LOGIN} --session-only"), DEMO_PASSWORD);

    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!(desktop.entries(), 1, "the key of the session file");
    assert_eq!(desktop.run("whoami", "").code, 0);
}

#[test]
fn a_locked_keyring_is_said_and_the_daemon_goes_on_when_it_opens() {
    let mut desktop = desktop();
    desktop.run(LOGIN, DEMO_PASSWORD);
    desktop.lock();

    let told = desktop.run("login --email ada@example.test --password-stdin", DEMO_PASSWORD);
    assert_eq!(told.code, 8, "{told:?}");
    let daemon = desktop.serve();
    let told = desktop.run("whoami", "");
    // Behind a note, where the daemon takes more than five seconds.
    let said = "error: the credential store is locked\n\
                hint: Run `nexudus-proxy unlock` in a desktop session, or give the login as a systemd \
                credential.\n";
    assert!(told.err.ends_with(said), "{told:?}");
    assert_eq!(told.code, 8);

    desktop.open();
    eventually("the daemon goes on", || desktop.run("whoami", "").code == 0);
    assert!(Path::new(&format!("/proc/{}", daemon.pid())).exists());
    assert_eq!(desktop.simulator.token_calls().len(), 1, "it resumes what was saved");
}

#[test]
fn a_daemon_that_starts_before_the_keyring_goes_on_when_that_comes() {
    let mut desktop = without_keyring();
    desktop.open();
    desktop.run(LOGIN, DEMO_PASSWORD);
    desktop.kill_provider();
    // The bus starts another one, which stays locked.
    let _daemon = desktop.serve();
    assert_eq!(desktop.run("whoami", "").code, 8);

    desktop.open();

    eventually("the daemon goes on", || desktop.run("whoami", "").code == 0);
}

#[test]
fn a_provider_that_was_killed_in_between_is_found_again() {
    let mut desktop = desktop();
    desktop.run(LOGIN, DEMO_PASSWORD);
    let _daemon = desktop.serve();
    assert_eq!(desktop.run("whoami", "").code, 0);

    desktop.kill_provider();

    assert_eq!(desktop.run("whoami", "").code, 0, "the daemon has what it needs");
    desktop.open();
    assert_eq!(desktop.run("logout", "").code, 0);
    assert_eq!(desktop.entries(), 0);
}

/// The daemon knows the address of one bus for life, and that bus has ended with its session.
#[test]
fn a_daemon_whose_session_bus_has_ended_says_so_and_goes_on_once_it_is_back() {
    let mut desktop = desktop();
    desktop.run(LOGIN, DEMO_PASSWORD);
    let _daemon = desktop.serve();
    assert_eq!(desktop.run("whoami", "").code, 0);
    let comes_back = desktop.log_in_again();

    let told = desktop.run(&format!("login --email {BOB} --password-stdin"), DEMO_PASSWORD);

    let why = "could not use the stored credentials: no file: its key cannot be read: there is no \
               D-Bus session bus";
    assert_eq!(told.code, 0, "{told:?}");
    let warned = format!("warning: the running daemon does not use it yet: {why}. Run ");
    assert!(told.err.contains(&warned), "{told:?}");
    let status = desktop.run("status", "");
    assert!(status.out.contains(&format!("error      {why}\n")), "{status:?}");
    assert!(status.out.contains(&format!("account    {DEMO_EMAIL}")), "{status:?}");
    let doctor = desktop.run("doctor", "");
    assert!(doctor.out.contains(&format!("; the daemon that runs: {why}\n")), "{doctor:?}");
    assert!(doctor.out.contains("→ Start the daemon again from a session"), "{doctor:?}");

    comes_back();
    eventually("the daemon reads the login", || desktop.run("whoami", "").out.contains(BOB));
    assert!(!desktop.run("status", "").out.contains("\n  error "));
}

#[test]
fn logins_at_once_take_turns() {
    let desktop = desktop();

    let told = std::thread::scope(|scope| {
        let login = || scope.spawn(|| desktop.run(LOGIN, DEMO_PASSWORD));
        [login(), login(), login(), login()].map(|login| login.join().unwrap())
    });

    assert!(told.iter().all(|told| told.code == 0), "{told:?}");
    assert_eq!(desktop.entries(), 3);
    assert_eq!(desktop.run("whoami", "").code, 0, "the pair that is kept is the newest");
}

#[test]
fn a_session_of_another_account_comes_from_no_source() {
    let desktop = desktop();
    desktop.run(LOGIN, DEMO_PASSWORD);
    let _daemon = desktop.serve();
    eventually("it serves", || desktop.run("whoami", "").code == 0);
    desktop.simulator.revoke_refresh_tokens();
    assert_eq!(desktop.run("refresh", "").code, 0);
    let status = desktop.run("status", "");
    assert!(status.out.contains("login from Secret Service\n"), "{status:?}");

    let login = format!("login --email {BOB} --password-stdin --session-only");
    let told = desktop.run(&login, DEMO_PASSWORD);

    assert!(!told.err.contains("warning"), "{told:?}");
    let status = desktop.run("status", "");
    let said = format!("account    {BOB}, session resumed; no source holds a login\n");
    assert!(status.out.contains(&said), "{status:?}");
}

#[test]
fn no_surface_shows_a_secret() {
    let desktop = desktop();
    let wrong = "marker-wrong-password";
    let mut said = vec![
        desktop.run(LOGIN, wrong),
        desktop.run(&format!("{LOGIN} -vv"), DEMO_PASSWORD),
        desktop.run(&format!("{LOGIN} --json"), DEMO_PASSWORD),
    ];
    let daemon = desktop.serve();
    let of_daemon = |name: &str| {
        let path = format!("/proc/{}/{name}", daemon.pid());
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    };
    let surfaces = [of_daemon("cmdline"), of_daemon("environ")];
    for line in
        ["whoami", "whoami --json", "doctor", "doctor --json", "config show", "login --json"]
    {
        said.push(desktop.run(line, ""));
    }
    drop(daemon);
    said.push(desktop.run("logout --json", ""));

    let secrets = secrets(&desktop, wrong);
    assert!(secrets.len() > 4, "{}", secrets.len());
    let mut texts: Vec<(String, String)> =
        said.iter().map(|told| ("output".to_owned(), format!("{told:?}"))).collect();
    texts.extend(surfaces.map(|text| ("/proc".to_owned(), text)));
    collect(&desktop.path(""), &mut texts);
    assert!(texts.iter().any(|(name, text)| name.ends_with("serve.log") && !text.is_empty()));
    for (name, text) in &texts {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{name} shows a secret");
        }
    }
}

/// The password, a wrong one, and every token that was issued.
fn secrets(desktop: &Desktop, wrong: &str) -> Vec<String> {
    let mut secrets = vec![DEMO_PASSWORD.to_owned(), wrong.to_owned()];
    for call in desktop.simulator.token_calls() {
        secrets.extend(call.issued);
        secrets.extend(call.issued_refresh);
    }
    assert!(!secrets.contains(&DEMO_EMAIL.to_owned()));
    secrets
}

/// Reads every file below a directory but the keyring's own, which is not ours.
fn collect(directory: &Path, texts: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && entry.file_name() != "keyrings" {
            collect(&entry.path(), texts);
        } else if kind.is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            let name = entry.path().display().to_string();
            texts.push((name, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
}
