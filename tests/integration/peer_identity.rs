//! Whose process calls: only the user's own, unless others are named, and it is written down.

#![cfg(target_os = "linux")]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nexudus_proxy::admin::api::{Event, RequestRecord};
use nexudus_proxy::admin::client::EventStream;
use nexudus_proxy::clients::{self, ClientPolicy};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::support::{EVENT_TIMEOUT, ProcessSetup, daemon, needs_root, upstream};

#[tokio::test]
async fn another_users_process_is_turned_away_and_ours_is_not() {
    needs_root();
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let url = format!("http://{}/api/auth/me", daemon.address());

    let foreign = curl(NOBODY, NOBODY, &[&url]).await;
    assert!(foreign.contains("\"guard.user\"") && foreign.ends_with("403"), "{foreign}");
    assert!(curl(0, 0, &[&url]).await.ends_with("200"));

    // Sent and closed before the daemon could ask the kernel for the owner.
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{}; printf 'POST /api/spaces/coworkers HTTP/1.1\\r\\nHost: \
         localhost\\r\\nContent-Length: 0\\r\\n\\r\\n' >&3; exec 3>&-",
        daemon.address().port()
    );
    for _ in 0..20 {
        let mut gone = as_user(NOBODY, NOBODY, "bash");
        assert!(gone.args(["-c", &script]).status().await.unwrap().success());
    }
    assert!(!upstream.requests().iter().any(|seen| seen.path().contains("coworkers")));
}

