//! What surrounds a secret, the wait for a command, and a damaged record, through a whole daemon.

use std::fs;
use std::process::Stdio;

use nexudus_simulator::{DEMO_EMAIL, DEMO_PASSWORD};
use nix::sys::signal::Signal;

use crate::shared::eventually;
use crate::support::daemon::Served;
use crate::support::login::{Place, SESSION_ONLY, place};

fn serve(place: &Place, environment: &[(&str, &str)]) -> Served {
    let mut command = place.home.command("serve");
    command.envs(environment.iter().copied()).env("PATH", std::env::var_os("PATH").unwrap());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let daemon = Served::start(command);
    eventually("it answers", || place.home.run("status").ends_with("=> 0\n"));
    daemon
}

#[test]
fn what_cannot_be_a_password_is_named_with_its_variable_and_costs_no_try() {
    for (value, told) in [
        ("\"marker-password\"", "NEXUDUS_PASSWORD is enclosed in quotes"),
        ("'marker-password'", "NEXUDUS_PASSWORD is enclosed in quotes"),
        ("marker\npassword", "NEXUDUS_PASSWORD has more than one line"),
        ("marker\u{1b}password", "NEXUDUS_PASSWORD contains the control character U+001B"),
        ("\u{feff}\r\n", "NEXUDUS_PASSWORD is empty"),
    ] {
        let place = place();
        let mut daemon =
            serve(&place, &[("NEXUDUS_EMAIL", DEMO_EMAIL), ("NEXUDUS_PASSWORD", value)]);
        eventually("it has tried", || !daemon.status(&place.home)["session"]["error"].is_null());

        let error = daemon.status(&place.home)["session"]["error"].clone();

        assert_eq!(error["code"], "credentials.unavailable");
        assert_eq!(error["cause"], told);
        assert!(!error.to_string().contains("marker"), "{error}");
        assert!(place.simulator.token_calls().is_empty(), "{value:?}");
        daemon.end(Signal::SIGTERM);
    }
}

#[test]
fn what_windows_adds_to_a_password_is_not_part_of_it() {
    let place = place();
    let mut daemon = serve(
        &place,
        &[
            ("NEXUDUS_EMAIL", "\u{feff}ada@example.test\r"),
            ("NEXUDUS_PASSWORD", "demo-password\r\n"),
        ],
    );
    eventually("it serves", || place.home.run("wait --timeout 30s").ends_with("=> 0\n"));
    assert_eq!(place.simulator.token_calls().len(), 1);
    daemon.end(Signal::SIGTERM);

    let said = place.given(SESSION_ONLY, "\u{feff}demo-password\r\n");
    assert!(said.ends_with("=> 0\n"), "{said}");
    let calls = place.simulator.token_calls().len();
    assert_eq!(
        place.given(SESSION_ONLY, "\"demo-password\"\n"),
        "! error: the password on standard input is enclosed in quotes\n\
         ! hint: Leave the quotes out: `docker --env-file` and `jq` without -r leave them in. If \
         they belong to the password, type it at the prompt of `nexudus-proxy login`.\n\
         => 2\n"
    );
    assert_eq!(place.simulator.token_calls().len(), calls, "nothing was sent");
}

#[test]
fn a_command_that_takes_its_time_is_named_at_once() {
    let place = place();
    place.configure(
        "wait = \"100ms\"\n[credentials]\nemail = \"ada@example.test\"\ncommand = [\"sleep\", \"600\"]",
    );
    let mut daemon = serve(&place, &[]);
    eventually("it waits", || !daemon.status(&place.home)["session"]["error"].is_null());

    let error = daemon.status(&place.home)["session"]["error"].clone();
    let whoami = place.home.run("whoami");

    assert_eq!(error["code"], "credentials.unavailable");
    assert_eq!(error["cause"], "still waiting for credentials.command `sleep`");
    assert!(whoami.contains("still waiting for credentials.command `sleep`"), "{whoami}");
    assert!(whoami.ends_with("=> 8\n"), "{whoami}");
    assert!(place.simulator.token_calls().is_empty());
    daemon.signal(Signal::SIGKILL);
    let _ = daemon.child.wait();
}

#[test]
fn a_lock_holds_although_its_record_was_zeroed() {
    let place = place();
    place.given(SESSION_ONLY, DEMO_PASSWORD);
    let mut daemon = serve(&place, &[]);
    assert!(place.home.run("whoami").ends_with("=> 0\n"));
    assert!(place.home.run("lock").ends_with("=> 0\n"));
    daemon.end(Signal::SIGTERM);
    let record = place.home.path(".local/state/nexudus-proxy/attempts.json");
    let length = fs::metadata(&record).unwrap().len().try_into().unwrap();
    fs::write(&record, vec![0; length]).unwrap();

    let mut daemon = serve(&place, &[]);

    let whoami = place.home.run("whoami");
    assert!(whoami.contains("the session is locked"), "{whoami}");
    let degraded = daemon.status(&place.home)["session"]["degraded"].to_string();
    assert!(degraded.contains("attempts.json is damaged (a copy is "), "{degraded}");
    assert!(place.home.run("unlock").ends_with("=> 0\n"));
    eventually("it serves", || place.home.run("whoami").ends_with("=> 0\n"));
    daemon.end(Signal::SIGTERM);
    let mut daemon = serve(&place, &[]);
    eventually("it serves", || place.home.run("whoami").ends_with("=> 0\n"));
    daemon.end(Signal::SIGTERM);
}

/// A picture of 80 columns and 24 lines that ends with a key; the terminal is as before.
#[test]
fn the_status_is_watched_until_a_key_ends_it() {
    let place = place();
    let mut daemon =
        serve(&place, &[("NEXUDUS_EMAIL", DEMO_EMAIL), ("NEXUDUS_PASSWORD", DEMO_PASSWORD)]);
    assert_eq!(place.home.run("wait --timeout 30s"), "=> 0\n");

    let shown = place.in_terminal_with("--at-once", "status --watch", &["q or Ctrl-C=q"]);

    assert!(shown.contains("nexudus-proxy") && shown.contains("profile default"), "{shown}");
    let sentence = format!("Ready. Logged in as {DEMO_EMAIL}, token renews in ");
    assert!(shown.contains(&sentence) && shown.contains(": Logged in as"), "{shown}");
    assert!(shown.ends_with("=> 0\n"), "{shown}");
    daemon.end(Signal::SIGTERM);
}

/// The owner asks over the admin socket, where no client key is needed.
#[test]
fn whoami_needs_no_client_key_where_every_request_does() {
    let place = place();
    place.configure("store = \"memory\"\n[policy]\nanonymous = \"none\"");
    let login = [("NEXUDUS_EMAIL", DEMO_EMAIL), ("NEXUDUS_PASSWORD", DEMO_PASSWORD)];
    let mut daemon = serve(&place, &login);
    eventually("it serves", || place.home.run("wait --timeout 30s").ends_with("=> 0\n"));

    let said = place.home.run("whoami");

    assert!(said.contains(DEMO_EMAIL) && said.ends_with("=> 0\n"), "{said}");
    daemon.end(Signal::SIGTERM);
}
