//! Mistakes of newcomers: each refusal says what to do, and what it says can be typed.

#![cfg(all(unix, feature = "demo"))]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::{Deserializer, Value as Json};

use crate::support::daemon::{Nexudus, Served};
use crate::support::run::{script, serving, stage};
use crate::support::{Home, home};

#[test]
fn a_port_of_any_listener_that_is_taken_is_named_and_so_is_a_needed_restart() {
    let home = home();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    home.configure(format!(
        "[upstream]\norigin = 'https://127.0.0.1:1'\n[listen]\ntcp = ['127.0.0.1:0']\n\
         [forward_proxy]\nlisten = '{address}'\n"
    ));
    let port = check(&home, "port");
    assert_eq!(port["verdict"], "fail", "{port}");
    assert!(port["finding"].as_str().unwrap().contains("forward_proxy.listen"), "{port}");

    home.configure("");
    let (nexudus, free) = (Nexudus::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    let _daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    home.configure(format!("[admin]\nlisten = '{}'\n", free.local_addr().unwrap()));
    assert!(home.run("reload").ends_with("=> 1\n"));
    let daemon = check(&home, "daemon");
    assert_eq!(daemon["verdict"], "warn", "{daemon}");
    let finding = daemon["finding"].as_str().unwrap();
    assert!(finding.ends_with("not applied until a restart: admin.listen"), "{daemon}");
}

#[test]
fn a_verdict_knows_used_up_keys_our_own_paths_and_a_missing_slash() {
    let stage = Stage::new(&[]);
    let key = stage.key("client add bot -q --max-requests 1 --max-writes 9/day");
    let explain = |line: &str| stage.home.run(&format!("policy explain {line} --client bot"));
    assert!(explain("GET /api/auth/me").starts_with("allowed: "));

    assert_eq!(stage.get(&[("Nexudus-Proxy-Key", &key)]).0, 200);

    let said = explain("GET /api/auth/me");
    assert!(said.starts_with("refused (policy.exhausted): the client has used up its requests\n"));
    assert!(said.ends_with("=> 1\n"), "{said}");
    let guide = explain("GET /.well-known/nexudus-proxy");
    assert!(guide.starts_with("allowed: the daemon itself responds"), "{guide}");
    let guide = explain("POST /.well-known/nexudus-proxy");
    assert!(guide.starts_with("refused (request.method): "), "{guide}");
    for path in ["spaces/coworkers", "/spaces/coworkers", "api/spaces/coworkers"] {
        let said = explain(&format!("GET {path}"));
        assert!(said.contains("did you mean /api/spaces/coworkers?"), "{path}: {said}");
    }
}

#[test]
fn the_hint_of_a_refusal_names_the_client_and_the_command() {
    let stage = Stage::new(&[]);
    let mut add = stage.home.command("client add bot -q --deny");
    let key = first_line(&stage.home.transcript(add.args(["GET /api/auth/**"])));
    let mut add = stage.home.command("client add other -q --deny");
    let other = first_line(&stage.home.transcript(add.args(["RUN *PRINT* /**"])));

    let (status, problem) = stage.get(&[("Nexudus-Proxy-Key", &key)]);
    assert_eq!((status, &problem["code"]), (403, &"policy.denied".into()));
    let command = command_in(&problem).replace("METHOD", "GET").replace("PATH", "/api/auth/me");
    assert_eq!(command, "policy explain GET /api/auth/me --client bot");
    let said = stage.home.run(&command);
    assert!(
        said.starts_with("refused (policy.denied): denied by rule `GET /api/auth/**`"),
        "{said}"
    );

    let body = r#"{"Key":"COWORKER_PRINT","Ids":[1]}"#;
    let head = format!(
        "POST /api/spaces/coworkers/runcommand HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    let (status, problem) = stage.send(&head, &[("Nexudus-Proxy-Key", &other)], body);
    assert_eq!(status, 403, "{problem}");
    let command = command_in(&problem);
    assert_eq!(command, "policy explain METHOD PATH --client other --command KEY");
    let typed = command.replace("METHOD", "POST").replace("KEY", "COWORKER_PRINT");
    let typed = typed.replace("PATH", "/api/spaces/coworkers/runcommand");
    assert!(stage.home.run(&typed).contains("denied by rule `RUN *PRINT* /**`"));
}

#[test]
fn a_program_that_takes_the_port_for_a_forward_proxy_is_told_of_one() {
    let stage = Stage::new(&[]);
    for head in [
        "GET http://other.example/x HTTP/1.1\r\nHost: other.example\r\n",
        "CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\n",
    ] {
        let (status, problem) = stage.send(head, &[], "");
        assert_eq!((status, &problem["code"]), (421, &"guard.host".into()), "{head}");
        let hint = problem["hint"].as_str().unwrap();
        assert!(hint.contains("`[forward_proxy]`") && hint.contains("nexudus-proxy run"), "{hint}");
    }
    let (status, problem) = stage.send("GET / HTTP/1.1\r\nHost: other.example\r\n", &[], "");
    assert_eq!(status, 421);
    assert!(!problem["hint"].as_str().unwrap_or_default().contains("forward_proxy"), "{problem}");
}

#[test]
fn a_path_whose_beginning_is_missing_gets_the_whole_one() {
    let stage = Stage::new(&[]);
    let said = stage.home.run("api spaces/coworkers?size=1");
    assert!(said.contains("! hint: Did you mean /api/spaces/coworkers?\n"), "{said}");
    assert!(said.ends_with("=> 2\n"), "{said}");
    let said = stage.home.run("api /spaces/coworkers");
    assert!(said.contains("! hint: Did you mean /api/spaces/coworkers?\n"), "{said}");
    assert!(stage.home.run("api api/auth/me").ends_with("=> 0\n"));
}

#[test]
fn a_page_of_ones_own_is_told_how_its_origin_gets_in() {
    let stage = Stage::new(&[]);
    let page = ("Origin", "http://localhost:5173");
    let (status, problem) = stage.get(&[page]);
    assert_eq!((status, &problem["code"]), (403, &"guard.origin".into()));

    let command = command_in(&problem).replace("NAME", "web").replace("URL", page.1);
    let key = stage.key(&command);

    assert_eq!(stage.get(&[page, ("Nexudus-Proxy-Key", &key)]).0, 200);
}

#[test]
fn hints_fit_what_is_configured_already() {
    let stage =
        Stage::new(&["--forward-proxy-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let said = stage.home.run("env --intercept");
    assert!(said.contains("the daemon's forward proxy refuses other hosts"), "{said}");
    assert!(said.contains("Set `other_hosts = \"tunnel\"` below `[forward_proxy]`"), "{said}");

    let said = stage.home.run(&format!("ui --no-open --port {}", stage.port));
    assert!(said.contains("! hint: Choose another --port, or leave it out"), "{said}");
    assert!(!said.contains("--listen"), "{said}");

    let status = stage.daemon.status(&stage.home);
    let admin = status["listening"]["admin_tcp"].as_str().unwrap().to_owned();
    let request = "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n";
    let (status, problem) = send(&admin, request, &[], "");
    assert_eq!(status, 404);
    assert!(command_in(&problem) == "status", "{problem}");
    assert!(stage.home.run("status").ends_with("=> 0\n"));
}

#[test]
fn a_client_that_asks_is_added_with_the_command_that_answers_and_has_a_guide_later() {
    let home = home();
    let mut add = home.command("client add bot --ask");
    let said = home.transcript(add.arg("DELETE /**"));
    for command in ["`nexudus-proxy approvals watch`", "`nexudus-proxy approvals approve ID`"] {
        assert!(said.contains(command), "{said}");
    }

    let said = home.run("client set bot --guide");
    assert!(said.starts_with("bot may: ?DELETE /**\n"), "{said}");
    assert!(said.contains("as the client `bot`") && said.contains("policy.approval-pending"));
    assert!(!said.contains("nxp_") && said.ends_with("=> 0\n"), "{said}");
    let json = home.run("client set bot --guide --read-only --json");
    // Behind it stands a warning.
    let json: Json = Deserializer::from_str(&json).into_iter().next().unwrap().unwrap();
    assert_eq!(json["read_only"], true);
    assert!(json["guide"].as_str().unwrap().contains("You may only read"), "{json}");
    let nothing = home.run("client set bot");
    assert!(nothing.contains("there is no limit to change") && nothing.ends_with("=> 2\n"));
}

#[test]
fn a_run_of_this_program_itself_is_not_said_to_have_asked_nothing() {
    let (_upstream, home) = stage();
    let _daemon = serving(&home, "serve");
    let program = env!("CARGO_BIN_EXE_nexudus-proxy");

    let own = home.transcript(&mut script(&home, "run", &format!("{program} api /api/auth/me")));
    assert!(!own.contains("no request of the command came through"), "{own}");
    assert!(own.ends_with("=> 0\n"), "{own}");
    let other = home.transcript(&mut script(&home, "run", "true"));
    assert!(other.contains("no request of the command came through"), "{other}");
}

/// A daemon that is logged in, with these flags.
struct Stage {
    home: Home,
    port: u16,
    daemon: Served,
    _nexudus: Nexudus,
}

impl Stage {
    fn new(flags: &[&str]) -> Self {
        let (nexudus, home) = (Nexudus::start(), home());
        let daemon = nexudus.serve(&home, |command| {
            command.args(flags);
        });
        assert_eq!(home.run("wait"), "=> 0\n");
        let port = daemon.port(&home);
        Self { home, port, daemon, _nexudus: nexudus }
    }

    fn key(&self, line: &str) -> String {
        let key = first_line(&self.home.run(line));
        assert!(key.starts_with("nxp_"), "{line}: {key}");
        key
    }

    fn get(&self, headers: &[(&str, &str)]) -> (u16, Json) {
        self.send("GET /api/auth/me HTTP/1.1\r\nHost: localhost\r\n", headers, "")
    }

    fn send(&self, head: &str, headers: &[(&str, &str)], body: &str) -> (u16, Json) {
        send(&format!("127.0.0.1:{}", self.port), head, headers, body)
    }
}

/// Sends a request on a connection of its own, and returns the status and the problem.
fn send(address: &str, head: &str, headers: &[(&str, &str)], body: &str) -> (u16, Json) {
    let mut stream = TcpStream::connect(address).unwrap();
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("{head}{headers}Connection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

/// Returns the command of a problem's hint, without the name of the program.
fn command_in(problem: &Json) -> String {
    let hint = problem["hint"].as_str().unwrap();
    let command = hint.split('`').find_map(|part| part.strip_prefix("nexudus-proxy "));
    command.expect(hint).to_owned()
}

fn first_line(said: &str) -> String {
    said.lines().next().unwrap_or_default().to_owned()
}

/// Returns the result of one check of `doctor`.
fn check(home: &Home, name: &str) -> Json {
    let said = home.command("doctor --json").output().unwrap().stdout;
    let json: Json = serde_json::from_slice(&said).unwrap();
    let mut checks = json["checks"].as_array().unwrap().iter();
    checks.find(|check| check["check"] == name).unwrap().clone()
}
