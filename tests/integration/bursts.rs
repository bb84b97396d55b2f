//! A burst of clients waits for its turn: none is refused, and none has to try again.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect, socket,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::support::{EVENT_TIMEOUT, ProcessSetup, upstream};

#[tokio::test]
async fn two_thousand_clients_at_once_wait_for_a_busy_daemon() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let upstream = upstream().start().unwrap();
    let setup = ProcessSetup::new(&upstream);
    let program = setup.start().await;
    assert_eq!(program.status("/api/auth/me").await, 200);

    // Stopped, it accepts nothing at all: whoever is connected is in the queue.
    program.signal(Signal::SIGSTOP);
    let tcp: Vec<_> = (0..BURST).map(|_| by_tcp(program.address())).collect();
    let unix: Vec<_> = (0..BURST).map(|_| by_unix(&setup.socket())).collect();
    let waiting = tcp.iter().filter(|it| it.as_ref().is_some_and(is_connected)).count();
    program.signal(Signal::SIGCONT);

    assert_eq!(waiting, BURST);
    assert!(unix.iter().all(Option::is_some), "a unix socket refuses where its queue is full");
    drop(unix);
    let mut answers = JoinSet::new();
    for stream in tcp.into_iter().flatten() {
        answers.spawn(ask(stream));
    }
    let answers = answers.join_all().await;
    let served = answers.iter().filter(|it| it.starts_with("HTTP/1.1 421 ")).count();
    assert_eq!(served, BURST, "{:?}", answers.iter().find(|it| !it.starts_with("HTTP/1.1 421 ")));
}

/// Asks what the daemon answers by itself.
async fn ask(stream: std::net::TcpStream) -> String {
    let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(EVENT_TIMEOUT, stream.read_to_string(&mut answer)).await;
    read.expect("no answer").unwrap();
    answer
}

fn by_tcp(address: SocketAddr) -> Option<std::net::TcpStream> {
    begin(AddressFamily::Inet, &SockaddrStorage::from(address)).map(Into::into)
}

fn by_unix(path: &Path) -> Option<OwnedFd> {
    begin(AddressFamily::Unix, &UnixAddr::new(path).unwrap())
}

/// Begins to connect, without waiting.
fn begin(family: AddressFamily, to: &dyn SockaddrLike) -> Option<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let made = socket(family, SockType::Stream, flags, None).unwrap();
    match connect(made.as_raw_fd(), to) {
        Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => Some(made),
        Err(_) => None,
    }
}

/// Says whether the handshake is over: on the loopback interface it needs no time, unless the queue
/// is full.
fn is_connected(stream: &std::net::TcpStream) -> bool {
    stream.peer_addr().is_ok()
}

/// Fewer than `net.core.somaxconn`, which is 4096 since Linux 5.4.
const BURST: usize = 2_000;
