//! `ca`: both authorities shown, one of them trusted by real stores and forgotten again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value as Json;

use crate::shared::{eventually, run_with_input};
use crate::support::daemon::{Nexudus, Served};
use crate::support::{Home, home};

const STATE: &str = ".local/state/nexudus-proxy";

#[test]
fn a_person_trusts_the_localhost_authority_and_takes_it_back() {
    let (nexudus, home) = (Nexudus::start(), home());
    let _daemon = serve(&nexudus, &home);
    let firefox = database(&home, ".mozilla/firefox/abc.default-release");
    add_other(&firefox);
    assert!(
        home.run("ca show").starts_with("intercept\n  state    none"),
        "{}",
        home.run("ca show")
    );

    let trusted = home.run("ca trust --yes");

    assert_eq!(
        trusted,
        "trusted by the NSS database of Chromium and Chrome (~/.pki/nssdb)\n\
         trusted by the Firefox profile ~/.mozilla/firefox/abc.default-release\n\
         ! note: Browsers that run see it after a restart; `nexudus-proxy ca untrust` undoes it.\n\
         => 0\n"
    );
    let root = report(&home, "localhost");
    let name = root["name"].as_str().unwrap();
    let shared = home.path(".pki/nssdb");
    assert_eq!(trust_of(&shared, name), "C,,");
    assert_eq!(trust_of(&firefox, name), "C,,");
    assert_eq!(root["trusted"].as_array().unwrap().len(), 2, "{root}");
    assert_eq!(root["names"], serde_json::json!(["localhost", "127.0.0.1", "::1"]));
    let exported = home.run("ca export localhost");
    let file = std::fs::read_to_string(home.path(&format!("{STATE}/ca-localhost.pem"))).unwrap();
    assert_eq!(exported, format!("{file}=> 0\n"));
    assert_eq!(home.run("ca trust --yes"), trusted, "again, it changes nothing");

    let undone = home.run("ca untrust");
    assert_eq!(
        undone,
        format!(
            "{name}: no longer trusted by the NSS database of Chromium and Chrome (~/.pki/nssdb)\n\
             {name}: no longer trusted by the Firefox profile ~/.mozilla/firefox/abc.default-release\n\
             => 0\n"
        )
    );
    assert_eq!(trust_of(&shared, name), "");
    assert_eq!(trust_of(&firefox, name), "");
    assert_eq!(trust_of(&firefox, "other"), "CTu,Cu,Cu", "what others have added stays");
    assert!(!home.path(&format!("{STATE}/ca-trust.json")).exists());
    assert!(home.run("ca untrust").starts_with("! note: There is nothing to undo"));
}

#[test]
fn nothing_is_trusted_without_consent_or_beyond_this_machine() {
    let (nexudus, home) = (Nexudus::start(), home());
    let _daemon = serve(&nexudus, &home);

    let refused = home.run("ca trust intercept --yes");
    assert!(refused.contains("error: the intercept authority cannot be trusted"), "{refused}");
    assert!(refused.ends_with("=> 2\n"), "{refused}");
    let unasked = home.format_output(run_with_input(&mut home.command("ca trust"), "y\n"));
    assert!(unasked.contains("hint: Give it with --yes."), "{unasked}");
    let denied = in_terminal(&home, "ca trust", "n");
    assert!(denied.contains("SHA-256") && denied.contains("~/.pki/nssdb"), "{denied}");
    assert!(denied.contains("nothing was changed"), "{denied}");

    assert!(!home.path(".pki").exists() && !home.path(&format!("{STATE}/ca-trust.json")).exists());
    let agreed = in_terminal(&home, "ca trust", "y");
    assert!(agreed.contains("trusted by the NSS database"), "{agreed}");
}

#[test]
fn a_root_is_written_to_a_file_and_intercept_is_for_one_program() {
    let (nexudus, home) = (Nexudus::start(), home());
    let _daemon = serve(&nexudus, &home);

    let written = home.run("ca export intercept --output root.pem");

    assert!(written.starts_with("! note: It vouches for the configured hosts:"), "{written}");
    let file = std::fs::read_to_string(home.path("root.pem")).unwrap();
    assert_eq!(home.run("ca export intercept -q"), format!("{file}=> 0\n"));
    assert_eq!(report(&home, "intercept")["names"], serde_json::json!(["localhost"]));
}

