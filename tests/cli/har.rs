//! `tail --har`: an archive that is whole at every moment, private, and without what was not asked for.

#![cfg(all(target_os = "linux", feature = "demo"))]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value as Json, json};

use crate::support::daemon::{Nexudus, PATIENCE, Served, Tail};
use crate::support::disk::disk;
use crate::support::{Home, home};

#[test]
fn an_archive_is_whole_and_private_however_its_command_ends() {
    let (home, nexudus, mut daemon) = serving();
    let port = daemon.port(&home);
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let file = home.path(&format!("{signal}.har"));
        let mut tail = Tail::start(&home, &format!("tail --har {signal}.har"));
        let seen = until_shown(&mut tail, || {
            send(port, "GET /api/spaces/coworkers?size=1&q=marker-query", HEADERS, "");
        });
        assert!(!seen.contains("marker"), "{seen}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        kill(Pid::from_raw(tail.child.id().try_into().unwrap()), signal).unwrap();
        tail.child.wait().unwrap();

        let text = fs::read_to_string(&file).unwrap();
        let entry = entries(&text).remove(0);
        let path = format!("http://127.0.0.1:{port}/api/spaces/coworkers");
        assert_eq!(entry["request"]["url"], path, "without its query");
        assert_eq!(names(&entry["request"]), ["accept", "user-agent"]);
        assert!(names(&entry["response"]).contains(&"content-type".to_owned()));
        assert_eq!(entry["response"]["status"], 200);
        assert!(entry["response"]["content"].get("text").is_none());
        let secrets = [nexudus.0.live_access_tokens(), vec!["marker".to_owned()]].concat();
        for secret in &secrets {
            assert!(!text.contains(secret), "a secret stands in the archive");
        }
    }
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

#[test]
fn queries_and_bodies_come_with_their_flags_alone_and_redacted() {
    let (home, nexudus, daemon) = serving();
    let port = daemon.port(&home);
    let person = exchange(port, "GET /api/spaces/coworkers?size=1", "", "");
    let person: Json = serde_json::from_str(body_of(&person)).unwrap();
    let person = &person["Records"][0];
    let personal = ["FullName", "Email"].map(|name| person[name].as_str().unwrap().to_owned());
    let id = person["Id"].to_string();
    for (flags, has_queries, has_bodies) in [
        ("", false, false),
        ("--with-queries", true, false),
        ("--with-bodies", false, true),
        ("--with-queries --with-bodies", true, true),
    ] {
        let name = format!("{has_queries}-{has_bodies}.har");
        let mut tail = Tail::start(&home, &format!("tail --json --har {name} {flags}"));
        until_shown(&mut tail, || send(port, "GET /api/spaces/teams?size=1", "", ""));
        send_each(port, &id);
        // The last of them is shown: all stand in the file.
        until_has(&mut tail, "/api/token");
        let text = fs::read_to_string(home.path(&name)).unwrap();

        let all = entries(&text);
        let list = last(&all, "GET", "/api/spaces/coworkers");
        assert_eq!(list["request"]["queryString"].as_array().unwrap().len() == 2, has_queries);
        let one = last(&all, "GET", &format!("/coworkers/{id}"));
        let told = one["response"]["content"]["text"].as_str().unwrap_or_default();
        assert_eq!(told.contains("«PII:EMAIL:"), has_bodies, "{told}");
        assert_eq!(told.contains(&id), has_bodies, "{told}");
        let posted = last(&all, "PUT", "/coworkers/1")["request"].get("postData");
        let posted = posted.map_or("", |data| data["text"].as_str().unwrap());
        assert_eq!(posted.contains("«PII:NAME:"), has_bodies, "{posted}");
        assert_eq!(posted.contains(r#""Password":null"#), has_bodies, "{posted}");
        // What holds a login is shown by no flag.
        for (method, path) in [("GET", "/api/auth/me"), ("POST", "/api/token")] {
            let entry = last(&all, method, path);
            assert!(entry["response"]["content"].get("text").is_none(), "{entry}");
            assert!(entry["request"].get("postData").is_none(), "{entry}");
        }
        let markers = ["marker-query", "marker-body", "marker-password", "marker-form"];
        let markers = markers.map(str::to_owned);
        let tokens = nexudus.0.live_access_tokens();
        for secret in markers.iter().chain(&personal).chain(&tokens) {
            assert!(!text.contains(secret.as_str()), "{flags}: {secret} stands in the archive");
        }
    }
}

#[test]
fn an_archive_replaces_no_file_and_its_flags_need_it() {
    let (home, _nexudus, _daemon) = serving();
    home.write("there.har", "mine");

    let told = home.run("tail --har there.har");
    assert!(told.contains("! error: could not write there.har\n"), "{told}");
    assert!(told.contains("! hint: Name a file that does not exist"), "{told}");
    assert!(told.ends_with("=> 1\n"), "{told}");
    assert_eq!(fs::read_to_string(home.path("there.har")).unwrap(), "mine");
    for flag in ["--with-queries", "--with-bodies"] {
        assert!(home.run(&format!("tail {flag}")).ends_with("=> 2\n"), "{flag}");
    }
    assert!(home.run("tail --har no/such.har").contains("! hint: Make the directory first"));
}

#[test]
fn a_full_disk_leaves_a_whole_archive() {
    let (home, _nexudus, daemon) = serving();
    let port = daemon.port(&home);
    let small = disk(&home.path("disk"));
    let file = home.path("disk/a.har");
    let mut tail = small.inside(&home.command(&format!("tail --har {}", file.display())));
    let mut tail = tail.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    let read = |path: &str| {
        let mut cat = std::process::Command::new("/bin/cat");
        cat.arg(home.path(path));
        String::from_utf8(small.inside(&cat).output().unwrap().stdout).unwrap()
    };
    while !read("disk/a.har").contains("startedDateTime") {
        assert!(begun.elapsed() < PATIENCE, "nothing is written");
        send(port, "GET /api/spaces/coworkers?size=1", "", "");
    }
    small.fill();
    while tail.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE * 2, "it goes on without writing");
        send(port, "GET /api/spaces/coworkers?size=1", "", "");
    }

    let mut told = String::new();
    tail.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.contains("could not write") && told.contains("disk/a.har"), "{told}");
    assert_eq!(tail.wait().unwrap().code(), Some(1));
    assert!(!entries(&read("disk/a.har")).is_empty());
}

