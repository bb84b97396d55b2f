//! Signals and the service manager: how a daemon is stopped, watched and given its sockets.

#![cfg(all(unix, feature = "demo"))]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::{Duration, Instant};

use nexudus_simulator::Route;
use nix::sys::signal::Signal;

use crate::support::daemon::{Nexudus, PATIENCE, ask};
use crate::support::home;

#[test]
fn a_second_signal_ends_it_at_once() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |command| {
        command.args(["--daemon-drain", "1h"]);
    });
    assert_eq!(home.run("wait"), "=> 0\n");
    let port = daemon.port(&home);
    let _held = nexudus.0.hold(Route::Me);
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.write_all(b"GET /api/auth/me HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(nexudus.0.wait_until(|view| view.held() == 1, PATIENCE));

    daemon.signal(Signal::SIGTERM);
    daemon.log_until("draining");
    // Until it is taken for a second one: signals that come within a second are one.
    let first = Instant::now();
    while daemon.child.try_wait().unwrap().is_none() {
        assert!(first.elapsed() < PATIENCE, "it does not end");
        daemon.signal(Signal::SIGTERM);
        std::thread::sleep(Duration::from_millis(50));
    }

    assert!(first.elapsed() >= Duration::from_secs(1), "a repeated signal cut the drain");
    daemon.log_until("error: forced exit on second SIGTERM");
    assert_eq!(daemon.ended(), Some(1));
}

#[test]
fn a_signal_that_comes_twice_at_once_cuts_nothing() {
    let nexudus = Nexudus::start();
    let home = home();
    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    let held = nexudus.0.hold(Route::Me);
    let mut connection = TcpStream::connect(("127.0.0.1", daemon.port(&home))).unwrap();
    connection.write_all(b"GET /api/auth/me HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(nexudus.0.wait_until(|view| view.held() == 1, PATIENCE));

    // One to the process, one to its group. Two of a kind could arrive as one.
    daemon.signal(Signal::SIGTERM);
    daemon.signal(Signal::SIGINT);
    daemon.log_until("draining");
    held.release();

    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(daemon.ended(), Some(0));
}

#[test]
fn the_service_manager_hears_of_each_stage() {
    let nexudus = Nexudus::start();
    let home = home();
    let socket = home.path("notify.sock");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = |wanted: &str| {
        let mut buffer = [0; 1024];
        loop {
            let length = manager.recv(&mut buffer).unwrap_or_else(|_| panic!("no {wanted}"));
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.contains(wanted) {
                return text;
            }
        }
    };

    let mut daemon = nexudus.serve(&home, |command| {
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "300000");
    });
    hear("READY=1");
    hear("STATUS=token valid ");
    hear("WATCHDOG=1");
    assert_eq!(home.run("lock").lines().count(), 2);
    hear("STATUS=the session is locked");
    daemon.signal(Signal::SIGHUP);
    assert!(hear("RELOADING=1").contains("MONOTONIC_USEC="));
    hear("READY=1");
    daemon.signal(Signal::SIGTERM);
    assert!(hear("STOPPING=1").contains("EXTEND_TIMEOUT_USEC=45000000\n"));

    assert_eq!(daemon.ended(), Some(0));
}

#[test]
fn sockets_that_were_opened_for_it_are_used_and_stay() {
    let nexudus = Nexudus::start();
    let home = home();
    let data = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = data.local_addr().unwrap().port();
    let run = home.path(".local/state/nexudus-proxy/run");
    std::fs::create_dir_all(&run).unwrap();
    let admin = UnixListener::bind(run.join("admin.sock")).unwrap();
    // What arrives before the daemon starts waits for it.
    let mut early = TcpStream::connect(("127.0.0.1", port)).unwrap();

    let mut daemon = nexudus.serve_through_shell(&home, &data, &admin);

    assert_eq!(ask(&mut early, "/api/auth/me"), "200");
    let status = daemon.status(&home);
    assert_eq!(status["listening"]["activated"], true);
    assert_eq!(status["listening"]["tcp"], serde_json::json!([format!("127.0.0.1:{port}")]));
    assert_eq!(
        home.run("stop"),
        "! error: the service manager holds its sockets: the next request would start it again\n\
         ! hint: Run `nexudus-proxy service stop`.\n\
         => 1\n"
    );
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    assert!(run.join("admin.sock").exists(), "it was not the daemon's to remove");
    TcpStream::connect(("127.0.0.1", port)).unwrap();
}
