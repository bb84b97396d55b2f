//! A connection whose other end does what it wants, whenever it wants.

use std::sync::Arc;

use http::Request;
use http::header::HOST;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::coop;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream as ServerTlsStream;

use super::*;

#[tokio::test]
async fn a_connection_that_was_closed_is_dead_at_the_end_of_a_turn_too() {
    let (mut line, mut host) = pair().await;
    assert!(line.is_reusable());
    host.shutdown().await.unwrap();
    // The runtime has heard of it once somebody else has.
    line.0.stream.readable().await;

    let lives = poll_fn(|cx| {
        while coop::poll_proceed(cx).map(|turn| turn.made_progress()).is_ready() {}
        Poll::Ready(line.is_reusable())
    });

    assert!(!lives.await);
}

#[tokio::test]
async fn new_keys_at_any_moment_leave_a_connection_whole() {
    let (mut line, mut host) = pair().await;
    for nth in 0..5 {
        host.get_mut().1.refresh_traffic_keys().unwrap();
        if nth % 2 == 0 {
            host.flush().await.unwrap();
        }
        assert!(line.is_reusable(), "{nth}");
        let answered = async {
            asked(&mut host).await;
            host.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na").await.unwrap();
            host.get_mut().1.refresh_traffic_keys().unwrap();
            host.write_all(b"bc").await.unwrap();
            host.flush().await.unwrap();
        };
        let (body, ()) = tokio::join!(get(&mut line), answered);
        assert_eq!(body, b"abc");
    }
}

#[tokio::test]
async fn an_idle_connection_gives_the_memory_of_a_download_back() {
    let (mut line, mut host) = pair().await;
    let answered = async {
        asked(&mut host).await;
        host.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
        host.write_all(&[b'x'; 1_000_000]).await.unwrap();
        host.flush().await.unwrap();
    };
    let (body, ()) = tokio::join!(get(&mut line), answered);
    assert_eq!(body.len(), 1_000_000);

    assert!(line.is_reusable());

    assert!(!line.0.read_buf.try_reclaim(MAX_INLINE_BODY + 1));
}

/// Asks for something and reads the answer.
async fn get(line: &mut Http1Connection) -> Vec<u8> {
    let mut request = Request::get("/").body(ReplayBody::Empty).unwrap();
    request.headers_mut().insert(HOST, http::HeaderValue::from_static("localhost"));
    let answer = line.send_request(&mut request, Duration::from_secs(20)).await;
    assert_eq!(answer.unwrap().ok().unwrap().status(), 200);
    let mut body = vec![];
    while let Some(data) = poll_fn(|cx| line.poll_data(cx)).await {
        body.extend_from_slice(&data.unwrap());
    }
    body
}

/// Reads the head of a request.
async fn asked(host: &mut ServerTlsStream<TcpStream>) {
    let mut seen = vec![];
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(host.read_u8().await.unwrap());
    }
}

/// Both ends of a connection.
async fn pair() -> (Http1Connection, ServerTlsStream<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let trusting = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let (ours, theirs) = tokio::join!(TlsStream::connect(tcp, Arc::new(trusting), name), async {
        let (tcp, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(config)).accept(tcp).await.unwrap()
    });
    (Http1Connection::new(ours.unwrap()), theirs)
}