#[test]
fn an_authority_that_ends_with_the_daemon_is_not_trusted() {
    let (nexudus, home) = (Nexudus::start(), home());
    let _daemon = serve_with(&nexudus, &home, "memory");

    let refused = home.run("ca trust --yes");

    assert!(refused.starts_with("! error: this certificate authority would be lost"), "{refused}");
    assert!(home.run("ca export localhost").starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert!(home.run("ca show").contains("in memory: ends with the daemon"));
    assert!(!home.path(".pki").exists());
    assert!(!home.path(&format!("{STATE}/ca-localhost.sealed")).exists());
}

#[test]
fn a_rotation_says_that_trust_has_to_be_given_again_and_trust_replaces_the_old_root() {
    let (nexudus, home) = (Nexudus::start(), home());
    let _daemon = serve(&nexudus, &home);
    assert!(home.run("ca rotate").contains("There is no certificate authority yet"));
    home.run("ca trust --yes -q");
    let old = report(&home, "localhost")["name"].as_str().unwrap().to_owned();

    let rotated = home.run("ca rotate");

    let new = report(&home, "localhost")["name"].as_str().unwrap().to_owned();
    assert_ne!(old, new);
    assert!(rotated.starts_with(&format!("localhost: {new}, until 20")), "{rotated}");
    assert!(rotated.contains("`nexudus-proxy ca trust` replaces it."), "{rotated}");
    let shared = home.path(".pki/nssdb");
    assert_eq!(report(&home, "localhost")["trusted"], serde_json::json!([]));
    assert_eq!((trust_of(&shared, &old), trust_of(&shared, &new)), ("C,,".into(), "".into()));
    home.run("ca trust --yes -q");
    assert_eq!((trust_of(&shared, &old), trust_of(&shared, &new)), ("".into(), "C,,".into()));
}

#[test]
fn a_damaged_authority_is_told_of_and_stays_until_a_person_makes_another() {
    let (nexudus, home) = (Nexudus::start(), home());
    let mut daemon = serve(&nexudus, &home);
    home.run("ca export localhost");
    daemon.end(Signal::SIGTERM);
    let sealed = home.path(&format!("{STATE}/ca-localhost.sealed"));
    let mut bytes = std::fs::read(&sealed).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&sealed, &bytes).unwrap();

    let mut daemon = serve(&nexudus, &home);
    let said = daemon.log_until("a certificate authority needs a person");
    assert!(said.contains("cannot be decrypted"), "{said}");

    let why = "localhost cannot be used: ~/.local/state/nexudus-proxy/ca-localhost.sealed cannot be \
               decrypted: the file is damaged, or the key is wrong";
    assert!(home.run("status").contains(why), "{}", home.run("status"));
    let doctor = home.run("doctor");
    assert!(
        doctor.lines().any(|line| line.starts_with("FAIL  ca ") && line.contains(why)),
        "{doctor}"
    );
    let refused = home.run("ca export localhost");
    assert!(
        refused.contains("hint: `nexudus-proxy ca rotate localhost` makes another"),
        "{refused}"
    );
    assert_eq!(std::fs::read(&sealed).unwrap(), bytes, "nothing overwrites it");
    assert!(home.run("ca rotate localhost").ends_with("=> 0\n"));
    assert!(home.run("ca export localhost").ends_with("=> 0\n"));
}

#[test]
fn a_host_that_was_added_later_is_named_by_status_and_doctor_until_a_rotation() {
    let (nexudus, home) = (Nexudus::start(), home());
    let mut daemon = serve(&nexudus, &home);
    home.run("ca export intercept --output intercept.pem");
    daemon.end(Signal::SIGTERM);
    home.configure("[[host]]\norigin = 'https://reports.example'\nlisten = ['127.0.0.1:0']\n");
    let _daemon = serve(&nexudus, &home);

    let why = "intercept does not cover reports.example";
    let named = |line: &str| home.run(line).lines().any(|said| said.contains(why));
    eventually("the authority is read", || named("status"));
    assert!(named("doctor") && home.run("doctor").contains("`nexudus-proxy ca rotate intercept`"));
    assert!(home.run("ca rotate").starts_with("intercept: "));

    assert!(!named("status") && !named("doctor"), "{}", home.run("doctor"));
    assert_eq!(report(&home, "intercept")["names"].as_array().unwrap().len(), 2);
}

#[test]
fn without_certutil_the_record_stays_empty_and_the_hint_says_what_to_install() {
    let (nexudus, home) = (Nexudus::start(), home());
    let _daemon = serve(&nexudus, &home);

    let refused = home.transcript(home.command("ca trust --yes").env("PATH", home.root()));

    assert!(refused.starts_with("! error: could not run `certutil`\n"), "{refused}");
    assert!(refused.contains("libnss3-tools"), "{refused}");
    assert!(!home.path(&format!("{STATE}/ca-trust.json")).exists());
}

