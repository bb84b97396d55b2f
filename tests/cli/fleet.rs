//! `[fleet]`, `fleet status`, `fleet leave` and what asks before it ends the session of others.

use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use crate::shared::eventually;
use crate::support::home;

#[test]
fn what_a_fleet_cannot_keep_is_refused_with_a_way_out() {
    let home = home();
    let engine = ("NEXUDUS_PROXY_FLEET_ENGINE", "rediss://engine.example:6380");
    for (name, value, told) in [
        ("NEXUDUS_PROXY_FLEET_ENGINE", "redis://engine.example", "without TLS"),
        ("NEXUDUS_PROXY_FLEET_ENGINE", "rediss://u:marker-x@e.example", "a user or a password"),
        ("NEXUDUS_PROXY_FLEET_SHARE", "[\"clients\"]", "share the session at least"),
        ("NEXUDUS_PROXY_FLEET_CLIENTS_STALE", "10s", "every 5 s"),
    ] {
        let mut command = home.command("config check");
        let said = home.transcript(command.env(engine.0, engine.1).env(name, value));
        assert!(said.contains(told) && said.ends_with("=> 2\n"), "{said}");
        assert!(said.contains("hint: ") && !said.contains("marker-x"), "{said}");
    }
}

#[test]
fn a_machine_that_is_alone_has_no_fleet() {
    let home = home();

    for command in ["fleet status", "fleet leave --yes"] {
        let said = home.run(command);
        assert!(said.ends_with("=> 6\n"), "{said}");
    }
}

#[test]
fn doctor_examines_the_engine() {
    let home = home();
    let socket = home.path("engine.sock");
    let doctor = || {
        let mut command = home.command("doctor");
        command.env("NEXUDUS_PROXY_FLEET_ENGINE", format!("redis+unix://{}", socket.display()));
        let key = format!("[\"echo\", \"{}\"]", "ab".repeat(32));
        home.transcript(command.env("NEXUDUS_PROXY_FLEET_KEY_COMMAND", key))
    };
    assert!(doctor().contains("FAIL  fleet "), "no engine is there");

    let mut engine = Command::new("redis-server");
    engine.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
    engine.arg("--dir").arg(home.path("")).stdout(Stdio::null()).stderr(Stdio::null());
    let engine =
        Ended(engine.spawn().expect("the test needs redis-server: run scripts/prepare.sh"));
    eventually("the engine listens", || UnixStream::connect(&socket).is_ok());
    let said = doctor();
    drop(engine);

    let line = said.lines().find(|line| line.contains("  fleet ")).unwrap();
    assert!(line.starts_with("warn") && line.contains("over a Unix socket"), "{said}");
    assert!(line.contains("nothing in the engine survives its restart"), "{said}");
    assert!(said.contains("Set `appendonly yes` in the engine's configuration."), "{said}");
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}
