//! An upstream that leads back to the daemon: told at the first turn, and no connection is held.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nexudus_proxy::config::{Origin, UpstreamAddress};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::fuzz_corpus::stage::self_signed::self_signed;
use crate::support::raw_upstream::ok;
use crate::support::{Daemon, daemon, daemon_before, problem_json, secs, upstream};

/// As with `127.0.0.1 spaces.nexudus.com` in the hosts file, and a redirected port.
#[tokio::test]
async fn a_name_that_is_a_socket_of_ours_is_refused_with_its_name() {
    let port = free_port().await;
    let (_, ca) = self_signed();
    let listen = vec![SocketAddr::from(([127, 0, 0, 1], port))];
    let setup = daemon_before(port, &ca).set(|config| config.listen.tcp = listen);
    let daemon = setup.set(|config| config.session.wait = secs(1)).run().await;

    for _ in 0..2 {
        let answer = daemon.get("/api/spaces/coworkers").await;

        assert_eq!(answer.status(), 502);
        let status = answer.headers()["proxy-status"].to_str().unwrap().to_owned();
        assert!(status.contains("error=proxy_loop_detected"), "{status}");
        let problem = problem_json(answer).await;
        assert_eq!(problem["code"], "upstream.loop");
        let named = format!("https://localhost:{port} leads back to this daemon");
        assert!(problem["detail"].as_str().unwrap().contains(&named), "{problem}");
    }

    assert_eq!(counted(&daemon).await, 2, "no request of its own");
}

#[tokio::test]
async fn an_upstream_that_is_our_own_address_ends_the_start() {
    let upstream = upstream().start().unwrap();
    let port = free_port().await;
    let listen = vec![SocketAddr::from(([127, 0, 0, 1], port))];
    for (origin, address, told) in [
        (Origin::new("127.0.0.1", port), None, "upstream.origin leads back to this daemon"),
        (
            Origin::new("nexudus.test", 443),
            Some(UpstreamAddress::new([127, 0, 0, 1].into(), Some(port))),
            "upstream.address leads back to this daemon",
        ),
    ] {
        let setup = daemon(&upstream).set(|config| config.listen.tcp.clone_from(&listen));
        let setup = setup.set(|config| config.upstream.origin = origin);
        let error =
            setup.set(|config| config.upstream.address = address).start().await.unwrap_err();
        assert!(error.to_string().starts_with(told), "{error}");
    }
}

#[tokio::test]
async fn behind_a_front_a_login_at_ourselves_ends_at_its_first_turn() {
    let front = front(false).await;
    let setup = daemon_before(front.address.port(), &front.ca);
    let daemon = setup.set(|config| config.session.wait = secs(20)).run().await;
    front.leads_to.send_replace(Some(daemon.address()));

    let answer = daemon.get("/api/spaces/coworkers").await;

    assert_eq!(answer.status(), 502);
    let problem = problem_json(answer).await;
    assert_eq!(problem["code"], "upstream.loop");
    let named = "leads back to this daemon";
    assert!(problem["detail"].as_str().unwrap().contains(named), "{problem}");
    assert_no_connections(&daemon).await;
    let metrics = daemon.metrics().await;
    assert!(!metrics.contains("renewals_total 1\n"), "no token was handed out: {metrics}");
}

#[tokio::test]
async fn behind_a_front_a_request_with_our_token_ends_at_its_first_turn() {
    let front = front(true).await;
    let daemon = daemon_before(front.address.port(), &front.ca).run().await;
    daemon.session_until(|view| view.generation == 1).await;
    front.leads_to.send_replace(Some(daemon.address()));
    let before = (counted(&daemon).await, front.requests());

    for turn in 1..=2 {
        let answer = daemon.get("/api/spaces/coworkers?size=1").await;

        assert_eq!(answer.status(), 502);
        assert_eq!(problem_json(answer).await["code"], "upstream.loop");
        assert_eq!(front.requests() - before.1, turn, "one request goes out for each");
    }

    assert_eq!(counted(&daemon).await - before.0, 4, "each comes back once");
    assert_no_connections(&daemon).await;
}

