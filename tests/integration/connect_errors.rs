//! The way to the upstream: dead connections, a proxy that refuses, another host's certificate.

use std::net::SocketAddr;

use nexudus_proxy::config::Proxy;
use nexudus_simulator::Certificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::raw_upstream::{
    RawReply, daemon_before_raw, get, ok, raw_upstream, read_until,
};
use crate::support::{EVENT_TIMEOUT, ProcessSetup, daemon, problem_json, upstream};

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

#[tokio::test]
async fn a_machine_without_descriptors_blames_neither_nexudus_nor_the_network() {
    let upstream = upstream().start().unwrap();
    let mut program = ProcessSetup::new(&upstream).start().await;
    let mut caller = TcpStream::connect(program.address()).await.unwrap();
    let head = format!("GET /api/auth/me HTTP/1.1\r\nHost: {}\r\n\r\n", program.address());
    caller.write_all(head.as_bytes()).await.unwrap();
    assert!(read_until(&mut caller, "}").await.starts_with("HTTP/1.1 200 "));
    let limit = |files: &str| {
        let mut prlimit = std::process::Command::new("prlimit");
        prlimit.args([&format!("--pid={}", program.pid()), &format!("--nofile={files}:")]);
        assert!(prlimit.status().expect("the test needs prlimit: util-linux").success());
    };
    limit("3");
    upstream.close_idle_connections();
    assert!(upstream.wait_until_async(|view| view.connections().open == 0, EVENT_TIMEOUT).await);

    for _ in 0..3 {
        caller.write_all(head.as_bytes()).await.unwrap();
        let answer = read_until(&mut caller, "}").await;

        assert!(answer.trim_start().starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\"code\":\"daemon.overloaded\""), "{answer}");
        assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
        assert!(answer.contains("Too many open files"), "{answer}");
        assert!(answer.contains("LimitNOFILE="), "{answer}");
    }
    limit("4096");
    caller.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut caller, "}").await;
    assert!(answer.trim_start().starts_with("HTTP/1.1 200 "), "{answer}");
    let told = |line: &serde_json::Value| {
        assert_ne!(line["message"], "no response from Nexudus");
        line["message"] == "no socket left for requests"
    };
    assert_eq!(program.wait_for_log(told).await["failed"], 1);
    assert!(!program.lines().iter().any(told), "one line a minute");
}

#[tokio::test]
async fn the_session_says_what_a_proxy_on_the_way_said() {
    for (said, told) in [
        ("HTTP/1.1 407 Authenticate\r\nProxy-Authenticate: Basic\r\n\r\n", "responded with 407"),
        ("HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope", "refused to CONNECT"),
    ] {
        let upstream = upstream().start().unwrap();
        let (address, says) = proxy().await;
        says.send_replace(Some(said));
        let url = format!("http://{address}");
        let setup = daemon(&upstream).set(|config| {
            config.upstream.proxy = Proxy::Url(url);
            config.session.wait = std::time::Duration::from_millis(100);
        });
        let daemon = setup.run().await;
        let view = daemon.session_until(|view| view.error.is_some()).await;

        let answer = daemon.get("/api/auth/me").await;

        let problem = problem_json(answer).await;
        assert_eq!(problem["code"], "session.unavailable", "{said}");
        assert!(problem["detail"].as_str().unwrap().contains(told), "{said}: {problem}");
        let cause = view.error.as_ref().and_then(|error| error.cause.clone()).unwrap();
        assert!(cause.contains(told), "{cause}");
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
