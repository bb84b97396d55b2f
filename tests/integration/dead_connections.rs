//! Connections whose caller has died in the queue: their address pair is free for the owner's next
//! connection, and what they have sent is never executed in the owner's name.
//!
//! The dead connections belong to another user for the kernel (`setfsuid`, or a process of that user).
//! The daemon is stopped while they are made, as if it were busy or just starting, so that each
//! run meets the same order of events.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::process::{Command, Stdio};

use nexudus_simulator::Simulator;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::sockopt::{
    BindToDevice, Linger, RcvBuf, ReuseAddr, SocketError, TcpUserTimeout,
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, connect, getsockopt,
    setsockopt, socket,
};
use nix::unistd::setfsuid;

use crate::support::{DaemonProcess, EVENT_TIMEOUT, ProcessSetup, needs_root, upstream};

#[tokio::test]
async fn a_reset_connection_is_not_taken_for_the_owners_that_has_its_addresses_now() {
    needs_root();
    for loopback in ["127.0.0.1:0", "[::1]:0"] {
        let (upstream, _place, daemon) = stopped(loopback).await;
        let free = as_other(|| {
            let (dead, port) = connected(daemon.address());
            send(&dead, &delete());
            setsockopt(&dead, Linger, &AT_ONCE).unwrap();
            port
        });
        let (owner, _) = connected_from(free, daemon.address()).unwrap();

        only_the_owners_request_arrives(&upstream, &daemon, owner).await;
    }
}

#[tokio::test]
async fn a_closed_connection_is_not_taken_for_the_owners_that_has_its_addresses_now() {
    needs_root();
    for loopback in ["127.0.0.1:0", "[::1]:0"] {
        let (upstream, _place, daemon) = stopped(loopback).await;
        let free = as_other(|| {
            let (dead, port) = connected(daemon.address());
            send(&dead, &delete());
            setsockopt(&dead, Linger2, &1).unwrap();
            port
        });
        // The kernel gives the addresses free after a second; our end stays in CLOSE_WAIT.
        let (owner, _) = until_free(free, daemon.address());

        only_the_owners_request_arrives(&upstream, &daemon, owner).await;
    }
}

#[tokio::test]
async fn a_connection_that_died_in_silence_is_not_taken_for_the_owners_that_has_its_addresses_now()
{
    needs_root();
    for loopback in ["127.0.0.1:0", "[::1]:0"] {
        let (upstream, _place, daemon) = stopped(loopback).await;
        let free = as_other(|| {
            let (dead, port) = connected(daemon.address());
            setsockopt(&dead, TcpUserTimeout, &100).unwrap();
            // More than the other end takes: the rest waits, and then the kernel gives up, without
            // a word to that end.
            send(&dead, &[delete(), vec![b'x'; 16 << 20]].concat());
            until_dead(&dead);
            port
        });
        let owner = connecting_from(free, daemon.address());

        only_the_owners_request_arrives(&upstream, &daemon, owner).await;
    }
}

#[tokio::test]
async fn of_ten_thousand_dead_connections_between_the_owners_none_is_executed() {
    needs_root();
    let (upstream, _place, daemon) = stopped("127.0.0.1:0").await;
    daemon.signal(Signal::SIGCONT);
    let mut other = OtherUser::start(daemon.address());
    for _ in 0..ROUNDS {
        daemon.signal(Signal::SIGSTOP);
        let owners: Vec<OwnedFd> =
            (0..AT_A_TIME).map(|_| other.dies_and_the_owner_comes()).collect();
        daemon.signal(Signal::SIGCONT);
        for owner in owners {
            assert!(answer(owner).starts_with("HTTP/1.1 200"));
        }
    }

    assert!(other.deaths >= 10_000);
    assert_eq!(requests(&upstream), [only_gets(10_000)]);
}

#[tokio::test]
async fn what_died_in_the_service_managers_queue_is_not_executed_either() {
    needs_root();
    let upstream = upstream().start().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = ProcessSetup::new(&upstream);
    let before = place.start_with_listener(&listener).await;
    assert_eq!(before.status("/api/auth/me").await, 200);
    place.wait_durable().await;
    before.stop().await;
    upstream.clear_recording();
    // Nothing runs now: systemd holds the socket.
    let mut other = OtherUser::start(listener.local_addr().unwrap());
    let owners: Vec<OwnedFd> = (0..AT_A_TIME).map(|_| other.dies_and_the_owner_comes()).collect();

    let _daemon = place.start_with_listener(&listener).await;

    for owner in owners {
        assert!(answer(owner).starts_with("HTTP/1.1 200"));
    }
    assert_eq!(requests(&upstream), [only_gets(AT_A_TIME)]);
}

