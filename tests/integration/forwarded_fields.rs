//! Targets and header fields as they go up and come down (RFC 9110).

use nexudus_proxy::clients::{self, ClientPolicy};
use nexudus_proxy::config::Rule;

use crate::support::daemon_before;
use crate::support::raw_upstream::{RawReply, daemon_before_raw, get, ok, raw_upstream};

#[tokio::test]
async fn targets_arrive_byte_for_byte() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let daemon = daemon_before_raw(&upstream).await;
    let targets = [
        "/",
        "/api/billing/charges/?id=[1,2,3]",
        "/API/Spaces//CoWorkers?",
        "/%2e%2e/%5Bx%5d?a=%zz&&b=+",
        "/a;b=c/..//.?q=/?/?",
        "/x?return=http://evil.example/@",
        "//evil.example/api",
        "/a|b{}",
    ];

    for target in targets {
        daemon.raw(&get(target, "")).await;
    }

    let lines: Vec<_> =
        upstream.requests().iter().map(|it| it.lines().next().unwrap().to_owned()).collect();
    assert_eq!(lines, targets.map(|target| format!("GET {target} HTTP/1.1")));
}

#[tokio::test]
async fn only_what_concerns_the_request_goes_up() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let daemon = daemon_before_raw(&upstream).await;
    let fields = "Connection: keep-alive, X-Drop, Authorization, Host\r\nX-Drop: 1\r\nX-Keep: 1\r\n\
        Authorization: Basic xyz\r\nauthorization: Bearer other\r\nCookie: a=b\r\nclient_id: mine\r\n\
        X-Forwarded-For: 1.2.3.4\r\nX_Forwarded_Host: evil\r\nForwarded: for=1\r\nTE: trailers\r\n\
        CF-Connecting-IP: 1.2.3.4\r\nTrue-Client-IP: 1.2.3.4\r\nFastly-Client-IP: 1.2.3.4\r\n\
        CF_Connecting_IPv6: ::1\r\nX-Azure-SocketIP: 1.2.3.4\r\nX-ProxyUser-Ip: 1.2.3.4\r\n\
        Client-IP: 1.2.3.4\r\nX-Original-For: 1.2.3.4\r\nX-Appengine-User-IP: 1.2.3.4\r\n\
        Keep-Alive: 5\r\nProxy-Authorization: Basic x\r\nReferer: http://localhost/\r\n\
        Upgrade: h2c\r\nHTTP2-Settings: x\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n";

    daemon.raw(&get("/api/x", fields)).await;

    let seen = upstream.requests().remove(0).to_ascii_lowercase();
    let mut names: Vec<_> = seen.lines().skip(1).filter_map(|line| line.split_once(": ")).collect();
    names.sort_unstable();
    let port = upstream.address.port();
    let host = format!("localhost:{port}");
    assert_eq!(
        names,
        [
            ("accept", "application/json, */*;q=0.1"),
            ("accept-encoding", "gzip"),
            ("authorization", "bearer marker-token-5c1d"),
            ("host", host.as_str()),
            ("x-keep", "1"),
        ]
    );
}

#[tokio::test]
async fn an_options_request_is_counted_down_and_answered_here_at_zero() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let deny = vec![Rule::parse("OPTIONS /api/sys/**").unwrap()];
    let setup = daemon_before(upstream.address.port(), &upstream.ca);
    let daemon = setup.set(|config| config.policy.deny = deny).run().await;
    let ask = async |method: &str, path: &str, fields: &str| {
        daemon.raw(&get(path, fields).replacen("GET", method, 1)).await
    };

    let answer = ask("OPTIONS", "/api/x", "Max-Forwards: 0\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(answer.contains("\r\nallow: GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS\r\n"));
    assert!(answer.contains("\r\ncontent-length: 0\r\n"), "{answer}");
    // A client that would be refused learns nothing.
    for (path, fields, code) in [
        ("/api/x", "Nexudus-Proxy-Key: x\r\n", "guard.client"),
        ("/api/x", "Origin: http://evil.example\r\n", "guard.origin"),
        ("/api/sys/users", "", "policy.denied"),
    ] {
        let refused = ask("OPTIONS", path, &format!("Max-Forwards: 0\r\n{fields}")).await;
        assert!(refused.contains(&format!("\"code\":\"{code}\"")), "{refused}");
    }
    for value in ["-1", "", "1, 1", "0x1", "1\r\nMax-Forwards: 1"] {
        let refused = ask("OPTIONS", "/api/x", &format!("Max-Forwards: {value}\r\n")).await;
        assert!(refused.starts_with("HTTP/1.1 400 "), "{value}: {refused}");
        assert!(refused.contains("\"code\":\"request.framing\""), "{value}: {refused}");
    }
    assert_eq!(upstream.requests(), Vec::<String>::new());

    for (method, sent, goes_up) in [
        ("OPTIONS", "1", Some("0")),
        ("OPTIONS", "010", Some("9")),
        ("OPTIONS", "99999999999999999999999", Some("18446744073709551614")),
        ("OPTIONS", "3\r\nConnection: max-forwards", None),
        ("GET", "0", Some("0")),
        ("POST", "x", Some("x")),
    ] {
        let fields = format!("Content-Length: 0\r\nMax-Forwards: {sent}\r\n");
        let answer = ask(method, "/api/x", &fields).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{method} {sent}: {answer}");
        let seen = upstream.requests().pop().unwrap();
        let found = seen.lines().find_map(|line| line.strip_prefix("max-forwards: "));
        assert_eq!(found, goes_up, "{method} {sent}: {seen}");
    }
    assert!(ask("TRACE", "/api/x", "Max-Forwards: 0\r\n").await.starts_with("HTTP/1.1 405 "));
}

