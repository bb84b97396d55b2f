//! Status, metrics, events and logs tell the truth, and no secret.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nexudus_proxy::admin::api::{Event, Problem, Readiness, RequestRecord, Status};
use nexudus_proxy::admin::client::{AdminClient, Error, EventStream};
use nexudus_proxy::config::Paths;
use nexudus_proxy::session::{SessionState, SessionStatus};
use nexudus_simulator::{Account, Fault, FaultAction, Route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::{
    Daemon, EVENT_TIMEOUT, PASSWORD, ProcessSetup, ada, daemon, get_error_code, needs_root,
    upstream,
};

#[tokio::test]
async fn ready_comes_within_a_tenth_of_a_second() {
    let upstream = upstream().start().unwrap();
    let held = upstream.hold(Route::Token);
    let daemon = daemon(&upstream).run().await;
    let mut events = daemon.admin().await.events("ready").await.unwrap();
    let first = readiness(&mut events).await;

    let session = daemon.running.session().clone();
    let mut changes = session.subscribe();
    held.release();
    let became_ready = async {
        while session.bearer().is_err() {
            changes.changed().await.unwrap();
        }
        Instant::now()
    };
    let told = async {
        while !readiness(&mut events).await.ready {}
        Instant::now()
    };
    let (became_ready, told) = tokio::join!(became_ready, told);

    assert!(!first.ready && first.reasons[0].code == "session.unavailable", "{first:?}");
    assert!(told.saturating_duration_since(became_ready) < Duration::from_millis(100));
}

#[tokio::test]
async fn until_the_first_answer_it_is_starting_and_says_so() {
    let upstream = upstream().start().unwrap();
    let held = upstream.hold(Route::Token);
    let daemon = daemon(&upstream).run().await;
    assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);

    let status: Status = daemon.admin().await.get("/v1/status").await.unwrap();
    let readyz = get(&daemon, "/readyz").await;
    let metrics = daemon.metrics().await;
    held.release();
    let after = status_until(&daemon, |status| status.readiness.ready).await;

    let SessionStatus { state, renewing, expires_in, error, .. } = status.session.status;
    assert_eq!((state, renewing, expires_in), (SessionState::Starting, true, None));
    assert!(error.is_none(), "nothing has gone wrong: {error:?}");
    let reason = &status.readiness.reasons[0];
    assert_eq!(
        (reason.code.as_str(), reason.sentence.as_str(), reason.hint.as_str()),
        (
            "session.unavailable",
            "no valid token, and Nexudus gave no new one yet",
            "Wait: the daemon tries again; `nexudus-proxy status` shows the last reason."
        )
    );
    assert!(readyz.starts_with("HTTP/1.1 503") && readyz.contains(&reason.sentence), "{readyz}");
    assert!(metrics.contains("nexudus_proxy_session_state{state=\"starting\"} 1\n"), "{metrics}");
    assert_eq!(after.session.status.state, SessionState::Ready);
}

#[tokio::test]
async fn readiness_names_the_reason_in_each_state() {
    let upstream = upstream().start().unwrap();
    let nobody = daemon(&upstream).without_login().run().await;
    assert_eq!(reason(&nobody).await, "session.not-logged-in");

    let wrong = daemon(&upstream).password("not-it").run().await;
    wrong.session_until(|view| view.error.is_some()).await;
    assert_eq!(reason(&wrong).await, "session.refused");

    let daemon = daemon(&upstream).run().await;
    daemon.session_until(|view| view.generation == 1).await;
    assert!(get(&daemon, "/readyz").await.starts_with("HTTP/1.1 200"));
    let admin = daemon.admin().await;
    let locked: SessionStatus = admin.post("/v1/lock").await.unwrap();
    assert_eq!(locked.state, SessionState::Locked);
    assert_eq!(reason(&daemon).await, "session.locked");
    let _: SessionStatus = admin.post("/v1/unlock").await.unwrap();
    daemon.session_until(|view| view.expires_in.is_some()).await;
    assert!(get(&daemon, "/readyz").await.starts_with("HTTP/1.1 200"));
    let _: SessionStatus = admin.post("/v1/forget").await.unwrap();
    assert_eq!(reason(&daemon).await, "session.not-logged-in");
    assert!(get(&daemon, "/healthz").await.starts_with("HTTP/1.1 200"), "alive all the same");
}