/// Beside a socket that is bound to a device the kernel lets another one connect from the same address:
/// if it outlived its connection, it could write into the next one.
#[tokio::test]
async fn another_users_socket_does_not_outlive_its_connection() {
    needs_root();
    for loopback in ["127.0.0.1:0", "[::1]:0"] {
        let (_upstream, _place, daemon) = stopped(loopback).await;
        daemon.signal(Signal::SIGCONT);
        let (strange, port) = as_other(|| {
            let (strange, port) = twin(daemon.address());
            send(&strange, GET);
            let refusal = answer(strange.try_clone().unwrap());
            assert!(refusal.starts_with("HTTP/1.1 403"), "{refusal}");
            (strange, port)
        });

        let ends = [PollFd::new(strange.as_fd(), PollFlags::empty())];
        assert_eq!(poll(&mut { ends }, PollTimeout::try_from(EVENT_TIMEOUT).unwrap()), Ok(1));
        let sent = nix::sys::socket::send(strange.as_raw_fd(), &delete(), MsgFlags::MSG_NOSIGNAL);
        assert!(sent.is_err(), "it can still send");
        let (owner, _) = connected_from(port, daemon.address()).unwrap();
        send(&owner, GET);
        assert!(answer(owner).starts_with("HTTP/1.1 200"));
    }
}

/// Starts a daemon that is logged in, and stops it as Ctrl-Z does.
async fn stopped(loopback: &'static str) -> (Simulator, ProcessSetup, DaemonProcess) {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream).listening(loopback);
    let daemon = place.start().await;
    assert_eq!(daemon.status("/api/auth/me").await, 200);
    upstream.clear_recording();
    daemon.signal(Signal::SIGSTOP);
    (upstream, place, daemon)
}

/// Lets the daemon go on: the owner's request is answered, and nothing else was asked for.
async fn only_the_owners_request_arrives(
    upstream: &Simulator,
    daemon: &DaemonProcess,
    owner: OwnedFd,
) {
    daemon.signal(Signal::SIGCONT);
    until_connected(&owner);
    send(&owner, GET);
    assert!(answer(owner).starts_with("HTTP/1.1 200"));
    // Accepted after everything that was in the queue.
    assert_eq!(daemon.status("/api/auth/me").await, 200);

    assert_eq!(requests(upstream), [only_gets(2)]);
}

/// Returns each method and path that Nexudus was asked for, and how often; without the daemon's own.
fn requests(upstream: &Simulator) -> Vec<(String, usize)> {
    let mut counts = BTreeMap::<String, usize>::new();
    for seen in upstream.requests().iter().filter(|seen| seen.path() != "/api/token") {
        *counts.entry(format!("{} {}", seen.method, seen.path())).or_default() += 1;
    }
    counts.into_iter().collect()
}

fn only_gets(count: usize) -> (String, usize) {
    ("GET /api/auth/me".to_owned(), count)
}

fn delete() -> Vec<u8> {
    b"DELETE /api/spaces/coworkers/1 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()
}

/// Makes sockets that the kernel counts as another user's.
fn as_other<T: Send>(make: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            setfsuid(OTHER.into());
            make()
        });
        made.join().unwrap()
    })
}

fn connected(to: SocketAddr) -> (OwnedFd, u16) {
    connected_from(0, to).unwrap()
}

/// Connects from this port; 0 lets the kernel choose one.
fn connected_from(port: u16, to: SocketAddr) -> nix::Result<(OwnedFd, u16)> {
    let made = bound(port, to, SockFlag::SOCK_CLOEXEC)?;
    connect(made.as_raw_fd(), &SockaddrStorage::from(to))?;
    let from = nix::sys::socket::getsockname::<SockaddrStorage>(made.as_raw_fd())?;
    let v4 = from.as_sockaddr_in().map(|it| it.port());
    Ok((made, v4.or_else(|| from.as_sockaddr_in6().map(|it| it.port())).unwrap()))
}

/// Connects with a socket that is bound to the loopback device.
fn twin(to: SocketAddr) -> (OwnedFd, u16) {
    let made = bound(0, to, SockFlag::SOCK_CLOEXEC).unwrap();
    setsockopt(&made, BindToDevice, &"lo".into()).unwrap();
    connect(made.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
    let from = nix::sys::socket::getsockname::<SockaddrStorage>(made.as_raw_fd()).unwrap();
    let v4 = from.as_sockaddr_in().map(|it| it.port());
    let port = v4.or_else(|| from.as_sockaddr_in6().map(|it| it.port())).unwrap();
    (made, port)
}

/// Begins to connect, and does not wait: the other end may first have to forget an older caller.
fn connecting_from(port: u16, to: SocketAddr) -> OwnedFd {
    let made = bound(port, to, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK).unwrap();
    assert_eq!(connect(made.as_raw_fd(), &SockaddrStorage::from(to)), Err(Errno::EINPROGRESS));
    made
}

fn bound(port: u16, to: SocketAddr, flags: SockFlag) -> nix::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let made = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&made, ReuseAddr, &true)?;
    setsockopt(&made, RcvBuf, &(64 << 10))?;
    bind(made.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(to.ip(), port)))?;
    Ok(made)
}

