//! A daemon's life as its commands see it.

#![cfg(all(unix, feature = "demo"))]

use std::io::Write;
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value as Json;

use crate::shared::eventually;
use crate::support::daemon::{EMAIL, Nexudus, PATIENCE, Served, Tail, ask, exchange, get};
use crate::support::{Home, home};

#[test]
fn without_a_daemon_every_command_says_so() {
    let home = home();
    let said = "! error: the daemon is not running\n\
                ! hint: Start it with `nexudus-proxy serve`.\n\
                => 6\n";

    for command in ["status", "stop", "reload", "refresh", "lock", "unlock", "tail"] {
        assert_eq!(home.run(command), said, "{command}");
    }
    assert_eq!(home.run("wait --timeout 50ms"), said);
}

/// The hint for a locked profile must work where no daemon runs.
#[test]
fn a_profile_is_locked_and_unlocked_without_a_daemon() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    assert!(home.run("lock").starts_with("locked; token: none"));
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));

    assert_eq!(
        home.run("unlock"),
        "unlocked; no daemon runs\n\
         ! note: no daemon runs: this is about the files in ~/.local/state/nexudus-proxy\n=> 0\n"
    );
    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));

    assert_eq!(home.run("lock --json"), "{\n  \"daemon\": false,\n  \"locked\": true\n}\n=> 0\n");
    let mut daemon = nexudus.serve(&home, |_| {});
    eventually("it is locked", || home.run("status").contains("(session.locked)"));
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

#[test]
fn a_bad_filter_or_duration_is_refused() {
    let home = home();

    assert!(home.run("tail --status 9xx").contains("a class such as 4xx"));
    assert!(home.run("tail --status 9xx").ends_with("=> 2\n"));
    assert_eq!(
        home.run("wait --timeout 2"),
        "! error: invalid value '2' for '--timeout <DURATION>': a duration is written 500ms, 30s \
         or 8h\n\
         ! hint: --help lists what can be given.\n\
         => 2\n"
    );
}

#[test]
fn a_daemon_is_waited_for_looked_at_and_stopped() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |_| {});

    assert_eq!(home.run("wait"), "=> 0\n");
    let status = daemon.status(&home);
    assert_eq!(status["ready"], true);
    assert_eq!(status["session"]["state"], "ready");
    assert_eq!(status["session"]["account"], EMAIL);
    let text = home.run("status");
    assert!(text.contains("\n  state      ready\n") && text.ends_with("=> 0\n"), "{text}");
    assert!(home.run("refresh").starts_with("renewed; token: valid "));
    assert!(home.run("lock").starts_with("locked; token: none"));
    assert_eq!(
        home.run("wait --timeout 200ms"),
        "! error: the daemon is not ready after 200ms: the session is locked\n\
         ! hint: Run `nexudus-proxy unlock`.\n\
         => 1\n"
    );
    assert!(home.run("unlock").starts_with("unlocked; token: "));
    assert_eq!(home.run("wait"), "=> 0\n");
    assert_eq!(home.run("stop"), "stopped\n=> 0\n");
    // After `stop` returns, the next daemon can start at once.
    let mut next = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");

    assert_eq!(daemon.ended(), Some(0));
    assert_eq!(next.end(Signal::SIGTERM), Some(0));
}

#[test]
fn a_lock_that_a_restart_would_lose_is_warned_of() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    // It is written beside the file and moved there.
    let beside = home.path(".local/state/nexudus-proxy/attempts.json.new");
    std::fs::create_dir(beside).unwrap();

    let text = home.run("lock");

    assert!(text.starts_with("locked; token: none"), "{text}");
    assert!(text.contains("\n! warning: that the session is locked could not be saved"), "{text}");
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

#[test]
fn nobody_logged_in_is_told_at_once() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |command| {
        command.env_remove("NEXUDUS_EMAIL").env_remove("NEXUDUS_PASSWORD");
    });

    assert_eq!(
        home.run("wait"),
        "! error: not logged in\n\
         !   caused by: credentials.source allows only the environment, which holds no login\n\
         ! hint: Set NEXUDUS_EMAIL and NEXUDUS_PASSWORD where the program is started, or set \
                credentials.source = \"auto\" and run `nexudus-proxy login`.\n=> 3\n"
    );
    assert!(home.run("refresh").ends_with("=> 3\n"));
    assert!(home.run("status").contains("not ready: not logged in (session.not-logged-in)"));

    assert_eq!(daemon.end(Signal::SIGINT), Some(0));
}

#[test]
fn waiting_ends_within_a_tenth_of_a_second_of_becoming_ready() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    daemon.log_until("generation=");

    // The best of some: how busy this machine is, is not asked.
    let took = (0..5).map(|_| {
        home.run("lock");
        let mut waiting = home.command("wait").spawn().unwrap();
        // Another command from its start to its end: by then the first one waits.
        home.run("status");
        let mut unlock = home.command("unlock").stdout(Stdio::null()).spawn().unwrap();
        daemon.log_until("generation=");
        let ready = Instant::now();
        assert!(waiting.wait().unwrap().success());
        let took = ready.elapsed();
        assert!(unlock.wait().unwrap().success());
        took
    });

    let least = took.min().unwrap();
    assert!(least < Duration::from_millis(100), "{least:?}");
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

