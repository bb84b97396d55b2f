//! Several data threads serve as one does: evenly, and with every limit and promise exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nexudus_proxy::clients::{self, ClientPolicy};
use nexudus_proxy::config::Rate;
use nexudus_simulator::{Route, Simulator};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::support::admin::{exchange, scrape};
use crate::support::{Daemon, EVENT_TIMEOUT, ProcessSetup, daemon, request_count, upstream};

#[tokio::test]
async fn connections_that_stay_split_the_requests_evenly() {
    let upstream = upstream().start().unwrap();
    for (threads, callers) in [(2, 2), (2, 16), (3, 3), (3, 24)] {
        let daemon = on_threads(&upstream, threads).await;
        let mut callers = connect(&daemon, callers).await;

        ask_at_once(&mut callers, 20).await;

        let all = callers.len() as f64 * 20.0;
        let shares: Vec<_> = requests(&daemon).await.iter().map(|it| it / all * 100.0).collect();
        let even = 100.0 / f64::from(u8::try_from(threads).unwrap());
        assert_eq!(shares.len(), threads);
        assert!(shares.iter().all(|share| (share - even).abs() <= 5.0), "{shares:?}");
    }
}

#[tokio::test]
async fn callers_that_come_one_at_a_time_wake_no_other_thread() {
    let upstream = upstream().start().unwrap();
    let daemon = on_threads(&upstream, 3).await;

    for done in 1..=10 {
        daemon.raw("GET /api/auth/me HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n").await;
        until(&daemon, |metrics| open(metrics).iter().sum::<f64>() == 0.0).await;
        assert_eq!(requests(&daemon).await, [f64::from(done), 0.0, 0.0]);
    }
}

#[tokio::test]
async fn a_stop_loses_no_request_of_any_thread() {
    let upstream = upstream().start().unwrap();
    for threads in [2, 3] {
        let daemon = on_threads(&upstream, threads).await;
        daemon.session_until(|view| view.generation == 1).await;
        let held = upstream.hold(Route::Me);
        let callers = connect(&daemon, 12).await;
        let mut asking = JoinSet::new();
        for mut caller in callers {
            asking.spawn(async move { ask(&mut caller, "/api/auth/me", "").await });
        }
        assert!(upstream.wait_until_async(|view| view.held() == 12, EVENT_TIMEOUT).await);
        let address = daemon.address();

        let stop = tokio::spawn(daemon.running.stop(EVENT_TIMEOUT));
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        held.release();

        let answers = asking.join_all().await;
        assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 200 ")), "{answers:?}");
        stop.await.unwrap();
    }
}

#[tokio::test]
async fn a_number_of_requests_is_exact_across_threads() {
    let upstream = upstream().start().unwrap();
    for threads in [2, 3] {
        let daemon = on_threads(&upstream, threads).await;
        let limits = ClientPolicy { max_requests: Some(50), ..ClientPolicy::default() };
        let key = clients::add(&daemon.home().join("state"), "fifty", limits).unwrap();
        let before = request_count(&upstream, "/api/auth/me");
        let mut asking = JoinSet::new();
        for mut caller in connect(&daemon, 10).await {
            let key = key.expose().to_owned();
            asking.spawn(async move {
                let mut served = 0;
                for _ in 0..10 {
                    let answer = ask(&mut caller, "/api/auth/me", &key).await;
                    served += usize::from(answer.starts_with("HTTP/1.1 200 "));
                }
                served
            });
        }

        assert_eq!(asking.join_all().await.iter().sum::<usize>(), 50);
        assert_eq!(request_count(&upstream, "/api/auth/me") - before, 50);
        assert!(requests(&daemon).await.iter().all(|count| *count > 0.0));
    }
}

#[tokio::test]
async fn clients_on_different_threads_take_turns_at_the_throttle() {
    let upstream = upstream().start().unwrap();
    let setup = daemon(&upstream).set(|config| {
        config.daemon.threads = nexudus_proxy::config::Threads::Fixed(2);
        config.throttle.reads = Rate::Fixed { count: 1, per: Duration::from_millis(40) };
    });
    let daemon = setup.run().await;
    let key = |name| {
        let key = clients::add(&daemon.home().join("state"), name, ClientPolicy::default());
        key.unwrap().expose().to_owned()
    };
    let (export, page) = (key("export"), key("page"));
    let mut asking = JoinSet::new();
    let mut ask_all = |callers: Vec<TcpStream>, path: &'static str, key: &str| {
        for mut caller in callers {
            let key = key.to_owned();
            asking.spawn(async move { ask(&mut caller, path, &key).await });
        }
    };

    // Connected first, so that the throttle is full while the page asks.
    let (many, few) = (connect(&daemon, 20).await, connect(&daemon, 3).await);
    ask_all(many, "/api/spaces/coworkers?size=1", &export);
    while daemon.running.throttle().status().reads.waiting < 15 {
        tokio::task::yield_now().await;
    }
    ask_all(few, "/api/spaces/coworkers?size=2", &page);

    let answers = asking.join_all().await;
    assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 200 ")), "{answers:?}");
    let seen = upstream.requests();
    let sizes = seen.iter().filter_map(|seen| seen.target.split("size=").nth(1)).rev();
    let after = sizes.take_while(|size| *size == "1").count();
    assert!(after >= 5, "only {after} of the export came after the page");
}

