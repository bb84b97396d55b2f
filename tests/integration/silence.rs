//! Paths that die without a word: packets are dropped, and neither end hears of it.
//!
//! Each test runs in a network namespace of its own, whose firewall drops the packets of the
//! connections that exist at one moment. New ones pass, as after a router has forgotten the old.

#![cfg(target_os = "linux")]

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nexudus_proxy::config::{Config, Proxy};
use nexudus_simulator::Alpn;
use nix::sched::{CloneFlags, unshare};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::support::admin::scrape;
use crate::support::raw_upstream::{RawReply, get, ok, raw_upstream};
use crate::support::{
    Daemon, EVENT_TIMEOUT, ProcessSetup, daemon, daemon_before, error_code, needs_root,
    request_count, upstream,
};

#[test]
fn a_read_on_a_connection_that_died_in_silence_is_answered_within_seconds() {
    in_a_network(async {
        let protocols = [(Alpn::Http1, false), (Alpn::Both, true)];
        // Dropped on the way, and by a firewall of this machine, which the kernel hears of.
        let chains = ["INPUT", "OUTPUT"];
        for ((alpn, http2), chain) in
            protocols.into_iter().flat_map(|it| chains.map(|chain| (it, chain)))
        {
            let upstream = upstream().alpn(alpn).start().unwrap();
            let setup = daemon(&upstream).set(|config| config.upstream.http2 = http2);
            let daemon = setup.run().await;
            read(&daemon).await;
            drop_packets_of_connections_to(upstream.address().port(), chain);
            let begun = Instant::now();

            read(&daemon).await;

            let took = begun.elapsed();
            assert!(took < Duration::from_secs(5), "{chain} {http2}: {took:?}");
            assert_eq!(scrape(&daemon).await[RACED], 1.0, "{chain} {http2}");
            read(&daemon).await;
            assert_eq!(scrape(&daemon).await[RACED], 1.0, "{chain} {http2}: the new one stays");
        }
    });
}

#[test]
fn a_write_on_a_connection_that_died_in_silence_is_never_sent_again() {
    in_a_network(async {
        let upstream = upstream().start().unwrap();
        let slow = |config: &mut Config| config.upstream.header_timeout = Duration::from_secs(2);
        let daemon = daemon(&upstream).set(slow).run().await;
        read(&daemon).await;
        drop_packets_of_connections_to(upstream.address().port(), "INPUT");

        let answer = daemon.post("/api/echo", "[1]").await;

        assert_eq!(error_code(answer).await, "upstream.timeout");
        assert_eq!(request_count(&upstream, "/api/echo"), 0);
        assert_eq!(scrape(&daemon).await[RACED], 0.0);
    });
}

#[test]
fn a_read_through_a_proxy_whose_own_path_died_is_answered_too() {
    in_a_network(async {
        let upstream = upstream().start().unwrap();
        let url = format!("http://{}", tunnels().await);
        let setup = daemon(&upstream).set(|config| {
            config.upstream.proxy = Proxy::Url(url);
            // The proxy acknowledges what the host never gets: time alone tells.
            config.upstream.header_timeout = Duration::from_secs(4);
        });
        let daemon = setup.run().await;
        read(&daemon).await;
        drop_packets_of_connections_to(upstream.address().port(), "INPUT");
        let begun = Instant::now();

        read(&daemon).await;

        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        assert_eq!(scrape(&daemon).await[RACED], 1.0);
    });
}

#[test]
fn the_kernel_asks_silent_peers_on_both_sides_whether_they_are_there() {
    in_a_network(async {
        let upstream = upstream().start().unwrap();
        let daemon = daemon(&upstream).run().await;
        read(&daemon).await;

        for filter in [
            format!("dport = :{}", upstream.address().port()),
            format!("sport = :{}", daemon.address().port()),
        ] {
            let sockets = run("ss", &["-H", "-t", "-n", "-o", "state", "established", &filter]);
            assert!(!sockets.is_empty(), "{filter}");
            let asks = sockets.lines().all(|line| line.contains("timer:(keepalive,"));
            assert!(asks, "{filter}: {sockets}");
        }
    });
}

#[tokio::test]
async fn a_slow_response_on_a_living_connection_is_not_asked_for_twice() {
    let never = Arc::new(Semaphore::new(0));
    let upstream = raw_upstream(move |head| match head.split(' ').nth(1).unwrap() {
        "/slow" => RawReply::Held(never.clone(), ok("{}")),
        _ => RawReply::Keep(ok("{}")),
    })
    .await;
    let setup = daemon_before(upstream.address.port(), &upstream.ca);
    // Longer than a connection may be silent before the kernel is asked.
    let slow = |config: &mut Config| config.upstream.header_timeout = Duration::from_millis(1_500);
    let daemon = setup.set(slow).run().await;
    assert!(daemon.raw(&get("/warm", "")).await.starts_with("HTTP/1.1 200 "));

    let answer = daemon.raw(&get("/slow", "")).await;

    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    let asked = upstream.requests().iter().filter(|it| it.starts_with("GET /slow ")).count();
    assert_eq!(asked, 1);
    assert_eq!(scrape(&daemon).await[RACED], 0.0);
}

