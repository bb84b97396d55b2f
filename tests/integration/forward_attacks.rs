//! What the forward proxy must not be talked into.

use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::forward::{
    Echo, Forward, ask, handshake, origin, read_head, tunnelling, with_forward_proxy,
};
use crate::support::{EVENT_TIMEOUT, ProcessSetup, daemon, request_count, upstream};

#[tokio::test]
async fn an_odd_connect_opens_nothing() {
    let upstream = upstream().start().unwrap();
    let echo = Echo::start().await;
    let daemon = tunnelling(&upstream, &echo.target).run().await;
    let forward = Forward::of(&daemon).await;
    let port = echo.target.rsplit_once(':').unwrap().1;

    for (request, expected) in ODD_REQUESTS {
        let request = request.replace("ECHO", &echo.target).replace("PORT", port);
        let request = request.replace("ORIGIN", &origin(&upstream));
        let (line, rest) = request.split_once("\r\n").unwrap();
        let answer = forward.raw(&format!("{line}\r\nConnection: close\r\n{rest}")).await;
        let status = answer.strip_prefix("HTTP/1.1 ");
        let status = status.unwrap_or_else(|| panic!("{request}: {answer}"));
        assert!(status.starts_with(expected), "{request}: {answer}");
        assert!(answer.contains("proxy-status: nexudus-proxy"), "{request}: {answer}");
    }
    assert_eq!(echo.accepted.load(Ordering::Relaxed), 0);
    assert_eq!(request_count(&upstream, "/api/auth"), 0);
}

