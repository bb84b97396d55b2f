//! Flags whose effect no other test has seen.

#![cfg(all(unix, feature = "demo"))]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::daemon::{Nexudus, Tail};
use crate::support::home;

#[test]
fn the_log_has_the_shape_that_was_asked_for_and_says_more_on_request() {
    let nexudus = Nexudus::start();
    for (shape, begins, verbose) in [
        ("json", "{\"", "\"level\":\"DEBUG\""),
        ("journald", "<6>", "<7>GET /api/auth/me"),
        ("human", "", " DEBUG GET /api/auth/me"),
    ] {
        let home = home();
        let mut daemon = nexudus.serve(&home, |command| {
            command.args(["--log-format", shape, "-v"]);
        });
        assert_eq!(home.run("wait"), "=> 0\n");
        assert_eq!(ask(daemon.port(&home), "GET", ""), "200");

        let line = daemon.log_until("listening");
        assert!(line.starts_with(begins), "{shape}: {line}");
        daemon.log_until(verbose);
        assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    }
}

#[test]
fn quiet_says_only_what_went_wrong() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |command| {
        command.arg("--quiet").env_remove("NEXUDUS_EMAIL").env_remove("NEXUDUS_PASSWORD");
    });

    // `listening` and all that is usual would come before.
    assert!(daemon.log_until("").contains("not logged in"));
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

#[test]
fn tail_shows_one_client_alone() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    let key = home.run("client add agent -q").lines().next().unwrap().to_owned();
    let port = daemon.port(&home);
    let mut tail = Tail::start(&home, "tail --json --client agent");

    // A tail that has just started may not listen yet: ask until it does.
    let deadline = Instant::now() + Duration::from_secs(20);
    let seen = loop {
        assert!(Instant::now() < deadline, "nothing is shown");
        assert_eq!(ask(port, "GET", ""), "200");
        assert_eq!(ask(port, "GET", &format!("Nexudus-Proxy-Key: {key}\r\n")), "200");
        if let Some(seen) = tail.next() {
            break seen;
        }
    };

    assert!(seen.contains("\"client\":\"agent\""), "{seen}");
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

#[test]
fn a_key_may_not_do_what_it_is_denied() {
    let home = home();
    let mut add = home.command("client add agent --expires 8h --json");
    let added = home.transcript(add.args(["--deny", "GET /api/spaces/**"]));
    assert!(added.contains("\"expires\": \"20"), "{added}");

    let denied = home.run("policy explain GET /api/spaces/coworkers --client agent");
    let allowed = home.run("policy explain GET /api/sys/users/1 --client agent");

    assert!(
        denied.starts_with("refused (policy.denied): denied by rule `GET /api/spaces/**`"),
        "{denied}"
    );
    assert!(!allowed.contains("/api/spaces"), "{allowed}");
}

#[test]
fn read_only_serves_reading() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |command| {
        command.arg("--read-only");
    });
    assert_eq!(home.run("wait"), "=> 0\n");
    let port = daemon.port(&home);
    assert_eq!(ask(port, "GET", ""), "200");
    assert_eq!(ask(port, "POST", "Content-Length: 0\r\n"), "403");
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

/// Asks who is logged in and returns the status.
fn ask(port: u16, method: &str, fields: &str) -> String {
    let mut request = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!("{method} /api/auth/me HTTP/1.1\r\nHost: localhost\r\n{fields}");
    write!(request, "{head}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    request.read_to_string(&mut answer).unwrap();
    answer[9..12].to_owned()
}
