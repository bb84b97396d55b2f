//! A `run` beside other processes of its profile: which of them serves, and who takes over.

use std::process::Command;

use crate::support::run::{TALK, Talk, WHY, clients, problem, script, serving, serving_at, stage};

/// The first serves both, on a private socket; then the second takes over.
#[test]
fn a_run_beside_a_run_goes_through_it_and_outlives_it() {
    let (upstream, home) = stage();
    let mut first = Talk::begin(script(&home, "run --read-only", TALK));
    let mut second = Talk::begin(script(&home, "run", TALK));

    assert_eq!((first.ask(), second.ask()), ("200 403".into(), "200 200".into()));
    let logins = upstream.requests().into_iter().filter(|seen| seen.path() == "/api/token").count();
    assert_eq!(logins, 1, "one session for both");
    assert_eq!(first.end(), Some(0));
    assert_eq!(second.ask(), "200 200");
    assert_eq!(second.end(), Some(0));
    assert_eq!(clients(&home), "[]");
}

#[test]
fn a_daemon_takes_over_from_a_run_that_goes_on_through_it() {
    let (_upstream, home) = stage();
    let mut run = Talk::begin(script(&home, "run --read-only", TALK));
    assert_eq!(run.ask(), "200 403");

    let daemon = serving(&home, "serve");
    assert_eq!(run.ask(), "200 403");
    let status: serde_json::Value = {
        let said = home.run("status --json");
        serde_json::from_str(said.strip_suffix("=> 0\n").unwrap()).unwrap()
    };
    assert_eq!(status["requests"]["total"], 2, "{status}");
    drop(daemon);

    assert_eq!(run.ask(), "200 403");
    assert_eq!(run.end(), Some(0));
}

#[test]
fn a_daemon_gives_its_place_to_nobody() {
    let (_upstream, home) = stage();
    let _daemon = serving(&home, "serve");

    let asked = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "--unix-socket"])
        .arg(home.path(".local/state/nexudus-proxy/run/admin.sock"))
        .arg("http://localhost/v1/handover")
        .output()
        .unwrap();

    assert_eq!(String::from_utf8(asked.stdout).unwrap(), "409");
    assert!(home.run("status").ends_with("=> 0\n"));
}

/// A stop is final: no request of the command starts the daemon again.
#[test]
fn a_run_that_was_stopped_serves_never_again_and_its_command_is_told() {
    let (upstream, home) = stage();
    let mut run = Talk::begin(script(&home, "run", WHY));
    assert_eq!(run.ask(), "200");

    assert_eq!(
        home.run("stop"),
        "stopped\n! note: it was a `run`: its command goes on, and gets 503 until another process serves\n\
         => 0\n"
    );

    assert_eq!(run.ask(), "503");
    let problem = problem(&home);
    assert_eq!(problem["code"], "daemon.draining");
    assert_eq!(problem["detail"], "no daemon serves this command now: it was stopped");
    assert!(home.run("status").ends_with("=> 6\n"));
    let logins = upstream.requests().into_iter().filter(|seen| seen.path() == "/api/token").count();
    assert_eq!(logins, 1);
    let daemon = serving(&home, "serve");
    assert_eq!(run.ask(), "200", "another may serve it");
    drop(daemon);
    assert_eq!(run.ask(), "503");
    assert_eq!(run.end(), Some(0));
}

#[test]
fn where_no_daemon_can_be_called_the_command_is_told_why() {
    let (_upstream, home) = stage();
    let mut run = Talk::begin(script(&home, "run", WHY));
    assert_eq!(run.ask(), "200");

    let _daemon = serving_at(&home, "serve --socket off", "listening");

    assert_eq!(run.ask(), "503");
    let problem = problem(&home);
    assert_eq!(problem["code"], "daemon.draining");
    assert_eq!(
        problem["detail"],
        "no daemon serves this command now: could not connect to the daemon that serves the profile \
         `default`: it has no unix socket (listen.unix)"
    );
    assert_eq!(problem["hint"], "Give that daemon a unix socket, or stop it.");
    assert_eq!(run.end(), Some(0));
}

#[test]
fn a_lock_finds_whoever_serves_while_a_daemon_takes_over() {
    let (_upstream, home) = stage();
    let mut run = Talk::begin(script(&home, "run", WHY));
    assert_eq!(run.ask(), "200");

    let taking_over = std::thread::scope(|scope| {
        let taking_over = scope.spawn(|| serving(&home, "serve"));
        while !taking_over.is_finished() {
            let said = home.run("lock");
            assert!(said.starts_with("locked; ") && said.ends_with("=> 0\n"), "{said}");
        }
        taking_over.join().unwrap()
    });

    assert_eq!(run.ask(), "423");
    assert_eq!(run.end(), Some(0));
    drop(taking_over);
}
