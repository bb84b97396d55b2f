//! What the program knows of itself: its version for a program, and what `doctor` finds that is older
//! than it.

#![cfg(all(unix, feature = "demo"))]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use nix::sys::signal::Signal;
use serde_json::Value as Json;

use crate::support::daemon::Nexudus;
use crate::support::{CONFIG, Home, home};

const OWN: &str = env!("CARGO_PKG_VERSION");

#[test]
fn the_version_is_json_for_a_program_wherever_the_flag_stands() {
    let home = home();

    let said = home.run("--version --json");

    let json: Json = serde_json::from_str(said.strip_suffix("=> 0\n").expect(&said)).unwrap();
    assert_eq!(json["version"], OWN);
    assert_eq!(json["features"], serde_json::json!(["demo", "fleet"]));
    assert_eq!(json["target"].as_str().unwrap().split('-').next(), Some(std::env::consts::ARCH));
    // The plain version names the same commit.
    let plain =
        format!("nexudus-proxy {OWN} ({} {})\n=> 0\n", text(&json, "commit"), text(&json, "date"));
    assert_eq!(home.run("--version"), plain);
    // The build of this test lies in no package and in no archive.
    assert_eq!(json["installed"], "unknown");
    assert_eq!(json.as_object().unwrap().len(), 6, "{json}");
    assert_eq!(home.run("--json --version"), said);
    assert_eq!(home.run("-V --json"), said);
    // Behind `--` the words are not ours.
    assert_eq!(home.run("--version -- --json"), plain);
}

#[test]
fn a_copy_beside_the_list_of_the_install_script_says_so() {
    let home = home();
    fs::create_dir_all(home.path("np/bin")).unwrap();
    let program = home.path("np/bin/nexudus-proxy");
    fs::hard_link(env!("CARGO_BIN_EXE_nexudus-proxy"), &program)
        .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_nexudus-proxy"), &program).map(drop))
        .unwrap();
    let installed = || {
        let output = std::process::Command::new(&program).args(["--version", "--json"]).output();
        let json: Json = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        text(&json, "installed")
    };
    assert_eq!(installed(), "unknown");

    home.write("np/share/nexudus-proxy/installed-files", "bin/nexudus-proxy\n");

    assert_eq!(installed(), "script");
}