#[tokio::test]
async fn a_reload_changes_the_number_and_loses_no_request() {
    let upstream = upstream().start().unwrap();
    let setup = ProcessSetup::new(&upstream);
    let admin = setup.socket().with_file_name("admin.sock");
    let count = async |wanted: &str| {
        setup.configure(&format!("[daemon]\nthreads = {wanted}\n"));
        setup.run("reload").await;
    };
    setup.configure("[daemon]\nthreads = 1\n");
    let program = setup.start().await;
    let read = async || {
        let head = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        exchange(UnixStream::connect(&admin).await.unwrap(), head).await
    };
    let load = Load::default();
    let mut under_way = JoinSet::new();
    (0..6).for_each(|_| drop(under_way.spawn(load.clone().run(program.address()))));
    load.progress(6).await;
    assert_eq!(per_thread(&read().await, "connections"), [6.0]);

    count("2").await;
    (0..6).for_each(|_| drop(under_way.spawn(load.clone().run(program.address()))));
    load.progress(60).await;
    assert_eq!(per_thread(&read().await, "connections"), [6.0, 6.0]);

    count("1").await;
    load.progress(60).await;
    while per_thread(&read().await, "connections") != [12.0, 0.0] {
        tokio::task::yield_now().await;
    }
    let [_, retired] = per_thread(&read().await, "requests_total")[..] else { panic!() };
    load.progress(60).await;
    assert_eq!(per_thread(&read().await, "requests_total")[1], retired);

    // The thread that slept serves again.
    count("2").await;
    (0..6).for_each(|_| drop(under_way.spawn(load.clone().run(program.address()))));
    load.progress(60).await;
    assert_eq!(per_thread(&read().await, "connections"), [12.0, 6.0]);
    assert!(per_thread(&read().await, "requests_total")[1] > retired);

    load.ends.store(true, Ordering::Relaxed);
    under_way.join_all().await;
    let written = upstream.executed_writes().len();
    assert_eq!(written, load.written.load(Ordering::Relaxed), "each write once");
    assert!(program.stop().await.success());
}

/// Callers that read and write by turns until they are told to end, and expect every answer.
#[derive(Clone, Default)]
struct Load {
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    written: Arc<AtomicUsize>,
}

impl Load {
    /// Connects again only where a response says so.
    async fn run(self, address: std::net::SocketAddr) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        while !self.ends.load(Ordering::Relaxed) {
            for line in ["GET /api/auth/me", "POST /api/echo"] {
                let answer = send(&mut stream, line, "").await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                if answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n") {
                    stream = TcpStream::connect(address).await.unwrap();
                }
            }
            self.answered.fetch_add(2, Ordering::Relaxed);
            self.written.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits for this many more answers.
    async fn progress(&self, more: usize) {
        let before = self.answered.load(Ordering::Relaxed);
        while self.answered.load(Ordering::Relaxed) < before + more {
            tokio::task::yield_now().await;
        }
    }
}

async fn on_threads(upstream: &Simulator, threads: usize) -> Daemon {
    let threads = nexudus_proxy::config::Threads::Fixed(threads);
    let daemon = daemon(upstream).set(|config| config.daemon.threads = threads).run().await;
    daemon.session_until(|view| view.generation == 1).await;
    daemon
}

/// Connects this often; returns once all connections are dealt out.
async fn connect(daemon: &Daemon, count: usize) -> Vec<TcpStream> {
    let before: f64 = open(&scrape(daemon).await).iter().sum();
    let mut streams = vec![];
    while streams.len() < count {
        streams.push(TcpStream::connect(daemon.address()).await.unwrap());
    }
    let wanted = before + streams.len() as f64;
    until(daemon, |metrics| open(metrics).iter().sum::<f64>() == wanted).await;
    streams
}

async fn until(daemon: &Daemon, holds: impl Fn(&Metrics) -> bool) {
    let waiting = async {
        while !holds(&scrape(daemon).await) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, waiting).await.unwrap();
}

/// Sends this many requests over each connection, over all of them at once.
async fn ask_at_once(callers: &mut Vec<TcpStream>, each: usize) {
    let mut asking = JoinSet::new();
    for mut caller in callers.drain(..) {
        asking.spawn(async move {
            for _ in 0..each {
                let answer = ask(&mut caller, "/api/auth/me", "").await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            }
            caller
        });
    }
    callers.extend(asking.join_all().await);
}

async fn ask(caller: &mut TcpStream, path: &str, key: &str) -> String {
    send(caller, &format!("GET {path}"), key).await
}

/// Sends a request and reads its response, and no byte more.
async fn send(caller: &mut TcpStream, line: &str, key: &str) -> String {
    let key =
        if key.is_empty() { String::new() } else { format!("Authorization: Bearer {key}\r\n") };
    let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{key}\r\n");
    caller.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = vec![];
    while !is_whole(&bytes) {
        let read = tokio::time::timeout(EVENT_TIMEOUT, caller.read_buf(&mut bytes)).await;
        assert!(read.expect("no answer").unwrap() > 0, "{}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8(bytes).unwrap()
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("content-length: ").nth(1).and_then(|it| it.split("\r\n").next());
    length.is_some_and(|length| body.len() >= length.parse().unwrap())
}

type Metrics = std::collections::BTreeMap<String, f64>;

fn open(metrics: &Metrics) -> Vec<f64> {
    let series = metrics.iter().filter(|(name, _)| name.contains("data_thread_connections{"));
    series.map(|(_, value)| *value).collect()
}

async fn requests(daemon: &Daemon) -> Vec<f64> {
    let metrics = scrape(daemon).await;
    let series = metrics.iter().filter(|(name, _)| name.contains("data_thread_requests_total{"));
    series.map(|(_, value)| *value).collect()
}

fn per_thread(metrics: &str, what: &str) -> Vec<f64> {
    let beginning = format!("nexudus_proxy_data_thread_{what}{{");
    let lines = metrics.lines().filter(|line| line.starts_with(&beginning));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
}
