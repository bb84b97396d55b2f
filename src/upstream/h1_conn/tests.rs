//! A connection over TLS to a host that does what a test wants.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use http::header::HOST;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::coop;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream as ServerTlsStream;

use super::*;

#[tokio::test]
async fn a_closed_connection_is_noticed_without_budget_too() {
    let (mut conn, mut host) = pair(&TLS13).await;
    assert!(conn.is_reusable());
    host.shutdown().await.unwrap();
    // The runtime has noticed once another task has.
    conn.0.conn.transport().readable().await;

    let is_reusable = poll_fn(|cx| {
        while coop::poll_proceed(cx).map(|budget| budget.made_progress()).is_ready() {}
        Poll::Ready(conn.is_reusable())
    });

    assert!(!is_reusable.await);
}

#[tokio::test]
async fn key_updates_at_any_moment_leave_a_connection_usable() {
    let (mut conn, mut host) = pair(&TLS13).await;
    for nth in 0..5 {
        host.get_mut().1.refresh_traffic_keys().unwrap();
        if nth % 2 == 0 {
            host.flush().await.unwrap();
        }
        assert!(conn.is_reusable(), "{nth}");
        let served = async {
            read_head(&mut host).await;
            host.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na").await.unwrap();
            host.get_mut().1.refresh_traffic_keys().unwrap();
            host.write_all(b"bc").await.unwrap();
            host.flush().await.unwrap();
        };
        let (body, ()) = tokio::join!(get(&mut conn), served);
        assert_eq!(body, b"abc");
    }
}

/// RFC 9112 §9.8. rustls reports an end without `close_notify` as an error.
#[tokio::test]
async fn a_closed_connection_says_close_notify() {
    for version in [&TLS12, &TLS13] {
        let (mut conn, mut host) = pair(version).await;
        let served = async {
            read_head(&mut host).await;
            host.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").await.unwrap();
            host.flush().await.unwrap();
        };
        let (body, ()) = tokio::join!(get(&mut conn), served);
        assert_eq!(body, b"abc");

        drop(conn);

        assert_eq!(host.read(&mut [0; 1]).await.unwrap(), 0, "{version:?}");
    }
}

#[tokio::test]
async fn a_closed_upgraded_connection_says_close_notify_once() {
    for version in [&TLS12, &TLS13] {
        let (conn, mut host) = pair(version).await;
        let (stream, _) = conn.into_parts();
        let mut stream = hyper_util::rt::TokioIo::new(stream);

        stream.write_all(b"goodbye").await.unwrap();
        stream.shutdown().await.unwrap();
        drop(stream);

        let mut seen = vec![];
        host.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"goodbye", "{version:?}");
    }
}

/// Each of the three has a thread and a runtime of its own: the host, the thread that opens the
/// connection, and the thread that the connection moves to. The second ends before the third begins.
#[test]
fn a_moved_connection_goes_on_after_the_end_of_the_runtime_that_opened_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (serving, trusting) = configs(&TLS13);
    let host = std::thread::spawn(move || {
        runtime().block_on(async move {
            let mut host = accepted(&TcpListener::from_std(listener).unwrap(), serving).await;
            for _ in 0..2 {
                read_head(&mut host).await;
                host.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").await.unwrap();
                host.flush().await.unwrap();
            }
        });
    });
    let opens = std::thread::spawn(move || {
        runtime().block_on(async move {
            let mut conn = connected(address, trusting).await;
            assert_eq!(get(&mut conn).await, b"abc");
            conn
        })
    });
    let mut conn = opens.join().unwrap();

    let moved = std::thread::spawn(move || {
        runtime().block_on(async move {
            conn.move_here();
            assert_eq!(conn.runtime(), Handle::current().id());
            assert!(conn.is_reusable());
            get(&mut conn).await
        })
    });

    assert_eq!(moved.join().unwrap(), b"abc");
    host.join().unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Sends a GET and returns the response's body.
async fn get(conn: &mut Http1Connection) -> Vec<u8> {
    let mut request = Request::get("/").body(ReplayBody::Empty).unwrap();
    request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    let response = conn.send_request(&mut request, Duration::from_secs(20)).await;
    assert_eq!(response.unwrap().ok().unwrap().status(), 200);
    let mut body = vec![];
    while let Some(data) = poll_fn(|cx| conn.poll_data(cx)).await {
        body.extend_from_slice(&data.unwrap());
    }
    body
}

/// Reads the head of a request.
async fn read_head(host: &mut ServerTlsStream<TcpStream>) {
    let mut seen = vec![];
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(host.read_u8().await.unwrap());
    }
}

/// Returns both ends of a connection.
async fn pair(
    version: &'static SupportedProtocolVersion,
) -> (Http1Connection, ServerTlsStream<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (serving, trusting) = configs(version);
    tokio::join!(connected(address, trusting), accepted(&listener, serving))
}

async fn connected(address: SocketAddr, trusting: ClientConfig) -> Http1Connection {
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsStream::connect(tcp, Arc::new(trusting), name).await.unwrap();
    Http1Connection::new(stream, false, HeadLimits::default())
}

async fn accepted(listener: &TcpListener, serving: ServerConfig) -> ServerTlsStream<TcpStream> {
    let (tcp, _) = listener.accept().await.unwrap();
    TlsAcceptor::from(Arc::new(serving)).accept(tcp).await.unwrap()
}

/// Returns the configuration of a host, and that of a client who trusts it.
fn configs(version: &'static SupportedProtocolVersion) -> (ServerConfig, ClientConfig) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let serving = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
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
    (serving, trusting)
}
