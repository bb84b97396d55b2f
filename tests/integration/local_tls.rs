//! `listen.tls`: HTTPS for tools that insist on it.

use nexudus_proxy::ca::AuthorityKind;
use nexudus_proxy::config::{Origin, UpstreamAddress};
use tokio::net::TcpStream;

use crate::support::forward::{ask, handshake, root, trusting};
use crate::support::{Daemon, DaemonSetup, daemon, upstream};

#[tokio::test]
async fn https_is_spoken_with_the_certificate_of_this_machine() {
    let upstream = upstream().name("spaces.nexudus.test").start().unwrap();
    // Another name than ours, so that the authorities differ.
    let setup = before_nexudus(daemon(&upstream), upstream.address().port());
    // Each address of config.listen.tls, by each of its names.
    let daemon = setup.run().await;
    let localhost = trusting(&root(&daemon, AuthorityKind::Localhost).await);

    for (address, name, host) in [
        ("127.0.0.1", "localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1", "[::1]"),
        ("[::1]", "localhost", "localhost"),
    ] {
        let tcp = connect(&daemon, address).await;
        let tls = handshake(tcp, &localhost, name).await.unwrap_or_else(|error| {
            panic!("{name}: {error}");
        });
        assert_eq!(tls.get_ref().1.alpn_protocol(), None, "none was asked for");
        // As clients write it where the port is not 443.
        let host = format!("{host}:{}", port(&daemon));
        let answer = ask(tls, &get(&host)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{name}: {answer}");
    }
    let other_port = format!("localhost:{}", port(&daemon).wrapping_add(1));
    for (host, status) in [
        ("localhost", 200),
        (other_port.as_str(), 421),
        ("example.test", 421),
        ("spaces.nexudus.test", 421),
    ] {
        let tls = handshake(connect(&daemon, "127.0.0.1").await, &localhost, "localhost").await;
        let answer = ask(tls.unwrap(), &get(host)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
    }
    let foreign = handshake(connect(&daemon, "127.0.0.1").await, &localhost, "example.test").await;
    assert!(foreign.is_err(), "no certificate is made for a name that is not ours");
}

/// As with `127.0.0.1 spaces.nexudus.com` in the hosts file.
#[tokio::test]
async fn the_name_of_an_origin_that_leads_here_gets_its_own_certificate() {
    let upstream = upstream().name("spaces.nexudus.test").start().unwrap();
    let setup = before_nexudus(daemon(&upstream), upstream.address().port());
    let daemon = setup.run().await;
    let (intercept, localhost) = (
        trusting(&root(&daemon, AuthorityKind::Intercept).await),
        trusting(&root(&daemon, AuthorityKind::Localhost).await),
    );

    for (host, status) in [
        ("spaces.nexudus.test", 200),
        ("localhost", 421),
        ("127.0.0.1", 421),
        ("example.test", 421),
    ] {
        let tcp = connect(&daemon, "127.0.0.1").await;
        let tls = handshake(tcp, &intercept, "spaces.nexudus.test").await.unwrap();
        let answer = ask(tls, &get(host)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
    }
    let crossed = handshake(connect(&daemon, "127.0.0.1").await, &localhost, "spaces.nexudus.test");
    assert!(crossed.await.is_err(), "the localhost CA cannot sign that name");
}

#[tokio::test]
async fn plain_http_to_an_https_address_is_told_so() {
    let upstream = upstream().start().unwrap();
    let daemon = with_tls(daemon(&upstream)).run().await;
    root(&daemon, AuthorityKind::Localhost).await;

    let answer = ask(connect(&daemon, "127.0.0.1").await, &get("localhost")).await;

    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");
}

fn with_tls(setup: DaemonSetup) -> DaemonSetup {
    setup.set(|config| {
        config.listen.tls = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    })
}

/// Configures an origin of another name, whose address is that of the simulator.
fn before_nexudus(setup: DaemonSetup, port: u16) -> DaemonSetup {
    with_tls(setup).set(|config| {
        config.upstream.origin = Origin::new("spaces.nexudus.test", 443);
        config.upstream.address = Some(UpstreamAddress::new([127, 0, 0, 1].into(), Some(port)));
        config.session.wait = std::time::Duration::from_secs(20);
    })
}

async fn connect(daemon: &Daemon, host: &str) -> TcpStream {
    TcpStream::connect(format!("{host}:{}", port(daemon))).await.unwrap()
}

fn port(daemon: &Daemon) -> u16 {
    daemon.running.listening().tls[0].port()
}

fn get(host: &str) -> String {
    format!("GET /api/auth/me HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}
