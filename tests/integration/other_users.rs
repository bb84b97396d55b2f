//! Another user takes no room, no time and no log of the owner's.

#![cfg(target_os = "linux")]

use std::cell::Cell;
use std::path::PathBuf;
use std::process::Stdio;

use nexudus_proxy::config::Paths;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::support::{EVENT_TIMEOUT, ProcessSetup, daemon, needs_root, upstream};

#[tokio::test]
async fn silent_connections_of_another_user_leave_the_owner_its_places() {
    needs_root();
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream);
    let mut program = place.start().await;
    let port = program.address().port();
    let open = format!(
        "my @open; for (1..4200) {{ my $s = IO::Socket::INET->new('127.0.0.1:{port}') or next; \
         push @open, $s }} print \"done\\n\"; <STDIN>;"
    );

    let mut stranger = Stranger::run(NOBODY, &open);
    // Some are told so early that they are none: they are closed by a reset.
    assert_eq!(stranger.says().await, "done");

    for _ in 0..20 {
        assert_eq!(program.status("/api/auth/me").await, 200);
        assert!(ask(&place.socket()).await.starts_with("HTTP/1.1 200 "));
    }
    let told = |line: &Value| line["message"] == TURNED_AWAY;
    let line = program.wait_for_log(told).await;
    assert_eq!(
        (&line["level"], &line["limit"], &line["uid"]),
        (&"WARN".into(), &"one other user".into(), &NOBODY.into()),
        "{line}"
    );
    assert!(!program.lines().iter().any(told), "said once, not for each connection");
}

#[tokio::test]
async fn what_a_stranger_has_refused_is_a_line_a_second_and_a_short_one() {
    needs_root();
    let upstream = upstream().start().unwrap();
    let mut program = ProcessSetup::new(&upstream).start().await;
    let port = program.address().port();
    let flood = format!(
        "my $long = 'x' x 30000; for my $n (1..1000) {{ for my $head (\"Host: $long$n\", \
         \"Host: localhost\\r\\nOrigin: http://$long$n\", 'Host: localhost') {{ \
         my $s = IO::Socket::INET->new('127.0.0.1:{port}') or next; \
         print $s \"GET /$n HTTP/1.1\\r\\n$head\\r\\n\\r\\n\"; my $seen = <$s>; }} }} \
         print \"done\\n\"; <STDIN>;"
    );

    let started = std::time::Instant::now();
    let mut stranger = Stranger::run(NOBODY, &flood);
    assert_eq!(stranger.says().await, "done");
    // Nor does a page in the owner's browser write more.
    let long = "y".repeat(30_000);
    for _ in 0..1_000 {
        program.raw(&format!("GET / HTTP/1.1\r\nHost: {long}\r\n\r\n")).await;
    }
    let seconds = started.elapsed().as_secs() as usize + 2;

    let counted =
        program.wait_for_log(|line| line["message"] == "more requests were refused").await;
    assert!(counted["count"].as_u64().is_some_and(|count| count > 1), "{counted}");
    let refused: Vec<_> = program.lines();
    let said: usize = refused.iter().map(|line| line.to_string().len()).sum();
    // Three codes of one user, one of the other.
    assert!(refused.len() <= 8 * seconds, "{} lines in {seconds} s", refused.len());
    assert!(said <= 8 * seconds * 1_000, "{said} bytes in {seconds} s");
}

/// Of callers who leave at once, however they do.
#[tokio::test]
async fn strangers_who_reset_their_connections_do_not_fill_the_log_at_debug() {
    needs_root();
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream).set("NEXUDUS_PROXY_LOG_LEVEL", "debug");
    let mut program = place.start().await;
    let port = program.address().port();
    let flood = format!(
        "my $now = pack('ii', 1, 0); for my $head ('', 'GET', \"GET /\\x01 HTTP/1.1\\r\\n\\r\\n\") {{ \
         for (1..700) {{ my $s = IO::Socket::INET->new('127.0.0.1:{port}') or next; \
         setsockopt($s, SOL_SOCKET, SO_LINGER, $now); syswrite $s, $head; close $s; }} }} \
         print \"done\\n\"; <STDIN>;"
    );

    let started = std::time::Instant::now();
    let mut stranger = Stranger::run(NOBODY, &flood);
    assert_eq!(stranger.says().await, "done");
    // What came before has been dealt with: connections are accepted in their order.
    assert_eq!(program.status("/api/auth/me").await, 200);
    let lines = Cell::new(0);
    let answered = program.wait_for_log(|line| {
        let is_gone = line["message"].as_str().is_some_and(|it| it.contains("gone"));
        lines.set(lines.get() + usize::from(is_gone));
        line["message"] == "request" && line["status"] == 200
    });
    answered.await;
    let (lines, seconds) = (lines.get(), started.elapsed().as_secs() as usize + 2);

    // Two of callers who were refused, one of those who were not even known.
    assert!(lines > 0, "none was gone");
    assert!(lines <= 4 * seconds, "{lines} lines in {seconds} s");
}

#[tokio::test]
async fn a_stranger_has_two_seconds_for_a_head_and_no_second_request() {
    needs_root();
    let upstream = upstream().start().unwrap();
    let program = ProcessSetup::new(&upstream).start().await;
    let port = program.address().port();
    let script = format!(
        "my $open = sub {{ IO::Socket::INET->new('127.0.0.1:{port}') or die }}; \
         my ($silent, $slow, $idle) = map {{ $open->() }} 1..3; \
         print $slow \"GET / HTTP/1.1\\r\\n\"; $slow->flush; \
         print $idle \"GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n\"; $idle->flush; \
         for ($silent, $slow, $idle) {{ local $/; print length(<$_>) > 0 ? 'told' : 'closed', \"\\n\" }} \
         <STDIN>;"
    );

    let started = std::time::Instant::now();
    let mut stranger = Stranger::run(NOBODY, &script);
    let ends = [stranger.says().await, stranger.says().await, stranger.says().await];

    assert_eq!(ends, ["closed", "told", "told"]);
    // Others have 10 s for a head, and 75 s between two requests.
    assert!(started.elapsed().as_secs() < 8, "{:?}", started.elapsed());
}

