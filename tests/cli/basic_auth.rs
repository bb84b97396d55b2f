//! `upstream.auth = "basic"` as a person meets it: each command says that there is no token.

#![cfg(all(unix, feature = "demo"))]

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD};

use crate::shared::eventually;
use crate::support::daemon::{Nexudus, Served};
use crate::support::home;
use crate::support::login::{Place, place, place_of};

#[test]
fn login_proves_and_stores_the_login_without_a_token() {
    let place = basic();

    let told = place.given(LOGIN, "wrong\n");
    let refused = "! error: unauthorized: Nexudus refused this e-mail address or password\n";
    assert!(told.contains(refused) && told.ends_with("=> 4\n"), "{told}");
    assert_eq!(place.simulator.failed_logins(DEMO_EMAIL), 1);
    let told = place.given(LOGIN, "demo-password\n");
    assert!(told.contains("logged in as Ada Example") && told.ends_with("=> 0\n"), "{told}");
    assert!(told.contains("kept the login in "), "{told}");

    let told = place.home.run("whoami -q");
    assert!(told.contains("ada@example.test") && told.ends_with("=> 0\n"), "{told}");
    assert!(place.simulator.token_calls().is_empty());
    assert!(!place.session_file());
    let doctor = place.home.run("doctor");
    let accepted =
        "none: each request carries the login (upstream.auth is basic), which is accepted";
    assert!(doctor.contains(accepted), "{doctor}");
}

#[test]
fn a_session_without_the_password_is_refused_with_the_reason() {
    let place = basic();

    for (line, input) in [
        ("login --session-only --password-stdin --email ada@example.test", DEMO_PASSWORD),
        ("login --import-stdin", "{}"),
    ] {
        assert_eq!(
            place.given(line, input),
            "! error: upstream.auth is basic: each request carries the password, so there is no \
             session to keep without it\n\
             ! hint: Log in without --session-only and --import-stdin, or set upstream.auth = \
             \"bearer\".\n\
             => 2\n"
        );
    }
    assert!(place.simulator.requests().is_empty());
}

#[test]
fn another_host_never_gets_the_password() {
    let place = place();
    let host = "[[host]]\norigin = \"https://reports.nexudus.com\"\nlisten = [\"127.0.0.1:0\"]";
    place.home.configure(format!("[upstream]\nauth = \"basic\"\n{host}\n"));

    let told = place.home.run("config check");

    let why = "upstream.auth = \"basic\" would send the password itself to each [[host]]";
    assert!(told.contains(why) && told.ends_with("=> 2\n"), "{told}");
}

#[test]
fn the_commands_to_a_daemon_tell_the_truth() {
    let home = home();
    let nexudus = Nexudus::start();
    let served: Served = nexudus.serve(&home, |command| {
        command.args(["--upstream-auth", "basic"]);
    });
    eventually("it serves", || home.run("wait").ends_with("=> 0\n"));
    let none = "none: each request carries the login (upstream.auth is basic), proved ";

    let status = served.status(&home);
    assert_eq!(
        (&status["session"]["auth"], &status["session"]["state"]),
        (&"basic".into(), &"ready".into())
    );
    assert!(status["session"]["expires_in_s"].is_null(), "{status}");
    let told = home.run("status");
    assert!(told.contains(&format!("token      {none}")), "{told}");
    let told = home.run("refresh");
    assert!(told.starts_with(&format!("proved the login again; token: {none}")), "{told}");
    let told = home.run("lock");
    assert!(told.contains("(upstream.auth is basic), not proved"), "{told}");
    assert!(home.run("unlock").ends_with("=> 0\n"));
    eventually("it serves again", || home.run("wait").ends_with("=> 0\n"));
    assert!(home.run("logout").starts_with("logged out"));
    assert!(home.run("wait --once").ends_with("=> 3\n"));
    assert!(nexudus.0.token_calls().is_empty());
}

/// The key and the secret of a published add-on stand in the places of e-mail and password.
#[test]
fn an_add_on_logs_in_by_its_key_and_secret() {
    let place = basic_of(Account::new("4f1c-addon-key", "addon-secret"));

    let told = place.given("login --password-stdin --email 4f1c-addon-key", "addon-secret\n");

    assert!(told.contains("logged in as ") && told.ends_with("=> 0\n"), "{told}");
    let mut command = place.home.command("run --");
    let asking = "curl -s -o /dev/null -w '%{http_code}' $NEXUDUS_BASE_URL/api/spaces/coworkers";
    command.args(["sh", "-c", asking]).env("PATH", "/usr/bin:/bin");
    let told = place.home.format_output(command.output().unwrap());
    assert!(told.contains("200") && told.ends_with("=> 0\n"), "{told}");
    assert!(place.simulator.token_calls().is_empty());
}

fn basic() -> Place {
    basic_of(Account::new(DEMO_EMAIL, DEMO_PASSWORD))
}

fn basic_of(account: Account) -> Place {
    let place = place_of(account);
    place.configure(
        "key_command = [\"printf\", \"sixteen bytes ok\"]\n[credentials]\nsource = \"file\"",
    );
    place.choose_basic();
    place
}

const LOGIN: &str = "login --password-stdin --email ada@example.test";
