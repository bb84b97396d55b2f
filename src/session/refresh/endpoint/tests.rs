//! The two calls, against a server of one connection.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::clock::Clock;
use crate::config;

#[tokio::test]
async fn both_grants_are_forms_with_the_client_id_as_a_header() {
    let (origin, seen) = answering("HTTP/1.1 200 OK\r\ncontent-length: 20\r\nconnection: close\r\n\r\n{\"access_token\":\"t\"}").await;
    let issuer = issuer_at(origin);
    let password = Secret::new("p&ss");
    let grant = Grant::Password {
        email: "ada@example.test".into(),
        password,
        totp: Some(Secret::new("123456")),
    };

    let issued = issuer.issue(&grant, "c-1").await.unwrap();

    let request = seen.await.unwrap();
    assert_eq!(issued.access.expose(), "t");
    assert!(request.starts_with("POST /api/token HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("client_id: c-1\r\n"), "{request}");
    assert!(request.contains("application/x-www-form-urlencoded"), "{request}");
    assert!(
        request.ends_with(
            "grant_type=password&username=ada%40example.test&password=p%26ss&totp=123456"
        )
    );
    assert_eq!(
        form_fields(&Grant::Refresh(Secret::new("r1"))),
        [("grant_type", "refresh_token"), ("refresh_token", "r1")]
    );
}

#[tokio::test]
async fn an_answer_that_never_ends_is_cut() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n";
    let (origin, _seen) = answering(&format!("{head}{}", "x".repeat(99_999))).await;

    let failure = refresh(&origin).await.unwrap_err();

    assert!(matches!(failure, TokenError::Unavailable { .. }), "{failure:?}");
}

#[tokio::test]
async fn a_lost_answer_is_told_from_a_request_that_never_left() {
    let (origin, _seen) = answering("").await;
    let lost = refresh(&origin).await.unwrap_err();
    assert!(matches!(lost, TokenError::Ambiguous(_)), "{lost:?}");

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let never_left = refresh(&format!("http://{closed}")).await.unwrap_err();
    let TokenError::Transient { cause, .. } = never_left else { panic!("{never_left:?}") };
    assert!(
        cause.message().starts_with("the token endpoint cannot be reached: Connection refused"),
        "{cause}"
    );
}

#[test]
fn a_probe_is_judged_by_its_status() {
    let status = |code| classify_probe(StatusCode::from_u16(code).unwrap(), None);
    for (code, verdict) in [
        (200, Probe::Alive),
        (204, Probe::Alive),
        (403, Probe::Alive),
        (404, Probe::Alive),
        (401, Probe::Dead),
        (302, Probe::Unclear),
        (408, Probe::Unclear),
        (409, Probe::Unclear),
        (429, Probe::Unclear),
        (500, Probe::Unclear),
        (503, Probe::Unclear),
    ] {
        assert_eq!(status(code), verdict, "{code}");
    }
    let to = |place| Some(HeaderValue::from_static(place));
    assert_eq!(classify_probe(StatusCode::FOUND, to("/en/User/Login").as_ref()), Probe::Dead);
    assert_eq!(classify_probe(StatusCode::FOUND, to("/en/").as_ref()), Probe::Unclear);
    assert_eq!(classify_probe(StatusCode::OK, to("/login").as_ref()), Probe::Alive);
}

fn issuer_at(origin: impl Into<String>) -> HttpIssuer {
    let throttle = Throttle::new(&config::Throttle::default(), Clock::system());
    HttpIssuer::new(plain_client(), origin, throttle)
}

async fn refresh(origin: &str) -> Result<TokenGrant, TokenError> {
    let grant = Grant::Refresh(Secret::new("r"));
    issuer_at(origin).issue(&grant, "c").await
}

/// Responds on one connection, once it has sent a whole request.
async fn answering(answer: &str) -> (String, tokio::sync::oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let (sender, seen) = tokio::sync::oneshot::channel();
    let answer = answer.to_owned();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = String::new();
        let mut buffer = [0; 4096];
        while !is_whole(&request) {
            let length = stream.read(&mut buffer).await.unwrap();
            assert_ne!(length, 0, "the request ended early");
            request.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        let _ = sender.send(request);
        let _ = stream.write_all(answer.as_bytes()).await;
    });
    (origin, seen)
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse().unwrap())
}

fn plain_client() -> reqwest::Client {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    configure_client(reqwest::Client::builder()).tls_backend_preconfigured(tls).build().unwrap()
}