#[tokio::test]
async fn readiness_names_what_only_a_person_can_repair() {
    let needs_code = ada().with_totp_secret("JBSWY3DPEHPK3PXP");
    let needs_password = Account { must_reset_password: true, ..ada() };
    for (account, code) in
        [(needs_code, "session.totp-required"), (needs_password, "session.password-reset")]
    {
        let upstream = upstream().account(account).start().unwrap();
        let daemon = daemon(&upstream).run().await;
        daemon.session_until(|view| view.error.is_some()).await;
        assert_eq!(reason(&daemon).await, code);
    }

    let upstream = upstream().start().unwrap();
    let unreadable = daemon(&upstream)
        .with_login_file(PASSWORD)
        .set(|config| config.credentials.command = vec!["false".to_owned()]);
    let unreadable = unreadable.run().await;
    unreadable.session_until(|view| view.error.is_some()).await;
    assert_eq!(reason(&unreadable).await, "credentials.unavailable");

    let daemon = daemon(&upstream).stored().run().await;
    daemon.session_until(|view| view.saved).await;
    let daemon = daemon.restart().await.without_login().run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    upstream.revoke_access_tokens();
    upstream.revoke_refresh_tokens();
    assert_eq!(get_error_code(&daemon).await, "session.expired");
    assert_eq!(reason(&daemon).await, "session.expired");
    assert!(get(&daemon, "/healthz").await.starts_with("HTTP/1.1 200"), "alive all the same");
}

#[tokio::test]
async fn a_refresh_renews_or_says_why_not() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.session_until(|view| view.generation == 1).await;
    let admin = daemon.admin().await;

    let renewed: SessionStatus = admin.post("/v1/refresh").await.unwrap();
    let _: SessionStatus = admin.post("/v1/forget").await.unwrap();
    let refused = admin.post::<SessionStatus>("/v1/refresh").await.unwrap_err();

    assert_eq!(renewed.generation, 2);
    let Error::Problem(problem) = refused else { panic!("{refused:?}") };
    assert_eq!((problem.status, problem.code.as_str()), (503, "session.not-logged-in"));
}

#[tokio::test]
async fn the_status_counts_what_was_asked() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.get("/api/auth/me").await.bytes().await.unwrap();
    daemon.get("/api/no/such/thing").await.bytes().await.unwrap();
    daemon.request("GET", "/").header("host", "evil.example").send().await.unwrap();

    let status = status_until(&daemon, |status| status.requests.total == 3).await;

    assert_eq!((status.api, status.profile.as_str()), (1, "default"));
    assert_eq!(status.listening.tcp, daemon.running.addresses());
    assert_eq!(status.requests.by_status, counts([("2xx", 1), ("4xx", 2)]));
    assert_eq!(status.requests.by_code, counts([("guard.host", 1)]));
    assert_eq!(status.requests.in_flight, 0);
    assert!(status.readiness.ready && status.session.status.expires_in.is_some());
}

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
async fn a_watcher_sees_each_request_without_its_query() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let mut events = daemon.admin().await.events("request").await.unwrap();

    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = daemon.request("GET", "/api/auth/me?token=marker-query");
    let request = request.header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    request.send().await.unwrap().bytes().await.unwrap();
    let seen = request_event(&mut events).await;

    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("GET", "/api/auth/me"));
    assert_eq!((seen.status, seen.trace_id.as_deref()), (Some(200), Some(trace)));
    assert!(seen.bytes > 0);
    let arrived = upstream.requests();
    let traced = |(name, _): &(String, String)| name.eq_ignore_ascii_case("traceparent");
    assert!(!arrived.iter().any(|seen| seen.headers.iter().any(traced)), "it went to Nexudus");
}

#[tokio::test]
async fn no_secret_is_in_anything_that_is_told() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let mut events = daemon.admin().await.events("ready,session,request").await.unwrap();
    let request = daemon.request("POST", "/api/spaces/coworkers?q=marker-query");
    let request = request.header("authorization", "Bearer marker-header").body("marker-body");
    request.send().await.unwrap().bytes().await.unwrap();

    let mut told = String::new();
    while !told.contains("Request") {
        let event = tokio::time::timeout(EVENT_TIMEOUT, events.next()).await.unwrap();
        told.push_str(&format!("{:?}", event.unwrap()));
    }
    for path in ["/v1/status", "/metrics", "/readyz", "/healthz"] {
        told.push_str(&get(&daemon, path).await);
    }

    let tokens = upstream.live_access_tokens();
    assert!(!tokens.is_empty());
    for secret in tokens.iter().map(String::as_str).chain([PASSWORD, "marker-"]) {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}

#[tokio::test]
async fn nothing_changes_state_on_get() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;

    for act in ["stop", "reload", "refresh", "lock", "unlock", "forget", "login", "handover"] {
        let answer = get(&daemon, &format!("/v1/{act}")).await;
        assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: POST"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let problem: Problem = serde_json::from_str(body).unwrap();
        assert_eq!(problem.kind, "urn:nexudus-proxy:admin.method");
    }
}