#[tokio::test]
async fn a_body_that_stops_is_given_up_and_a_stream_of_events_is_not() {
    let word = Arc::new(Semaphore::new(0));
    let held = word.clone();
    let upstream = raw_upstream(move |head| match head.split(' ').nth(1).unwrap() {
        "/events" => {
            let first = "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\
                         Content-Length: 10\r\n\r\nfirst";
            RawReply::Late(first.to_owned(), held.clone(), "later".to_owned())
        }
        _ => {
            let first =
                "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 10\r\n\r\nfirst";
            RawReply::Late(first.to_owned(), Arc::new(Semaphore::new(0)), String::new())
        }
    })
    .await;
    let setup = daemon_before(upstream.address.port(), &upstream.ca);
    let idle = Duration::from_millis(200);
    let daemon = setup.set(|config| config.limits.body_idle = idle).run().await;
    let events = daemon.get("/events").await;

    for _ in 0..3 {
        let begun = Instant::now();
        let export = daemon.raw(&get("/export", "")).await;
        assert!(export.ends_with("\r\n\r\nfirst"), "{export}");
        assert!(begun.elapsed() >= idle && begun.elapsed() < EVENT_TIMEOUT / 2);
    }
    word.add_permits(1);

    assert_eq!(events.text().await.unwrap(), "firstlater");
}

#[tokio::test]
async fn a_reload_changes_how_long_a_body_may_pause() {
    let upstream = raw_upstream(move |_| {
        let first = "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 10\r\n\r\nfirst";
        RawReply::Late(first.to_owned(), Arc::new(Semaphore::new(0)), String::new())
    })
    .await;
    let origin = format!("https://localhost:{}", upstream.address.port());
    let setup = ProcessSetup::before(origin, &upstream.ca);
    let bound = |idle: &str| setup.configure(&format!("[limits]\nbody_idle = \"{idle}\"\n"));
    bound("1h");
    let program = setup.start().await;
    let export = async || {
        let mut stream = TcpStream::connect(program.address()).await.unwrap();
        stream.write_all(get("/export", "").replace("HOST", "localhost").as_bytes()).await.unwrap();
        let mut seen = vec![];
        let _ = stream.read_to_end(&mut seen).await;
        String::from_utf8(seen).unwrap()
    };
    let pause = Duration::from_millis(300);
    let early = tokio::time::timeout(pause, export()).await;
    assert!(early.is_err(), "an hour is not over: {early:?}");

    bound("50ms");
    setup.run("reload").await;

    let seen = tokio::time::timeout(EVENT_TIMEOUT, export()).await.unwrap();
    assert!(seen.ends_with("\r\n\r\nfirst"), "{seen}");
    bound("1h");
    setup.run("reload").await;
    let early = tokio::time::timeout(pause, export()).await;
    assert!(early.is_err(), "and back: {early:?}");
}

/// Sends a GET and reads its response to the end.
async fn read(daemon: &Daemon) {
    daemon.get("/api/auth/me").await.error_for_status().unwrap().bytes().await.unwrap();
}

/// Runs a test on this thread in a network of its own, in which only loopback is up. Threads that it
/// starts are in the same network.
fn in_a_network(test: impl Future<Output = ()>) {
    needs_root();
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    run("ip", &["link", "set", "lo", "up"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

/// Drops each packet of the connections that lead to `port` now, in both directions.
fn drop_packets_of_connections_to(port: u16, chain: &str) {
    let to = format!("dport = :{port}");
    let sockets = run("ss", &["-H", "-t", "-n", "state", "established", &to]);
    let ports = sockets.lines().map(|line| {
        let local = line.split_whitespace().nth(2).unwrap();
        local.rsplit_once(':').unwrap().1
    });
    let ports: Vec<&str> = ports.collect();
    assert!(!ports.is_empty(), "there is no connection to {port}");
    for tables in ["iptables", "ip6tables"] {
        for (own, end) in ports.iter().flat_map(|own| [(own, "--sport"), (own, "--dport")]) {
            run(tables, &["-A", chain, "-p", "tcp", end, own, "-j", "DROP"]);
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; scripts/prepare.sh"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A proxy that lets everything through.
async fn tunnels() -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    head.push(char::from(caller.read_u8().await.unwrap()));
                }
                let port = head.split([':', ' ']).nth(2).unwrap().parse::<u16>().unwrap();
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                caller.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                tokio::io::copy_bidirectional(&mut caller, &mut server).await.ok();
            });
        }
    });
    address
}

const RACED: &str = "nexudus_proxy_upstream_reads_raced_total{host=\"api\"}";
