//! Commands report the running daemon's own configuration, not that of the file.

#![cfg(all(unix, feature = "demo"))]

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::support::daemon::Nexudus;
use crate::support::{Home, home};

#[test]
fn status_tells_of_each_client_and_of_no_key() {
    let nexudus = Nexudus::start();
    let home = home();
    let keys = add_clients(&home);
    let mut daemon = nexudus.serve(&home, |serve| {
        serve.arg("--listen-expose");
    });
    assert_eq!(home.run("wait"), "=> 0\n");
    let said = home.run("client add later");
    assert!(
        said.contains("! note: Clients without a key are refused: listen.expose is set."),
        "{said}"
    );
    assert!(home.run("client revoke later").ends_with("=> 0\n"));
    assert!(home.run("client revoke gone").ends_with("=> 0\n"));
    let port = daemon.port(&home);
    for wanted in ["200", "200", "403"] {
        assert_eq!(get_as(port, &keys[0], "/api/spaces/coworkers"), wanted);
    }

    let (text, status) = (home.run("status"), daemon.status(&home));

    let clients = status["clients"].as_array().expect("they are listed");
    let names: Vec<_> = clients.iter().map(|client| client["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["agent", "late", "idle"]);
    let agent = &clients[0];
    for (field, wanted) in
        [("max_requests", 2), ("used", 2), ("left", 0), ("requests", 2), ("refused", 1)]
    {
        assert_eq!(agent[field], wanted, "{field} of {agent}");
    }
    assert_eq!(agent["may"], "read only, +GET /api/spaces/**");
    assert!(agent["idle_s"].is_u64() && clients[2]["idle_s"].is_null(), "{status:#}");
    assert_eq!((&clients[1]["expired"], &agent["expired"]), (&true.into(), &false.into()));
    for line in [
        "  clients    agent: read only, +GET /api/spaces/**, 50/s; all 2 used up, 1 refused, last ",
        "             late: expired\n",
        "             idle: everything; 0 requests\n",
        ", last refresh ",
        "  requests   3 ",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let told = format!("{text}{status}");
    assert!(keys.iter().all(|key| !told.contains(key.as_str())), "{told}");
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

/// Adds four clients and returns their keys.
fn add_clients(home: &Home) -> [String; 4] {
    let add = |line: &str, rule: &str| {
        let mut command = home.command(&format!("client add {line}"));
        if !rule.is_empty() {
            command.args(["--allow", rule]);
        }
        home.transcript(&mut command).lines().next().unwrap().to_owned()
    };
    [
        add("agent --read-only --rate 50/s --max-requests 2", "GET /api/spaces/**"),
        add("late --expires 1ms", ""),
        add("gone", ""),
        add("idle", ""),
    ]
}

#[test]
fn status_says_when_the_clients_cannot_be_read() {
    let nexudus = Nexudus::start();
    let home = home();
    home.write(".local/state/nexudus-proxy/clients.json", "{");
    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");

    let text = home.run("status");

    assert!(text.contains("\n  clients    unreadable: every client key is refused\n"), "{text}");
    assert!(daemon.status(&home)["clients"].is_null());
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

/// Flags of `serve`, and what a reload has taken over since.
#[test]
fn the_policy_is_explained_as_the_daemon_holds_it() {
    let nexudus = Nexudus::start();
    let home = home();
    home.configure("[policy]\ndeny = ['GET /api/secret']\n");
    let mut daemon = nexudus.serve(&home, |serve| {
        serve.arg("--read-only");
    });
    assert_eq!(home.run("wait"), "=> 0\n");
    home.configure("[policy]\ndeny = ['GET /api/other']\n");
    let explain = |target: &str| home.run(&format!("policy explain {target}"));
    let by = "! note: Judged by the configuration of the running daemon.\n=> 0\n";

    assert!(explain("POST /api/x").starts_with("refused (policy.read-only): "));
    assert!(explain("GET /api/secret").starts_with("refused (policy.denied): "));
    assert_eq!(
        explain("GET /api/other"),
        format!("allowed: clients without a key may read it\n{by}")
    );
    let json = home.run("policy explain POST /api/x --json");
    assert!(json.contains("\"judged\": \"daemon\""), "{json}");
    assert!(home.run("reload").contains("policy.deny"));
    assert!(explain("GET /api/other").starts_with("refused (policy.denied): "));
    assert!(explain("GET /api/secret").starts_with("allowed: "));
    assert!(
        home.run("client add a")
            .contains("! note: Clients without a key may still read everything.")
    );
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    assert!(explain("POST /api/x").starts_with("allowed: "));
}

#[test]
fn the_admin_address_is_told_and_a_taken_one_names_its_key() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |serve| {
        serve.args(["--admin-listen", "127.0.0.1:0"]);
    });
    let line = daemon.log_until("listening for health, metrics and events");
    let address = line.trim().rsplit_once("address=").unwrap().1.to_owned();
    assert_eq!(home.run("wait"), "=> 0\n");

    let status = home.run("status");
    home.configure(format!("[admin]\nlisten = '{address}'\n"));
    let second = home.run("serve --profile work --listen 127.0.0.1:0");

    assert!(status.contains(&format!("\n  admin      {address}: health, ")), "{status}");
    let (said, hint) = second.split_once("! hint: ").expect(&second);
    let cause = format!("\n!   caused by: {address} is already in use");
    assert!(
        said.starts_with("! error: could not listen on the address of admin.listen"),
        "{second}"
    );
    assert!(said.contains(&cause) && second.ends_with("=> 1\n"), "{second}");
    assert!(hint.contains("[profile.NAME.admin]") && !hint.contains("--listen"), "{second}");
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

#[test]
fn an_exposed_daemon_says_what_that_means() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |serve| {
        // The same, elsewhere.
        let mut exposed = Command::new(serve.get_program());
        exposed.env_clear().current_dir(home.root());
        let elsewhere = |arg| if arg == "127.0.0.1:0" { OsStr::new("0.0.0.0:0") } else { arg };
        exposed.args(serve.get_args().map(elsewhere)).arg("--listen-expose");
        exposed.envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
        exposed.stderr(Stdio::piped());
        *serve = exposed;
    });

    daemon.log_until("keys, requests and responses travel here in plain text");
    daemon.log_until("get 421 until listen.hosts names it");
    assert_eq!(home.run("wait"), "=> 0\n");
    assert!(home.run("status").contains("\n  clients    none\n"));
    let doctor = home.run("doctor");
    assert!(doctor.contains("; from elsewhere each needs a key\n"), "{doctor}");
    assert!(doctor.contains(", says the daemon\n") && doctor.ends_with("=> 0\n"), "{doctor}");
    let (_, body) = ask_as(daemon.port(&home), "192.0.2.1", "/api/x");

    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["code"], "guard.host");
    assert!(problem["hint"].as_str().unwrap().contains("an exposed daemon's own address too"));
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

#[test]
fn what_is_not_ascii_is_encoded_and_explained_so() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");

    let (status, _) = ask_as(daemon.port(&home), "localhost", "/api/spaces/coworkers?q=José");

    assert_eq!(status, "200");
    assert!(home.run("policy explain GET /api/caf\u{e9}?q=José").starts_with("allowed: "));
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

/// Sends a GET that names this host, and returns the status and the body of the answer.
fn ask_as(port: u16, host: &str, target: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].to_owned(), body.to_owned())
}

/// Sends a GET with a key and returns the status of the answer.
fn get_as(port: u16, key: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nNexudus-Proxy-Key: {key}\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer[9..12].to_owned()
}
