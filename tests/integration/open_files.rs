//! Without free descriptors: every caller is told or let go, and those who are served are served to
//! the end.

use nexudus_simulator::Route;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::{DaemonProcess, EVENT_TIMEOUT, ProcessSetup, needs_root, upstream};

#[tokio::test]
async fn the_limit_on_open_files_bounds_callers_and_leaves_room_for_their_requests() {
    let upstream = upstream().start().unwrap();
    let mut program = ProcessSetup::new(&upstream).start_with_max_files(128).await;
    let held = upstream.hold(Route::Me);

    // 28 in all, 7 of which are the unix socket's.
    let mut served = JoinSet::new();
    for _ in 0..21 {
        served.spawn(ask(TcpStream::connect(program.address()).await.unwrap()));
    }
    assert!(upstream.wait_until_async(|view| view.held() == 21, EVENT_TIMEOUT).await);
    let mut refused = JoinSet::new();
    for _ in 0..60 {
        refused.spawn(ask(TcpStream::connect(program.address()).await.unwrap()));
    }
    let refused = refused.join_all().await;
    held.release();
    let served = served.join_all().await;

    let is_told = |answer: &String| answer.contains("\"code\":\"daemon.overloaded\"");
    assert!(refused.iter().all(|answer| answer.is_empty() || is_told(answer)), "{refused:?}");
    assert!(refused.iter().any(is_told), "{refused:?}");
    assert!(served.iter().all(|answer| answer.starts_with("HTTP/1.1 200 ")), "{served:?}");
    let lines = program.lines();
    assert!(!lines.iter().any(is_starved), "{lines:?}");
}

#[tokio::test]
async fn the_start_says_that_open_files_allow_fewer_callers() {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream);
    for (files, limit) in [(128, Some(28)), (16_000, None)] {
        let program = place.start_with_max_files(files).await;
        let lines = stop(program).await;

        let said = "the limit on open files allows fewer than limits.connections";
        let said = lines.iter().find(|line| line["message"] == said);
        assert_eq!(said.map(|line| line["limit"].as_u64().unwrap()), limit, "{files}");
    }
}

#[tokio::test]
async fn without_a_free_descriptor_a_new_caller_is_let_go_at_once() {
    needs_root();
    let upstream = upstream().start().unwrap();
    let program = ProcessSetup::new(&upstream).start().await;
    assert!(is_answered(&call(&program).await));
    // Its first answer says that the daemon has accepted it.
    let mut kept = TcpStream::connect(program.address()).await.unwrap();
    kept.write_all(request("keep-alive").as_bytes()).await.unwrap();
    assert_eq!(kept.read_u8().await.unwrap(), b'H');
    let (before, _) = limits(&program);

    limit(&program, last_descriptor(&program) + 1);
    // Some still find a free number below the last one.
    let mut held = vec![];
    let mut let_go = 0;
    while let_go < 20 {
        let mut stream = TcpStream::connect(program.address()).await.unwrap();
        stream.write_all(request("keep-alive").as_bytes()).await.ok();
        match tokio::time::timeout(EVENT_TIMEOUT, stream.read_u8()).await.expect("it hangs") {
            Ok(_) => held.push(stream),
            Err(_) => let_go += 1,
        }
        assert!(held.len() < 1_000);
    }

    // Connections that are open are served.
    kept.write_all(request("close").as_bytes()).await.unwrap();
    let mut answers = String::new();
    kept.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 1, "{answers}");
    drop(held);
    limit(&program, before);
    while !is_answered(&call(&program).await) {}
    let lines = stop(program).await;
    assert_eq!(lines.iter().filter(|line| is_starved(line)).count(), 1, "{lines:?}");
}

fn is_starved(line: &Value) -> bool {
    line["message"] == "could not accept a connection"
}

/// Stops it and returns every line that it has logged and that was not waited for.
async fn stop(mut program: DaemonProcess) -> Vec<Value> {
    program.signal(nix::sys::signal::Signal::SIGTERM);
    let lines = std::cell::RefCell::new(program.skipped());
    let is_last = |line: &Value| {
        lines.borrow_mut().push(line.clone());
        line["message"] == "stopped"
    };
    program.wait_for_log(is_last).await;
    lines.into_inner()
}

/// Asks what the daemon answers by itself, on a connection of its own.
async fn call(program: &DaemonProcess) -> String {
    exchange(TcpStream::connect(program.address()).await.unwrap(), request("close")).await
}

fn is_answered(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 ")
}

fn request(connection: &str) -> String {
    format!(
        "OPTIONS /api/auth/me HTTP/1.1\r\nHost: localhost\r\nMax-Forwards: 0\r\n\
         Connection: {connection}\r\n\r\n"
    )
}

/// Asks what only the upstream can answer.
async fn ask(stream: TcpStream) -> String {
    let request = "GET /api/auth/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    exchange(stream, request.to_owned()).await
}

/// Asks and reads to the end; nothing where the connection is reset.
async fn exchange(mut stream: TcpStream, request: String) -> String {
    stream.write_all(request.as_bytes()).await.ok();
    let mut answer = String::new();
    let read = tokio::time::timeout(EVENT_TIMEOUT, stream.read_to_string(&mut answer)).await;
    read.expect("it hangs").ok();
    answer
}

fn last_descriptor(program: &DaemonProcess) -> u64 {
    let open = std::fs::read_dir(format!("/proc/{}/fd", program.pid())).unwrap();
    let numbers = open.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap());
    numbers.max().unwrap()
}

/// Returns the soft and the hard limit on its open files.
fn limits(program: &DaemonProcess) -> (u64, u64) {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", program.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Sets the soft limit on its open files.
fn limit(program: &DaemonProcess, files: u64) {
    let pid = program.pid().to_string();
    let mut command = std::process::Command::new("/usr/bin/prlimit");
    assert!(
        command.args(["--pid", &pid, &format!("--nofile={files}:")]).status().unwrap().success()
    );
}