/// Requests to a daemon that tunnels to `ECHO`, on `PORT` of 127.0.0.1, and the statuses of their
/// refusals.
const ODD_REQUESTS: &[(&str, &str)] = &[
    // A body could be read as the first bytes of the tunnel.
    ("CONNECT ECHO HTTP/1.1\r\nHost: ECHO\r\nContent-Length: 5\r\n\r\nhello", "400"),
    ("CONNECT ECHO HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
    ("CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 5\r\n\r\nhello", "400"),
    // Two hosts, or none that is one.
    ("CONNECT ECHO HTTP/1.1\r\nHost: ECHO\r\nHost: ECHO\r\n\r\n", "400"),
    ("CONNECT ECHO HTTP/1.1\r\nHost: localhost:1\r\n\r\n", "421"),
    ("CONNECT ECHO HTTP/1.1\r\nHost: a@ECHO\r\n\r\n", "421"),
    ("CONNECT user@ECHO HTTP/1.1\r\nHost: ECHO\r\n\r\n", "400"),
    ("CONNECT http://ECHO/ HTTP/1.1\r\nHost: ECHO\r\n\r\n", "400"),
    ("CONNECT http://ECHO HTTP/1.1\r\nHost: ECHO\r\n\r\n", "400"),
    ("CONNECT /ECHO HTTP/1.1\r\nHost: ECHO\r\n\r\n", "400"),
    ("CONNECT 127.0.0.1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "400"),
    ("CONNECT 127.0.0.1:PORT:PORT HTTP/1.1\r\n\r\n", "400"),
    ("CONNECT 127.0.0.1:0PORTx HTTP/1.1\r\n\r\n", "400"),
    ("CONNECT 127.0.0.1%00.test:PORT HTTP/1.1\r\n\r\n", "400"),
    ("CONNECT 127.0.0.1\\@a.test:PORT HTTP/1.1\r\n\r\n", "400"),
    ("CONNECT [fe80::1%25eth0]:443 HTTP/1.1\r\n\r\n", "400"),
    ("CONNECT [fe80::1%eth0]:443 HTTP/1.1\r\n\r\n", "400"),
    ("CONNECT [::1 HTTP/1.1\r\n\r\n", "400"),
    ("CONNECT ECHO\r HTTP/1.1\r\nHost: ECHO\r\n\r\n", "400"),
    ("CONNECT ECHO HTTP/1.1\r\nHost: ECHO\nX: 1\r\n a\r\n\r\n", "400"),
    // Other ports than 443, and addresses that are one of this machine, or carry one.
    ("CONNECT example.test:80 HTTP/1.1\r\nHost: example.test:80\r\n\r\n", "403"),
    ("CONNECT example.test:22 HTTP/1.1\r\nHost: example.test:22\r\n\r\n", "403"),
    ("CONNECT 127.0.0.1:443 HTTP/1.1\r\n\r\n", "403"),
    ("CONNECT 127.1:443 HTTP/1.1\r\n\r\n", "400"),
    ("CONNECT 0x7f000001:443 HTTP/1.1\r\n\r\n", "400"),
    ("CONNECT 0.0.0.0:443 HTTP/1.1\r\n\r\n", "403"),
    ("CONNECT [::]:443 HTTP/1.1\r\n\r\n", "403"),
    ("CONNECT [::1]:443 HTTP/1.1\r\n\r\n", "403"),
    ("CONNECT [::ffff:127.0.0.1]:443 HTTP/1.1\r\n\r\n", "403"),
    ("CONNECT [64:ff9b::127.0.0.1]:443 HTTP/1.1\r\n\r\n", "403"),
    ("CONNECT 169.254.169.254:443 HTTP/1.1\r\n\r\n", "403"),
    ("CONNECT [fd00:ec2::254]:443 HTTP/1.1\r\n\r\n", "403"),
    ("GET http://169.254.169.254/latest/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n", "403"),
    ("GET http://localhost./ HTTP/1.1\r\nHost: example.test\r\n\r\n", "421"),
    ("GET /api/auth/me HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
];

#[tokio::test]
async fn a_tunnel_to_a_socket_of_this_daemon_is_refused_also_by_name() {
    let upstream = upstream().start().unwrap();
    let daemon = tunnelling(&upstream, "named.test").set(|config| {
        config.admin.listen = Some(([127, 0, 0, 1], 0).into());
    });
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let daemon = daemon.set(|config| {
        config.admin.listen = Some(([127, 0, 0, 1], port).into());
        config.forward_proxy.allow =
            ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}")).to_vec();
    });
    let daemon = daemon.run().await;
    let forward = Forward::of(&daemon).await;

    for host in ["127.0.0.1", "localhost", "LOCALHOST."] {
        let (_, head) = forward.connect(&format!("{host}:{port}"), "").await;
        assert!(
            head.starts_with("HTTP/1.1 403 loop refused by nexudus-proxy\r\n"),
            "{host}: {head}"
        );
    }
    let plain =
        format!("GET http://localhost:{port}/metrics HTTP/1.1\r\nHost: localhost:{port}\r\n");
    let answer = forward.raw(&format!("{plain}Connection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    for ours in [forward.address, daemon.address()] {
        let (_, head) = forward.connect(&ours.to_string(), "").await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{ours}: {head}");
    }
}

#[tokio::test]
async fn three_names_that_differ_are_a_misdirected_request() {
    let upstream = upstream().start().unwrap();
    let daemon = with_forward_proxy(daemon(&upstream)).run().await;
    let (forward, target) = (Forward::of(&daemon).await, origin(&upstream));
    let port = upstream.address().port();

    for (host, status) in [
        (target.clone(), 200),
        ("localhost".to_owned(), 200),
        ("LocalHost.".to_owned(), 200),
        ("localhost:1".to_owned(), 421),
        (format!("127.0.0.1:{port}"), 421),
        ("example.test".to_owned(), 421),
        (daemon.address().to_string(), 421),
    ] {
        let tls = forward.intercepted(&target, "").await;
        let request =
            format!("GET /api/auth/me HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = ask(tls, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
        assert_eq!(answer.contains("guard.host"), status == 421, "{host}: {answer}");
    }
    let tls = forward.intercepted(&target, "").await;
    let request = "GET http://other.test/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert!(ask(tls, request).await.starts_with("HTTP/1.1 421 "), "the target counts too");

    // A client that checks no certificate and names another host.
    let (tcp, head) = forward.connect(&target, "").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let tls = handshake(tcp, &blind(), "other.test").await.unwrap();
    let answer = ask(tls, "").await;
    assert!(answer.starts_with("HTTP/1.1 421 ") && answer.contains("guard.host"), "{answer}");
    assert_eq!(request_count(&upstream, "/api/auth"), 3);
}

#[tokio::test]
async fn plain_http_inside_a_tunnel_to_an_origin_is_refused() {
    let upstream = upstream().start().unwrap();
    let daemon = with_forward_proxy(daemon(&upstream)).run().await;
    let (forward, target) = (Forward::of(&daemon).await, origin(&upstream));

    let (tcp, _) = forward.connect(&target, "").await;
    let answer = ask(tcp, "GET /api/auth/me HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("request.framing"), "{answer}");

    let request =
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    let answer = forward.raw(&request).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("request.framing"), "{answer}");
    // A second CONNECT, inside of the first.
    let tls = forward.intercepted(&target, "").await;
    let again = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    let answer = ask(tls, &again).await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert_eq!(request_count(&upstream, "/api/auth"), 0);
}

#[tokio::test]
async fn a_slow_handshake_ends_with_the_timeout_of_a_head() {
    let upstream = upstream().start().unwrap();
    let setup = with_forward_proxy(daemon(&upstream)).set(|config| {
        config.limits.header_timeout = Duration::from_millis(200);
        config.listen.tls = vec![([127, 0, 0, 1], 0).into()];
    });
    let daemon = setup.run().await;
    let (forward, target) = (Forward::of(&daemon).await, origin(&upstream));

    for sent in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"\x16"] {
        let (mut behind_connect, _) = forward.connect(&target, "").await;
        let address = daemon.running.listening().tls[0];
        let mut direct = TcpStream::connect(address).await.unwrap();
        for tcp in [&mut behind_connect, &mut direct] {
            tcp.write_all(sent).await.unwrap();
            let mut rest = vec![];
            let ended = tokio::time::timeout(EVENT_TIMEOUT, tcp.read_to_end(&mut rest)).await;
            ended.expect("a handshake without end").ok();
            assert_eq!(rest, b"", "{sent:?}");
        }
    }
}

#[tokio::test]
async fn a_browser_gets_no_session_through_its_proxy() {
    let upstream = upstream().start().unwrap();
    let daemon = with_forward_proxy(daemon(&upstream)).run().await;
    let (forward, target) = (Forward::of(&daemon).await, origin(&upstream));
    let agent = "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n";

    let (_, head) = forward.connect(&target, agent).await;
    assert!(head.starts_with("HTTP/1.1 403 browser refused by nexudus-proxy\r\n"), "{head}");
    // Over plain HTTP a browser sends none of the headers by which it is known.
    let plain =
        format!("GET http://{target}/api/auth/me HTTP/1.1\r\nHost: {target}\r\n{agent}\r\n");
    let answer = forward.raw(&plain).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("guard.origin"), "{answer}");
    for line in ["Origin: https://evil.test", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: image"]
    {
        let tls = forward.intercepted(&target, "").await;
        let request = format!("GET /api/auth/me HTTP/1.1\r\nHost: {target}\r\n{line}\r\n\r\n");
        let answer = ask(tls, &request).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("guard.origin"), "{answer}");
    }
    // Pages can ask for paths of ours, and get none.
    let page = "GET /api/auth/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert!(forward.raw(page).await.starts_with("HTTP/1.1 400 this is the forward proxy"));
    assert_eq!(request_count(&upstream, "/api/auth"), 0);
}

#[tokio::test]
async fn a_key_in_proxy_authorization_is_in_no_log_line() {
    let upstream = upstream().start().unwrap();
    let setup = ProcessSetup::new(&upstream)
        .set("NEXUDUS_PROXY_FORWARD_PROXY_LISTEN", "127.0.0.1:0")
        .set("NEXUDUS_PROXY_FORWARD_PROXY_OTHER_HOSTS", "tunnel")
        .set("NEXUDUS_PROXY_LOG_LEVEL", "trace");
    let mut program = setup.start().await;
    let line = program.wait_for_log(|line| line["message"] == "listening as a forward proxy").await;
    let address: std::net::SocketAddr = line["address"].as_str().unwrap().parse().unwrap();
    // Of the shape of a key, and of none.
    let keys = ["nxp_4Tt7marker0secret1of2a3test4aaaaaaaaaaaaaaaa", "marker-proxy-password"];
    let target = origin(&upstream);

    for key in keys {
        let pair = STANDARD.encode(format!("any:{key}"));
        for credentials in [format!("Bearer {key}"), format!("Basic {pair}"), format!("Odd {key}")]
        {
            for line in [
                format!("CONNECT {target} HTTP/1.1\r\nHost: {target}"),
                "CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: 127.0.0.1:443".to_owned(),
                format!("CONNECT {key}@{target} HTTP/1.1\r\nHost: {key}"),
                format!("GET http://{target}/api/auth/me?k={key} HTTP/1.1\r\nHost: {target}"),
                "GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1".to_owned(),
            ] {
                let lines = format!("Proxy-Authorization: {credentials}\r\nConnection: close");
                let mut tcp = TcpStream::connect(address).await.unwrap();
                tcp.write_all(format!("{line}\r\n{lines}\r\n\r\n").as_bytes()).await.unwrap();
                let head = read_head(&mut tcp).await;
                assert!(head.starts_with("HTTP/1.1 ") && !head.contains(key), "{line}: {head}");
            }
        }
    }
    assert_eq!(program.status("/api/auth/me?last").await, 200);
    let is_last = |line: &serde_json::Value| line["method"] == "GET" && line["status"] == 200;
    program.wait_for_log(is_last).await;
    let said = format!("{:?}{:?}", program.skipped(), program.lines());
    assert!(said.contains("CONNECT"), "the log has lines about these requests");
    for key in keys {
        assert!(!said.contains(key) && !said.contains(&STANDARD.encode(format!("any:{key}"))));
    }
    let seen = format!("{:?}", upstream.requests());
    assert!(keys.iter().all(|key| !seen.contains(&format!("Bearer {key}"))), "{seen}");
}

/// A client of TLS that believes every certificate.
fn blind() -> std::sync::Arc<rustls::ClientConfig> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(std::sync::Arc::new(Believing))
        .with_no_client_auth();
    std::sync::Arc::new(config)
}

#[derive(Debug)]
struct Believing;

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
