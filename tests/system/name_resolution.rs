//! Names as the system resolves them: lost, found late, or with an address that does not answer.
//!
//! The program runs in a mount namespace of its own, with a hosts file that the test writes.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD, Simulator};

use crate::shared::eventually;

use crate::support::Stage;

#[test]
fn a_name_that_is_lost_is_still_known() {
    let stage = stage("127.0.0.1 nexudus.test\n::1 nexudus.test\n");
    assert_eq!(status(&stage), "200");

    hosts(&stage, "");
    stage.simulator.close_idle_connections();
    let gone = stage.simulator.wait_until(|view| view.connections().open == 0, PATIENCE);
    assert!(gone, "what was open is closed");
    let opened = stage.simulator.connections().accepted;

    assert_eq!(status(&stage), "200");
    let write = stage.curl(&["--json", "{}", "-w", "%{http_code}", &url(&stage, "/api/echo")]);
    assert!(write.ends_with("200"), "{write}");
    assert!(stage.simulator.connections().accepted > opened, "over a new connection");
}

#[test]
fn a_name_that_is_found_late_is_used_from_then_on() {
    let stage = stage("");
    let told = stage.curl(&[&url(&stage, "/api/auth/me")]);
    assert!(told.contains("\"code\":\"session.unavailable\""), "{told}");

    hosts(&stage, "127.0.0.1 nexudus.test\n");

    eventually("it serves", || status(&stage) == "200");
}

#[test]
fn an_address_behind_which_nobody_answers_costs_a_moment() {
    let stage = stage("127.0.0.2 nexudus.test\n127.0.0.1 nexudus.test\n");
    assert_eq!(status(&stage), "200", "the first address does not listen");

    // A listener that accepts nothing: once its queue is full, Linux drops further connections.
    let mute = TcpListener::bind(("127.0.0.2", stage.simulator.address().port())).unwrap();
    let address = mute.local_addr().unwrap();
    let patience = Duration::from_millis(200);
    let waiting: Vec<_> = (0..5_000)
        .map_while(|_| std::net::TcpStream::connect_timeout(&address, patience).ok())
        .collect();
    assert!(waiting.len() < 5_000, "it takes all");
    stage.simulator.close_idle_connections();

    let begun = Instant::now();
    assert_eq!(status(&stage), "200");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

fn stage(known: &str) -> Stage {
    let simulator = Simulator::builder().account(Account::new(DEMO_EMAIL, DEMO_PASSWORD));
    let simulator = simulator.name("nexudus.test").start().unwrap();
    let origin = format!("https://nexudus.test:{}", simulator.address().port());
    Stage::of(simulator, &origin, |home, program| {
        write(&home.join("hosts"), known);
        // Only the file is asked, so that an unknown name fails at once.
        std::fs::write(home.join("nsswitch.conf"), "hosts: files\n").unwrap();
        let mut within = Command::new("unshare");
        let script = "cd \"$1\" && mount --bind hosts /etc/hosts && \
                      mount --bind nsswitch.conf /etc/nsswitch.conf && shift && exec \"$@\"";
        if !nix::unistd::geteuid().is_root() {
            within.arg("--map-root-user");
        }
        within.args(["--mount", "sh", "-c", script, "sh"]).arg(home);
        within.arg(program.get_program()).args(program.get_args());
        within
    })
}

fn hosts(stage: &Stage, known: &str) {
    write(&stage.home.path().join("hosts"), known);
}

/// In place: it is the file that is mounted, not its name.
fn write(path: &Path, known: &str) {
    std::fs::write(path, format!("127.0.0.1 localhost\n{known}")).unwrap();
}

fn status(stage: &Stage) -> String {
    stage.curl(&["-o", "/dev/null", "-w", "%{http_code}", &url(stage, "/api/auth/me")])
}

fn url(stage: &Stage, path: &str) -> String {
    format!("{}{path}", stage.base())
}

const PATIENCE: Duration = Duration::from_secs(20);
