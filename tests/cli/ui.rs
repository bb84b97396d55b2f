//! The inspector: who gets the page, who gets the data, and who gets neither.

#![cfg(all(target_os = "linux", feature = "demo"))]

use std::io::BufRead as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value as Json, json};

use crate::support::daemon::{PATIENCE, get};
use crate::support::home;
use crate::support::ui::UiStage;

#[test]
fn the_page_comes_to_this_user_and_the_data_with_the_token_alone() {
    let stage = UiStage::start("ui --no-open --json");
    let token = stage.token();

    let page = stage.ask("GET", "/", &[], "");
    for field in [
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
         frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "cross-origin-resource-policy: same-origin",
        "cache-control: no-store",
        "referrer-policy: no-referrer",
        "x-content-type-options: nosniff",
    ] {
        assert!(page.head.contains(field), "{field} is missing:\n{}", page.head);
    }
    assert_eq!(page.status, 200);
    assert!(!page.head.contains("set-cookie"));

    let own = stage.own();
    assert_eq!(stage.ask("GET", "/v1/status", &own, "").code(), "ui.token");
    for wrong in ["", "x", &"0".repeat(64)] {
        let fields = [&own[..], &[("Nexudus-Proxy-Ui", wrong)]].concat();
        assert_eq!(stage.ask("GET", "/v1/status", &fields, "").code(), "ui.token", "{wrong}");
    }
    let status = stage.ask("GET", "/v1/status", &stage.with(&token), "");
    assert_eq!((status.status, &status.json()["ready"]), (200, &json!(true)));
    let history = stage.ask("GET", "/v1/history", &stage.with(&token), "").json();
    assert_eq!((&history["api"], &history["step_s"]), (&json!(1), &json!(60)));
}

#[test]
fn other_pages_names_and_forms_are_refused_with_the_token_too() {
    let stage = UiStage::start("ui --no-open --json");
    let token = stage.token();
    let authority = stage.authority();
    let site = ("Sec-Fetch-Site", "same-origin");
    let key = ("Nexudus-Proxy-Ui", token.as_str());

    // A name that leads here by DNS, for the page and for the data.
    for path in ["/", "/app.js", "/v1/status"] {
        for host in ["evil.test", "localhost", "127.0.0.1"] {
            let host = format!("{host}:{}", stage.port + u16::from(host == "127.0.0.1"));
            let refused = stage.send("GET", path, &[("Host", &host), site, key], "");
            assert_eq!(
                (refused.status, refused.code().as_str()),
                (421, "guard.host"),
                "{path} {host}"
            );
        }
    }
    // A page on another port of this machine, a frame, a typed address, a program.
    let host = ("Host", authority.as_str());
    for fields in [
        vec![("Sec-Fetch-Site", "same-site"), ("Origin", "http://127.0.0.1:1")],
        vec![("Sec-Fetch-Site", "cross-site"), ("Origin", "http://evil.test")],
        vec![site, ("Origin", "http://localhost:1")],
        vec![site, ("Origin", "null")],
        vec![("Sec-Fetch-Site", "none")],
        vec![],
    ] {
        let fields = [&[host, key][..], &fields].concat();
        let refused = stage.send("GET", "/v1/status", &fields, "");
        assert_eq!((refused.status, refused.code().as_str()), (403, "guard.origin"), "{fields:?}");
        let refused = stage.send("POST", "/ui/session", &fields, "{\"code\":\"x\"}");
        assert_eq!(refused.code(), "guard.origin", "{fields:?}");
    }
}