#[tokio::test]
async fn over_tcp_there_is_reading_only_and_no_web_page() {
    let upstream = upstream().start().unwrap();
    let loopback = "127.0.0.1:0".parse().unwrap();
    let daemon = daemon(&upstream).set(|config| config.admin.listen = Some(loopback)).run().await;
    let status: Status = daemon.admin().await.get("/v1/status").await.unwrap();
    let address = status.listening.admin_tcp.unwrap();
    let ask = async |method: &str, path: &str, headers: &str| {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
        let head = format!("{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n");
        exchange(stream, &head).await[9..12].to_owned()
    };

    assert_eq!(ask("GET", "/healthz", "").await, "200");
    assert_eq!(ask("GET", "/metrics", "").await, "200");
    assert_eq!(ask("GET", "/v1/status", "").await, "404");
    assert_eq!(ask("POST", "/v1/stop", "").await, "404");
    assert_eq!(ask("GET", "/metrics", "Host: evil.example\r\n").await, "421");
    assert_eq!(ask("GET", "/metrics", "Origin: http://evil.example\r\n").await, "403");
    assert_eq!(ask("GET", "/metrics", "Sec-Fetch-Site: cross-site\r\n").await, "403");
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

#[tokio::test]
async fn a_trace_goes_on_only_where_that_is_configured() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.upstream.trace = true).run().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    let request = daemon.request("GET", "/api/spaces/coworkers").header("traceparent", trace);
    let request = request.header("tracestate", "a=1").header("baggage", "user=marker-user");
    request.send().await.unwrap().bytes().await.unwrap();

    let seen = upstream.requests();
    let arrived = seen.iter().find(|seen| seen.path() == "/api/spaces/coworkers").unwrap();
    let field = |name: &str| {
        let found = arrived.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!((field("traceparent"), field("tracestate")), (Some(trace), Some("a=1")));
    assert_eq!(field("baggage"), None);
}

#[tokio::test]
async fn what_was_opened_for_admin_users_is_shut_again_once_nobody_is_named() {
    let upstream = upstream().start().unwrap();
    let named = daemon(&upstream).set(|config| config.admin.users = vec!["nobody".to_owned()]);
    let daemon = named.run().await;
    let run = Paths::rooted_at(daemon.home()).runtime;
    let mode = || std::fs::metadata(&run).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o711);

    let _again = daemon.restart().await.set(|config| config.admin.users.clear()).run().await;

    assert_eq!(mode(), 0o700);
}

#[tokio::test]
async fn whoever_is_named_in_admin_users_may_use_the_socket_and_nobody_else() {
    needs_root();
    let upstream = upstream().start().unwrap();
    let named = vec!["65534".to_owned()];
    let setups = [daemon(&upstream).set(|config| config.admin.users = named), daemon(&upstream)];
    let mut statuses = vec![];
    for setup in setups {
        let daemon = setup.run().await;
        // The way to the socket is open, so that its own answer is what is seen.
        open(daemon.home());
        let socket = Paths::rooted_at(daemon.home()).admin_socket();
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
        let mut curl = tokio::process::Command::new("setpriv");
        curl.args(["--reuid=65534", "--clear-groups", "curl", "--silent", "--output", "/dev/null"]);
        curl.args(["--write-out", "%{http_code}", "--unix-socket"]).arg(&socket);
        let said = curl.arg("http://localhost/v1/status").output().await.unwrap().stdout;
        statuses.push((mode, String::from_utf8(said).unwrap()));
        open(socket.parent().unwrap());
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
        let said = curl.output().await.unwrap().stdout;
        statuses.push((0o666, String::from_utf8(said).unwrap()));
    }

    let expected = [(0o666, "200"), (0o666, "200"), (0o600, "000"), (0o666, "403")];
    assert_eq!(statuses, expected.map(|(mode, said)| (mode, said.to_owned())));
}

#[tokio::test]
async fn a_stranger_who_holds_many_connections_keeps_nobody_from_acting() {
    needs_root();
    let upstream = upstream().start().unwrap();
    let named = vec!["65533".to_owned()];
    let daemon = daemon(&upstream).set(|config| config.admin.users = named).run().await;
    open(daemon.home());
    let socket = Paths::rooted_at(daemon.home()).admin_socket();
    // Each is connected before the next begins, and accepted in that order.
    let hold = r#"use Socket; $| = 1;
        for (1..70) {
            socket(my $held, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
            connect($held, pack_sockaddr_un($ARGV[0])) or die "connect: $!";
            push @held, $held;
        }
        print "holding\n"; <STDIN>;"#;
    let mut stranger = Command::new("setpriv");
    stranger.args(["--reuid=65534", "--clear-groups", "perl", "-e", hold]).arg(&socket);
    let mut stranger = stranger.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 8];
    stranger.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"holding\n");

    let status: Result<Status, Error> = daemon.admin().await.get("/v1/status").await;

    assert!(status.is_ok(), "{status:?}");
    drop(stranger.stdin.take());
    assert!(stranger.wait().unwrap().success());
}

