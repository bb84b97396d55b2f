//! The metrics are well-formed, count every answer and grow by no choice of a caller.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use nexudus_proxy::admin::api::Status;

use crate::support::admin::{counts, get, scrape, status_until};
use crate::support::{daemon, upstream};

#[tokio::test]
async fn an_answer_to_what_never_became_a_request_is_counted_too() {
    let upstream = upstream().start().unwrap();
    let setup = daemon(&upstream).set(|config| {
        config.limits.header_timeout = Duration::from_secs(1);
        config.limits.header_bytes = 200 << 10;
    });
    let daemon = setup.run().await;
    let head =
        |target: &str, field: &str| format!("GET {target} HTTP/1.1\r\nHost: HOST\r\n{field}");
    for (sent, status) in [
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (head(&format!("/{}", "x".repeat(70_000)), "\r\n"), "414"),
        (head("/", &format!("X-Long: {}\r\n\r\n", "x".repeat(300_000))), "431"),
        (head("/", "X-Slow: "), "408"),
    ] {
        assert_eq!(daemon.raw(&sent).await.get(9..12), Some(status));
    }

    let status: Status = daemon.admin().await.get("/v1/status").await.unwrap();
    let expected = [("request.framing", 1), ("request.timeout", 1), ("request.too-large", 2)];
    assert_eq!(status.requests.by_code, counts(expected));
    let metrics = scrape(&daemon).await;
    assert_eq!(metrics["nexudus_proxy_answers_total{code=\"request.timeout\"}"], 1.0);
}

#[tokio::test]
async fn metrics_are_well_formed_and_grow_by_no_callers_choice() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.get("/api/auth/me").await.bytes().await.unwrap();
    daemon.request("GET", "/").header("host", "evil.example").send().await.unwrap();
    status_until(&daemon, |status| status.requests.total == 2).await;

    let before = scrape(&daemon).await;
    for path in ["/api/one", "/api/two?x=1", "/api/three/4"] {
        daemon.get(path).await.bytes().await.unwrap();
    }
    status_until(&daemon, |status| status.requests.total == 5).await;
    let after = scrape(&daemon).await;

    assert_eq!(before["nexudus_proxy_requests_total{kind=\"read\",status=\"2xx\"}"], 1.0);
    assert_eq!(before["nexudus_proxy_answers_total{code=\"guard.host\"}"], 1.0);
    assert_eq!(before["nexudus_proxy_request_duration_seconds_count"], 2.0);
    assert_eq!(before["nexudus_proxy_ready"], 1.0);
    assert_eq!(before["nexudus_proxy_token_renewals_total"], 1.0);
    assert!(before.keys().eq(after.keys()), "a series appeared: {after:?}");
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.get("/api/auth/me").await.bytes().await.unwrap();
    daemon.request("GET", "/").header("host", "evil.example").send().await.unwrap();
    let answer = get(&daemon, "/metrics").await;
    let (_, metrics) = answer.split_once("\r\n\r\n").unwrap();

    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/promtool");
    let promtool = if std::path::Path::new(ours).exists() { ours } else { "promtool" };
    let mut promtool = Command::new(promtool);
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut promtool = promtool.stderr(Stdio::piped()).spawn().expect("run scripts/prepare.sh");
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();

    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}{metrics}");
}
