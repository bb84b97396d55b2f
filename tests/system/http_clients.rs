//! The tools that people really use, against the real program: curl, wget, requests, httpx, fetch,
//! Java.

use std::path::PathBuf;
use std::process::Output;
use std::sync::OnceLock;

use nexudus_simulator::{
    Account, DEMO_EMAIL, DEMO_PASSWORD, Fault, FaultAction, Simulator, pattern_byte,
};

use crate::support::{Stage, text};

#[test]
fn requests_is_served_as_by_nexudus() {
    let stage = stage();
    let told = stage
        .tool("/usr/bin/python3")
        .arg(script("with_requests.py"))
        .args(arguments(&stage))
        .output();
    all_went_well(&stage, told.unwrap(), 1);
}

#[test]
fn httpx_is_served_as_by_nexudus() {
    let stage = stage();
    let told = stage
        .tool("/usr/bin/python3")
        .arg(script("with_httpx.py"))
        .args(arguments(&stage))
        .output();
    all_went_well(&stage, told.unwrap(), 1);
}

#[test]
fn nodes_fetch_is_served_as_by_nexudus() {
    let stage = stage();
    // Node gives up a connection after HEAD and after each streamed body by itself.
    let told = stage.tool("node").arg(script("with_fetch.mjs")).args(arguments(&stage)).output();
    all_went_well(&stage, told.unwrap(), 4);
}

#[test]
fn javas_client_is_served_as_by_nexudus() {
    let stage = stage();
    // With each connection it offers HTTP/2, and it opens several for calls at once.
    let told =
        stage.tool("java").arg(script("WithHttpClient.java")).args(arguments(&stage)).output();
    all_went_well(&stage, told.unwrap(), 40);
}