#[tokio::test]
async fn without_descriptors_for_more_callers_they_are_let_go_and_one_line_is_logged() {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream).set("NEXUDUS_PROXY_LIMITS_KEEP_ALIVE", "1s");
    let mut program = place.start_with_max_files(64).await;
    assert_eq!(program.status("/api/auth/me").await, 200);
    let mut open = vec![];
    for _ in 0..150 {
        open.push(TcpStream::connect(program.address()).await.unwrap());
    }

    // Those that fit go a second later, the others at once.
    for stream in &mut open {
        let ended = tokio::time::timeout(EVENT_TIMEOUT, stream.read(&mut [0])).await;
        assert_eq!(ended.expect("it is never accepted").unwrap(), 0);
    }

    let rejected = |line: &Value| line["message"] == "connections rejected: too many are open";
    program.wait_for_log(rejected).await;
    let starved = |line: &Value| line["message"] == "could not accept a connection";
    assert!(!program.lines().iter().any(|line| rejected(line) || starved(line)), "said once");
    assert_eq!(program.status("/api/auth/me").await, 200);
}

#[tokio::test]
async fn a_connection_header_with_a_crowd_of_names_is_refused() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let ask = async |names: usize| {
        let names: Vec<String> = (0..names).map(|at| format!("x{at}")).collect();
        let head = format!(
            "GET /api/auth/me HTTP/1.1\r\nHost: HOST\r\nConnection: close,{}\r\nX3: gone\r\n\r\n",
            names.join(",")
        );
        daemon.raw(&head).await
    };

    assert!(ask(31).await.starts_with("HTTP/1.1 200 "));
    assert!(!upstream.requests().iter().any(|seen| format!("{seen:?}").contains("gone")));
    for names in [32, 7_000] {
        let answer = ask(names).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{names}: {answer}");
        assert!(answer.contains("\"code\":\"request.too-large\""), "{names}: {answer}");
    }
}

#[tokio::test]
async fn a_command_gets_through_whoever_else_sits_on_the_admin_surface() {
    needs_root();
    let upstream = upstream().start().unwrap();
    let setup =
        daemon(&upstream).set(|config| config.admin.listen = Some("127.0.0.1:0".parse().unwrap()));
    let daemon = setup.run().await;
    let socket = Paths::rooted_at(daemon.home()).admin_socket();
    let address = daemon.running.admin_address().unwrap();
    let events = "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut held: Vec<Box<dyn Stream>> = vec![];
    for at in 0..200 {
        let mut unix: Box<dyn Stream> = Box::new(UnixStream::connect(&socket).await.unwrap());
        let mut tcp: Box<dyn Stream> = Box::new(TcpStream::connect(address).await.unwrap());
        for stream in [&mut unix, &mut tcp].into_iter().filter(|_| at % 2 == 0) {
            stream.write_all(events.as_bytes()).await.unwrap();
            let mut first = [0; 12];
            stream.read_exact(&mut first).await.unwrap();
            let is_following = &first == b"HTTP/1.1 200";
            assert!(is_following || &first == b"HTTP/1.1 503", "{first:?}");
            // 64 readers in all; every other round has two.
            assert_eq!(is_following, at < 64, "{at}");
        }
        held.extend([unix, tcp]);
    }

    let status: Value = daemon.admin().await.get("/v1/status").await.unwrap();
    assert!(status["session"].is_object(), "{status}");
    let mut scraper = TcpStream::connect(address).await.unwrap();
    let head = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    scraper.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    scraper.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // Another user's connections take no place of ours.
    let open = format!(
        "my @open; for (1..300) {{ my $s = IO::Socket::INET->new('{address}') or next; push @open, \
         $s; print $s \"GET /v1/events HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n\"; $s->flush if $_ % 2 }} \
         print \"done\\n\"; <STDIN>;"
    );
    let mut stranger = Stranger::run(NOBODY, &open);
    assert_eq!(stranger.says().await, "done");
    let mut scraper = TcpStream::connect(address).await.unwrap();
    scraper.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    scraper.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(held);
}

trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Stream for T {}

/// Sends a request through a unix socket and returns the answer.
async fn ask(socket: &PathBuf) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let head = "GET /api/auth/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(EVENT_TIMEOUT, read).await.expect("no answer").unwrap();
    answer
}

/// A program of another user's, which says lines and ends when it is dropped.
struct Stranger {
    says: Lines<BufReader<ChildStdout>>,
    _stdin: ChildStdin,
    _child: Child,
}

impl Stranger {
    /// Runs a script as `uid`, with as many files as there may be.
    fn run(uid: u32, script: &str) -> Self {
        let mut command = Command::new("prlimit");
        command.args(["--nofile=16384:16384", "setpriv"]);
        command.args([&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups"]);
        // Perl is part of every Debian, and other users may run it.
        command.args(["perl", "-MIO::Socket::INET", "-e", &format!("$| = 1; {script}")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let says = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { says, _stdin: child.stdin.take().unwrap(), _child: child }
    }

    async fn says(&mut self) -> String {
        let line = tokio::time::timeout(4 * EVENT_TIMEOUT, self.says.next_line()).await;
        line.expect("it says nothing").unwrap().expect("it has ended")
    }
}

const TURNED_AWAY: &str = "connections rejected: too many are open";

const NOBODY: u32 = 65534;
