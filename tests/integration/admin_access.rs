//! Who may ask the admin surface for what, over which way.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use nexudus_proxy::admin::api::{Problem, Status};
use nexudus_proxy::admin::client::Error;
use nexudus_proxy::config::Paths;

use crate::support::admin::{exchange, get};
use crate::support::{daemon, needs_root, upstream};

#[tokio::test]
async fn nothing_changes_state_on_get() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;

    for act in ["stop", "reload", "refresh", "lock", "unlock", "forget", "login", "handover"] {
        let answer = get(&daemon, &format!("/v1/{act}")).await;
        assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: POST"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let problem: Problem = serde_json::from_str(body).unwrap();
        assert_eq!(problem.kind, "urn:nexudus-proxy:admin.method");
    }
}

#[tokio::test]
async fn over_tcp_there_is_reading_only_and_no_web_page() {
    let upstream = upstream().start().unwrap();
    let loopback = "127.0.0.1:0".parse().unwrap();
    let daemon = daemon(&upstream).set(|config| config.admin.listen = Some(loopback)).run().await;
    let status: Status = daemon.admin().await.get("/v1/status").await.unwrap();
    let address = status.listening.admin_tcp.unwrap();
    let ask = async |method: &str, path: &str, headers: &str| {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
        let head = format!("{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n");
        exchange(stream, &head).await[9..12].to_owned()
    };

    assert_eq!(ask("GET", "/healthz", "").await, "200");
    assert_eq!(ask("GET", "/metrics", "").await, "200");
    for path in ["status", "events", "clients", "config", "whoami", "upstream"] {
        assert_eq!(ask("GET", &format!("/v1/{path}"), "").await, "404", "{path}");
    }
    assert_eq!(ask("POST", "/v1/stop", "").await, "404");
    assert_eq!(ask("GET", "/metrics", "Host: evil.example\r\n").await, "421");
    assert_eq!(ask("GET", "/metrics", "Origin: http://evil.example\r\n").await, "403");
    assert_eq!(ask("GET", "/metrics", "Sec-Fetch-Site: cross-site\r\n").await, "403");
}

#[tokio::test]
async fn what_was_opened_for_admin_users_is_shut_again_once_nobody_is_named() {
    let upstream = upstream().start().unwrap();
    let named = daemon(&upstream).set(|config| config.admin.users = vec!["nobody".to_owned()]);
    let daemon = named.run().await;
    let run = Paths::rooted_at(daemon.home()).runtime;
    let mode = || std::fs::metadata(&run).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o711);

    let _again = daemon.restart().await.set(|config| config.admin.users.clear()).run().await;

    assert_eq!(mode(), 0o700);
}

#[tokio::test]
async fn whoever_is_named_in_admin_users_may_use_the_socket_and_nobody_else() {
    needs_root();
    let upstream = upstream().start().unwrap();
    let named = vec!["65534".to_owned()];
    let setups = [daemon(&upstream).set(|config| config.admin.users = named), daemon(&upstream)];
    let mut statuses = vec![];
    for setup in setups {
        let daemon = setup.run().await;
        // The way to the socket is open, so that its own answer is what is seen.
        open(daemon.home());
        let socket = Paths::rooted_at(daemon.home()).admin_socket();
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
        let mut curl = tokio::process::Command::new("setpriv");
        curl.args(["--reuid=65534", "--clear-groups", "curl", "--silent", "--output", "/dev/null"]);
        curl.args(["--write-out", "%{http_code}", "--unix-socket"]).arg(&socket);
        let said = curl.arg("http://localhost/v1/status").output().await.unwrap().stdout;
        statuses.push((mode, String::from_utf8(said).unwrap()));
        open(socket.parent().unwrap());
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
        let said = curl.output().await.unwrap().stdout;
        statuses.push((0o666, String::from_utf8(said).unwrap()));
    }

    let expected = [(0o666, "200"), (0o666, "200"), (0o600, "000"), (0o666, "403")];
    assert_eq!(statuses, expected.map(|(mode, said)| (mode, said.to_owned())));
}

#[tokio::test]
async fn a_stranger_who_holds_many_connections_keeps_nobody_from_acting() {
    needs_root();
    let upstream = upstream().start().unwrap();
    let named = vec!["65533".to_owned()];
    let daemon = daemon(&upstream).set(|config| config.admin.users = named).run().await;
    open(daemon.home());
    let socket = Paths::rooted_at(daemon.home()).admin_socket();
    // Each is connected before the next begins, and accepted in that order.
    let hold = r#"use Socket; $| = 1;
        for (1..70) {
            socket(my $held, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
            connect($held, pack_sockaddr_un($ARGV[0])) or die "connect: $!";
            push @held, $held;
        }
        print "holding\n"; <STDIN>;"#;
    let mut stranger = Command::new("setpriv");
    stranger.args(["--reuid=65534", "--clear-groups", "perl", "-e", hold]).arg(&socket);
    let mut stranger = stranger.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 8];
    stranger.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"holding\n");

    let status: Result<Status, Error> = daemon.admin().await.get("/v1/status").await;

    assert!(status.is_ok(), "{status:?}");
    drop(stranger.stdin.take());
    assert!(stranger.wait().unwrap().success());
}

fn open(directory: &std::path::Path) {
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o711)).unwrap();
}
