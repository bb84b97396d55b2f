//! Documents that Nexudus serves, in a real browser: however a page leads there, none of them runs
//! in the proxy's origin. If the guard let it through, its own policy would still forbid it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use nexudus_simulator::{Fault, FaultAction, Simulator};

use crate::browser_stage::{Browser, PATIENCE, Proxy, Site, proxied};

#[test]
fn a_document_that_was_prefetched_or_prerendered_is_refused_when_it_is_visited() {
    let nexudus = nexudus();
    for page in ["localhost", "evil.test"] {
        for kind in ["prefetch", "prerender"] {
            let proxy = Proxy::start(&nexudus, 0);
            let site = Site::start(SPECULATING);
            let document = format!("http://localhost:{}{DOCUMENT}", proxy.port);
            let address = format!("http://{page}:{}/?{kind}={document}", site.port);
            let _browser = Browser::visits(&address);

            // Of its own, and once more when the page goes there.
            for _ in 0..2 {
                proxy.refusals(&[DOCUMENT.to_owned()].into());
                site.open();
            }

            assert_eq!(proxied(&nexudus), 0, "{page} {kind}");
        }
    }
}

#[test]
fn a_document_is_refused_that_a_foreign_address_redirects_to() {
    let nexudus = nexudus();
    let proxy = Proxy::start(&nexudus, 0);
    let site = Site::start("");
    let port = site.port;
    let through = |to: &str| format!("http://evil.test:{port}/to?http://localhost:{port}/to?{to}");
    let hosts = ["localhost", "127.0.0.1", "[::1]"];
    let documents: Vec<_> = hosts
        .iter()
        .enumerate()
        .map(|(nth, host)| format!("http://{host}:{}{DOCUMENT}/{nth}", proxy.port))
        .collect();

    // That the browser goes to the end of such a chain, and what it says there.
    let _browser = Browser::visits(&through(&format!("http://localhost:{port}/end")));
    let end = site.passes(&["/end".to_owned()].into());
    let _browsers: Vec<_> = documents.iter().map(|it| Browser::visits(&through(it))).collect();

    assert!(end.contains(&"sec-fetch-site: none".to_owned()), "{end:?}");
    let paths = (0..hosts.len()).map(|nth| format!("{DOCUMENT}/{nth}")).collect();
    let refused = proxy.refusals(&paths);
    assert!(refused.values().all(|code| code == "guard.origin"), "{refused:?}");
    assert_eq!(proxied(&nexudus), 0);
}

#[test]
fn no_document_runs_even_where_a_browser_is_let_through() {
    let nexudus = nexudus();
    let proxy = Proxy::start(&nexudus, 0);
    // Both hide the browser from the proxy; the second hides the policy from the browser.
    let (kept, stripped) = (Relay::start(proxy.port, true), Relay::start(proxy.port, false));
    let site = Site::start(FRAMES);
    let relays = [&kept, &stripped].map(|relay| format!("http://localhost:{}", relay.port));
    let documents = DOCUMENTS.map(|(kind, ..)| format!("/ContentDownload/evil.{kind}"));
    let frames =
        relays.iter().flat_map(|relay| documents.iter().map(move |it| format!("{relay}{it}")));
    let frames = frames.collect::<Vec<_>>().join(",");

    let _frames = Browser::visits(&format!("http://localhost:{}/?{frames}", site.port));
    assert_eq!(site.report(), documents.len() * relays.len());
    let [_page, _control] = [(&kept, &relays[0]), (&stripped, &relays[1])].map(|(relay, base)| {
        let page = format!("{DOCUMENT}/top");
        let browser = Browser::visits(&format!("{base}{page}"));
        relay.sees(&[page].into());
        browser
    });

    // Without the policy they run: the documents do what they can.
    let ran = ["html", "xhtml", "svg", "xml"].map(|kind| format!("/ran/{kind}"));
    stripped.sees(&ran.into_iter().chain(["/worker.js".to_owned()]).collect());
    let seen = kept.sees(&documents.iter().cloned().collect());
    let is_document = |path: &String| path.starts_with("/ContentDownload/evil.");
    let others: Vec<_> = seen.iter().filter(|path| !is_document(path)).collect();
    assert!(others.iter().all(|path| *path == "/favicon.ico"), "{others:?}");
}

