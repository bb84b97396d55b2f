//! A headless browser, a site that lets every page in, and the real daemon with its log.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nexudus_simulator::{DEMO_EMAIL, DEMO_PASSWORD, Simulator};
use serde_json::Value;

pub(crate) const PATH: &str = "/api/spaces/coworkers";

/// Counts what has reached Nexudus but for the daemon's own login.
pub(crate) fn proxied(nexudus: &Simulator) -> usize {
    nexudus.requests().iter().filter(|seen| seen.path() != "/api/token").count()
}

/// A listener that serves the page, takes its report, and lets every page in.
pub(crate) struct Site {
    pub(crate) port: u16,
    stop: Sender<()>,
    gate: SyncSender<()>,
    visits: Receiver<Vec<String>>,
    pub(crate) reports: Receiver<Value>,
}

impl Site {
    pub(crate) fn start(page: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (visited, visits) = channel();
        let (reported, reports) = channel();
        let (stop, stopped) = channel();
        let (gate, opened) = sync_channel(9);
        let opened = Arc::new(Mutex::new(opened));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.try_recv().is_ok() {
                    return;
                }
                let (visited, reported) = (visited.clone(), reported.clone());
                let opened = opened.clone();
                let stream = stream.unwrap();
                std::thread::spawn(move || answer(stream, page, &visited, &reported, &opened));
            }
        });
        Self { port, stop, gate, visits, reports }
    }

    /// Waits for what the page has to say.
    pub(crate) fn report(&self) -> Value {
        self.reports.recv_timeout(PATIENCE).expect("the page reports")
    }

    /// Waits until the page has been fetched.
    pub(crate) fn is_visited(&self) {
        self.passes(&["/".to_owned()].into());
    }

    /// Waits until each of these paths has been asked for; returns the last one's request, in lower
    /// case.
    pub(crate) fn passes(&self, paths: &BTreeSet<String>) -> Vec<String> {
        let mut left = paths.clone();
        loop {
            let Ok(lines) = self.visits.recv_timeout(PATIENCE) else {
                panic!("these never came: {left:?}");
            };
            left.remove(path(&lines[0]));
            if left.is_empty() {
                return lines;
            }
        }
    }

    /// Lets one who asks for `/shut` go on.
    pub(crate) fn open(&self) {
        self.gate.send(()).unwrap();
    }

    /// Gives the port back.
    pub(crate) fn stop(&self) {
        self.stop.send(()).unwrap();
        TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        while TcpListener::bind(("127.0.0.1", self.port)).is_err() {
            std::thread::yield_now();
        }
    }
}

/// Returns the path in a request line.
fn path(line: &str) -> &str {
    line.split([' ', '?']).nth(1).unwrap()
}

/// Answers one request in the way that lets most through. `/to?ADDRESS` leads there, and `/shut` waits
/// until it is opened.
fn answer(
    mut stream: TcpStream,
    page: &str,
    visited: &Sender<Vec<String>>,
    reported: &Sender<Value>,
    opened: &Mutex<Receiver<()>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut lines = vec![];
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        match line.trim_end() {
            "" => break,
            // Paths are in lower case anyway, but for those that lead elsewhere.
            text if lines.is_empty() => lines.push(text.to_owned()),
            text => lines.push(text.to_ascii_lowercase()),
        }
    }
    let field = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name));
    let mut body = vec![0; field("content-length: ").map_or(0, |it| it.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let path = path(lines.first()?);
    let to = lines[0].split(' ').nth(1)?.strip_prefix("/to?");
    let status = to.map_or("200 OK".to_owned(), |to| format!("302 Found\r\nLocation: {to}"));
    let origin = field("origin: ").unwrap_or("*").to_owned();
    let (kind, body) = match path {
        "/" => ("text/html", page),
        "/report" => {
            reported.send(serde_json::from_slice(&body).unwrap()).ok();
            ("text/plain", "")
        }
        "/shut" => {
            opened.lock().unwrap().recv().ok()?;
            ("text/plain", "")
        }
        path if path.ends_with("-events") => ("text/event-stream", "data: x\n\n"),
        _ => ("text/plain", "{}"),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Allow-Credentials: true\r\n\
         Access-Control-Allow-Methods: *, PUT\r\n\
         Access-Control-Allow-Headers: content-type, nexudus-proxy-key\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).ok()?;
    visited.send(lines).ok()
}

/// The real daemon, whose log is read.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    child: Child,
    log: Receiver<Value>,
    home: tempfile::TempDir,
}