#[tokio::test]
async fn only_what_concerns_the_answer_comes_down() {
    let upstream = raw_upstream(|_| {
        RawReply::Keep(
            "HTTP/1.1 200 marker-token-5c1d\r\nContent-Length: 2\r\nMARKER-token-5c1d: 1\r\nConnection: keep-alive, X-Drop\r\nX-Drop: 1\r\n\
             Keep-Alive: timeout=5\r\nSet-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\n\
             Alt-Svc: h3\r\nX-Echo: Bearer marker-token-5c1d\r\nContent-Encoding: gzip\r\n\
             Content_Length: 7\r\nTransfer_Encoding: chunked\r\nX_Keep: 1\r\n\
             X-Keep: 1\r\nETag: \"x\"\r\n\r\n\x1f\x08"
                .to_owned(),
        )
    })
    .await;
    let daemon = daemon_before_raw(&upstream).await;

    let answer = daemon.raw(&get("/api/x", "")).await;

    for kept in
        ["content-encoding: gzip", "x-keep: 1", "x_keep: 1", "etag: \"x\"", "content-length: 2"]
    {
        assert!(answer.contains(kept), "{kept}: {answer}");
    }
    for gone in [
        "x-drop",
        "keep-alive",
        "set-cookie",
        "access-control",
        "alt-svc",
        "marker-token",
        "content_length",
        "transfer_encoding",
    ] {
        assert!(!answer.contains(gone), "{gone}: {answer}");
    }
    assert!(answer.ends_with("\r\n\r\n\x1f\x08"), "{answer}");
}

#[tokio::test]
async fn cookies_are_relayed_where_that_is_wanted_and_never_for_a_limited_caller() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b; Path=/\r\n\
                  Set-Cookie: c=d\r\n\r\n{}";
    let upstream = raw_upstream(|_| RawReply::Keep(answer.to_owned())).await;
    let setup = daemon_before(upstream.address.port(), &upstream.ca);
    let daemon = setup.set(|config| config.policy.cookies = true).run().await;
    let limits = ClientPolicy { read_only: true, ..ClientPolicy::default() };
    let key = clients::add(&daemon.home().join("state"), "agent", limits).unwrap();
    let cookies = |text: &str| text.to_ascii_lowercase().matches("cookie: ").count();

    let own = daemon.raw(&get("/api/x", "Cookie: e=f\r\nCookie: g=h\r\n")).await;
    let nominated = daemon.raw(&get("/api/x", "Cookie: e=f\r\nConnection: cookie\r\n")).await;
    let keyed = format!("Cookie: e=f\r\nNexudus-Proxy-Key: {}\r\n", key.expose());
    let limited = daemon.raw(&get("/api/x", &keyed)).await;

    assert_eq!((cookies(&own), cookies(&nominated), cookies(&limited)), (2, 2, 0), "{limited}");
    let seen: Vec<_> = upstream.requests().iter().map(|seen| cookies(seen)).collect();
    assert_eq!(seen, [2, 0, 0]);
}

#[tokio::test]
async fn a_redirect_is_rewritten_only_where_it_leads_back() {
    let upstream = raw_upstream(|head| {
        let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned();
        let to = match head.split(' ').nth(1).unwrap() {
            "/same" => format!("https://{host}/there?a=b"),
            "/relative" => "/there".to_owned(),
            "/longer" => format!("https://{host}.evil.example/"),
            _ => "https://other.example/".to_owned(),
        };
        RawReply::Keep(format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"))
    })
    .await;
    let daemon = daemon_before_raw(&upstream).await;
    let here = format!("location: http://{}/there?a=b\r\n", daemon.address());

    assert!(daemon.raw(&get("/same", "")).await.contains(&here));
    assert!(daemon.raw(&get("/relative", "")).await.contains("location: /there\r\n"));
    assert!(daemon.raw(&get("/longer", "")).await.contains(".evil.example/\r\n"));
    assert!(daemon.raw(&get("/other", "")).await.contains("location: https://other.example/\r\n"));
    assert_eq!(upstream.requests().len(), 4);
}
