//! Help, completions, the manual page; where things are printed, and in which colour.

use std::process::Stdio;

use crate::support::home;

#[test]
fn help_goes_to_stdout_and_names_every_command() {
    let help = home().run("--help");

    assert!(help.ends_with("=> 0\n"));
    for command in ["serve", "config", "completions", "man"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
}

#[test]
fn no_command_at_all_is_answered_with_the_help_on_stderr() {
    let said = home().run("");

    assert!(said.starts_with("! Log in to Nexudus once"));
    assert!(said.ends_with("=> 2\n"));
}

#[test]
fn the_long_help_of_serve_has_every_key_and_the_short_one_only_the_usual() {
    let home = home();
    let long = home.run("serve --help");
    let short = home.run("serve -h");

    let example: toml::Table = include_str!("../../config/example.toml").parse().unwrap();

    for (section, keys) in &example {
        for key in keys.as_table().unwrap().keys() {
            let flag = format!("--{section}-{key}").replace('_', "-");
            assert!(long.contains(&flag), "{flag}");
        }
    }
    for flag in ["--listen", "--socket", "--upstream", "--ca-file", "--credentials", "--store"] {
        assert!(short.contains(flag), "{flag}");
    }
    assert!(!short.contains("--limits-headers"));
}

#[test]
fn both_names_of_a_key_are_flags() {
    let home = home();

    for flag in ["--listen", "--listen-tcp"] {
        let shown = home.run(&format!("config show {flag} [::1]:0 {flag} 127.0.0.1:0"));
        assert!(shown.contains("[\"[::1]:0\", \"127.0.0.1:0\"]"), "{shown}");
    }
    let bare = home.run("config show --upstream-http2=false");
    assert!(bare.contains("--upstream-http2\n"), "{bare}");
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = home().run(&format!("completions {shell}"));

        assert!(text.contains("throttle-reads") && text.ends_with("=> 0\n"), "{shell}");
    }
}

#[test]
fn the_manual_page_has_every_command() {
    let page = home().run("man");

    assert!(page.contains(".TH nexudus-proxy 1"), "{page}");
    for command in ["SERVE", "CONFIG", "CONFIG INIT", "COMPLETIONS", "MAN"] {
        assert!(page.contains(&format!("\n.SH \"NEXUDUS\\-PROXY {command}\"\n")), "{command}");
    }
    assert!(page.contains("EXIT STATUS"));
}

#[test]
fn colour_is_for_terminals_and_for_those_who_ask() {
    let home = home();

    assert!(!home.run("serv").contains('\u{1b}'));
    assert!(home.run("--color always serv").contains("\u{1b}[1;31merror:\u{1b}[0m "));
    assert!(home.run("--color=always --help").contains('\u{1b}'));
    assert!(home.run("config show --color always").contains("\u{1b}[2m"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = home();
    let mut child = home
        .command("completions zsh")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();

    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
}

/// A program that asks for JSON reads stdout, whatever the outcome; people read stderr as ever.
#[test]
fn with_json_every_outcome_is_one_document() {
    let home = home();
    home.configure("[listen]\ntpc = []\nexpose = 3\n");
    let sentence = |told: &serde_json::Value| {
        let first = &told["errors"][0];
        assert!(first["causes"].is_array() && first.get("hint").is_some(), "{told}");
        first["sentence"].as_str().unwrap().to_owned()
    };
    for (line, code, said) in OUTCOMES {
        let told = home.command(&format!("{line} --json")).output().unwrap();

        let json: serde_json::Value = serde_json::from_slice(&told.stdout).expect(line);
        assert!(sentence(&json).contains(said), "{line}: {json}");
        assert_eq!(told.status.code(), Some(code), "{line}");
        assert!(String::from_utf8(told.stderr).unwrap().contains(said), "{line}");
        let plain = home.command(line).output().unwrap();
        assert!(plain.stdout.is_empty(), "{line}: {plain:?}");
        if line == "config check" {
            assert_eq!(
                (&json["valid"], json["errors"].as_array().unwrap().len()),
                (&false.into(), 2)
            );
        }
        assert_eq!(json["exit_code"], code);
    }
    // What has been told is not told twice.
    let doctor = home.command("doctor --json").output().unwrap();
    let doctor: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert_eq!((&doctor["passed"], &doctor["exit_code"]), (&false.into(), &1.into()));
    assert_eq!(sentence(&doctor), "one check failed");
    #[cfg(target_os = "linux")]
    {
        home.configure("");
        let service = home.command("service status --json").output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&service.stdout).unwrap();
        assert_eq!((&status["installed"], service.status.code()), (&false.into(), Some(6)));
        assert_eq!(status["exit_code"], 6);
        assert!(sentence(&status).contains("not installed"), "{status}");
    }
}

/// Command lines, with the exit code and a part of the first sentence.
const OUTCOMES: [(&str, i32, &str); 12] = [
    ("config check", 2, "unknown key `listen.tpc`"),
    ("config show", 2, "unknown key `listen.tpc`"),
    ("client add a", 2, "unknown key `listen.tpc`"),
    ("client revoke a", 1, "there is no client `a`"),
    ("status", 6, "the daemon is not running"),
    ("stop", 6, "the daemon is not running"),
    ("wait --timeout 50ms", 6, "the daemon is not running"),
    ("tail", 6, "the daemon is not running"),
    ("policy explain GET /", 2, "unknown key `listen.tpc`"),
    ("config init", 1, "there is a configuration file already"),
    ("nonsense", 2, "unrecognized subcommand 'nonsense'"),
    ("status --nonsense", 2, "unexpected argument '--nonsense'"),
];
