//! Connections to the upstream: kept warm, shared, through a proxy, and never somewhere else.

use nexudus_proxy::config::{Host, Origin, Proxy};
use nexudus_simulator::Alpn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{EVENT_TIMEOUT, daemon, upstream};

#[tokio::test]
async fn http2_is_spoken_where_it_is_asked_for() {
    let upstream = upstream().alpn(Alpn::Both).start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.upstream.http2 = true).run().await;

    for _ in 0..5 {
        assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    }
    let answer = daemon.post("/api/echo", "[1]").await;

    assert_eq!(answer.status(), 200);
    let seen = upstream.requests().into_iter().filter(|seen| seen.path() != "/api/token");
    let seen: Vec<_> = seen.collect();
    assert!(seen.iter().all(|seen| seen.version == "HTTP/2.0"), "{seen:?}");
    assert!(seen.iter().all(|one| one.connection == seen[0].connection), "{seen:?}");
    let names = seen[5].headers.iter().map(|(name, _)| name.as_str());
    assert!(names.clone().all(|name| name != "host" && name != "connection"));
    assert_eq!(names.filter(|name| *name == "authorization").count(), 1);
    assert_eq!(seen[5].body_length, 3);
}

#[tokio::test]
async fn a_host_that_does_not_speak_http2_is_spoken_to_all_the_same() {
    let upstream = upstream().alpn(Alpn::Http1).start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.upstream.http2 = true).run().await;

    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    assert_eq!(daemon.post("/api/echo", "[1]").await.status(), 200);
}

#[tokio::test]
async fn a_lone_call_finds_a_warm_connection() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let warm =
        upstream.wait_until_async(|view| view.connections().accepted >= 2, EVENT_TIMEOUT).await;
    assert!(warm);
    daemon.get("/api/auth/me").await.bytes().await.unwrap();
    let opened = upstream.connections().accepted;

    for _ in 0..5 {
        // Read to its end: an answer that is given up ends its connection.
        let answer = daemon.get("/api/auth/me").await.error_for_status().unwrap();
        answer.bytes().await.unwrap();
    }

    assert_eq!(upstream.connections().accepted, opened);
}

#[tokio::test]
async fn everything_goes_through_the_proxy_that_is_configured() {
    let upstream = upstream().start().unwrap();
    let (proxy, mut asked) = tunnel().await;
    let url = format!("http://me:p%40ss@{proxy}");
    let daemon =
        daemon(&upstream).set(|config| config.upstream.proxy = Proxy::Url(url)).run().await;

    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);

    let head = asked.recv().await.unwrap();
    let place = format!("localhost:{}", upstream.address().port());
    assert!(head.starts_with(&format!("CONNECT {place} HTTP/1.1\r\n")), "{head}");
    assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic"), "{head}");
    assert!(!head.contains("Bearer"), "{head}");
}

#[tokio::test]
async fn another_configured_host_gets_the_same_token_on_its_own_port() {
    let reports = upstream().start().unwrap();
    let upstream = upstream().start().unwrap();
    // One authority signs for both, as the world's authorities do.
    let both = format!("{}{}", upstream.ca_pem(), reports.ca_pem());
    let daemon = crate::support::daemon_before(upstream.address().port(), &both)
        .set(|config| {
            let origin = Origin::new("localhost", reports.address().port());
            let listen = vec!["127.0.0.1:0".parse().unwrap()];
            config.hosts = vec![Host { origin, listen }];
        })
        .run()
        .await;
    let port = daemon.running.host_addresses()[0][0].port();
    daemon.get("/api/auth/me").await;

    raw(port, "/report").await;

    let seen = reports.requests();
    let [seen] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(seen.target, "/report");
    assert_eq!(seen.bearer, upstream.live_access_tokens().pop());
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_handshake_is_not_told_as_a_bad_certificate() {
    let upstream = upstream().start().unwrap();
    // What is left unread makes the end a reset.
    for (left_unread, name) in [(true, "reset"), (false, "closed")] {
        let breaking = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Origin::new("localhost", breaking.local_addr().unwrap().port());
        tokio::spawn(async move {
            while let Ok((mut caller, _)) = breaking.accept().await {
                let mut hello = vec![0; if left_unread { 1 } else { 64 << 10 }];
                let _ = caller.read(&mut hello).await.unwrap();
            }
        });
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        let setup = daemon(&upstream).set(|config| config.hosts = vec![Host { origin, listen }]);
        let daemon = setup.run().await;

        let answer = raw(daemon.running.host_addresses()[0][0].port(), "/report").await;

        assert!(answer.starts_with("HTTP/1.1 502 "), "{name}: {answer}");
        assert!(answer.contains("\"code\":\"upstream.unreachable\""), "{name}: {answer}");
    }
}

/// Asks on a connection of its own and returns all that comes back.
async fn raw(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A proxy that lets everything through and tells what it was asked.
async fn tunnel() -> (std::net::SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, asked) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    head.push(char::from(caller.read_u8().await.unwrap()));
                }
                let port = head.split([':', ' ']).nth(2).unwrap().parse::<u16>().unwrap();
                sender.send(head).ok();
                let mut server = TcpStream::connect(("localhost", port)).await.unwrap();
                caller.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                tokio::io::copy_bidirectional(&mut caller, &mut server).await.ok();
            });
        }
    });
    (address, asked)
}