/// Each hands the other a placeholder: taken for a token, one request would fill both.
#[tokio::test]
async fn two_daemons_that_lead_to_each_other_are_told_so() {
    let (front_of_one, front_of_two) = (front(false).await, front(false).await);
    let daemon_between = |own: &Front, other: &Front| {
        // Its front keeps the `Host`, under the name that this daemon was told.
        let host = vec![format!("localhost:{}", own.address.port())];
        let setup = daemon_before(other.address.port(), &other.ca);
        setup.set(|config| config.session.wait = secs(20)).set(|config| config.listen.hosts = host)
    };
    let one = daemon_between(&front_of_one, &front_of_two).run().await;
    let two = daemon_between(&front_of_two, &front_of_one).run().await;
    front_of_one.leads_to.send_replace(Some(one.address()));
    front_of_two.leads_to.send_replace(Some(two.address()));

    let answer = one.get("/api/spaces/coworkers").await;

    let problem = problem_json(answer).await;
    assert_eq!((&problem["status"], &problem["code"]), (&502.into(), &"upstream.loop".into()));
    let named = "leads to another nexudus-proxy, whose token is a placeholder";
    assert!(problem["detail"].as_str().unwrap().contains(named), "{problem}");
    for daemon in [&one, &two] {
        let metrics = daemon.metrics().await;
        assert!(!metrics.contains("renewals_total 1\n"), "no placeholder was taken: {metrics}");
    }
    // The client's request, and the calls of the other daemon, which backs off.
    let counts = (counted(&one).await, counted(&two).await);
    assert!(counts.0 <= 20 && counts.1 <= 20, "{counts:?}");
}

#[tokio::test]
async fn an_address_takes_the_place_of_the_name_for_every_call() {
    // No resolver knows the name; the certificate is for it.
    let upstream = upstream().name("nexudus.test").start().unwrap();
    let address = UpstreamAddress::new([127, 0, 0, 1].into(), Some(upstream.address().port()));
    for port in [443, 8443] {
        let setup = daemon(&upstream)
            .set(|config| config.upstream.origin = Origin::new("nexudus.test", port));
        let daemon = setup.set(|config| config.upstream.address = Some(address)).run().await;

        assert_eq!(daemon.get("/api/auth/me").await.status(), 200);

        let host = if port == 443 { "nexudus.test" } else { "nexudus.test:8443" };
        for seen in upstream.requests() {
            assert_eq!(seen.header("host"), Some(host), "{seen:?}");
        }
        upstream.clear_recording();
    }
}

/// Waits until no local connection is open but the one that asks.
async fn assert_no_connections(daemon: &Daemon) {
    let deadline = tokio::time::Instant::now() + secs(20);
    loop {
        let metrics = daemon.metrics().await;
        let open = metric(&metrics, "nexudus_proxy_connections_open");
        // The test's own client keeps one.
        if open <= 1 {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{open} connections are open");
        tokio::task::yield_now().await;
    }
}

/// Returns a port that was free a moment ago.
async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// Returns how many requests the daemon has received.
async fn counted(daemon: &Daemon) -> u64 {
    let metrics = daemon.metrics().await;
    let lines = metrics.lines().filter(|line| line.starts_with("nexudus_proxy_requests_total{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn metric(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{metrics}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// A TLS end before another server, as a reverse proxy that a person has put on the name. Until it is
/// told where to lead, it hands out a token by itself, or waits.
struct Front {
    address: SocketAddr,
    ca: String,
    leads_to: watch::Sender<Option<SocketAddr>>,
    requests: Arc<AtomicU64>,
}

impl Front {
    /// Returns how many requests were led on.
    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn front(hands_out_token: bool) -> Front {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (config, ca) = self_signed();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (leads_to, target) = watch::channel(None);
    let requests = Arc::<AtomicU64>::default();
    let counter = requests.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, mut target, counter) =
                (acceptor.clone(), target.clone(), counter.clone());
            tokio::spawn(async move {
                let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                let mut head = vec![];
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = tls.read_u8().await else { return };
                    head.push(byte);
                }
                if !hands_out_token {
                    target.wait_for(Option::is_some).await.unwrap();
                }
                let target = *target.borrow();
                let Some(target) = target else {
                    let token = r#"{"access_token":"marker-token-5c1d","token_type":"bearer","expires_in":604799,"refresh_token":"r"}"#;
                    tls.write_all(ok(token).as_bytes()).await.ok();
                    tls.shutdown().await.ok();
                    return;
                };
                counter.fetch_add(1, Ordering::Relaxed);
                let mut server = TcpStream::connect(target).await.unwrap();
                server.write_all(&head).await.unwrap();
                copy_bidirectional(&mut tls, &mut server).await.ok();
            });
        }
    });
    Front { address, ca, leads_to, requests }
}
