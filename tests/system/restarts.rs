//! Twenty restarts and twenty reloads under a real systemd, with clients of three kinds at work:
//! a request waits a little, and none is refused or executed twice.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nexudus_simulator::{Fault, FaultAction, Simulator};
use serde_json::Value as Json;

use crate::machine::{ALICE, Machine, START, installed, program};
use crate::shared::eventually;

#[test]
fn twenty_restarts_and_reloads_lose_no_request_and_repeat_no_write() {
    let machine = installed();
    let nexudus = machine.nexudus("[daemon]\ndrain = \"2s\"\n");
    // Writes take long enough to be in flight whenever a restart comes.
    let write = Fault::on("/api/spaces/coworkers", FaultAction::Pass).method("POST");
    nexudus.fault(Fault { delay: Duration::from_millis(100), ..write });
    let slowly = FaultAction::SlowBody { chunk: 1000, pause: Duration::from_millis(100) };
    nexudus.fault(Fault::on("/ContentDownload", slowly));
    machine.run(START);

    let clients = [Client::requests_session(), Client::node_agent(), Client::curl()];
    assert!(nexudus.wait_until(|view| view.requests().count() > 30, PATIENCE), "they are at work");

    // It lasts longer than all of the reloads.
    let download = Download::start(&nexudus);
    for _reload in 0..20 {
        machine.run("systemctl reload nexudus-proxy.service");
    }
    assert_eq!(download.end(), (0, SIZE), "a reload cuts nothing");

    let download = Download::start(&nexudus);
    (0..20).for_each(|_| restart(&machine));
    let (code, size) = download.end();
    // It gets the time to finish, and then is cut so that curl can tell: 18 is a partial file.
    assert!(code == 18 && size < SIZE, "{code} {size}");

    let said: Vec<Report> = clients.into_iter().map(Client::end).collect();
    for Report { name, done, failed, .. } in &said {
        assert!(failed.is_empty(), "{name}: {failed:?}");
        assert!(*done > 50, "{name} was at work: {done}");
    }
    let mut executed = BTreeMap::<String, usize>::new();
    for write in nexudus.executed_writes() {
        let body: Json = serde_json::from_str(&write.text()).unwrap();
        *executed.entry(body["FullName"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let repeated: Vec<_> = executed.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty(), "executed twice: {repeated:?}");
    let mut told = said.iter().flat_map(|report| &report.written);
    assert!(told.all(|name| executed.contains_key(name)), "what was told to be done was done");
    assert_eq!(nexudus.token_calls().len(), 1, "each restart resumes");
    assert_eq!(machine.service("NRestarts"), "0");
    tell(&said);
}

/// A program that asks until it is told to end.
pub(crate) struct Client {
    name: &'static str,
    work: Work,
}

enum Work {
    /// The client ends with its standard input and prints a report.
    Program(Child),
    /// One program after the other, each with a connection of its own.
    Loop { ended: Arc<AtomicBool>, thread: JoinHandle<Report> },
}

/// How it went.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) name: &'static str,
    pub(crate) done: u64,
    /// Requests that failed on a new connection or got another status than 200.
    pub(crate) failed: Vec<String>,
    /// The writes that were told to be done.
    written: Vec<String>,
    /// Kept connections that were closed while they were idle.
    closed: u64,
    longest: Duration,
}

impl Client {
    /// Python, with one session.
    pub(crate) fn requests_session() -> Self {
        let mut command = program(ALICE, "/usr/bin/python3");
        command.args(["-c", include_str!("http_clients/session.py"), BASE]);
        Self::run("requests.Session", command)
    }

    /// Node, with a keep-alive agent of two connections.
    pub(crate) fn node_agent() -> Self {
        let mut command = program(ALICE, "node");
        command.args(["-e", include_str!("http_clients/agent.js"), "--", BASE]);
        Self::run("Node agent", command)
    }

    fn run(name: &'static str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|_| panic!("{name}: run scripts/prepare.sh"));
        Self { name, work: Work::Program(child) }
    }

    /// curl after curl: reading, writing.
    pub(crate) fn curl() -> Self {
        let ended = Arc::<AtomicBool>::default();
        let told = ended.clone();
        // A thread's network is that of the thread that made it.
        let thread = std::thread::spawn(move || {
            let mut report = Report { name: "curl", ..Report::default() };
            while !told.load(Ordering::Relaxed) {
                report.curl();
            }
            report
        });
        Self { name: "curl", work: Work::Loop { ended, thread } }
    }

    pub(crate) fn end(self) -> Report {
        let mut child = match self.work {
            Work::Program(child) => child,
            Work::Loop { ended, thread } => {
                ended.store(true, Ordering::Relaxed);
                return thread.join().unwrap();
            }
        };
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}: {}", self.name, output.status);
        let said: Json = serde_json::from_slice(&output.stdout).unwrap();
        let texts = |key: &str| {
            let all = said[key].as_array().unwrap().iter();
            all.map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        Report {
            name: self.name,
            done: said["done"].as_u64().unwrap(),
            failed: texts("failed"),
            written: texts("written"),
            closed: said["closed"].as_u64().unwrap(),
            longest: Duration::from_secs_f64(said["longest"].as_f64().unwrap()),
        }
    }
}

impl Report {
    fn curl(&mut self) {
        let name = format!("curl-{}", self.done);
        let mut curl = program(ALICE, "curl");
        curl.args(["--silent", "--show-error", "--max-time", "30", "--output", "/dev/null"]);
        curl.args(["--write-out", "%{http_code}"]);
        let is_write = self.done % 2 == 1;
        if is_write {
            curl.args(["--json", &format!("{{\"FullName\": \"{name}\"}}")]);
            curl.arg(format!("{BASE}/api/spaces/coworkers"));
        } else {
            curl.arg(format!("{BASE}/api/auth/me"));
        }
        let begun = Instant::now();
        let output = curl.stdin(Stdio::null()).output().unwrap();
        self.longest = self.longest.max(begun.elapsed());
        match output.stdout.as_slice() {
            b"200" if is_write => self.written.push(name),
            b"200" => {}
            _ => self.failed.push(format!("{name}: {output:?}")),
        }
        self.done += 1;
    }
}

/// A slow download with curl.
struct Download(Child);

impl Download {
    /// Starts one and waits until it is under way.
    fn start(nexudus: &Simulator) -> Self {
        let known = downloads(nexudus);
        let mut curl = program(ALICE, "curl");
        curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{size_download}"]);
        curl.arg(format!("{BASE}/ContentDownload/report.pdf?bytes={SIZE}"));
        let child = curl.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        eventually("the download is under way", || downloads(nexudus) > known);
        Self(child)
    }

    /// Waits for its end and returns curl's exit code and how many bytes have come.
    fn end(self) -> (i32, u64) {
        let output = self.0.wait_with_output().unwrap();
        let size = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), size.parse().unwrap())
    }
}

fn downloads(nexudus: &Simulator) -> usize {
    nexudus.requests().iter().filter(|seen| seen.path().starts_with("/ContentDownload")).count()
}

fn restart(machine: &Machine) {
    let before = machine.service("MainPID");
    machine.run("systemctl restart nexudus-proxy.service");
    assert_ne!(machine.service("MainPID"), before);
}

/// Prints the figures with `--no-capture`.
fn tell(said: &[Report]) {
    for Report { name, done, closed, longest, .. } in said {
        let line = format!("{name}: {done} requests, {closed} idle connections closed, longest");
        let _ = writeln!(std::io::stderr(), "{line} {longest:?}");
    }
}

const BASE: &str = "http://localhost:6398";
/// In bytes. With 1000 bytes each tenth of a second it takes a minute.
const SIZE: u64 = 600_000;
const PATIENCE: Duration = Duration::from_secs(60);