#[tokio::test]
async fn a_caller_of_our_own_that_waits_for_nothing_is_not_counted_as_a_stranger() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;

    for _ in 0..200 {
        let mut caller = std::net::TcpStream::connect(daemon.address()).unwrap();
        caller.write_all(b"GET /api/auth/me HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    }

    let last = daemon.raw("GET /api/auth/me HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
    assert!(last.await.starts_with("HTTP/1.1 200"));
    let told = daemon.metrics().await;
    assert!(
        told.contains("nexudus_proxy_requests_total") && !told.contains("guard.user"),
        "{told}"
    );
}

#[tokio::test]
async fn the_socket_is_shut_to_others_and_behind_it_the_kernel_is_asked_all_the_same() {
    needs_root();
    let upstream = upstream().start().unwrap();
    let (_home, socket) = open_place();
    let place = socket.clone();
    let daemon = daemon(&upstream).set(|config| {
        config.listen.unix = nexudus_proxy::config::UnixSocket::Path(place);
    });
    let daemon = daemon.run().await;
    let through = socket.to_str().unwrap();
    let call = async |uid, gid| {
        curl(uid, gid, &["--unix-socket", through, "http://localhost/api/auth/me"]).await
    };
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(socket.parent().unwrap()), 0o700);

    // The file system: no connection at all.
    assert_eq!(call(NOBODY, NOBODY).await, "000");
    // The socket file was made accessible: the kernel still tells who calls.
    std::fs::set_permissions(socket.parent().unwrap(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
    let refused = call(NOBODY, NOBODY).await;
    assert!(refused.contains("\"guard.user\"") && refused.ends_with("403"), "{refused}");
    assert!(call(0, 0).await.ends_with("200"));
    drop(daemon);
}

#[tokio::test]
async fn a_named_user_comes_over_tcp_and_a_member_of_a_named_group_by_the_socket_too() {
    needs_root();
    let upstream = upstream().start().unwrap();
    let (_home, socket) = open_place();
    let place = socket.clone();
    let daemon = daemon(&upstream).set(|config| {
        config.listen.users = vec!["daemon".to_owned()];
        config.listen.groups = vec!["nogroup".to_owned()];
        config.listen.unix = nexudus_proxy::config::UnixSocket::Path(place);
    });
    let daemon = daemon.run().await;
    let url = format!("http://{}/api/auth/me", daemon.address());
    let through = ["--unix-socket", socket.to_str().unwrap(), "http://localhost/api/auth/me"];
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o660, 0o710));

    // Named: over TCP. The file's mode knows the group alone.
    assert!(curl(DAEMON, DAEMON, &[&url]).await.ends_with("200"));
    assert_eq!(curl(DAEMON, DAEMON, &through).await, "000");
    // A member, by the user database.
    assert!(curl(NOBODY, NOBODY, &[&url]).await.ends_with("200"));
    assert!(curl(NOBODY, NOBODY, &through).await.ends_with("200"));
    // A process with the group's rights, of a user who is no member: the database decides.
    let refused = curl(BIN, NOBODY, &through).await;
    assert!(refused.contains("\"guard.user\"") && refused.ends_with("403"), "{refused}");
    assert!(curl(BIN, BIN, &[&url]).await.ends_with("403"));
}

#[tokio::test]
async fn it_is_written_down_who_called() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let limits = ClientPolicy { read_only: true, ..ClientPolicy::default() };
    let key = clients::add(&daemon.home().join("state"), "agent", limits).unwrap();
    let mut events = daemon.admin().await.events("request").await.unwrap();
    let own = nix::unistd::geteuid().as_raw();

    // A process behind the socket, at once; refused or not, by the name of its client.
    for (method, code) in [("GET", None), ("DELETE", Some("policy.read-only"))] {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-X", method, "-u", &format!("me:{}", key.expose()), "--unix-socket"]);
        curl.arg(daemon.running.socket().unwrap()).arg("http://localhost/api/auth/me");
        let mut child = curl.stdout(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        child.wait().await.unwrap();
        let seen = request(&mut events).await;
        assert_eq!((seen.uid, seen.pid, seen.program.as_deref()), (Some(own), pid, Some("curl")));
        assert_eq!((seen.client.as_deref(), seen.code.as_deref()), (Some("agent"), code));
    }
    // One behind a TCP connection is looked for meanwhile, and known soon.
    let mut last = None;
    while last != Some(std::process::id()) {
        daemon.get("/api/auth/me").await.bytes().await.unwrap();
        let seen = request(&mut events).await;
        assert_eq!((seen.uid, seen.client), (Some(own), None));
        last = seen.pid;
    }
}

#[tokio::test]
async fn a_refusal_is_logged_with_its_code_and_its_caller_and_moves_no_cursor() {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream);
    let mut daemon = place.start().await;

    // An escape is no header; the upper half of Latin-1 is, and has a control of its own.
    let sent = ["a\u{1b}[2J", "evil.example", "evil\u{9b}2J.example"];
    for host in sent {
        daemon.raw(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    }
    daemon.raw("GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://\u{9b}2J\r\n\r\n").await;

    let own = nix::unistd::geteuid().as_raw();
    for (code, shown) in [("guard.host", "evil.example"), ("guard.origin", "x9b2J")] {
        let line = daemon.wait_for_log(|line| line["message"] == "rejected a request").await;
        assert_eq!((&line["code"], &line["uid"]), (&code.into(), &own.into()), "{line}");
        assert!(line.to_string().contains(shown), "{line}");
        assert!(!line.to_string().contains(['\u{1b}', '\u{9b}']), "{line}");
    }
}

#[tokio::test]
async fn root_is_another_user_too() {
    needs_root();
    let upstream = upstream().start().unwrap();

    let daemon = ProcessSetup::new(&upstream).with_user(NOBODY).start().await;

    assert_eq!(daemon.status("/api/auth/me").await, 403);
}

#[tokio::test]
async fn it_does_not_serve_beside_another_users_listener_on_the_other_family() {
    needs_root();
    let script = "$s = IO::Socket::IP->new(LocalHost => '::1', LocalPort => 0, Listen => 1) or die; \
                  $| = 1; print $s->sockport, \"\\n\"; sleep 60";
    // Perl is part of every Debian, and other users may run it.
    let mut other = as_user(NOBODY, NOBODY, "perl");
    other.args(["-MIO::Socket::IP", "-e", script]);
    let mut other = other.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(other.stdout.take().unwrap()).read_line(&mut port).await.unwrap();
    let ours = format!("127.0.0.1:{}", port.trim()).parse().unwrap();

    let bound = nexudus_proxy::listen::bind_tcp(&[ours]).unwrap();
    let error = nexudus_proxy::listen::reserve_other_family(bound.iter()).unwrap_err();

    assert!(error.to_string().starts_with("another user listens on [::1]:"), "{error}");
}

/// Calls as another user; returns the answer's body and status, `000` without one.
async fn curl(uid: u32, gid: u32, arguments: &[&str]) -> String {
    let mut curl = as_user(uid, gid, "curl");
    let said = curl.args(["-s", "-w", "%{http_code}"]).args(arguments).output().await.unwrap();
    String::from_utf8(said.stdout).unwrap()
}

fn as_user(uid: u32, gid: u32, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups", program]);
    command
}

/// A directory that every user may pass through, and a place for a socket below it.
fn open_place() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let socket = home.path().join("run/proxy.sock");
    (home, socket)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn request(events: &mut EventStream) -> RequestRecord {
    let event = tokio::time::timeout(EVENT_TIMEOUT, events.next()).await.unwrap().unwrap();
    let Event::Request(request) = event else { panic!("{event:?}") };
    *request
}

const NOBODY: u32 = 65534;
const DAEMON: u32 = 1;
const BIN: u32 = 2;
