//! `run --isolate` beside what a person has: a keyring behind a real bus, sockets of a daemon, files; and
//! beside the system's daemon.

use std::process::Command;

use nexudus_simulator::DEMO_PASSWORD;

use crate::keyring::desktop;
use crate::machine::{ALICE, Machine};
use crate::reach::administered;
use crate::shared::run_with_input;

/// What a person would try, with the tools that are there. Each line prints what it got.
const ATTEMPTS: &str = r#"
curl -s -o /dev/null -w 'proxy.sock %{http_code}\n' --unix-socket "$SOCKETS/proxy.sock" http://localhost/api/auth/me
curl -s -o /dev/null -w 'admin.sock %{http_code}\n' --unix-socket "$SOCKETS/admin.sock" http://localhost/v1/status
echo "client $($PROGRAM client add mine 2>/dev/null | grep -c nxp_)"
echo "keyring $(secret-tool lookup kind marker 2>/dev/null)"
echo "bus $(gdbus call --session --dest org.freedesktop.DBus --object-path / --method org.freedesktop.DBus.ListNames 2>/dev/null | grep -c freedesktop)"
echo "key file $(cat "$HOME/.local/state/nexudus-proxy/marker.key" 2>/dev/null)"
echo "state $(ls -A "$HOME/.local/state/nexudus-proxy" 2>/dev/null | grep -c .)"
echo "configuration $(cat "$HOME/.config/nexudus-proxy/config.toml" 2>/dev/null | grep -c origin)"
echo "keyrings $(ls -A "$HOME/.local/share/keyrings" 2>/dev/null | grep -c .)"
echo "processes $(ls -d /proc/$DAEMON 2>/dev/null | grep -c .)"
"#;

#[test]
fn nothing_that_a_person_has_is_reached_from_inside_by_the_tools_that_are_there() {
    let desktop = desktop();
    let told = desktop.run("login --email ada@example.test --password-stdin", DEMO_PASSWORD);
    assert_eq!(told.code, 0, "{told:?}");
    let daemon = desktop.serve();
    std::fs::write(desktop.path(".local/state/nexudus-proxy/marker.key"), "marker-key").unwrap();
    let mut store = tool_of(&desktop.command(""), "secret-tool");
    store.args(["store", "--label=marker", "kind", "marker"]);
    assert!(run_with_input(&mut store, "marker-of-the-keyring").status.success());
    let ours = desktop.command("");
    let known: Vec<_> = ours
        .get_envs()
        .filter(|(name, _)| {
            ["DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"].iter().any(|it| name == it)
        })
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value?.to_str()?)))
        .collect();
    assert_eq!(known.len(), 2);
    // `run` takes the names of the session away; a program may know them all the same.
    let knowing = format!("export {}; {ATTEMPTS}", known.join(" "));
    let attempts = |line: &str, script: &str| {
        let mut run = desktop.command(line);
        run.args(["--", "sh", "-c", script]);
        run.env("PROGRAM", env!("CARGO_BIN_EXE_nexudus-proxy"));
        run.env("SOCKETS", desktop.path("run/nexudus-proxy"));
        run.env("DAEMON", daemon.pid().to_string());
        String::from_utf8(run.output().unwrap().stdout).unwrap()
    };

    let outside = attempts("run -q --no-intercept", ATTEMPTS);
    let inside = [attempts("run -q --isolate", ATTEMPTS), attempts("run -q --isolate", &knowing)];

    for line in outside.lines() {
        let got = line.rsplit_once(' ').unwrap().1;
        assert!(!got.is_empty() && got != "0" && got != "000", "not even outside: {line}");
    }
    assert_eq!(outside.lines().count(), 10, "{outside}");
    for inside in inside {
        assert_eq!(inside.lines().count(), 10, "{inside}");
        for line in inside.lines() {
            let got = line.rsplit_once(' ').unwrap().1;
            assert!(got.is_empty() || got == "0" || got == "000", "reached from inside: {line}");
        }
    }
    assert!(desktop.run("client list", "").out.contains("mine"), "added from outside");
}

/// Returns another program in the environment of this one.
fn tool_of(ours: &Command, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

#[test]
fn a_command_that_the_systems_daemon_serves_is_intercepted_and_isolated_as_well() {
    let (machine, simulator) = administered();
    let ask = |way: &str| {
        let script = format!(
            "curl -s -o /dev/null -w \"%{{http_code}} \" -H \"Authorization: Bearer mine\" {0}/api/auth/me; \
             curl -s -o /dev/null -w \"%{{http_code}} \" -X POST {0}/api/spaces/coworkers; \
             curl -s -o /dev/null -w \"%{{http_code}} \" $NEXUDUS_BASE_URL/api/auth/me; \
             nexudus-proxy --system client list >/dev/null 2>&1 && echo reached || echo denied",
            simulator.origin()
        );
        run(&machine, &format!("--system run -q --read-only {way} -- sh -c '{script}'"))
    };

    assert_eq!(ask(""), "200 403 200 reached\n");
    assert_eq!(ask("--isolate"), "200 403 200 denied\n");

    let seen = format!("{:?}", simulator.requests());
    assert!(!seen.contains("mine") && !seen.contains("nxp_"), "{seen}");
    assert!(!run(&machine, "--system client list").contains("run-"), "each key ends with its run");
    assert!(!machine.path("/home/alice/.local/state/nexudus-proxy/clients.json").exists());
}

fn run(machine: &Machine, line: &str) -> String {
    let said = machine.tried_as(ALICE, &format!("nexudus-proxy {line}"));
    assert_eq!(said.code, 0, "{said:?}");
    said.out
}
