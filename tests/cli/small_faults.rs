//! Small faults that were reported: what was typed, and what is said now.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use nexudus_simulator::{DEMO_PASSWORD, Fault, FaultAction};
use serde_json::Value as Json;

use crate::shared::eventually;
use crate::support::daemon::{Nexudus, Served};
use crate::support::login::{Place, place};
use crate::support::{Home, home};

/// Mistakes of a program that speaks to the admin socket are told as such, and never as ours.
#[test]
fn a_mistake_at_the_admin_socket_is_told_as_one() {
    let stage = Stage::new(&[]);
    assert!(stage.home.run("client add agent").ends_with("=> 0\n"));
    for (request, body, status, code) in [
        ("GET /v1/nothing", "", 404, "admin.path"),
        ("GET /v1/reload", "", 405, "admin.method"),
        ("DELETE /v1/status", "", 405, "admin.method"),
        ("PUT /v1/clients", "{}", 405, "admin.method"),
        ("GET /v1/events?kinds=nothing", "", 400, "admin.kinds"),
        ("POST /v1/clients", "", 400, "admin.body"),
        ("POST /v1/clients", "{", 400, "admin.body"),
        ("POST /v1/clients", "[]", 400, "admin.body"),
        ("POST /v1/clients", "{\"action\":\"nothing\"}", 400, "admin.body"),
        ("POST /v1/clients", REVOKE_NOBODY, 404, "client.missing"),
        ("POST /v1/clients", ROTATE_NOBODY, 404, "client.missing"),
        ("POST /v1/clients", ADD_AGENT, 409, "client.exists"),
        ("POST /v1/clients", ADD_NAMELESS, 400, "client.name"),
        ("POST /v1/login?upstream=https://other.example", "", 409, "session.origin"),
        ("POST /v1/handover", "", 409, "daemon.serving"),
    ] {
        let (seen, problem) = stage.admin(request, body);
        assert_eq!((seen, problem["code"].as_str()), (status, Some(code)), "{request} {body}");
        assert_eq!(problem["status"], status, "{request}");
        assert!(problem["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{problem}");
    }
}

const REVOKE_NOBODY: &str = "{\"action\":\"revoke\",\"name\":\"nobody\"}";
const ROTATE_NOBODY: &str = "{\"action\":\"rotate\",\"name\":\"nobody\"}";
const ADD_AGENT: &str = "{\"action\":\"add\",\"name\":\"agent\",\"limits\":{\"read_only\":true,\"allow\":[],\"deny\":[]}}";
const ADD_NAMELESS: &str = "{\"action\":\"add\",\"name\":\"a b\",\"limits\":{\"read_only\":true,\"allow\":[],\"deny\":[]}}";

#[test]
fn explaining_what_is_no_request_says_what_one_is() {
    let home = home();
    let methods = "The methods that are forwarded: GET HEAD POST PUT PATCH DELETE OPTIONS.";
    for (line, said, hint) in [
        // A method is another one in another case (RFC 9110 §9.1), here as in the daemon.
        ("get /api/x", "method): the method is not", "Methods are written in capitals: GET."),
        ("TRACE /", "method): the method is not forwarded", methods),
        ("GET localhost:6398", "target): the request target is not a path", "Ask for a path, "),
        ("GET /a<b", "target): the request line holds no", "Begin with `METHOD /path HTTP/1.1`; "),
        ("G(T /", "framing): the request is not well-formed", "Send an HTTP/1.1 request as RFC "),
        ("POST /API/token", "target): ", "Ask for /api/token or "),
    ] {
        let line = &format!("policy explain {line}");
        let answer = home.run(line);
        let (verdict, notes) = answer.split_once('\n').unwrap();
        assert!(verdict.starts_with(&format!("refused (request.{said}")), "{line}: {answer}");
        assert!(notes.starts_with(&format!("! note: {hint}")), "{line}: {answer}");
        assert!(answer.ends_with("=> 1\n"), "{line}: {answer}");
        assert_eq!(home.run(&format!("{line} --quiet")), "=> 1\n");
        let json = home.run(&format!("{line} --json"));
        let json: Json = serde_json::from_str(json.strip_suffix("=> 1\n").unwrap()).unwrap();
        assert!(json["hint"].is_string(), "{json}");
    }
    let allowed = home.run("policy explain GET /api/x");
    assert!(!allowed.contains("Ask for") && allowed.ends_with("=> 0\n"), "{allowed}");
}

#[test]
fn a_line_of_standard_input_that_is_not_read_is_named() {
    let place = place();
    let login = "login --password-stdin --email ada@example.test";
    let warned = "! warning: standard input has another line, which is not read";

    let said = place.given(login, &format!("{DEMO_PASSWORD}\nNOTES-marker\n"));

    assert!(
        said.contains(&format!("{warned}: a 2FA secret takes --totp-secret-stdin\n")),
        "{said}"
    );
    assert!(said.ends_with("=> 0\n") && !said.contains("NOTES-marker"), "{said}");
    for input in
        [DEMO_PASSWORD.to_owned(), format!("{DEMO_PASSWORD}\n"), format!("{DEMO_PASSWORD}\r\n")]
    {
        let said = place.given(login, &input);
        assert!(!said.contains(warned) && said.ends_with("=> 0\n"), "{said}");
    }
}

#[test]
fn a_document_has_the_name_that_its_author_gave_and_goes_where_it_is_wanted() {
    let stage = Stage::new(&[]);
    let answer = |disposition: &str| {
        let headers = [("content-type", "application/pdf"), ("content-disposition", disposition)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let answer = FaultAction::Answer { status: 200, headers, body: "%PDF-1.7".to_owned() };
        stage.nexudus.0.fault(Fault::on("/ContentDownload/x", answer).times(1));
    };
    let opener = stage.home.write("bin/xdg-open", "#!/bin/sh\n");
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (disposition, name) in [
        ("attachment; filename=\"Rent; May.pdf\"", "/Rent; May.pdf"),
        (
            "attachment; filename=\"x.pdf\"; filename*=UTF-8''L%C3%ADnea%20%E2%82%AC.pdf",
            "/Línea _.pdf",
        ),
    ] {
        answer(disposition);
        let mut command = stage.home.command("open /ContentDownload/x");
        command.env("PATH", format!("{}:/usr/bin:/bin", stage.home.path("bin").display()));
        let said = stage.home.transcript(&mut command);
        let name = name.replace(';', "_");
        assert!(said.lines().next().unwrap().ends_with(&name), "{disposition}: {said}");
    }

    answer("attachment; filename=x.pdf");
    assert_eq!(stage.home.run("open /ContentDownload/x --output -"), "%PDF-1.7=> 0\n");
    answer("attachment; filename=x.pdf");
    assert_eq!(
        stage.home.run("open /ContentDownload/x --output new/x.pdf"),
        "! error: could not write new/x.pdf: No such file or directory (os error 2)\n\
         ! hint: Make the directory new first.\n\
         => 1\n"
    );
}

/// A body that does not end its line, and the error, stand on two lines of a terminal.
#[test]
fn on_a_terminal_the_error_has_a_line_of_its_own() {
    let stage = Stage::new(&[]);
    let body = "{\"Message\":\"said\"}".to_owned();
    let answer = FaultAction::Answer { status: 400, headers: vec![], body };
    stage.nexudus.0.fault(Fault::on("/api/spaces/visitors", answer).times(1));

    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/support/terminal.py"));
    command.args(["--at-once", "--", env!("CARGO_BIN_EXE_nexudus-proxy")]);
    command.args(["api", "POST", "/api/spaces/visitors", "--color", "never"]).env_clear();
    command.env("HOME", stage.home.root()).env("PATH", std::env::var_os("PATH").unwrap());
    let shown = command.stdin(Stdio::null()).output().unwrap();

    let shown = String::from_utf8(shown.stdout).unwrap();
    let lines = "{\"Message\":\"said\"}\nerror: Nexudus responded with 400 Bad Request\n=> 1\n";
    assert_eq!(shown, lines);
}

#[test]
fn a_command_that_needs_a_key_says_where_it_takes_one_from() {
    let stage = Stage::new(&["--policy-anonymous", "none"]);

    let said = stage.home.run("api /api/auth/me");

    let hint = "! hint: Set NEXUDUS_PROXY_KEY to a client key; `nexudus-proxy client add NAME` makes \
                one.\n=> ";
    assert!(said.contains(hint), "{said}");
    let key = stage.home.run("client add api -q");
    let mut command = stage.home.command("api /api/auth/me");
    let said = stage.home.transcript(command.env("NEXUDUS_PROXY_KEY", key.lines().next().unwrap()));
    assert!(said.ends_with("=> 0\n"), "{said}");
}

#[test]
fn every_profile_of_the_file_is_checked() {
    let home = home();
    home.configure("[profile.work.listen]\ntcp = ['no address']\n");

    let said = home.run("config check");

    assert!(said.contains("config.toml:2:1: ") && said.ends_with("=> 2\n"), "{said}");
    let json = home.run("config check --json");
    assert!(json.contains("\"valid\": false") && json.ends_with("=> 2\n"), "{json}");
    home.configure("[profile.work.listen]\ntcp = ['127.0.0.1:0']\n");
    assert!(home.run("config check").ends_with("=> 0\n"));
    home.configure("[profile.work.listen]\nunix = 'off'\n[listen]\ntcp = []\n");
    let said = home.run("config check");
    assert!(said.contains("nothing to listen on") && said.ends_with("=> 2\n"), "{said}");
}

#[test]
fn after_a_logout_no_key_file_is_named() {
    let place = headless();
    let mut command = place.home.command("serve");
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let daemon = Served::start(command);
    eventually("it serves", || place.home.run("wait --timeout 30s").ends_with("=> 0\n"));
    let before = daemon.status(&place.home)["session"]["store_reason"].to_string();
    assert!(before.contains("key file"), "{before}");

    assert!(place.home.run("logout").ends_with("=> 0\n"));

    let session = daemon.status(&place.home)["session"].clone();
    assert_eq!(
        (&session["store"], &session["store_reason"]),
        (&"none".into(), &"logged out".into())
    );
    assert!(place.given(LOGIN, DEMO_PASSWORD).ends_with("=> 0\n"));
    eventually("it serves again", || place.home.run("wait --timeout 30s").ends_with("=> 0\n"));
    let session = daemon.status(&place.home)["session"].clone();
    assert_eq!(session["store"], "file");
}

/// Each flaw of the key file, told by whatever needs the key.
#[test]
fn a_flaw_of_the_key_file_is_told_by_every_command() {
    let place = headless();
    let key = place.home.path(".local/state/nexudus-proxy/session.key");
    let told = |cause: &str, hint: &str| {
        let mut command = place.home.command("serve");
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let daemon = Served::start(command);
        eventually("it has tried", || {
            let status = place.home.run("status --json");
            status.ends_with("=> 0\n") && !daemon.status(&place.home)["session"]["error"].is_null()
        });
        for line in ["whoami", "status", "wait --timeout 1s", "doctor", "api /api/auth/me"] {
            let said = place.home.run(line);
            assert!(said.contains(cause), "{line}, with a daemon: {said}");
            assert!(said.contains(hint), "{line}, with a daemon: {said}");
        }
        drop(daemon);
        for line in ["whoami", "doctor"] {
            let said = place.home.run(line);
            assert!(said.contains(cause) && said.contains(hint), "{line}: {said}");
        }
    };

    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    told("session.key can be read by others (mode 644)", "chmod 600 ~/.local");

    std::fs::remove_file(&key).unwrap();
    told("there is no key file at ~/.local", "Run `nexudus-proxy login`");
    assert!(place.given(LOGIN, DEMO_PASSWORD).ends_with("=> 0\n"), "the hint cures");
    assert!(place.home.run("whoami").ends_with("=> 0\n"));
}

const LOGIN: &str = "login --password-stdin --email ada@example.test";

/// A machine without a keychain, with a login in a sealed file.
fn headless() -> Place {
    let place = place();
    place.configure("");
    assert!(place.given(LOGIN, DEMO_PASSWORD).ends_with("=> 0\n"));
    place
}

/// A daemon that is logged in, with these flags.
struct Stage {
    home: Home,
    nexudus: Nexudus,
    _daemon: Served,
}

impl Stage {
    fn new(flags: &[&str]) -> Self {
        let (nexudus, home) = (Nexudus::start(), home());
        let daemon = nexudus.serve(&home, |command| {
            command.args(flags);
        });
        assert_eq!(home.run("wait"), "=> 0\n");
        Self { home, nexudus, _daemon: daemon }
    }

    /// Sends a request to the admin socket.
    fn admin(&self, request: &str, body: &str) -> (u16, Json) {
        let (method, path) = request.split_once(' ').unwrap();
        let told = Command::new("curl")
            .args(["-s", "-w", "\n%{http_code}", "-X", method, "--unix-socket"])
            .arg(self.home.path(".local/state/nexudus-proxy/run/admin.sock"))
            .args(["-H", "Content-Type: application/json", "--data-binary", body])
            .arg(format!("http://localhost{path}"))
            .output()
            .expect("the test needs curl: run scripts/prepare.sh");
        let told = String::from_utf8(told.stdout).unwrap();
        let (body, status) = told.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    }
}
