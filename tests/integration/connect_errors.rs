//! The way to the upstream: dead connections, a proxy that refuses, another host's certificate.

use std::net::SocketAddr;

use nexudus_proxy::config::Proxy;
use nexudus_simulator::Certificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::raw_upstream::{RawReply, daemon_before_raw, get, ok, raw_upstream};
use crate::support::{EVENT_TIMEOUT, daemon, problem_json, upstream};

#[tokio::test]
async fn a_read_is_repeated_once_and_only_off_a_connection_that_was_idle() {
    let upstream = raw_upstream(|head| match head.split(' ').nth(1).unwrap() {
        "/dead" => RawReply::Cut(String::new()),
        _ => RawReply::Keep(ok("{}")),
    })
    .await;
    let daemon = daemon_before_raw(&upstream).await;
    assert!(daemon.raw(&get("/warm", "")).await.starts_with("HTTP/1.1 200 "));

    let answer = daemon.raw(&get("/dead", "")).await;

    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("\"code\":\"upstream.closed\""), "{answer}");
    assert!(answer.contains("\"hint\":\"Send it again: nothing was changed. "), "{answer}");
    let count = |path: &str| upstream.requests().iter().filter(|it| it.contains(path)).count();
    assert_eq!(count("GET /dead "), 2);
    assert!(daemon.raw(&get("/warm", "")).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(count("GET /warm "), 2);
}

#[tokio::test]
async fn no_write_of_any_method_is_sent_again() {
    let upstream = raw_upstream(|head| {
        if head.starts_with("GET") {
            RawReply::Keep(ok("{}"))
        } else {
            RawReply::Cut(String::new())
        }
    })
    .await;
    let daemon = daemon_before_raw(&upstream).await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        // A connection that was just used, which is the only kind that a write may take.
        daemon.raw(&get("/warm", "")).await;
        let write = get("/write", "Content-Length: 2\r\n").replacen("GET", method, 1) + "{}";
        let answer = daemon.raw(&write).await;
        assert!(answer.contains("\"code\":\"upstream.closed\""), "{method}: {answer}");
        assert!(answer.contains("\"hint\":\"A write may have been executed: "), "{answer}");
        let seen = upstream.requests();
        let sent = seen.iter().filter(|it| it.starts_with(&format!("{method} /write ")));
        assert_eq!(sent.count(), 1, "{method}");
    }
}

#[tokio::test]
async fn an_answer_that_has_begun_is_never_begun_again() {
    let upstream =
        raw_upstream(|_| RawReply::Cut("HTTP/1.1 200 OK\r\nContent-Le".to_owned())).await;
    let daemon = daemon_before_raw(&upstream).await;

    let answer = daemon.raw(&get("/x", "")).await;

    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(upstream.requests().len() <= 2, "{:?}", upstream.requests());
}

#[tokio::test]
async fn a_proxy_that_lets_nothing_through_is_named_and_not_gone_around() {
    let upstream = upstream().start().unwrap();
    let (address, says) = proxy().await;
    let url = format!("http://{address}");
    let daemon =
        daemon(&upstream).set(|config| config.upstream.proxy = Proxy::Url(url)).run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    let opened = upstream.connections().accepted;

    for (said, told) in [
        (
            "HTTP/1.1 407 Authenticate\r\nProxy-Authenticate: Basic\r\n\r\n",
            "responded with 407 to CONNECT",
        ),
        ("HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope", "responded with 403 to CONNECT"),
        ("HTTP/1.0 502 Bad Gateway\r\n\r\n", "responded with 502 to CONNECT"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        ("HTTP/1.1 2", "could not connect to"),
        ("", "could not connect to"),
    ] {
        says.send_replace(Some(said));
        upstream.close_idle_connections();
        assert!(
            upstream.wait_until_async(|view| view.connections().open == 0, EVENT_TIMEOUT).await
        );

        let answer = daemon.get("/api/auth/me").await;

        assert_eq!(answer.status(), 502, "{said}");
        let problem = problem_json(answer).await;
        assert_eq!(problem["code"], "upstream.unreachable", "{said}");
        assert!(problem["detail"].as_str().unwrap().contains(told), "{said}: {problem}");
    }
    assert_eq!(upstream.connections().accepted, opened);
    says.send_replace(None);
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
}

#[tokio::test]
async fn whoever_is_not_the_configured_host_gets_nothing() {
    for certificate in [Certificate::WrongName, Certificate::Expired] {
        let upstream = upstream().certificate(certificate).start().unwrap();
        let setup = daemon(&upstream);
        let daemon = setup
            .set(|config| config.session.wait = std::time::Duration::from_millis(300))
            .run()
            .await;

        let answer = daemon.get("/api/auth/me").await;

        assert_eq!(problem_json(answer).await["code"], "session.unavailable", "{certificate:?}");
        assert_eq!(upstream.requests().len(), 0, "{certificate:?}");
    }
}

/// A proxy that lets everything through until it is told what to say instead.
async fn proxy() -> (SocketAddr, watch::Sender<Option<&'static str>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, says) = watch::channel(None::<&'static str>);
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            let says = says.clone();
            tokio::spawn(async move {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    head.push(char::from(caller.read_u8().await.unwrap()));
                }
                let said = *says.borrow();
                if let Some(said) = said {
                    caller.write_all(said.as_bytes()).await.ok();
                    return;
                }
                let port = head.split([':', ' ']).nth(2).unwrap().parse::<u16>().unwrap();
                let mut server = TcpStream::connect(("localhost", port)).await.unwrap();
                caller.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                tokio::io::copy_bidirectional(&mut caller, &mut server).await.ok();
            });
        }
    });
    (address, sender)
}
