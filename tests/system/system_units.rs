//! The units for the whole machine, under a real systemd: start, sockets, credentials, callers,
//! watchdog, reload, stop.

use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;
use std::time::Duration;

use nexudus_simulator::{Fault, FaultAction, Recording};

use crate::machine::{ALICE, BOB, CAROL, KEY, PASSWORD, START, installed, machine, serving};

#[test]
fn the_units_are_sound_and_expose_little() {
    let machine = machine();
    machine.install();

    let said = machine.tried("systemd-analyze verify --man=no /etc/systemd/system/nexudus-proxy*");
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", ""));
    let _nexudus = machine.nexudus("");
    machine.run(START);

    // In tenths: fails above 1.5.
    let said =
        machine.run("systemd-analyze security --threshold=15 --no-pager nexudus-proxy.service");
    assert!(said.contains("Overall exposure level for nexudus-proxy.service: 1."), "{said}");
}

#[test]
fn started_is_as_soon_as_requests_are_answered_if_only_with_a_503() {
    let machine = machine();
    machine.install();
    let _nexudus = machine.nexudus("");

    machine.run(START);

    assert_eq!(machine.get(ALICE, "/api/auth/me"), "503");
    assert_eq!(machine.service("ActiveState"), "active");
    assert_eq!(machine.tried("nexudus-proxy wait").code, 3);
    // The session's trouble is told in words, and is no reason to restart.
    assert_eq!(machine.service("StatusText"), "not logged in");
    assert_eq!(machine.service("NRestarts"), "0");
}

#[test]
fn the_first_request_starts_it_and_is_answered() {
    for first in ["request", "command"] {
        let machine = installed();
        let _nexudus = machine.nexudus("");
        machine.run("systemctl start nexudus-proxy.socket nexudus-proxy-admin.socket");
        assert_eq!(machine.service("ActiveState"), "inactive");

        match first {
            "request" => assert_eq!(machine.get(ALICE, "/api/auth/me"), "200"),
            _ => drop(machine.run("nexudus-proxy wait")),
        }

        assert_eq!(machine.service("ActiveState"), "active");
        let words = machine.service("StatusText");
        assert!(words.starts_with("token valid 6d 23h"), "{words}");
    }
}