/// Sends a list with a filter, a record, a change, and what holds a login.
fn send_each(port: u16, id: &str) {
    send(port, "GET /api/spaces/coworkers?size=1&Coworker_Email=marker-query", HEADERS, "");
    send(port, &format!("GET /api/spaces/coworkers/{id}"), "Accept-Encoding: gzip\r\n", "");
    let update = r#"{"FullName":"marker-body","Password":"marker-password"}"#;
    send(port, "PUT /api/spaces/coworkers/1", "Content-Type: application/json\r\n", update);
    send(port, "GET /api/auth/me", "", "");
    let login = "grant_type=password&username=a&password=marker-form";
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    send(port, "POST /api/token", form, login);
}

fn serving() -> (Home, Nexudus, Served) {
    let (home, nexudus) = (home(), Nexudus::start());
    let mut daemon = nexudus.serve(&home, |_| {});
    daemon.log_until("logged in");
    (home, nexudus, daemon)
}

/// Sends requests until the first of them is shown: a command that has just started may not listen yet.
fn until_shown(tail: &mut Tail, send: impl Fn()) -> String {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "nothing is shown");
        send();
        if let Some(line) = tail.next() {
            return line;
        }
    }
}

fn until_has(tail: &mut Tail, wanted: &str) {
    let begun = Instant::now();
    while !tail.next().is_some_and(|line| line.contains(wanted)) {
        assert!(begun.elapsed() < PATIENCE, "{wanted} is not shown");
    }
}

fn entries(text: &str) -> Vec<Json> {
    let archive: Json = serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"));
    assert_eq!(archive["log"]["version"], json!("1.2"));
    archive["log"]["entries"].as_array().unwrap().clone()
}

/// The last entry with this method and a path that ends so.
fn last<'a>(entries: &'a [Json], method: &str, part: &str) -> &'a Json {
    let is = |entry: &&Json| {
        let request = &entry["request"];
        let path = request["url"].as_str().unwrap().split('?').next().unwrap();
        request["method"] == method && path.ends_with(part)
    };
    entries.iter().rfind(is).unwrap_or_else(|| panic!("no {method} {part}"))
}

fn names(message: &Json) -> Vec<String> {
    let headers = message["headers"].as_array().unwrap().iter();
    headers.map(|header| header["name"].as_str().unwrap().to_owned()).collect()
}

fn send(port: u16, line: &str, headers: &str, body: &str) {
    exchange(port, line, headers, body);
}

fn exchange(port: u16, line: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}Connection: close");
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn body_of(answer: &str) -> &str {
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    // Its chunks are left out: the first brace and the last one hold it.
    &body[body.find('{').unwrap()..=body.rfind('}').unwrap()]
}

/// Headers of which some must never be shown.
const HEADERS: &str = "Accept: */*\r\nUser-Agent: curl/8.5.0\r\nAuthorization: Bearer marker-bearer\r\n\
                       Cookie: a=marker-cookie\r\nX-Api-Key: marker-header\r\nReferer: http://x/marker\r\n";
