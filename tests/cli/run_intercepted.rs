//! `run` for programs that have the address of Nexudus in their source and read a proxy.

use std::io::Write as _;
use std::process::Stdio;

use crate::support::run::{script, serving, stage, with_login};

#[test]
fn a_request_for_a_configured_host_comes_here_in_every_form() {
    let (upstream, home) = stage();
    let port = upstream.address().port();
    let ask = "curl -sS -o /dev/null -w '%{http_code}\\n' -H 'Authorization: Bearer mine'";
    let text = format!(
        "{ask} https://localhost:{port}/api/auth/me; \
         {ask} -H 'Host: evil.example' https://localhost:{port}/api/auth/me; \
         printf 'GET https://localhost:{port}/api/auth/me HTTP/1.1\\r\\nHost: localhost:{port}\\r\\nConnection: close\\r\\n\\r\\n' \
         | {{ exec 3<>/dev/tcp/127.0.0.1/${{HTTPS_PROXY##*:}}; cat >&3; head -1 <&3; }}"
    );

    let told = home.transcript(&mut script(&home, "run", &text));

    assert_eq!(told, "200\n421\nHTTP/1.1 200 OK\r\n=> 0\n");
    let seen = format!("{:?}", upstream.requests());
    assert!(!seen.contains("mine") && !seen.contains("nxp_"), "{seen}");
}

#[test]
fn with_a_daemon_the_requests_are_the_daemons_and_the_authority_is_the_runs() {
    let (upstream, home) = stage();
    let _daemon = serving(&home, "serve");
    let text = format!(
        "curl -sS -o /dev/null -w '%{{http_code}}\\n' {}/api/auth/me; ls -d $(dirname $SSL_CERT_FILE)",
        upstream.origin()
    );

    let told = home.transcript(&mut script(&home, "run", &text));

    let directory = told.lines().nth(1).unwrap().to_owned();
    assert!(told.starts_with("200\n") && told.ends_with("=> 0\n"), "{told}");
    assert!(!std::path::Path::new(&directory).exists(), "the files end with the command");
    assert_eq!(upstream.token_calls().len(), 1, "the daemon's own login and no other");
}

#[test]
fn the_files_are_the_persons_alone_and_hold_no_key() {
    let (_upstream, home) = stage();
    let text = "cd $(dirname $SSL_CERT_FILE); stat -c %a .; find . -type f -exec cat {} + | grep -c 'PRIVATE KEY\\|nxp_' || true";

    let told = home.transcript(&mut script(&home, "run -q", text));

    assert_eq!(told, "700\n0\n=> 0\n");
}

#[test]
fn a_proxy_of_before_is_asked_for_other_hosts_and_its_exceptions_lose_ours() {
    let (_upstream, home) = stage();
    let text = "echo $no_proxy; curl -sS -o /dev/null https://10.0.0.1/ 2>&1 | grep -o '403\\|Could not' | head -1";
    let mut run = script(&home, "run -q", text);
    run.env("NO_PROXY", "localhost,internal.example").env("no_proxy", "*");

    let told = home.transcript(&mut run);

    assert_eq!(told, "internal.example,127.0.0.1,::1\n403\n=> 0\n");
}

#[test]
fn a_command_that_made_no_request_is_told_of_with_the_likely_cause() {
    let (upstream, home) = stage();
    let told = |line: &str, text: &str| home.transcript(&mut script(&home, line, text));
    let origin = upstream.origin();

    assert!(told("run", "true").contains("it uses no proxy, or made no request"));
    assert!(told("run --no-intercept", "true").contains("it reads none of the base URL names"));
    assert!(told("run --isolate", "true").contains("--also HOST"));
    assert_eq!(told("run -q", "true"), "=> 0\n");
    let distrusting = told("run", &format!("curl -s --cacert ca.pem {origin}/api/auth/me; true"));
    assert!(distrusting.contains("its TLS does not trust the certificate"), "{distrusting}");
}

#[test]
fn without_interception_only_the_base_url_is_set() {
    let (_upstream, home) = stage();
    let mut run = script(&home, "run -q --no-intercept", "env");
    run.env("HTTPS_PROXY", "http://proxy.example:3128");

    let told = home.transcript(&mut run);

    assert!(told.contains("HTTPS_PROXY=http://proxy.example:3128\n"), "{told}");
    assert!(told.contains("NO_PROXY=127.0.0.1,localhost,::1\n") && !told.contains("SSL_CERT_FILE"));
}

/// The trust store is unencrypted PKCS #12, which Java has to read by itself.
#[test]
fn java_reads_the_trust_store_that_is_made_for_it() {
    let (_upstream, home) = stage();
    let text = "keytool -list -keystore $(dirname $SSL_CERT_FILE)/bundle.p12 -storetype PKCS12 2>/dev/null";
    let mut run = with_login(&home, "run -q");
    run.args(["--", "/bin/bash", "-c", text]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut run = run.spawn().unwrap();
    run.stdin.take().unwrap().write_all(b"\n").unwrap();

    let told = String::from_utf8(run.wait_with_output().unwrap().stdout).unwrap();

    assert!(told.matches("trustedCertEntry").count() > 1, "{told}");
}

/// Sends a long body and reads only then, through the base URL and through the proxy.
const SENDS_FIRST: &str = r#"
import http.client, os, ssl
from urllib.parse import urlsplit
base, proxy = urlsplit(os.environ["NEXUDUS_BASE_URL"]), urlsplit(os.environ["HTTPS_PROXY"])
plain = http.client.HTTPConnection(base.hostname, base.port)
trusted = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
intercepted = http.client.HTTPSConnection(proxy.hostname, proxy.port, context=trusted)
intercepted.set_tunnel("localhost", int(os.environ["ORIGIN_PORT"]))
for connection in [plain, intercepted]:
    connection.request("POST", "/api/spaces/coworkers", body=b"x" * (16 << 20))
    answer = connection.getresponse()
    print(answer.status, answer.getheader("Connection"))
"#;

#[test]
fn a_command_that_reads_only_when_it_has_sent_everything_hears_a_refusal() {
    let (upstream, home) = stage();
    std::fs::write(home.path("sends_first.py"), SENDS_FIRST).unwrap();
    let text = format!(
        "ORIGIN_PORT={} python3 {}",
        upstream.address().port(),
        home.path("sends_first.py").display()
    );

    let told = home.transcript(&mut script(&home, "run -q --read-only", &text));

    assert_eq!(told, "403 close\n403 close\n=> 0\n");
}