/// Connects from a port that is about to become free.
fn until_free(port: u16, to: SocketAddr) -> (OwnedFd, u16) {
    let deadline = std::time::Instant::now() + EVENT_TIMEOUT;
    loop {
        match connected_from(port, to) {
            Ok(made) => return made,
            Err(Errno::EADDRINUSE | Errno::EADDRNOTAVAIL) => {
                assert!(std::time::Instant::now() < deadline, "the port does not become free");
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Sends as much as goes at once.
fn send(to: &OwnedFd, bytes: &[u8]) {
    let sent = nix::sys::socket::send(to.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT);
    assert!(sent.unwrap() > 0);
}

/// Waits until the kernel has given this connection up.
fn until_dead(dead: &OwnedFd) {
    let mut waits = [PollFd::new(dead.as_fd(), PollFlags::empty())];
    let most = PollTimeout::try_from(EVENT_TIMEOUT).unwrap();
    assert_eq!(poll(&mut waits, most), Ok(1), "it lives on");
    assert_eq!(getsockopt(dead, SocketError), Ok(libc::ETIMEDOUT));
}

fn until_connected(made: &OwnedFd) {
    let mut waits = [PollFd::new(made.as_fd(), PollFlags::POLLOUT)];
    let most = PollTimeout::try_from(EVENT_TIMEOUT).unwrap();
    assert_eq!(poll(&mut waits, most), Ok(1), "it does not connect");
    assert_eq!(getsockopt(made, SocketError), Ok(0));
}

fn answer(from: OwnedFd) -> String {
    let mut stream = TcpStream::from(from);
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(EVENT_TIMEOUT)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A process of another user that makes connections and resets them.
struct OtherUser {
    child: std::process::Child,
    ports: BufReader<std::process::ChildStdout>,
    deaths: usize,
    to: SocketAddr,
}

impl OtherUser {
    fn start(to: SocketAddr) -> Self {
        // Perl is part of every Debian, and other users may run it.
        let mut perl = Command::new("setpriv");
        perl.args([&format!("--reuid={OTHER}"), &format!("--regid={OTHER}"), "--clear-groups"]);
        perl.args(["perl", "-MSocket", "-e", DIES, &to.port().to_string()]);
        let mut child = perl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let ports = BufReader::new(child.stdout.take().unwrap());
        Self { child, ports, deaths: 0, to }
    }

    /// Returns a connection of the owner's, with a GET on it, from where the other user's has died.
    fn dies_and_the_owner_comes(&mut self) -> OwnedFd {
        loop {
            // Another program may have a connection from that port to another address.
            if let Ok((owner, _)) = connected_from(self.dies(), self.to) {
                send(&owner, GET);
                return owner;
            }
        }
    }

    /// Makes one, sends a write on it and resets it; returns the port that is free now.
    fn dies(&mut self) -> u16 {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let mut port = String::new();
        self.ports.read_line(&mut port).unwrap();
        self.deaths += 1;
        port.trim().parse().unwrap()
    }
}

impl Drop for OtherUser {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

const DIES: &str = r#"
    $| = 1;
    while (<STDIN>) {
        socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
        connect($s, sockaddr_in($ARGV[0], INADDR_LOOPBACK)) or die "connect: $!";
        my ($port) = sockaddr_in(getsockname($s));
        syswrite($s, "DELETE /api/spaces/coworkers/1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        setsockopt($s, SOL_SOCKET, SO_LINGER, pack("ii", 1, 0)) or die;
        close($s);
        print "$port\n";
    }
"#;

/// How long the addresses of a closed socket stay taken, in seconds.
#[derive(Clone)]
struct Linger2;

nix::setsockopt_impl!(
    Linger2,
    libc::IPPROTO_TCP,
    libc::TCP_LINGER2,
    i32,
    nix::sys::socket::sockopt::SetStruct<'_, i32>
);

/// Closing resets the connection.
const AT_ONCE: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };

const GET: &[u8] = b"GET /api/auth/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Far fewer than a queue of 128 holds: each stands beside one of the owner's, and where another program
/// has the port one more dies. A full queue would let a `connect` wait for the daemon that we stopped.
const AT_A_TIME: usize = 20;
const ROUNDS: usize = 10_000 / AT_A_TIME;

const OTHER: u32 = 65534;
