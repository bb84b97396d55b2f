//! `env`, and what `run` puts into the environment of its command.

#![cfg(all(unix, feature = "demo"))]

use std::process::Command;

use crate::shared::eventually;
use crate::support::Home;
use crate::support::daemon::Nexudus;
use crate::support::home;
use crate::support::run::{configuration, script, serving, stage};

const NAMES: [&str; 12] = [
    "NEXUDUS_ACCESS_TOKEN",
    "NEXUDUS_API_BASE_URL",
    "NEXUDUS_API_USERNAME",
    "NEXUDUS_BASE_URL",
    "NEXUDUS_BEARER_TOKEN",
    "NEXUDUS_EMAIL",
    "NEXUDUS_PASS",
    "NEXUDUS_PASSWORD",
    "NEXUDUS_PROXY_KEY",
    "NEXUDUS_TOTP",
    "NEXUDUS_USER",
    "NEXUDUS_USERNAME",
];

#[test]
fn a_shell_is_led_to_the_daemon_and_back() {
    let nexudus = Nexudus::start();
    let home = home();
    let daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    let port = daemon.port(&home);

    let shown = shell(
        &home,
        "eval \"$(\"$PROXY\" env --shell sh)\"; \
         curl -s -o /dev/null -w '%{http_code}\\n' \"$NEXUDUS_BASE_URL/api/auth/me\"; \
         curl -s -o /dev/null -w '%{http_code}\\n' -H \"Authorization: Bearer $NEXUDUS_ACCESS_TOKEN\" \
         \"$NEXUDUS_API_BASE_URL/api/auth/me\"; echo \"$NEXUDUS_EMAIL $NEXUDUS_USER\"; \
         eval \"$(\"$PROXY\" env --undo)\"; env | grep NEXUDUS_",
    );

    // A daemon that is started in this shell must not try to log in with a placeholder.
    assert_eq!(
        shown,
        "200\n200\nmine@example.test run@localhost\nNEXUDUS_EMAIL=mine@example.test\n"
    );
    let fish = home.run("env --shell fish");
    assert!(fish.starts_with(&format!("set -gx NEXUDUS_BASE_URL 'http://localhost:{port}'\n")));
    let powershell = home.run("env --shell powershell --undo");
    assert!(powershell.starts_with("Remove-Item Env:NEXUDUS_BASE_URL -ErrorAction "));
    let json = home.run("env --json");
    assert!(
        json.contains(&format!("\"NEXUDUS_API_BASE_URL\": \"http://localhost:{port}\"")),
        "{json}"
    );
    drop(daemon);
    assert!(home.run("env").ends_with("=> 6\n"));
}

#[test]
fn a_shell_is_led_through_a_forward_proxy_that_lets_all_hosts_through() {
    let (upstream, home) = stage();
    let port = free_port();
    let usual = configuration(&upstream, &home, "full");
    let durable = usual.replace("store = 'memory'", "key_command = ['printf', 'sixteen bytes ok']");
    let configure = |others: &str| {
        home.configure(format!(
            "{durable}[forward_proxy]\nlisten = '127.0.0.1:{port}'\nother_hosts = '{others}'\n"
        ));
    };
    configure("refuse");
    let daemon = serving(&home, "serve");
    let refused = home.run("env --intercept");
    assert!(refused.contains("the daemon's forward proxy refuses other hosts"), "{refused}");
    assert!(refused.contains("other_hosts") && refused.ends_with("=> 1\n"), "{refused}");
    drop(daemon);
    configure("tunnel");
    let daemon = serving(&home, "serve");
    eventually("the root is written", || {
        home.path(".local/state/nexudus-proxy/ca-intercept.pem").exists()
    });

    let shown = shell(
        &home,
        &format!(
            "export NO_PROXY=localhost,internal.example; eval \"$(\"$PROXY\" env --intercept --shell sh)\"; \
             curl -sS -o /dev/null -w '%{{http_code}}\\n' {}/api/auth/me; echo $NO_PROXY; \
             eval \"$(\"$PROXY\" env --intercept --undo)\"; env | grep -c -i proxy=http",
            upstream.origin()
        ),
    );

    assert_eq!(shown, "200\ninternal.example,127.0.0.1,::1\n0\n");
    drop(daemon);
}

#[test]
fn run_sets_every_name_that_public_programs_read() {
    let (upstream, home) = stage();
    let mut run = script(&home, "run -q", "env");
    run.env("NEXUDUS_TOTP", "123456");

    let said = home.transcript(&mut run);

    let value = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap_or_default().to_owned()
    };
    let key = value("NEXUDUS_PROXY_KEY");
    let url = value("NEXUDUS_BASE_URL");
    assert!(key.starts_with("nxp_") && url.starts_with("http://127.0.0.1:"), "{said}");
    for name in NAMES {
        let wanted = match name {
            "NEXUDUS_BASE_URL" | "NEXUDUS_API_BASE_URL" => url.as_str(),
            "NEXUDUS_EMAIL" | "NEXUDUS_USERNAME" | "NEXUDUS_API_USERNAME" | "NEXUDUS_USER" => {
                "run@localhost"
            }
            "NEXUDUS_TOTP" => "",
            _ => key.as_str(),
        };
        assert_eq!(value(name), wanted, "{name}");
    }
    assert!(!said.contains("marker-password"), "the real login stays here: {said}");
    assert_eq!(upstream.token_calls().len(), 1);
}

#[test]
fn run_without_any_login_starts_nothing() {
    let (upstream, home) = stage();
    let mut run = script(&home, "run", "touch started");
    run.env_remove("NEXUDUS_EMAIL").env_remove("NEXUDUS_PASSWORD");

    let said = home.transcript(&mut run);

    assert!(said.contains("! error: not logged in\n! hint: "), "{said}");
    assert!(said.ends_with("=> 125\n") && !home.path("started").exists(), "{said}");
    assert!(upstream.token_calls().is_empty());
}

#[test]
fn run_takes_the_flags_of_the_upstream_and_keeps_its_log_to_itself() {
    let (upstream, home) = stage();
    home.configure("[session]\nstore = 'memory'\n[policy]\nanonymous = 'none'\n");
    let ca = home.path("ca.pem").display().to_string();
    let line = |more: &str| format!("run {more} --upstream {} --ca-file {ca}", upstream.origin());
    let text = "curl -s -o /dev/null -w '%{http_code}\\n' $NEXUDUS_BASE_URL/api/auth/me";

    let quiet = home.transcript(&mut script(&home, &line(""), text));
    let verbose = home.transcript(&mut script(&home, &line("-v"), text));

    assert_eq!(quiet, "200\n=> 0\n");
    assert!(verbose.contains("logged in") && verbose.ends_with("=> 0\n"), "{verbose}");
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs a script with our program in `$PROXY`, and returns what it prints.
fn shell(home: &Home, script: &str) -> String {
    let output = Command::new("/bin/bash")
        .args(["-c", script])
        .env_clear()
        .env("HOME", home.root())
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("PROXY", env!("CARGO_BIN_EXE_nexudus-proxy"))
        .env("NEXUDUS_EMAIL", "mine@example.test")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}
