//! What commands say of a daemon that runs is what that daemon says, not what its file would.

#![cfg(all(unix, feature = "demo"))]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use nix::sys::signal::Signal;

use crate::life::Nexudus;
use crate::support::home;

#[test]
fn status_tells_of_each_client_and_of_no_key() {
    let nexudus = Nexudus::start();
    let home = home();
    let add = |line: &str, rule: &str| {
        let mut command = home.command(&format!("client add {line}"));
        if !rule.is_empty() {
            command.args(["--allow", rule]);
        }
        home.transcript(&mut command).lines().next().unwrap().to_owned()
    };
    let keys = [
        add("agent --read-only --rate 50/s --max-requests 2", "GET /api/spaces/**"),
        add("late --expires 1ms", ""),
        add("gone", ""),
        add("idle", ""),
    ];
    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
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

/// Sends a GET with a key and returns the status of the answer.
fn get_as(port: u16, key: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nNexudus-Proxy-Key: {key}\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer[9..12].to_owned()
}