#[test]
fn tail_shows_what_was_asked_for_and_no_query() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    let port = daemon.port(&home);
    let mut tail = Tail::start(&home, "tail --status 4xx");
    let mut json = Tail::start(&home, "tail --json");

    // A tail that has just started may not listen yet: ask until it does.
    let (line, object) = loop {
        get(port, "/api/auth/me?q=marker-query");
        get(port, "/api/no/such/thing?q=marker-query");
        if let (Some(line), Some(object)) = (tail.next(), json.next()) {
            break (line, object);
        }
    };

    assert!(line[8..].starts_with(" GET /api/no/such/thing → 404  "), "{line}");
    let object: Json = serde_json::from_str(&object).unwrap();
    assert!(object["path"].as_str().unwrap().starts_with("/api/"));
    assert!(!object.to_string().contains("marker-query"));
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

#[test]
fn a_reload_takes_over_what_it_can_names_the_rest_and_ends_no_connection() {
    let nexudus = Nexudus::start();
    let home = home();
    home.configure("[limits]\ntarget_bytes = \"1KiB\"\n");
    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    let mut connection = TcpStream::connect(("127.0.0.1", daemon.port(&home))).unwrap();
    let long = format!("/api/auth/me?{}", "x".repeat(2000));
    assert_eq!(ask(&mut connection, &long), "414");
    let socket = "/api/auth/me HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX:";
    assert_eq!(ask(&mut connection, socket), "501");

    assert_mistake_is_told(&home, &mut daemon);
    assert_eq!(ask(&mut connection, &long), "414");

    home.configure(
        "[limits]\ntarget_bytes = \"8KiB\"\n[log]\nlevel = \"debug\"\n[session]\nwait = \"3s\"\n\
         [throttle]\nreads = \"7/1s\"\n[upstream]\nupgrade = true\n",
    );
    assert_eq!(
        home.run("reload"),
        "reloaded: upstream.upgrade, throttle.reads, limits.target_bytes, log.level\n\
         ! error: NOT applied until restart: session.wait\n\
         ! hint: Stop the daemon with `nexudus-proxy stop`, and start it again.\n\
         => 1\n"
    );
    assert_eq!(ask(&mut connection, &long), "200");
    assert_eq!(ask(&mut connection, socket), "200", "asked for, and not agreed to");
    daemon.log_until(" DEBUG GET /api/auth/me → 200  ");
    let text = home.run("status");
    assert!(text.contains("\n  reads      7/1s (configured); "), "{text}");
    assert!(text.contains("\n  writes     unpaced; 0 this minute, 0 today\n"), "{text}");
    let before = daemon.status(&home);
    assert_eq!(before["restart_needed"], serde_json::json!(["session.wait"]));

    home.configure("[limits]\ntarget_bytes = \"1KiB\"\n");
    daemon.signal(Signal::SIGHUP);
    let deadline = Instant::now() + PATIENCE;
    while ask(&mut connection, &long) != "414" {
        assert!(Instant::now() < deadline, "SIGHUP did nothing");
    }
    let after = daemon.status(&home);
    assert_eq!(after["session"]["generation"], before["session"]["generation"]);
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

/// Misspells a key: neither a reload nor SIGHUP takes anything over, and both say why.
fn assert_mistake_is_told(home: &Home, daemon: &mut Served) {
    home.configure("[limits]\ntarget_bytes = \"1KiB\"\nheader_byte = \"1KiB\"\n");
    assert_eq!(
        home.run("reload"),
        home.run("config check").replace(
            "`limits.header_bytes`?\n",
            "`limits.header_bytes`? Nothing has changed: the daemon runs on with what it had.\n"
        )
    );
    daemon.log_until("not reloaded");
    daemon.signal(Signal::SIGHUP);
    let said = daemon.log_until("not reloaded");
    assert!(said.contains("unknown key `limits.header_byte`"), "{said}");
    assert!(said.contains("Did you mean `limits.header_bytes`?"), "{said}");
}

#[test]
fn who_is_held_back_by_nexudus_is_told_by_status_and_doctor() {
    let nexudus = Nexudus::start();
    nexudus.0.set(|knobs| knobs.throttle.next_wait = Duration::from_secs(15));
    nexudus.0.throttle_next(1);
    let home = home();
    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    let port = daemon.port(&home);
    let mut held = TcpStream::connect(("127.0.0.1", port)).unwrap();
    held.write_all(b"GET /api/spaces/coworkers HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();

    let deadline = Instant::now() + PATIENCE;
    while daemon.status(&home)["throttle"]["reads"]["waiting"] != 1 {
        assert!(Instant::now() < deadline, "{}", daemon.status(&home));
    }
    let status = home.run("status");
    let mut doctor = home.command("doctor");
    doctor.env("NEXUDUS_PROXY_UPSTREAM_ORIGIN", nexudus.0.origin());
    doctor.env("NEXUDUS_PROXY_UPSTREAM_CA_FILE", home.path("ca.pem"));
    let doctor = home.transcript(&mut doctor);

    let said = |text: &str, wanted: [&str; 2]| {
        text.lines().any(|line| wanted.iter().all(|wanted| line.contains(wanted)))
    };
    assert!(
        said(&status, ["  reads      paused ", " s by Nexudus, 1 waiting, for /api/"]),
        "{status}"
    );
    assert!(said(&doctor, ["warn", "reads paused "]), "{doctor}");
    drop(held);
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

#[test]
fn whoever_needs_a_command_is_told_it_with_the_profile() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |serve| {
        serve.args(["--profile", "work"]);
        serve.env_remove("NEXUDUS_EMAIL").env_remove("NEXUDUS_PASSWORD");
        serve.env("NEXUDUS_PROXY_POLICY_DENY", "[\"GET /denied\"]");
    });
    let said = daemon.log_until("no session");
    assert!(home.run("wait --profile work").ends_with("=> 3\n"));
    assert!(said.contains("`nexudus-proxy --profile work login`"), "{said}");

    assert!(home.run("lock --profile work").ends_with("=> 0\n"));
    let unlock = "`nexudus-proxy --profile work unlock`";
    let status = home.run("status --profile work");
    assert_eq!(status.matches(unlock).count(), 1, "{status}");
    let mut by_variable = home.command("wait --timeout 50ms");
    by_variable.env("NEXUDUS_PROXY_PROFILE", "work");
    for late in [home.run("wait --profile work --timeout 50ms"), home.transcript(&mut by_variable)]
    {
        assert!(late.contains(&format!("! hint: Run {unlock}.\n")), "{late}");
    }
    let status = home.run("status --profile work --json");
    let status: Json = serde_json::from_str(status.strip_suffix("=> 0\n").unwrap()).unwrap();
    for place in ["/reasons/0/hint", "/session/error/hint", "/session/advice"] {
        assert_eq!(status.pointer(place).unwrap(), &format!("Run {unlock}."), "{place}");
    }
    let port = status["listening"]["tcp"][0].as_str().unwrap().rsplit_once(':').unwrap().1;
    let mut caller = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    for (path, hint) in [
        ("/api/auth/me", format!("Run {unlock}.")),
        (
            "/denied",
            "`nexudus-proxy --profile work policy explain METHOD PATH` says what is allowed."
                .to_owned(),
        ),
    ] {
        let (_, body) = exchange(&mut caller, path);
        assert_eq!(serde_json::from_slice::<Json>(&body).unwrap()["hint"], hint, "{path}");
    }
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

/// Flags of `serve` are known to the daemon alone.
#[test]
fn doctor_checks_what_the_daemon_uses_and_not_what_the_file_says() {
    let nexudus = Nexudus::start();
    let home = home();
    home.configure("[upstream]\norigin = \"https://nowhere.invalid\"\n");
    let socket = home.path("elsewhere/api.sock");
    let mut daemon = nexudus.serve(&home, |serve| {
        serve.arg("--socket").arg(&socket);
    });
    assert_eq!(home.run("wait"), "=> 0\n");
    let port = daemon.port(&home);

    let told = home.run("doctor --json");

    let told: Json = serde_json::from_str(told.strip_suffix("=> 0\n").expect(&told)).unwrap();
    let of = |check: &str| {
        let line = told["checks"].as_array().unwrap().iter().find(|line| line["check"] == check);
        let line = line.unwrap();
        format!("{} {}", line["verdict"].as_str().unwrap(), line["finding"].as_str().unwrap())
    };
    assert!(
        of("daemon").ends_with(
            "what it was started with counts below, not what is configured for \
             upstream.origin, upstream.ca_file, listen.tcp, listen.unix"
        ),
        "{told:#}"
    );
    assert!(
        of("daemon").starts_with("warn the running daemon serves https://localhost:"),
        "{told:#}"
    );
    assert!(of("daemon").contains(", and https://nowhere.invalid is configured here"), "{told:#}");
    assert!(of("store").starts_with("warn "), "{told:#}");
    assert_eq!(of("port"), format!("ok 127.0.0.1:{port}: the daemon has it"));
    assert_eq!(of("login"), format!("ok {EMAIL} from the environment, says the daemon"));
    assert!(of("name").starts_with("ok localhost is "), "{told:#}");
    assert_eq!(of("tls"), "ok verified");
    assert!(of("token").ends_with("checked through the daemon"), "{told:#}");
    assert!(home.run("whoami").ends_with("=> 0\n"), "it asks the same daemon");
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}
