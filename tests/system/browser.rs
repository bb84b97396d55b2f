//! A real browser, whose pages try everything to reach Nexudus through the proxy.
//!
//! The pages come from listeners of the test, one of which lets every page in: what fails at the
//! proxy must have succeeded there, or a browser that sends nothing would look like a shield.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nexudus_simulator::{DEMO_EMAIL, DEMO_PASSWORD, Simulator};
use serde_json::Value;

#[test]
fn a_page_of_another_origin_reads_and_writes_nothing() {
    let nexudus = Simulator::start().unwrap();
    let proxy = Proxy::start(&nexudus, 0);
    let file = tempfile::Builder::new().suffix(".html").tempfile().unwrap();
    std::fs::write(file.path(), PAGE).unwrap();
    // `localhost` on another port is the same site, and another origin all the same.
    for page in ["http://evil.test", "http://localhost", "file://"] {
        let site = Site::start(PAGE);
        let bases = [
            ("open", format!("http://localhost:{}", site.port)),
            ("name", format!("http://localhost:{}", proxy.port)),
            ("number", format!("http://127.0.0.1:{}", proxy.port)),
            ("six", format!("http://[::1]:{}", proxy.port)),
            ("reports", format!("http://localhost:{}", site.port)),
        ];
        let query = bases.iter().map(|(label, base)| format!("{label}={base}"));
        let query = query.collect::<Vec<_>>().join("&");
        let at = match page {
            "file://" => file.path().display().to_string(),
            _ => format!(":{}/", site.port),
        };
        let _browser = Browser::visits(&format!("{page}{at}?{query}"));

        let told = site.report();
        site.passes(&expected(&["open"]));
        let refused = proxy.refusals(&expected(&LABELS));

        let read = |label: &str, kind: &str| told[label][kind].as_str().unwrap_or("").to_owned();
        // The listener that lets every page in: the browser does what it is told.
        assert_eq!(read("open", "get"), "read 200");
        for label in LABELS {
            for kind in KINDS {
                let told = read(label, kind);
                assert!(
                    !told.starts_with("read") && told != "open",
                    "{page} {label} {kind}: {told}"
                );
            }
        }
        let codes: BTreeSet<&str> = refused.values().map(String::as_str).collect();
        assert_eq!(codes, ["guard.origin"].into(), "{refused:?}");
        assert_eq!(proxied(&nexudus), 0);
    }
    // A client without a browser is served: the proxy was up all the time.
    assert!(proxy.get("localhost").starts_with("HTTP/1.1 200 "));
    assert_eq!(proxied(&nexudus), 1);
}

#[test]
fn a_name_that_now_leads_here_reads_and_writes_nothing() {
    let nexudus = Simulator::start().unwrap();
    let reports = Site::start(PAGE);
    // The page comes from the very origin that will be the proxy's a moment later.
    let before = Site::start(PAGE);
    let port = before.port;
    let own = format!("http://evil.test:{port}");
    let reports_at = format!("http://evil.test:{}", reports.port);
    let _browser =
        Browser::visits(&format!("{own}/?rebound={own}&reports={reports_at}&wait={port}"));
    before.is_visited();
    before.stop();
    let proxy = Proxy::start(&nexudus, port);

    let told = reports.report();
    let refused = proxy.refusals(&expected(&["rebound"]));

    // It is of the same origin now, and may read the answer: which is a refusal.
    assert_eq!(told["rebound"]["get"], "read 421");
    assert_eq!(told["rebound"]["put"], "read 421");
    let codes: BTreeSet<&str> = refused.values().map(String::as_str).collect();
    assert_eq!(codes, ["guard.host"].into(), "{refused:?}");
    assert_eq!(proxied(&nexudus), 0);
}

#[test]
fn a_person_who_types_the_address_reads_what_this_is() {
    let nexudus = Simulator::start().unwrap();
    let proxy = Proxy::start(&nexudus, 0);

    let shown = Browser::shows(&format!("http://localhost:{}/", proxy.port));

    assert!(shown.contains("This is nexudus-proxy, not Nexudus"), "{shown}");
    assert_eq!(proxied(&nexudus), 0);
}

/// How the proxy can be written.
const LABELS: [&str; 3] = ["name", "number", "six"];

/// The attempts of the page, each at a path of its own.
const KINDS: [&str; 14] = [
    "get",
    "get-opaque",
    "post-opaque",
    "post-json",
    "put",
    "key",
    "image",
    "script",
    "frame",
    "form",
    "websocket",
    "events",
    "beacon",
    "prefetch",
];