#[test]
fn doctor_warns_a_month_before_an_authority_ends() {
    let (nexudus, home) = (Nexudus::start(), home());
    let mut daemon = serve(&nexudus, &home);
    assert!(home.run("ca export localhost").ends_with("=> 0\n"));
    let line = |home: &Home| {
        let said = home.command("doctor --json").output().unwrap().stdout;
        let json: Json = serde_json::from_slice(&said).unwrap();
        let mut checks = json["checks"].as_array().unwrap().iter();
        checks.find(|check| check["check"] == "ca").unwrap().clone()
    };
    assert_eq!(line(&home)["verdict"], "ok", "{}", line(&home));
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));

    // An authority lasts two years: the next daemon believes that 20 days of them are left.
    let mut later = command(&nexudus, &home, "file");
    // Not the command `faketime`: it waits for its child, which would outlive it.
    later.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1").env("FAKETIME", "+710d");
    later.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let _daemon = Served::start(later);
    eventually("a daemon serves", || line(&home)["verdict"] != "skip");

    let line = line(&home);
    assert_eq!(line["verdict"], "warn", "{line}");
    let finding = line["finding"].as_str().unwrap();
    assert!(finding.starts_with("localhost ends soon (20"), "{finding}");
    assert!(line["fix"].as_str().unwrap().contains("`nexudus-proxy ca rotate"), "{line}");
}

fn serve(nexudus: &Nexudus, home: &Home) -> Served {
    serve_with(nexudus, home, "file")
}

fn serve_with(nexudus: &Nexudus, home: &Home, store: &str) -> Served {
    let daemon = Served::start(command(nexudus, home, store));
    eventually("it serves", || home.run("wait --once").ends_with("=> 0\n"));
    daemon
}

/// Returns a daemon with a key from a command, and the session in this store.
fn command(nexudus: &Nexudus, home: &Home, store: &str) -> Command {
    let command = nexudus.command(home);
    let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let words = words.into_iter().map(|word| if word == "memory" { store.into() } else { word });
    let mut again = Command::new(command.get_program());
    again.args(words.collect::<Vec<_>>()).env_clear().current_dir(home.root());
    again.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    again.args(["--session-key-command", r#"["printf", "sixteen bytes ok"]"#]);
    again.stdout(Stdio::null()).stderr(Stdio::piped());
    again
}

fn report(home: &Home, kind: &str) -> Json {
    let said = home.command("ca show --json").output().unwrap();
    let reports: Vec<Json> = serde_json::from_slice(&said.stdout).unwrap();
    reports.into_iter().find(|report| report["kind"] == kind).unwrap()
}

/// Returns the trust flags of a certificate; empty when the database does not have it.
fn trust_of(database: &Path, name: &str) -> String {
    let listed = certutil(database, &["-L"]);
    let line = listed.lines().find_map(|line| line.strip_prefix(name));
    line.map(|flags| flags.trim().to_owned()).unwrap_or_default()
}

/// Makes the database of a browser.
fn database(home: &Home, below: &str) -> PathBuf {
    let path = home.path(below);
    std::fs::create_dir_all(&path).unwrap();
    certutil(&path, &["-N", "--empty-password"]);
    path
}

/// Adds a root that has nothing to do with us.
fn add_other(database: &Path) {
    let noise = database.join("noise");
    std::fs::write(&noise, [7; 64]).unwrap();
    let noise = noise.to_str().unwrap();
    certutil(
        database,
        &["-S", "-x", "-n", "other", "-s", "CN=other", "-t", "CT,C,C", "-m", "1", "-z", noise],
    );
}

fn certutil(database: &Path, words: &[&str]) -> String {
    let mut command = Command::new("certutil");
    command.arg("-d").arg(format!("sql:{}", database.display())).args(words);
    let said = command.output().expect("the test needs certutil: run scripts/prepare.sh");
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap()
}

/// Answers the one question of a command in a terminal.
fn in_terminal(home: &Home, line: &str, answer: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/support/terminal.py");
    let mut command = Command::new("python3");
    command.args([script, "--at-once", &format!("[y/N] ={answer}"), "--"]);
    command.arg(env!("CARGO_BIN_EXE_nexudus-proxy")).args(line.split_whitespace());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home.root());
    let output = command.output().expect("the test needs python3: run scripts/prepare.sh");
    let text = String::from_utf8(output.stdout).unwrap();
    text.replace(&home.root().display().to_string(), "~")
}
