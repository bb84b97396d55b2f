//! A program that cannot change its base URL calls through the forward proxy.

use nexudus_proxy::clients::{self, ClientPolicy};
use nexudus_proxy::config::{AnonymousAccess, Host, OtherHosts};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::forward::{
    Echo, Forward, ask, origin, read_head, tunnelling, with_forward_proxy,
};
use crate::support::{Daemon, EVENT_TIMEOUT, daemon, problem_json, request_count, upstream};

#[tokio::test]
async fn a_configured_origin_is_intercepted_and_its_requests_get_the_token() {
    let upstream = upstream().start().unwrap();
    let loopback = "127.0.0.1:0".parse().unwrap();
    let setup = with_forward_proxy(daemon(&upstream))
        .set(|config| config.forward_proxy.listen = Some(loopback));
    let daemon = setup.run().await;
    let client = Forward::of(&daemon).await.client(None);
    let url =
        format!("https://localhost:{}/api/spaces/coworkers?size=2", upstream.address().port());

    for _ in 0..2 {
        let request = client.get(&url).basic_auth("marker-own-user", Some("marker-own-password"));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let page: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(page["Records"].as_array().unwrap().len(), 2);
    }

    let seen: Vec<_> = upstream.requests();
    let seen: Vec<_> = seen.iter().filter(|it| it.path() == "/api/spaces/coworkers").collect();
    assert_eq!(seen.len(), 2);
    let token = upstream.live_access_tokens().remove(0);
    for request in seen {
        assert_eq!(request.header("authorization"), Some(&*format!("Bearer {token}")));
        assert_eq!(request.header("host"), Some(&*origin(&upstream)));
    }
    assert_eq!(request_count(&upstream, "/api/spaces/coworkers"), 2);
}