#[test]
fn credentials_arrive_encrypted_and_a_restart_resumes_the_session() {
    let (machine, nexudus) = serving("");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
    assert!(machine.run("nexudus-proxy status").contains("login from systemd"));
    for _restart in 0..2 {
        machine.run("systemctl restart nexudus-proxy.service");
        assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
    }

    assert_eq!(nexudus.token_calls().len(), 1, "a restart asks for no token");
    let pid = machine.service("MainPID");
    let told = machine.run(&format!(
        "cat /proc/{pid}/environ /proc/{pid}/cmdline; cat /var/lib/nexudus-proxy/*; \
         systemctl show nexudus-proxy.service; systemctl cat nexudus-proxy.service"
    ));
    // With every field: those of a log line are fields there too.
    let entries = machine.run("journalctl --sync; journalctl --no-pager --quiet --output=json");
    assert!(entries.contains(r#""EXPIRES_IN_S":"6"#), "the fields are there");
    let told = told + &entries;
    let tokens = nexudus.live_access_tokens().into_iter();
    let refresh = nexudus.live_refresh_tokens().into_iter().map(|(token, _)| token);
    for secret in tokens.chain(refresh).chain([PASSWORD.to_owned(), KEY.to_owned()]) {
        assert!(!told.contains(&secret), "{secret} is told");
    }
    let said = machine.tried_as(ALICE, "cat /run/credentials/nexudus-proxy.service/*");
    assert_ne!(said.code, 0, "others cannot read what was decrypted");
}

#[test]
fn another_local_user_is_refused_and_a_group_that_is_let_in_is_not() {
    let machine = installed();
    machine.run("groupadd --system nexudus; usermod --append --groups nexudus bob");
    machine.edit("nexudus-proxy.socket", "[Socket]\nSocketGroup=nexudus\n");
    let _nexudus = machine.nexudus("groups = [\"nexudus\"]\n");
    machine.run(START);
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");

    let tcp = ["http://127.0.0.1:6398", "http://[::1]:6398"];
    let socket = "--unix-socket /run/nexudus-proxy/proxy.sock http://localhost";
    for way in tcp {
        assert_eq!(machine.curl(BOB, &format!("{way}/api/auth/me")), "200", "a member, {way}");
        assert_eq!(machine.curl(CAROL, &format!("{way}/api/auth/me")), "403", "a stranger, {way}");
    }
    assert_eq!(machine.curl(BOB, &format!("{socket}/api/auth/me")), "200");
    // The mode of the file keeps a stranger out before the daemon is asked.
    assert_eq!(machine.curl(CAROL, &format!("{socket}/api/auth/me")), "000");
    assert!(!machine.journal("info").contains("no socket diagnostics"), "the kernel is asked");
    let admin = std::fs::metadata(machine.path("/run/nexudus-proxy/admin.sock")).unwrap();
    assert_eq!((admin.uid(), admin.mode() & 0o777), (0, 0o600));
    let refused = machine.run("nexudus-proxy status");
    assert!(refused.contains("guard.user"), "{refused}");
}

#[test]
fn a_wedged_process_is_killed_and_nobody_notices_but_by_waiting() {
    let machine = installed();
    let _nexudus = machine.nexudus("");
    machine.edit("nexudus-proxy.service", "[Service]\nWatchdogSec=2s\n");
    machine.run(START);
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
    let wedged = machine.service("MainPID");

    machine.run(&format!("kill -STOP {wedged}"));
    // Requested while no daemon can answer.
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");

    assert_ne!(machine.service("MainPID"), wedged);
    assert_eq!(machine.service("NRestarts"), "1");
    assert!(machine.journal("err").contains("Watchdog timeout"), "{}", machine.journal("err"));
    machine.run("nexudus-proxy wait");
}

#[test]
fn a_crash_is_repaired_and_a_mistyped_configuration_is_not_tried_again() {
    let (machine, nexudus) = serving("");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");

    machine.run(&format!("kill -KILL {}", machine.service("MainPID")));
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
    assert_eq!(machine.service("NRestarts"), "1");

    machine.configure(&nexudus, "prot = 1\n");
    assert_ne!(machine.tried("systemctl restart nexudus-proxy.service").code, 0);
    assert_eq!(machine.service("ActiveState"), "failed");
    assert!(machine.journal("info").contains("unknown key `listen.prot`"));
    machine.configure(&nexudus, "");
    machine.run("systemctl restart nexudus-proxy.service");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
}

#[test]
fn systemctl_reload_waits_for_the_effect_and_fails_with_the_reason() {
    let (machine, nexudus) = serving("");
    let long = format!("/api/auth/me?{}", "x".repeat(2000));
    assert_eq!(machine.get(ALICE, &long), "200");
    let pid = machine.service("MainPID");

    machine.configure(&nexudus, "[limits]\ntarget_bytes = \"1KiB\"\n");
    machine.run("systemctl reload nexudus-proxy.service");
    assert_eq!(machine.get(ALICE, &long), "414", "it returned once that was so");

    machine.configure(&nexudus, "[limits]\ntarget_byte = \"8KiB\"\n");
    let said = machine.tried("systemctl reload nexudus-proxy.service");
    assert_ne!(said.code, 0, "{said:?}");
    assert!(machine.journal("info").contains("unknown key `limits.target_byte`"));
    assert_eq!(machine.get(ALICE, &long), "414", "it runs on with what it had");
    assert_eq!(
        (machine.service("MainPID"), machine.service("ActiveState")),
        (pid, "active".into())
    );
}

#[test]
fn it_stops_cleanly_and_leaves_a_clean_journal_and_no_socket() {
    let (machine, _nexudus) = serving("");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
    machine.run("systemctl reload nexudus-proxy.service; systemctl restart nexudus-proxy.service");
    assert_eq!(machine.get(ALICE, "/api/auth/me?q=marker-query"), "200");

    machine.run(
        "systemctl stop nexudus-proxy.socket nexudus-proxy-admin.socket nexudus-proxy.service",
    );

    assert_eq!(machine.service("Result"), "success");
    assert_eq!(machine.service("ExecMainStatus"), "0");
    let left = machine.run("ls -A /run/nexudus-proxy");
    assert_eq!(left, "", "no file that looks like a daemon");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "000");
    let clean = machine.journal("info");
    assert!(clean.contains("session resumed") && clean.contains("stopped"), "{clean}");
    // Of the container: a host with control groups of the first kind has no way to kill one.
    let warnings = machine.journal("warning");
    let ours = warnings.lines().filter(|line| !line.contains("Failed to kill control group"));
    assert_eq!(ours.collect::<Vec<_>>(), [""; 0]);
    for secret in [PASSWORD, KEY, "marker-query"] {
        assert!(!clean.contains(secret), "{secret}: {clean}");
    }
}

#[test]
fn a_drain_may_take_longer_than_systemd_would_wait() {
    let machine = installed();
    let nexudus = machine.nexudus("[daemon]\ndrain = \"20s\"\n");
    machine.edit("nexudus-proxy.service", "[Service]\nTimeoutStopSec=1s\n");
    machine.run(START);
    let slow = Fault::on("/api/spaces/coworkers", FaultAction::Pass);
    nexudus.fault(Fault { delay: Duration::from_secs(3), ..slow });
    let curl = "curl -s -o /dev/null -w '%{http_code}' localhost:6398/api/spaces/coworkers";
    let asked = machine.command_of(ALICE, curl).stdout(Stdio::piped()).spawn().unwrap();
    let arrived = |view: &Recording| view.count("/api/spaces/coworkers") == 1;
    assert!(nexudus.wait_until(arrived, Duration::from_secs(20)));

    machine.run("systemctl stop nexudus-proxy.service");

    assert_eq!(asked.wait_with_output().unwrap().stdout, b"200");
    assert_eq!(machine.service("Result"), "success");
}

#[test]
fn the_sockets_open_where_the_loopback_interface_has_no_ipv6() {
    let machine = installed();
    let _nexudus = machine.nexudus("");
    machine.run("mount -o remount,rw /proc/sys; echo 1 >/proc/sys/net/ipv6/conf/lo/disable_ipv6");

    machine.run(START);

    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
}
