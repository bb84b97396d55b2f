//! A `run` for one upstream is served by no process of another.

use std::process::Stdio;

use crate::shared::eventually;
use crate::support::origins::{assert_untouched, place};

#[test]
fn a_run_for_another_upstream_goes_through_no_daemon_and_no_run() {
    let place = place();
    place.log_in();
    let (a, b) = (place.a.origin(), place.b.origin());
    let run = |line: &str, upstream: &str, script: &str| {
        let mut command = place.command(line);
        command.env("NEXUDUS_PROXY_UPSTREAM_ORIGIN", upstream);
        command.args(["--", "/bin/bash", "-c", script]);
        command
    };
    let ask =
        "curl -s -o /dev/null -w '%{http_code}' $NEXUDUS_BASE_URL/api/spaces/coworkers?size=1";
    let refused = format!(
        "! error: the daemon that serves the profile `default` has the upstream {a}, but {b} is \
         configured here\n\
         ! hint: Restart the daemon, so that it serves the upstream.origin that is configured now; or \
         set NEXUDUS_PROXY_UPSTREAM_ORIGIN to the one that it serves; or choose another --profile.\n"
    );

    {
        let _daemon = place.serve("serve");
        let told = place.home.transcript(&mut run("run", &b, ask));
        assert!(told.starts_with(&refused) && told.ends_with("=> 125\n"), "{told}");
        assert_eq!(place.home.transcript(&mut run("run", &a, ask)), "200=> 0\n");
    }
    // Beside another `run`, whose socket it would know.
    let within = format!(
        "{ask}; NEXUDUS_PROXY_UPSTREAM_ORIGIN={b} NEXUDUS_PASSWORD= NEXUDUS_EMAIL= \
         NEXUDUS_USERNAME= {0} run -- bash -c '{1}'; echo \" $?\"; \
         NEXUDUS_PROXY_UPSTREAM_ORIGIN={b} {0} login --session-only --password-stdin </dev/null",
        env!("CARGO_BIN_EXE_nexudus-proxy"),
        ask.replace('\'', ""),
    );
    let told = place.home.transcript(&mut run("run", &a, &within));
    assert!(told.starts_with("200 125\n"), "{told}");
    assert_run_is_named(&told, &a, &b);

    assert!(place.b.requests().is_empty(), "{:?}", place.b.requests());
    assert_untouched(&place.b, &place.a);
}

/// Both commands name the `run` that serves `a`, and say how to go on.
fn assert_run_is_named(told: &str, a: &str, b: &str) {
    let (_, pid) = told.split_once("the `run` (pid ").unwrap();
    let pid: u32 = pid.split_once(')').unwrap().0.parse().unwrap();
    for said in [
        format!(
            "! error: the `run` (pid {pid}) that serves the profile `default` has the upstream {a}, but {b} is \
             configured here\n\
             ! hint: Wait until it has ended, end what it serves with `nexudus-proxy stop`, or choose \
             another --profile.\n"
        ),
        format!(
            "! error: a `run` (pid {pid}) serves {a}, and this login would be for {b}\n\
             ! hint: Wait until it has ended, or end what it serves with `nexudus-proxy stop`.\n"
        ),
    ] {
        assert!(told.contains(&said), "{told}");
    }
}

/// A daemon takes a `run`'s place; what the command of that `run` asks for is not sent elsewhere.
#[test]
fn a_run_is_not_served_by_a_daemon_of_another_upstream_that_takes_its_place() {
    let place = place();
    place.log_in();
    let a = place.a.origin();
    let go = place.home.path("go");
    let script = format!(
        "ask() {{ curl -s -o $HOME/said -w '%{{http_code}} ' \
         $NEXUDUS_BASE_URL/api/spaces/coworkers?size=1; }}; \
         ask; touch $HOME/asked; until [ -e {} ]; do sleep 0.05; done; ask",
        go.display()
    );
    let mut command = place.command("run");
    command.args(["--", "/bin/bash", "-c", &script]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    let running = command.spawn().unwrap();
    eventually("it has asked", || place.home.path("asked").exists());

    place.configure(&place.b);
    let _daemon = place.serve("serve");
    eventually("the daemon serves", || place.run("status").contains(&place.b.origin()));
    std::fs::write(&go, "").unwrap();

    let told = place.home.format_output(running.wait_with_output().unwrap());
    assert!(told.starts_with("200 503 "), "{told}");
    let said = std::fs::read_to_string(place.home.path("said")).unwrap();
    assert!(said.contains(&format!("but {a} is configured here")), "{said}");
    let hint = "Stop that daemon, or start this `run` again with another --profile.";
    assert!(said.contains(hint), "{said}");
    assert!(place.b.requests().is_empty(), "{:?}", place.b.requests());
}