#[test]
fn a_form_changes_nothing_and_little_is_relayed() {
    let stage = UiStage::start("ui --no-open --json");
    let token = stage.token();
    let (authority, origin) = (stage.authority(), format!("http://{}", stage.authority()));
    let key = ("Nexudus-Proxy-Ui", token.as_str());
    let (host, site) = (("Host", authority.as_str()), ("Sec-Fetch-Site", "same-origin"));

    // A form cannot send the token's field; with it, its content is none.
    let form =
        [host, site, ("Origin", &origin), ("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(stage.send("POST", "/v1/clients", &form, "action=add").code(), "ui.token");
    let form = [&form[..], &[key]].concat();
    assert_eq!(stage.send("POST", "/v1/clients", &form, "action=add").code(), "admin.body");
    // Only what the page needs is relayed.
    for path in ["/v1/stop", "/v1/config", "/v1/logout", "/metrics"] {
        assert_eq!(
            stage.ask("POST", path, &stage.with(&token), "{}").code(),
            "admin.path",
            "{path}"
        );
    }
    let rotate = json!({ "action": "rotate", "name": "reports" }).to_string();
    assert_eq!(stage.ask("POST", "/v1/clients", &stage.with(&token), &rotate).code(), "admin.body");
    let long = json!({ "code": "x".repeat(70_000) }).to_string();
    assert_eq!(stage.ask("POST", "/ui/session", &stage.own(), &long).status, 413);
}

#[test]
fn a_code_is_taken_once_and_guessing_ends() {
    let stage = UiStage::start("ui --no-open --json");
    assert_eq!(stage.begin(&stage.code).status, 200);
    assert_eq!(stage.begin(&stage.code).code(), "ui.code", "used");

    let stage = UiStage::start("ui --no-open --json");
    for guess in ["", "1", "2", "3", "4"] {
        assert_eq!(stage.begin(guess).code(), "ui.code");
    }
    assert_eq!(stage.begin(&stage.code).code(), "ui.code", "no code counts any more");
}

#[test]
fn another_user_gets_not_even_the_page() {
    assert!(nix::unistd::geteuid().is_root(), "run this as root: it acts as another user");
    let stage = UiStage::start("ui --no-open --json");

    let own = fetch(&mut Command::new("curl"), stage.port);
    let mut stranger = Command::new("curl");
    stranger.uid(NOBODY).gid(NOBODY);
    let stranger = fetch(&mut stranger, stage.port);

    assert_eq!(own, "200");
    assert_eq!(stranger, "000");
    assert_eq!(stage.begin(&stage.code).status, 200, "the owner is served");
}

#[test]
fn a_page_that_only_shows_changes_nothing() {
    let stage = UiStage::start("ui --no-open --json --read-only");
    let token = stage.token();
    let limits = json!({ "read_only": true, "allow": [], "deny": [], "expires": null, "rate": null,
        "max_requests": null });
    let add = json!({ "action": "add", "name": "late", "limits": limits }).to_string();

    let session = stage.ask("GET", "/ui/session", &stage.with(&token), "").json();
    let added = stage.ask("POST", "/v1/clients", &stage.with(&token), &add);
    let listed = stage.ask("GET", "/v1/clients", &stage.with(&token), "").json();

    assert_eq!(session["read_only"], true);
    assert_eq!(added.code(), "policy.read-only");
    assert_eq!(listed, json!([]));
}

#[test]
fn clients_are_added_judged_and_revoked() {
    let stage = UiStage::start("ui --no-open --json");
    let token = stage.token();
    let post =
        |path: &str, body: Json| stage.ask("POST", path, &stage.with(&token), &body.to_string());
    let limits = json!({ "read_only": true, "allow": [], "deny": ["GET /api/sys/**"], "expires": null,
        "rate": "5/s", "max_requests": null });

    let added = post("/v1/clients", json!({ "action": "add", "name": "agent", "limits": limits }));
    let asked = json!({ "method": "DELETE", "path": "/api/spaces/coworkers/5", "command": null });
    let judged = post("/ui/policy", asked).json();
    let denied = json!({ "method": "GET", "path": "/api/sys/users", "command": null });
    let denied = post("/ui/policy", denied).json();
    let revoked = post("/v1/clients", json!({ "action": "revoke", "name": "agent" }));

    assert!(added.json()["key"].as_str().unwrap().starts_with("nxp_"));
    let verdicts: Vec<_> = judged["verdicts"].as_array().unwrap().iter().collect();
    assert_eq!((&verdicts[0]["client"], &verdicts[0]["allowed"]), (&Json::Null, &json!(true)));
    assert_eq!(
        (&verdicts[1]["client"], &verdicts[1]["code"]),
        (&json!("agent"), &json!("policy.read-only"))
    );
    assert_eq!(denied["verdicts"][1]["rule"], "GET /api/sys/**");
    assert_eq!(revoked.status, 200);
    let again = post("/v1/clients", json!({ "action": "revoke", "name": "agent" }));
    assert_eq!((again.status, again.code().as_str()), (404, "client.missing"));
}

#[test]
fn requests_are_shown_as_they_end_without_what_is_secret() {
    let mut stage = UiStage::start("ui --no-open --json");
    let token = stage.token();
    let mut events = stage.open("GET", "/v1/events?kinds=request", &stage.with(&token), "");
    let mut line = String::new();
    while events.read_line(&mut line).unwrap() > 0 && !line.ends_with("\r\n\r\n") {}

    let port = stage.daemon.port(&stage.home);
    get(port, "/api/spaces/coworkers?password=marker-query-1");
    get(port, "/api/sys/%2e%2e/x");

    let mut next = || loop {
        line.clear();
        assert!(events.read_line(&mut line).unwrap() > 0, "the stream ended");
        if let Some(data) = line.strip_prefix("data: ") {
            return data.to_owned();
        }
    };
    let first = next();
    assert!(!first.contains("marker-"), "{first}");
    let first: Json = serde_json::from_str(&first).unwrap();
    assert_eq!((&first["path"], &first["sends"]), (&json!("/api/spaces/coworkers"), &json!(1)));
    let times = &first["times_us"];
    let micros = |name: &str| times[name].as_u64().unwrap();
    assert!(micros("guard") > 0 && micros("upstream") > 0, "{times}");
    assert!(
        micros("total") >= micros("first_byte") && micros("first_byte") >= micros("upstream"),
        "{times}"
    );

    // The daemon ends, and the command stays; the next daemon is found.
    stage.daemon.end(Signal::SIGTERM);
    let gone = stage.ask("GET", "/v1/status", &stage.with(&token), "");
    assert_eq!(
        (gone.status, gone.json()["detail"].as_str()),
        (503, Some("the daemon is not running"))
    );
    stage.daemon = stage.nexudus.serve(&stage.home, |_| {});
    stage.daemon.log_until("logged in");
    assert_eq!(stage.ask("GET", "/v1/status", &stage.with(&token), "").status, 200);
}

#[test]
fn content_is_shown_where_the_command_was_asked_for_it() {
    for (line, is_shown) in [("ui --no-open --json --bodies", true), ("ui --no-open --json", false)]
    {
        let stage = UiStage::start(line);
        let token = stage.token();
        let with = stage.with(&token);
        let session = stage.ask("GET", "/ui/session", &with, "").json();
        assert_eq!(session["bodies"], is_shown);
        let path = "/v1/events?kinds=request&%63ontent=headers,queries,bodies";
        if !is_shown {
            for path in [path, "/v1/captures/1"] {
                assert_eq!(stage.ask("GET", path, &with, "").code(), "policy.read-only", "{path}");
            }
            continue;
        }
        let mut events = stage.open("GET", path, &with, "");
        let mut line = String::new();
        while events.read_line(&mut line).unwrap() > 0 && !line.ends_with("\r\n\r\n") {}
        get(stage.daemon.port(&stage.home), "/api/spaces/coworkers?size=1&q=marker-query");
        let id = loop {
            line.clear();
            assert!(events.read_line(&mut line).unwrap() > 0, "the stream ended");
            if let Some(data) = line.strip_prefix("data: ") {
                break serde_json::from_str::<Json>(data).unwrap()["request_id"].to_string();
            }
        };

        let shown = stage.ask("GET", &format!("/v1/captures/{id}"), &with, "").json();
        assert_eq!(shown["query"][0], json!({ "name": "size", "value": "1" }));
        assert!(shown["response"]["body"]["text"].as_str().unwrap().contains("«PII:NAME:"));
        assert!(!shown.to_string().contains("marker"), "{shown}");

        assert!(stage.home.run("lock").ends_with("=> 0\n"));
        let wiped = stage.ask("GET", &format!("/v1/captures/{id}"), &with, "");
        assert_eq!((wiped.status, wiped.code().as_str()), (404, "admin.path"));
    }
}

#[test]
fn nothing_that_is_relayed_holds_a_secret() {
    let stage = UiStage::start("ui --no-open --json");
    let token = stage.token();
    let port = stage.daemon.port(&stage.home);
    get(port, "/api/spaces/coworkers?password=marker-query-2");
    let secrets = [stage.nexudus.0.live_access_tokens(), vec!["marker-".to_owned()]].concat();
    assert_eq!(secrets.len(), 2);

    let trial = json!({ "method": "GET", "path": "/api/x?a=marker-tried", "command": null });
    let mut told = stage.ask("POST", "/ui/policy", &stage.with(&token), &trial.to_string()).body;
    for path in ["/ui/session", "/v1/status", "/v1/history", "/v1/clients", "/v1/status?x=marker-y"]
    {
        let answer = stage.ask("GET", path, &stage.with(&token), "");
        told.push_str(&(answer.head + &answer.body));
    }

    assert!(told.contains("ada@example.test") && told.contains("verdicts"), "{told}");
    for secret in &secrets {
        assert!(!told.contains(secret), "a secret is relayed");
    }
}

#[test]
fn the_page_ends_with_the_command() {
    let mut stage = UiStage::start("ui --no-open --json");
    let pid = Pid::from_raw(stage.command.id().try_into().unwrap());

    kill(pid, Signal::SIGINT).unwrap();
    let status = stage.command.wait().unwrap();

    assert_eq!(status.code(), Some(0));
    assert!(TcpStream::connect(("127.0.0.1", stage.port)).is_err());
    let without = home();
    let told = without.run("ui --no-open");
    assert!(
        told.starts_with("! error: the daemon is not running") && told.ends_with("=> 6\n"),
        "{told}"
    );
}

#[test]
fn a_browser_is_opened_unless_that_is_not_wanted_and_the_port_can_be_chosen() {
    let port = free_port();
    for (line, is_opened) in [("ui --json --port", true), ("ui --json --no-open --port", false)] {
        let stage = UiStage::start_with(&format!("{line} {port}"), |home, command| {
            let opener = home.write("bin/xdg-open", "#!/bin/sh\necho \"$1\" > \"$HOME/opened\"\n");
            std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
            command.env("DISPLAY", ":0");
            command.env("PATH", format!("{}:/usr/bin:/bin", home.path("bin").display()));
        });

        assert_eq!(stage.port, port);
        assert_eq!(stage.ask("GET", "/", &[], "").status, 200);
        let link = format!("http://127.0.0.1:{port}/#code={}\n", stage.code);
        let read = || std::fs::read_to_string(stage.home.path("opened")).ok();
        let begun = Instant::now();
        // The opener was started before the first connection was accepted.
        while is_opened && read().as_ref() != Some(&link) && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        let opened = read();
        assert_eq!(opened, is_opened.then_some(link), "{line}");
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn fetch(command: &mut Command, port: u16) -> String {
    command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]);
    let output = command.arg(format!("http://127.0.0.1:{port}/")).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The user `nobody`.
const NOBODY: u32 = 65534;