#[tokio::test]
async fn a_target_in_absolute_form_takes_the_same_path() {
    let upstream = upstream().start().unwrap();
    let daemon = with_forward_proxy(daemon(&upstream)).run().await;
    let forward = Forward::of(&daemon).await;
    let origin = origin(&upstream);

    for target in [
        format!("http://{origin}/api/auth/me"),
        format!("https://{origin}/api/auth/me"),
        "http://localhost/api/auth/me".to_owned(),
        "http://LOCALHOST.:80/api/auth/me".to_owned(),
    ] {
        let host = target.split('/').nth(2).unwrap();
        let answer = forward
            .raw(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
            .await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{target}: {answer}");
    }
    assert_eq!(request_count(&upstream, "/api/auth/me"), 4);
}

#[tokio::test]
async fn each_configured_host_has_an_upstream_of_its_own() {
    let (first, second) = (upstream().start().unwrap(), upstream().start().unwrap());
    let both = format!("{}{}", first.ca_pem(), second.ca_pem());
    let setup = with_forward_proxy(daemon(&first)).set(|config| {
        std::fs::write(config.upstream.ca_file.as_ref().unwrap(), both).unwrap();
        let origin = nexudus_proxy::config::Origin::new("localhost", second.address().port());
        config.hosts = vec![Host { origin, listen: vec![([127, 0, 0, 1], 0).into()] }];
    });
    let daemon = setup.run().await;
    let client = Forward::of(&daemon).await.client(None);

    let url = format!("https://{}/api/spaces/coworkers", origin(&second));
    client.get(url).send().await.unwrap();

    assert_eq!(request_count(&first, "/api/spaces"), 0);
    assert_eq!(request_count(&second, "/api/spaces"), 1);
}

#[tokio::test]
async fn a_key_in_the_proxy_s_password_holds_for_all_requests_of_the_tunnel() {
    let upstream = upstream().start().unwrap();
    let setup = with_forward_proxy(daemon(&upstream));
    let daemon = setup.set(|config| config.policy.anonymous = AnonymousAccess::None).run().await;
    let forward = Forward::of(&daemon).await;
    let key = read_only_key(&daemon);
    let url = format!("https://{}/api/spaces/coworkers", origin(&upstream));

    let client = forward.client(Some(&key));
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
    let refused = client.delete(format!("{url}/1")).send().await.unwrap();
    assert_eq!(problem_json(refused).await["code"], "policy.read-only");
    let other = clients::add(&daemon.home().join("state"), "other", ClientPolicy::default());
    let other = other.unwrap().expose().to_owned();
    let refused = client.get(&url).bearer_auth(&other).send().await.unwrap();
    assert_eq!(problem_json(refused).await["code"], "guard.client", "two clients at once");
    let plain = format!("GET http://{}/api/auth/me HTTP/1.1\r\nHost: {0}\r\n", origin(&upstream));
    let plain = |line: &str| format!("{plain}Connection: close\r\n{line}\r\n");
    let answer = forward.raw(&plain(&format!("Proxy-Authorization: Bearer {key}\r\n"))).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let last = if key.ends_with('x') { 'y' } else { 'x' };
    let wrong = format!("Proxy-Authorization: Bearer {}{last}\r\n", &key[..key.len() - 1]);
    for lines in ["", &wrong] {
        let (_, head) = forward.connect(&origin(&upstream), lines).await;
        assert!(head.starts_with("HTTP/1.1 403 ") && head.contains("guard.client"), "{head}");
        let answer = forward.raw(&plain(lines)).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
    let seen = format!("{:?}", upstream.requests());
    assert!(!seen.contains(&key) && !seen.contains(&other) && !seen.contains("proxy-auth"));
}

#[tokio::test]
async fn without_an_authority_a_connect_is_told_to_come_again() {
    let upstream = upstream().start().unwrap();
    let setup = with_forward_proxy(daemon(&upstream)).set(|config| {
        // No key is found for as long as the command runs.
        config.session.store = nexudus_proxy::config::SessionStore::File;
        config.session.key_command = ["sleep", "600"].map(str::to_owned).to_vec();
        config.session.wait = std::time::Duration::ZERO;
    });
    let daemon = setup.run().await;
    let address = daemon.running.listening().forward_proxy.as_ref().unwrap().tcp;

    let target = origin(&upstream);
    let request =
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    let answer = ask(TcpStream::connect(address).await.unwrap(), &request).await;

    assert!(answer.starts_with("HTTP/1.1 503 CA of nexudus-proxy is not ready\r\n"), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n") && answer.contains("\"hint\":"), "{answer}");
}

#[tokio::test]
async fn a_refused_host_is_told_so_in_the_status_line() {
    let upstream = upstream().start().unwrap();
    let daemon = with_forward_proxy(daemon(&upstream)).run().await;
    let forward = Forward::of(&daemon).await;

    for request in [
        "CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443",
        "GET http://other.test/ HTTP/1.1\r\nHost: other.test",
        "GET https://other.test/ HTTP/1.1\r\nHost: other.test",
    ] {
        let answer = forward.raw(&format!("{request}\r\nConnection: close\r\n\r\n")).await;
        assert!(
            answer.starts_with("HTTP/1.1 403 not configured in nexudus-proxy\r\n"),
            "{request}: {answer}"
        );
        let status =
            "proxy-status: nexudus-proxy; error=http_request_denied; details=\"forward.denied\"";
        assert!(answer.contains(status), "{answer}");
        assert!(answer.contains("forward_proxy.other_hosts"), "{answer}");
    }
}

#[tokio::test]
async fn other_hosts_are_tunnelled_where_that_is_configured() {
    let upstream = upstream().start().unwrap();
    let echo = Echo::start().await;
    let setup = with_forward_proxy(daemon(&upstream)).set(|config| {
        config.forward_proxy.other_hosts = OtherHosts::Tunnel;
        config.forward_proxy.allow = vec![echo.target.clone()];
    });
    let daemon = setup.run().await;
    let forward = Forward::of(&daemon).await;

    let (mut tcp, head) = forward.connect(&echo.target, "User-Agent: curl/8\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 Connection established\r\n"), "{head}");
    tcp.write_all(b"not looked into").await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut back = String::new();
    tcp.read_to_string(&mut back).await.unwrap();

    assert_eq!(back, "not looked into", "also what came after our end was closed");
    // Bytes that come with the request belong to the tunnel.
    let target = &echo.target;
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nahead");
    let mut tcp = TcpStream::connect(forward.address).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    assert!(read_head(&mut tcp).await.starts_with("HTTP/1.1 200 "));
    let mut ahead = [0; 5];
    tcp.read_exact(&mut ahead).await.unwrap();
    assert_eq!(&ahead, b"ahead");
    let metrics = daemon.metrics().await;
    assert!(metrics.contains("nexudus_proxy"), "the data path still answers");
}