fn expected(labels: &[&str]) -> BTreeSet<String> {
    labels
        .iter()
        .flat_map(|label| KINDS.map(|kind| format!("{PATH}/{label}-{kind}")))
        .chain(labels.contains(&"name").then(|| format!("{PATH}/top")))
        // Only what is https or of this machine is fetched ahead.
        .filter(|path| !path.ends_with("/rebound-prefetch"))
        .collect()
}

const PATH: &str = "/api/spaces/coworkers";

/// Counts what has reached Nexudus but for the daemon's own login.
pub(crate) fn proxied(nexudus: &Simulator) -> usize {
    nexudus.requests().iter().filter(|seen| seen.path() != "/api/token").count()
}

/// The page. It says what came of each attempt, then navigates.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body><script>
const late = new Promise(done => setTimeout(() => done('late'), 10000));
const first = (target, names) => new Promise(done =>
  names.forEach(name => target.addEventListener(name, () => done(name))));

function ways(base, label) {
  const at = kind => `${base}/api/spaces/coworkers/${label}-${kind}`;
  const read = (kind, options) => fetch(at(kind), options)
    .then(async answer => answer.type === 'opaque' ? 'opaque' : (await answer.text(), `read ${answer.status}`));
  const load = (tag, kind) => {
    const element = document.createElement(tag);
    const done = first(element, ['load', 'error']);
    element.src = at(kind);
    document.body.append(element);
    return done;
  };
  const body = '{"FullName": "Evil"}';
  return {
    'get': () => read('get'),
    'get-opaque': () => read('get-opaque', { mode: 'no-cors' }),
    'post-opaque': () => read('post-opaque', { mode: 'no-cors', method: 'POST', body }),
    'post-json': () => read('post-json',
      { method: 'POST', headers: { 'content-type': 'application/json' }, body }),
    'put': () => read('put', { method: 'PUT', body }),
    'key': () => read('key', { headers: { 'nexudus-proxy-key': 'x' }, credentials: 'include' }),
    'image': () => load('img', 'image'),
    'script': () => load('script', 'script'),
    'frame': () => load('iframe', 'frame'),
    'form': () => {
      const frame = document.createElement('iframe');
      frame.name = `${label}-target`;
      document.body.append(frame);
      const form = document.createElement('form');
      Object.assign(form, { method: 'POST', action: at('form'), target: frame.name });
      document.body.append(form);
      const done = first(frame, ['load']);
      form.submit();
      return done;
    },
    'websocket': () => first(new WebSocket(at('websocket').replace('http', 'ws')), ['open', 'error']),
    'events': () => first(new EventSource(at('events')), ['open', 'error']),
    'prefetch': async () => {
      const rules = { prefetch: [{ urls: [at('prefetch')], eagerness: 'immediate' }] };
      const script = document.createElement('script');
      Object.assign(script, { type: 'speculationrules', textContent: JSON.stringify(rules) });
      document.head.append(script);
      return 'asked';
    },
    'beacon': async () => String(navigator.sendBeacon(at('beacon'), body)),
  };
}

(async () => {
  const bases = new URLSearchParams(location.search);
  const reports = bases.get('reports') ?? location.origin;
  const waits = bases.has('wait');
  bases.delete('reports');
  bases.delete('wait');
  // Until another server answers at this page's origin.
  while (waits) {
    const answer = await fetch('/api/auth/me').catch(() => null);
    if (answer?.headers.has('proxy-status')) break;
    await new Promise(done => setTimeout(done, 50));
  }
  const told = {};
  for (const [label, base] of bases) {
    told[label] = {};
    await Promise.all(Object.entries(ways(base, label)).map(async ([kind, attempt]) => {
      told[label][kind] = await Promise.race([attempt().catch(() => 'failed'), late]);
    }));
  }
  await fetch(reports + '/report', { mode: 'no-cors', method: 'POST', body: JSON.stringify(told) });
  if (bases.has('name')) location = bases.get('name') + '/api/spaces/coworkers/top';
})();
</script>"#;

/// A listener that serves the page, takes its report, and lets every page in.
pub(crate) struct Site {
    pub(crate) port: u16,
    stop: Sender<()>,
    gate: SyncSender<()>,
    visits: Receiver<Vec<String>>,
    reports: Receiver<Value>,
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
    fn is_visited(&self) {
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
    fn stop(&self) {
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
    _home: tempfile::TempDir,
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
        Self { port, child, log, _home: home }
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

    fn get(&self, host: &str) -> String {
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
    fn shows(url: &str) -> String {
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
