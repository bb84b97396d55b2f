//! A real browser with a web page of an origin that a client names, and with one of another.

use nexudus_simulator::Simulator;

use crate::browser_stage::{Browser, PATH, Proxy, Site, proxied};

#[test]
fn a_page_of_the_named_origin_calls_with_its_key_and_no_other_page_does() {
    let nexudus = Simulator::start().unwrap();
    let proxy = Proxy::start(&nexudus, 0);
    let site = Site::start(PAGE);
    let named = format!("http://localhost:{}", site.port);
    let key = proxy.run(&format!("client add web --origin {named} -q")).trim().to_owned();
    let query = format!("base=http://localhost:{}&key={key}", proxy.port);

    let told = {
        let _browser = Browser::visits(&format!("{named}/?{query}"));
        site.report()
    };

    assert_eq!(told["read"], "200 application/json", "{told}");
    assert_eq!(told["bearer"], "200 application/json", "{told}");
    let written = told["write"].as_str().unwrap();
    assert!(written.starts_with(|digit: char| digit.is_ascii_digit()), "{told}");
    // The page may read why it is refused.
    assert_eq!(told["keyless"], "403 guard.origin", "{told}");
    assert_eq!(told["token"], "403 guard.origin", "{told}");
    assert_eq!(told["cookies"], "failed", "{told}");
    assert_eq!(told["opaque"], "failed", "the browser keeps a refusal from it: {told}");
    let served = proxied(&nexudus);
    assert_eq!(served, 3, "two reads and a write: {told}");

    for page in ["http://evil.test", "http://127.0.0.1"] {
        let _browser = Browser::visits(&format!("{page}:{}/?{query}", site.port));
        let told = site.report();
        for attempt in ["read", "bearer", "write", "keyless", "token", "cookies"] {
            assert_eq!(told[attempt], "failed", "{page}: {told}");
        }
    }
    assert_eq!(proxied(&nexudus), served);
    assert!(proxy.get("localhost").starts_with("HTTP/1.1 200 "));
    assert!(PATH.starts_with("/api/"));
}

/// Says what came of each attempt.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body><script>
(async () => {
  const query = new URLSearchParams(location.search);
  const at = query.get('base') + '/api/spaces/coworkers';
  const key = { 'Nexudus-Proxy-Key': query.get('key') };
  const json = { ...key, 'Content-Type': 'application/json' };
  const attempts = {
    read: [at, { headers: key }],
    bearer: [at, { headers: { Authorization: 'Bearer ' + query.get('key') } }],
    write: [at + '/1', { method: 'PUT', headers: json, body: '{}' }],
    keyless: [at, {}],
    token: [query.get('base') + '/api/token', { method: 'POST', headers: key }],
    cookies: [at, { headers: key, credentials: 'include' }],
    opaque: [at, { mode: 'no-cors' }],
  };
  const told = {};
  for (const [name, [url, options]] of Object.entries(attempts)) {
    told[name] = await fetch(url, options).then(async answer => {
      if (answer.type === 'opaque') return 'opaque';
      const type = (answer.headers.get('content-type') ?? 'nothing').split(';')[0];
      if (type !== 'application/problem+json') return `${answer.status} ${type}`;
      return `${answer.status} ${(await answer.json()).code}`;
    }).catch(() => 'failed');
  }
  await fetch('/report', { method: 'POST', body: JSON.stringify(told) });
})();
</script>"#;