impl Proxy {
    pub(crate) fn start(nexudus: &Simulator, port: u16) -> Self {
        let home = tempfile::tempdir().unwrap();
        let ca = home.path().join("ca.pem");
        nexudus.write_ca(&ca).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexudus-proxy"));
        command.env_clear().env("HOME", home.path()).current_dir(home.path());
        command.env("NEXUDUS_EMAIL", DEMO_EMAIL).env("NEXUDUS_PASSWORD", DEMO_PASSWORD);
        command.args(["serve", "--store", "memory", "--log-level", "debug"]);
        let both = [format!("127.0.0.1:{port}"), format!("[::1]:{port}")];
        command.args(["--listen", &both[0], "--listen", &both[1]]);
        command.args(["--upstream", &nexudus.origin()]);
        command.arg("--ca-file").arg(ca).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let (sender, log) = channel();
        std::thread::spawn(move || {
            let lines = lines.filter_map(|line| serde_json::from_str(&line).ok());
            lines.for_each(|line: Value| drop(sender.send(line)));
        });
        let listening = std::iter::from_fn(|| log.recv_timeout(PATIENCE).ok())
            .find_map(|line| line["address"].as_str()?.parse::<SocketAddr>().ok());
        let port = listening.expect("it listens").port();
        Self { port, child, log, home }
    }

    /// Waits until each of these paths has been asked for and refused; returns all the refusals
    /// seen, with their codes. An answer of Nexudus has no code and fails the test.
    pub(crate) fn refusals(&self, paths: &BTreeSet<String>) -> BTreeMap<String, String> {
        let mut refused = BTreeMap::new();
        let deadline = Instant::now() + PATIENCE;
        while !paths.iter().all(|path| refused.contains_key(path)) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.log.recv_timeout(left) else {
                let missing: Vec<_> =
                    paths.iter().filter(|it| !refused.contains_key(*it)).collect();
                panic!("these never came: {missing:?}");
            };
            if line["message"] == "request" {
                let code = line["code"].as_str().unwrap_or_else(|| panic!("it passed: {line}"));
                refused.insert(line["path"].as_str().unwrap().to_owned(), code.to_owned());
            }
        }
        refused
    }

    /// Runs a command of its user, and returns what it prints.
    pub(crate) fn run(&self, line: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexudus-proxy"));
        command.args(line.split(' ')).env_clear().env("HOME", self.home.path());
        let output = command.stderr(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn get(&self, host: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let request = format!("GET {PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A browser with a profile of its own, for which `evil.test` is this machine.
pub(crate) struct Browser {
    child: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(crate) fn visits(url: &str) -> Self {
        let (mut command, profile) = Self::command(url);
        let child = command.stdout(Stdio::null()).spawn().expect(NEEDED);
        Self { child, _profile: profile }
    }

    /// Returns the document that it shows at this address.
    pub(crate) fn shows(url: &str) -> String {
        let (mut command, _profile) = Self::command(url);
        let output = command.arg("--dump-dom").output().expect(NEEDED);
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(url: &str) -> (Command, tempfile::TempDir) {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromium");
        // Without its sandbox, which root cannot use: it visits only the test's servers.
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]);
        command.args(["--no-first-run", "--disable-background-networking", "--disable-sync"]);
        command.args(["--disable-component-update", "--disable-dev-shm-usage"]);
        command.arg("--host-resolver-rules=MAP evil.test 127.0.0.1");
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg(url);
        command.env("HOME", profile.path()).stderr(Stdio::null());
        (command, profile)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const NEEDED: &str = "the test needs chromium: scripts/prepare.sh installs it";

/// Longest wait for an event that must come: a browser takes its time to start.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