#[test]
fn curl_is_served_as_by_nexudus() {
    let stage = stage();
    let base = stage.base();

    // Fifty calls and one connection: curl counts those it had to open.
    let range = format!("{base}/api/spaces/coworkers?page=[1-50]");
    let told = stage.curl(&["-o", "/dev/null", "-w", "%{num_connects}%{http_code} ", &range]);
    assert_eq!(told, format!("1200 {}", "0200 ".repeat(49)));

    let me = stage.curl(&[&format!("{base}/api/auth/me")]);
    assert!(me.contains("\"Email\":\"ada@example.test\""), "{me}");
    let echo = stage.curl(&["--json", "{\"a\": 1}", "-g", &format!("{base}/api/echo?id=[1,2]")]);
    assert!(
        echo.contains(r#""body":"{\"a\": 1}""#) && echo.contains("/api/echo?id=[1,2]"),
        "{echo}"
    );
    let echo = stage.curl(&["-X", "DELETE", "-d", "why", &format!("{base}/api/echo")]);
    assert!(echo.contains(r#""body":"why""#) && echo.contains(r#""method":"DELETE""#), "{echo}");
    let head = stage.curl(&["-I", &format!("{base}/ContentDownload/x?bytes=1234")]);
    assert!(head.to_ascii_lowercase().contains("content-length: 1234\r\n"), "{head}");

    curl_waits_for_continue(&stage, &base);

    let file = stage.home.path().join("download");
    stage.curl(&["-o", file.to_str().unwrap(), &format!("{base}/ContentDownload/x?bytes=8000000")]);
    assert_eq!(sha256(&std::fs::read(&file).unwrap()), *digest());

    let packed = format!("{base}/api/spaces/packed");
    let plain = stage.curl(&["--compressed", &packed]);
    assert!(plain.starts_with('{'), "{plain}");
    let raw = stage.tool("curl").args(["-sS", "-H", "Accept-Encoding: gzip", &packed]).output();
    assert!(raw.unwrap().stdout.starts_with(b"\x1f\x8b"));

    let moved = stage.curl(&["-L", "-w", " %{url_effective}", &format!("{base}/moved")]);
    assert!(
        moved.contains("ada@example.test") && moved.ends_with(&format!(" {base}/api/auth/me")),
        "{moved}"
    );
}

/// Uploads a file with curl, which waits for `100 Continue`: with a length and in chunks.
fn curl_waits_for_continue(stage: &Stage, base: &str) {
    let body = stage.home.path().join("body");
    std::fs::write(&body, vec![b'x'; 3_000_000]).unwrap();
    let body = format!("@{}", body.display());

    for more in [&[][..], &["-H", "Transfer-Encoding: chunked"]] {
        let mut told = stage.tool("curl");
        told.args([
            "-sSgv",
            "-X",
            "PUT",
            "-H",
            "Expect: 100-continue",
            "--expect100-timeout",
            "60",
        ]);
        let told = told.args(more).args(["--data-binary", &body, &format!("{base}/api/echo")]);
        let told = told.output().unwrap();
        let (out, log) = (text(&told.stdout), text(&told.stderr));
        assert!(log.contains("< HTTP/1.1 100 Continue"), "{log}");
        assert!(out.contains(r#""body_length":3000000"#), "{log}");
    }
}

#[test]
fn wget_is_served_as_by_nexudus() {
    let stage = stage();
    let base = stage.base();

    let me = stage.wget(&[&format!("{base}/api/auth/me")]);
    assert!(me.contains("\"Email\":\"ada@example.test\""), "{me}");
    let echo = stage.wget(&["--post-data", "{\"a\": 1}", &format!("{base}/api/echo")]);
    assert!(echo.contains(r#""body":"{\"a\": 1}""#), "{echo}");
    let echo = stage.wget(&["--method=DELETE", "--body-data=why", &format!("{base}/api/echo")]);
    assert!(echo.contains(r#""body":"why""#) && echo.contains(r#""method":"DELETE""#), "{echo}");
    let mut head = stage.tool("wget");
    head.args(["--spider", "-S", "-nv", &format!("{base}/ContentDownload/x?bytes=1234")]);
    let head = text(&head.output().unwrap().stderr).to_ascii_lowercase();
    assert!(head.contains("content-length: 1234"), "{head}");
    let file = stage.home.path().join("download");
    let save = format!("-O{}", file.display());
    let mut download = stage.tool("wget");
    download.args(["-q", &save, &format!("{base}/ContentDownload/x?bytes=8000000")]);
    assert!(download.status().unwrap().success());
    assert_eq!(sha256(&std::fs::read(&file).unwrap()), *digest());
    let moved = stage.wget(&[&format!("{base}/moved")]);
    assert!(moved.contains("ada@example.test"), "{moved}");
    // Several files, one connection.
    let before = stage.connections();
    let urls = [0; 20].map(|_| format!("{base}/api/auth/me"));
    stage.wget(&urls.each_ref().map(String::as_str));
    assert_eq!(stage.connections() - before, 1);
}

#[test]
fn a_proxy_in_the_environment_is_passed_by_where_it_is_told_to_be() {
    let stage = stage();
    let url = format!("{}/api/auth/me", stage.base());
    let python = |module: &str| format!("import {module}; print({module}.get('{url}').text)");
    let (requests, httpx) = (python("requests"), python("httpx"));
    for command in [
        &["curl", "-sS", &url][..],
        &["wget", "-q", "-O-", &url],
        &["/usr/bin/python3", "-c", &requests],
        &["/usr/bin/python3", "-c", &httpx],
    ] {
        let mut tool = stage.tool(command[0]);
        // No program listens there.
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
            tool.env(name, "http://127.0.0.1:9");
        }
        tool.env("NO_PROXY", "localhost,127.0.0.1").env("no_proxy", "localhost,127.0.0.1");
        let told = tool.args(&command[1..]).output().unwrap();
        assert!(text(&told.stdout).contains("ada@example.test"), "{command:?}: {told:?}");
    }
    // Taken for a proxy itself, it serves what is its own and nothing else.
    let own = stage.curl(&["-x", &stage.base(), &url]);
    assert!(own.contains("ada@example.test"), "{own}");
    let told = stage.curl(&["-x", &stage.base(), "http://other.example/"]);
    assert!(told.contains("\"code\":\"guard.host\""), "{told}");
}

#[test]
fn a_person_who_calls_by_another_name_is_told_which_to_use() {
    let stage = stage();

    let told = stage.curl(&["-i", "-H", "Host: evil.example", &format!("{}/x", stage.base())]);

    let (head, body) = told.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 421 Misdirected Request\r\n"), "{head}");
    assert!(head.contains("content-type: application/problem+json\r\n"), "{head}");
    assert!(head.contains("details=\"guard.host\""), "{head}");
    assert_eq!(
        body,
        "{\"code\":\"guard.host\",\"detail\":\"the Host header names another host\",\"hint\":\"Use \
         http://localhost with the daemon's port, or name the host in listen.hosts; an exposed daemon's own address too.\",\
         \"status\":421,\"title\":\"Foreign Host\",\"type\":\"urn:nexudus-proxy:guard.host\"}\n"
    );
}

/// The program before a simulated Nexudus that has moved a page and compresses another.
fn stage() -> Stage {
    let simulator = Simulator::builder().account(Account::new(DEMO_EMAIL, DEMO_PASSWORD));
    let simulator = simulator.start().unwrap();
    simulator.fault(Fault::on("/moved", FaultAction::Redirect("{origin}/api/auth/me".into())));
    simulator.fault(Fault::on("/api/spaces/packed", FaultAction::Gzip));
    let origin = simulator.origin();
    Stage::of(simulator, &origin, |_, program| program)
}

/// Where it is, and what every download is compared with.
fn arguments(stage: &Stage) -> [String; 2] {
    [stage.base(), digest().clone()]
}

/// Asserts that a script of some sixty calls has ended well, on at most so many connections.
fn all_went_well(stage: &Stage, told: Output, most: u64) {
    assert!(told.status.success(), "{}", text(&told.stderr));
    let connections = stage.connections();
    assert!((1..=most).contains(&connections), "{connections} connections");
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/system/http_clients").join(name)
}

/// The content that every download is compared with.
fn digest() -> &'static String {
    static DIGEST: OnceLock<String> = OnceLock::new();
    DIGEST.get_or_init(|| sha256(&(0..8_000_000).map(pattern_byte).collect::<Vec<u8>>()))
}

fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