#[test]
fn units_of_another_version_are_warned_of_and_the_fix_repairs_them() {
    let home = home();
    let systemctl = home.write("bin/systemctl", "#!/bin/sh\necho running\n");
    fs::set_permissions(systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    let run = |line: &str| {
        let mut command = home.command(line);
        command.env("PATH", home.path("bin"));
        home.transcript(&mut command)
    };
    let unit = home.path(".config/systemd/user/nexudus-proxy.service");
    let shown = "~/.config/systemd/user/nexudus-proxy.service";
    run("service install");
    assert_eq!(check(&home, "service"), (format!("ok installed: {shown}"), String::new()));

    // An older version wrote it, from another text.
    let current = fs::read_to_string(&unit).unwrap();
    let (stamp, rest) = current.split_once('\n').unwrap();
    assert!(stamp.starts_with(&format!("# Written by nexudus-proxy {OWN} from ")), "{stamp}");
    fs::write(&unit, format!("# Written by nexudus-proxy 0.0.1 from 000000000000\n{rest}"))
        .unwrap();
    let fix =
        "Run `nexudus-proxy service install`: it writes the files anew and keeps your drop-ins.";
    assert_eq!(
        check(&home, "service"),
        (
            format!("warn installed: {shown}, by version 0.0.1; this version writes another one"),
            fix.to_owned()
        )
    );
    // One from before there were stamps.
    fs::write(&unit, rest).unwrap();
    let finding = check(&home, "service").0;
    assert!(finding.contains(", by a version that left no mark; "), "{finding}");

    let said = run("service install");
    assert!(said.contains(&format!("wrote {shown}\n")), "{said}");
    assert_eq!(fs::read_to_string(&unit).unwrap(), current);
    assert_eq!(check(&home, "service").0, format!("ok installed: {shown}"));
}

#[test]
fn a_configuration_that_a_package_laid_beside_ours_is_warned_of() {
    let home = home();
    home.configure("");
    assert_eq!(check(&home, "config").0, format!("ok ~/{CONFIG} (profile default)"));

    for ending in ["dpkg-dist", "rpmnew"] {
        let newer = home.write(&format!("{CONFIG}.{ending}"), "");

        let (finding, fix) = check(&home, "config");

        assert!(finding.starts_with("warn "), "{finding}");
        assert!(
            finding.ends_with(&format!("an update of the package brought ~/{CONFIG}.{ending}"))
        );
        assert!(fix.contains(&format!("`diff ~/{CONFIG} ~/{CONFIG}.{ending}`")), "{fix}");
        fs::remove_file(newer).unwrap();
    }
}

#[test]
fn a_daemon_that_runs_an_older_program_is_told_to_be_restarted() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    let (origin, ca) = (nexudus.0.origin(), home.path("ca.pem"));
    home.configure(format!("[upstream]\norigin = '{origin}'\nca_file = '{}'\n", ca.display()));
    let (finding, fix) = check(&home, "daemon");
    assert!(
        finding.starts_with("ok one serves the profile default") && fix.is_empty(),
        "{finding}"
    );

    // The same daemon, as one of another version shows itself.
    let old: String =
        OWN.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    let socket = home.path(".local/state/nexudus-proxy/run/admin.sock");
    let behind = home.path("behind.sock");
    fs::rename(&socket, &behind).unwrap();
    relay(&socket, &behind, format!("\"version\":\"{OWN}\""), format!("\"version\":\"{old}\""));
    let (finding, fix) = check(&home, "daemon");

    assert!(finding.starts_with("warn one serves the profile default"), "{finding}");
    assert!(
        finding.ends_with(&format!("; it runs version {old}, this program is {OWN}")),
        "{finding}"
    );
    assert!(fix.starts_with("Restart it: `nexudus-proxy service stop`, then "), "{fix}");
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

/// Listens at `socket` for what listens at `behind`, and puts `to` in place of `from` (of the same
/// length) in what that says.
fn relay(socket: &Path, behind: &Path, from: String, to: String) {
    assert_eq!(from.len(), to.len());
    let (listener, behind) = (UnixListener::bind(socket).unwrap(), behind.to_owned());
    thread::spawn(move || {
        for caller in listener.incoming().map_while(Result::ok) {
            let Ok(daemon) = UnixStream::connect(&behind) else { return };
            let (mut asks, mut hears) = (caller.try_clone().unwrap(), daemon.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut asks, &mut hears);
                let _ = hears.shutdown(Shutdown::Write);
            });
            let (from, to) = (from.clone(), to.clone());
            thread::spawn(move || answer(daemon, caller, &from, &to));
        }
    });
}

fn answer(mut daemon: UnixStream, mut caller: UnixStream, from: &str, to: &str) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(size @ 1..) = daemon.read(&mut buffer) {
        let mut bytes = buffer[..size].to_vec();
        let found = bytes.windows(from.len()).position(|part| part == from.as_bytes());
        if let Some(at) = found {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
        if caller.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = caller.shutdown(Shutdown::Both);
}

/// Returns what `doctor` finds, and the fix, with `~` for the home directory.
fn check(home: &Home, name: &str) -> (String, String) {
    let mut command = home.command("doctor --json");
    // Nothing of the way to Nexudus is asked here.
    command.env("NEXUDUS_PROXY_UPSTREAM_ADDRESS", "127.0.0.1:1");
    let told = command.output().unwrap().stdout;
    let told = String::from_utf8(told).unwrap().replace(home.root().to_str().unwrap(), "~");
    let told: Json = serde_json::from_str(&told).unwrap();
    let lines = told["checks"].as_array().unwrap();
    let line = lines.iter().find(|line| line["check"] == name).unwrap();
    let fix = line["fix"].as_str().unwrap_or_default().to_owned();
    (format!("{} {}", text(line, "verdict"), text(line, "finding")), fix)
}

fn text(json: &Json, name: &str) -> String {
    json[name].as_str().unwrap().to_owned()
}