#[tokio::test]
async fn a_plain_request_for_another_host_goes_on_without_what_is_ours() {
    let upstream = upstream().start().unwrap();
    let (host, seen) = plain_host(
        "HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
         Content-Type: text/x-own\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    )
    .await;
    let daemon = tunnelling(&upstream, &host).run().await;
    let forward = Forward::of(&daemon).await;
    let key = read_only_key(&daemon);

    let answer = forward
        .raw(&format!(
            "POST http://{host}/a%2fb?c HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\n\
             Proxy-Authorization: Bearer {key}\r\nProxy-Connection: keep-alive\r\nX-Own: 1\r\n\
             Nexudus-Proxy-Key: {key}\r\nConnection: close\r\nUpgrade: h2c\r\n\r\nbody"
        ))
        .await;

    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(
        answer.contains("content-type: text/x-own\r\n") && !answer.contains("x-hop"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{answer}");
    let seen = seen.await.unwrap();
    assert!(seen.starts_with("POST /a%2fb?c HTTP/1.1\r\n"), "{seen}");
    assert!(seen.to_lowercase().contains(&format!("\r\nhost: {host}\r\n")), "{seen}");
    assert!(seen.contains("x-own: 1") && seen.ends_with("\r\n\r\nbody"), "{seen}");
    for ours in [&key, "proxy-", "upgrade", "nexudus"] {
        assert!(!seen.to_lowercase().contains(ours), "{ours}: {seen}");
    }
    let secure =
        format!("GET https://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = forward.raw(&secure).await;
    assert!(
        answer.starts_with("HTTP/1.1 403 https needs CONNECT in nexudus-proxy\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_stop_waits_for_no_idle_tunnel() {
    let upstream = upstream().start().unwrap();
    let echo = Echo::start().await;
    let daemon = tunnelling(&upstream, &echo.target).run().await;
    let forward = Forward::of(&daemon).await;
    let mut tunnels = vec![];
    for _ in 0..20 {
        let (tcp, head) = forward.connect(&echo.target, "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        tunnels.push(tcp);
    }
    let intercepted = forward.intercepted(&origin(&upstream), "").await;

    let stopped = tokio::time::timeout(EVENT_TIMEOUT, daemon.running.stop(10 * EVENT_TIMEOUT));

    stopped.await.expect("an idle tunnel holds the stop up");
    drop((tunnels, intercepted));
}

#[tokio::test]
async fn idle_tunnels_leave_room_for_requests() {
    many_idle_tunnels(200).await;
}

/// Opens as many tunnels as there may be, and one more.
async fn many_idle_tunnels(count: usize) {
    let upstream = upstream().start().unwrap();
    let echo = Echo::start().await;
    let setup = tunnelling(&upstream, &echo.target);
    let daemon = setup.set(|config| config.limits.connections = 4 * count).run().await;
    let forward = Forward::of(&daemon).await;
    let mut tunnels = vec![];
    for at in 0..count {
        let (tcp, head) = forward.connect(&echo.target, "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{at}: {head}");
        tunnels.push(tcp);
    }

    let (_, head) = forward.connect(&echo.target, "").await;
    assert!(head.starts_with("HTTP/1.1 503 too many tunnels in nexudus-proxy\r\n"), "{head}");
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    let url = format!("https://{}/api/auth/me", origin(&upstream));
    assert_eq!(forward.client(None).get(&url).send().await.unwrap().status(), 200);
    let last = tunnels.last_mut().unwrap();
    last.write_all(b"x").await.unwrap();
    assert_eq!(last.read_u8().await.unwrap(), b'x');
    drop(tunnels);
    let freed =
        async { while !forward.connect(&echo.target, "").await.1.starts_with("HTTP/1.1 200 ") {} };
    tokio::time::timeout(EVENT_TIMEOUT, freed).await.expect("a closed tunnel keeps its place");
}

fn read_only_key(daemon: &Daemon) -> String {
    let limits = ClientPolicy { read_only: true, ..ClientPolicy::default() };
    clients::add(&daemon.home().join("state"), "reader", limits).unwrap().expose().to_owned()
}

/// A host that responds with these bytes; returns where it is, and what it was sent.
async fn plain_host(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let seen = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut seen = read_head(&mut tcp).await;
        let mut body = [0; 4];
        tcp.read_exact(&mut body).await.unwrap();
        seen.push_str(std::str::from_utf8(&body).unwrap());
        tcp.write_all(answer.as_bytes()).await.unwrap();
        seen
    });
    (target, seen)
}