/// A Nexudus that serves such documents.
fn nexudus() -> Simulator {
    let nexudus = Simulator::start().unwrap();
    for (kind, media_type, body) in DOCUMENTS {
        let headers = [
            ("content-type", media_type),
            ("content-security-policy", "script-src * 'unsafe-inline'"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let deed = FaultAction::Answer { status: 200, headers, body: body.to_owned() };
        nexudus.fault(Fault::on(format!("/ContentDownload/evil.{kind}"), deed));
    }
    let headers = vec![("content-type".to_owned(), "text/javascript".to_owned())];
    let worker =
        FaultAction::Answer { status: 200, headers, body: "fetch('/ran/worker')".to_owned() };
    nexudus.fault(Fault::on("/worker.js", worker));
    nexudus
}

const DOCUMENT: &str = "/ContentDownload/evil.html";

/// Kind, media type, and a text that asks for `/ran/KIND` where it may.
const DOCUMENTS: [(&str, &str, &str); 7] = [
    (
        "html",
        "text/html",
        r#"<!doctype html><script>
           fetch('/ran/html'); fetch('/api/spaces/coworkers/1', { method: 'DELETE' });
           navigator.serviceWorker.register('/worker.js');
           </script><img src="/ran/img" onerror="fetch('/ran/handler')">
           <style>@import '/ran/style';</style><iframe src="/ran/frame"></iframe>
           <form action="/ran/form" method="post"></form><object data="/ran/object"></object>
           <a href="/ran/ping" ping="/ran/ping">x</a>"#,
    ),
    (
        "refresh",
        "text/html",
        r#"<!doctype html><meta http-equiv="refresh" content="0; url=/ran/refresh">"#,
    ),
    (
        "xhtml",
        "application/xhtml+xml",
        r#"<html xmlns="http://www.w3.org/1999/xhtml"><body><script>fetch('/ran/xhtml')</script></body></html>"#,
    ),
    (
        "svg",
        "image/svg+xml",
        r#"<svg xmlns="http://www.w3.org/2000/svg" onload="fetch('/ran/load')"><script>fetch('/ran/svg')</script></svg>"#,
    ),
    (
        "xml",
        "text/xml",
        r#"<x><script xmlns="http://www.w3.org/1999/xhtml">fetch('/ran/xml')</script></x>"#,
    ),
    (
        "xslt",
        "application/xml",
        r#"<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="/ran/xslt"?><x/>"#,
    ),
    ("pdf", "application/pdf", PDF),
];

const PDF: &str = "%PDF-1.4\n\
    1 0 obj<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(this.submitForm\\('/ran/pdf'\\))>>>>endobj\n\
    2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n\
    3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\n\
    trailer<</Root 1 0 R>>\n";

/// Has the browser fetch a document ahead, and goes there once it is told to.
const SPECULATING: &str = r#"<!doctype html><link rel="icon" href="data:,"><script>
(async () => {
  const [[kind, url]] = new URLSearchParams(location.search);
  const script = document.createElement('script');
  script.type = 'speculationrules';
  script.textContent = JSON.stringify({ [kind]: [{ urls: [url], eagerness: 'immediate' }] });
  document.head.append(script);
  await fetch('/shut');
  location = url;
})();
</script>"#;

/// Loads documents into frames and says how many it has loaded.
const FRAMES: &str = r#"<!doctype html><link rel="icon" href="data:,"><body><script>
const frames = location.search.slice(1).split(',').map(url => new Promise(loaded => {
  const frame = document.createElement('iframe');
  frame.onload = loaded;
  frame.src = url;
  document.body.append(frame);
}));
Promise.all(frames).then(all => fetch('/report', { method: 'POST', body: all.length }));
</script>"#;

/// Stands between browser and proxy, and hides each from the other.
struct Relay {
    port: u16,
    paths: Receiver<String>,
    seen: RefCell<BTreeSet<String>>,
}

impl Relay {
    fn start(proxy: u16, keeps_policy: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, paths) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let asked = asked.clone();
                std::thread::spawn(move || relay(stream, proxy, keeps_policy, &asked));
            }
        });
        Self { port, paths, seen: RefCell::default() }
    }

    /// Waits until each of these paths has been asked for; returns all that were so far.
    fn sees(&self, paths: &BTreeSet<String>) -> BTreeSet<String> {
        let mut seen = self.seen.borrow_mut();
        seen.extend(self.paths.try_iter());
        while !seen.is_superset(paths) {
            let Ok(next) = self.paths.recv_timeout(PATIENCE) else {
                panic!("{paths:?} expected, {seen:?} seen");
            };
            seen.insert(next);
        }
        seen.clone()
    }
}

fn relay(
    mut stream: TcpStream,
    proxy: u16,
    keeps_policy: bool,
    asked: &Sender<String>,
) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines().map_while(Result::ok);
    let first = lines.next()?;
    let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    // A browser opens connections ahead and sends nothing on them: only requests count.
    asked.send(first.split(' ').nth(1)?.to_owned()).ok()?;
    let mut request = format!("{first}\r\nHost: localhost\r\nConnection: close\r\n");
    for line in head.iter().filter(|line| line.to_ascii_lowercase().starts_with("accept:")) {
        request += &format!("{line}\r\n");
    }
    let mut upstream = TcpStream::connect(("127.0.0.1", proxy)).ok()?;
    upstream.write_all((request + "\r\n").as_bytes()).ok()?;
    let mut answer = vec![];
    upstream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).unwrap();
    let policy = "content-security-policy: sandbox; default-src 'none'\r\n";
    let answer = if keeps_policy { answer } else { answer.replace(policy, "") };
    stream.write_all(answer.as_bytes()).ok()
}