fn open(directory: &std::path::Path) {
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o711)).unwrap();
}

/// Reads the metrics as strictly as `promtool check metrics`: every family has its help and its
/// type before its samples, once; counters end in `_total`; histograms add up; no series twice.
async fn scrape(daemon: &Daemon) -> BTreeMap<String, f64> {
    let answer = get(daemon, "/metrics").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    let (_, text) = answer.split_once("\r\n\r\n").unwrap();
    let mut families: BTreeMap<&str, &str> = BTreeMap::new();
    let mut series = BTreeMap::new();
    let mut help = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, said) = rest.split_once(' ').unwrap();
            assert!(said.ends_with('.'), "{line}");
            help = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, help, "a type follows its help");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(families.insert(name, kind).is_none(), "twice: {line}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = name.split('{').next().unwrap();
            let parts = ["_bucket", "_sum", "_count"];
            let base = parts.iter().find_map(|part| family.strip_suffix(part));
            let base = base.filter(|base| families.get(base) == Some(&"histogram"));
            assert_eq!(base.unwrap_or(family), help, "a sample follows its family: {line}");
            let value: f64 = value.parse().unwrap();
            assert!(series.insert(name.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    let buckets = series.iter().filter(|(name, _)| name.contains("le=\"+Inf\""));
    for (name, value) in buckets {
        let (base, _) = name.split_once("_bucket").unwrap();
        assert_eq!(series[&format!("{base}_count")], *value);
    }
    series
}

async fn status_until(daemon: &Daemon, wanted: impl Fn(&Status) -> bool) -> Status {
    let admin: AdminClient = daemon.admin().await;
    let waiting = async {
        loop {
            let status: Status = admin.get("/v1/status").await.unwrap();
            if wanted(&status) {
                return status;
            }
            // A request is counted once its last byte is sent, which its caller may see first.
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, waiting).await.unwrap()
}

async fn reason(daemon: &Daemon) -> String {
    daemon.session_until(|view| !view.renewing).await;
    let answer = get(daemon, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let readiness: Readiness = serde_json::from_str(body).unwrap();
    readiness.reasons[0].code.clone()
}

async fn readiness(events: &mut EventStream) -> Readiness {
    match tokio::time::timeout(EVENT_TIMEOUT, events.next()).await.unwrap() {
        Some(Event::Ready(readiness)) => readiness,
        other => panic!("{other:?}"),
    }
}

async fn request_event(events: &mut EventStream) -> RequestRecord {
    match tokio::time::timeout(EVENT_TIMEOUT, events.next()).await.unwrap() {
        Some(Event::Request(request)) => *request,
        other => panic!("{other:?}"),
    }
}

async fn get(daemon: &Daemon, path: &str) -> String {
    let socket = Paths::rooted_at(daemon.home()).admin_socket();
    let stream = UnixStream::connect(socket).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    exchange(stream, &head).await
}

async fn exchange(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, head: &str) -> String {
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn counts<const N: usize>(pairs: [(&str, u64); N]) -> BTreeMap<String, u64> {
    pairs.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// The metrics tell afterwards why requests failed, without anyone reading the log meanwhile.
#[tokio::test]
async fn what_nexudus_does_not_answer_is_in_the_log_once_and_so_is_its_return() {
    let upstream = upstream().start().unwrap();
    upstream.fault(Fault::on("/api/marker-path", FaultAction::Close));
    let mut program = ProcessSetup::new(&upstream).start().await;
    for _ in 0..12 {
        assert_eq!(program.status("/api/marker-path?marker=query").await, 502);
    }
    assert_eq!(program.status("/api/auth/me").await, 200);

    let lines = std::cell::RefCell::new(vec![]);
    let again = |line: &serde_json::Value| {
        lines.borrow_mut().push(line.clone());
        line["message"] == "Nexudus responds again"
    };
    let again = program.wait_for_log(again).await;

    let lines = lines.into_inner();
    let told: Vec<_> =
        lines.iter().filter(|line| line["message"] == "no response from Nexudus").collect();
    let [told] = told.as_slice() else { panic!("{lines:#?}") };
    assert_eq!((&told["level"], &told["code"]), (&"WARN".into(), &"upstream.closed".into()));
    assert_eq!((&told["failed"], &told["origin"]), (&1.into(), &upstream.origin().into()));
    assert!(told["cause"].as_str().unwrap().contains("closed the connection"), "{told}");
    assert_eq!((&again["level"], &again["failed"]), (&"INFO".into(), &11.into()));
    assert!(lines.iter().all(|line| !line.to_string().contains("marker")), "{lines:#?}");
}
