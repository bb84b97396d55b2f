//! The bytes on both sides of the daemon, as RFC 9110 and RFC 9112 want them.

use nexudus_proxy::clients::{self, ClientPolicy};
use nexudus_proxy::config::{AnonymousAccess, Rule};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::daemon_before;
use crate::support::raw_upstream::{
    RawReply, daemon_before_raw, get, ok, raw_upstream, read_until,
};

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
            ("accept", "application/json"),
            ("accept-encoding", "gzip"),
            ("authorization", "bearer marker-token-5c1d"),
            ("host", host.as_str()),
            ("via", "1.1 nexudus-proxy"),
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
async fn a_connection_with_the_body_of_a_limited_caller_on_it_is_given_to_no_other() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    for anonymous in [AnonymousAccess::Full, AnonymousAccess::ReadOnly] {
        let setup = daemon_before(upstream.address.port(), &upstream.ca);
        let daemon = setup.set(|config| config.policy.anonymous = anonymous).run().await;
        let keys = ["one", "other"].map(|name| {
            let limits = ClientPolicy::default();
            let key = clients::add(&daemon.home().join("state"), name, limits).unwrap();
            format!("Nexudus-Proxy-Key: {}\r\n", key.expose())
        });
        // Returns the number of the connection that it went over. A body may come with any method.
        let ask = async |key: &str, body: &str| {
            let fields = format!("{key}Content-Length: {}\r\n", body.len());
            let answer = daemon.raw(&(get("/api/x", &fields) + body)).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            upstream.connection_ids().pop().unwrap()
        };

        let first = ask(&keys[0], "").await;
        assert_eq!(ask("", "").await, first, "without a body the connection is shared");
        let own = ask(&keys[0], "GET /api/sys/users HTTP/1.1\r\nX: ").await;
        let [keyless, other] = [ask("", "").await, ask(&keys[1], "").await];
        assert!(keyless != own && other != own, "{own} {keyless} {other}");
        assert_eq!(ask(&keys[0], "").await, own, "it stays that of its client");
        let [keyless, other] = [ask("", "").await, ask(&keys[1], "x").await];
        assert!(keyless != own && other != own, "{own} {keyless} {other}");

        let with_body = ask("", "x").await;
        let next = ask("", "x").await;
        let is_limited = anonymous == AnonymousAccess::ReadOnly;
        assert_eq!(with_body != next, is_limited, "{anonymous:?}: {with_body} {next}");
    }
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
async fn lengths_are_neither_lost_nor_made_up() {
    let upstream = raw_upstream(|head| {
        RawReply::Keep(match head.split(' ').nth(1).unwrap() {
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_owned(),
            "/head-bare" => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            "/204-long" => "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n".to_owned(),
            "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"x\"\r\n\r\n".to_owned(),
            "/empty" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/103" => format!("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{}", ok("after")),
            "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n".to_owned(),
            _ => ok("body"),
        })
    })
    .await;
    let daemon = daemon_before_raw(&upstream).await;
    let head = |path: &str| get(path, "").replacen("GET", "HEAD", 1);

    let answer = daemon.raw(&head("/head")).await;
    assert!(
        answer.contains("content-length: 1234\r\n") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
    let answer = daemon.raw(&head("/head-bare")).await;
    assert!(!answer.contains("content-length"), "{answer}");
    let answer = daemon.raw(&get("/204", "")).await;
    assert!(answer.starts_with("HTTP/1.1 204") && !answer.contains("content-length"), "{answer}");
    for request in [get("/204-long", ""), head("/204-long"), head("/304")] {
        let answer = daemon.raw(&request).await;
        assert!(!answer.contains("content-length"), "{request}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{request}: {answer}");
    }
    let answer = daemon.raw(&get("/304", "")).await;
    // hyper leaves the length of what is not sent out, as RFC 9110 §8.6 allows.
    assert!(answer.contains("etag: \"x\"\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = daemon.raw(&get("/empty", "")).await;
    assert!(answer.contains("content-length: 0\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = daemon.raw(&get("/103", "")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("after"), "{answer}");
    let answer = daemon.raw(&get("/chunked", "")).await;
    assert!(answer.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{answer}");

    daemon.raw("POST /empty HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n").await;
    daemon
        .raw(
            "DELETE /x HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: 3\r\n\r\nwhy",
        )
        .await;
    daemon.raw("POST /x HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX-T: 1\r\n\r\n").await;
    let mut seen = upstream.requests().split_off(10);
    let last = seen.pop().unwrap();
    assert!(seen[0].contains("content-length: 0\r\n"), "{}", seen[0]);
    assert!(seen[1].contains("content-length: 3\r\n") && seen[1].ends_with("why"), "{}", seen[1]);
    // Small enough to be kept whole, so that its length is known now; no trailer either way.
    assert!(last.contains("content-length: 3\r\n") && last.ends_with("abc"), "{last}");
    assert!(!last.to_ascii_lowercase().contains("x-t"), "{last}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = raw_upstream(|head| RawReply::Keep(ok(head.split(' ').nth(1).unwrap()))).await;
    let daemon = daemon_before_raw(&upstream).await;
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: HOST\r\n\r\n");

    let answers =
        daemon.raw(&(request("/1") + &request("/2") + &request("/3") + &get("/4", ""))).await;

    let bodies: Vec<_> = answers.split("\r\n\r\n").skip(1).map(|it| &it[..2]).collect();
    assert_eq!(bodies, ["/1", "/2", "/3", "/4"]);
    assert!(answers.ends_with("/4"));
}

#[tokio::test]
async fn a_truncated_answer_is_seen_as_truncated() {
    let upstream = raw_upstream(|head| {
        RawReply::Cut(match head.split(' ').nth(1).unwrap() {
            "/length" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart".to_owned(),
            "/chunked" => {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n".to_owned()
            }
            _ => "HTTP/1.1 200 OK\r\n\r\npart".to_owned(),
        })
    })
    .await;
    let daemon = daemon_before_raw(&upstream).await;

    let answer = daemon.raw(&get("/length", "")).await;
    assert!(answer.contains("content-length: 100\r\n") && answer.ends_with("part"), "{answer}");
    for path in ["/chunked", "/until-close"] {
        let answer = daemon.raw(&get(path, "")).await;
        assert!(answer.contains("4\r\npart\r\n") && !answer.contains("0\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let upstream =
        raw_upstream(|_| RawReply::Close("HTTP/1.1 200 OK\r\n\r\nall of it".to_owned())).await;
    let daemon = daemon_before_raw(&upstream).await;

    let answer = daemon.raw(&get("/x", "")).await;

    assert!(answer.ends_with("9\r\nall of it\r\n0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn an_ambiguous_answer_never_desynchronises_the_caller() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let upstream = raw_upstream(move |_| RawReply::Close(answer.to_owned())).await;
        let daemon = daemon_before_raw(&upstream).await;
        let said = daemon.raw(&get("/x", "")).await;
        assert!(said.starts_with("HTTP/1.1 502 "), "{answer:?}: {said}");
    }
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let upstream = raw_upstream(move |_| RawReply::Keep(both.to_owned())).await;
    let said = daemon_before_raw(&upstream).await.raw(&get("/x", "")).await;
    assert!(!said.contains("content-length: 99"), "{said}");
    assert!(said.ends_with("3\r\nabc\r\n0\r\n\r\n"), "{said}");
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

#[tokio::test]
async fn an_early_answer_to_an_upload_arrives() {
    let early = "HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch";
    let upstream = raw_upstream(move |_| RawReply::Early(early.to_owned())).await;
    let daemon = daemon_before_raw(&upstream).await;
    let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
    let head = format!(
        "POST /x HTTP/1.1\r\nHost: {}\r\nContent-Length: 9999999\r\n\r\n",
        daemon.address()
    );

    caller.write_all(head.as_bytes()).await.unwrap();
    caller.write_all(&vec![b'x'; 100_000]).await.unwrap();
    let answer = read_until(&mut caller, "much").await;

    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_kept_goes_up_only_once_all_of_it_is_there() {
    let upstream = raw_upstream(|head| match head.starts_with("POST ") {
        true => RawReply::Early(ok("enough")),
        false => RawReply::Keep(ok("other")),
    })
    .await;
    let setup = daemon_before(upstream.address.port(), &upstream.ca);
    let daemon = setup.set(|config| config.limits.replay_body = 8).run().await;
    let begin = async |length: usize| {
        let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
        let head =
            format!("POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\nhalf");
        caller.write_all(head.as_bytes()).await.unwrap();
        caller
    };

    let mut kept = begin(8).await;
    // The longer one is streamed; what was sent before it has been looked at once it is answered.
    let mut streamed = begin(9).await;
    read_until(&mut streamed, "enough").await;
    assert_eq!(upstream.requests().len(), 1);
    assert!(upstream.requests()[0].contains("content-length: 9\r\n"), "{:?}", upstream.requests());

    kept.write_all(b"half").await.unwrap();
    read_until(&mut kept, "enough").await;
    assert!(upstream.requests()[1].contains("content-length: 8\r\n"), "{:?}", upstream.requests());
}

#[tokio::test]
async fn continue_is_said_only_once_the_request_may_go() {
    let upstream = raw_upstream(|_| RawReply::Continue(ok("done"))).await;
    let daemon = daemon_before_raw(&upstream).await;
    let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
    let head = |path: &str, host: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
    };

    caller.write_all(head("/x", &daemon.address().to_string()).as_bytes()).await.unwrap();
    let asked = read_until(&mut caller, "\r\n\r\n").await;
    caller.write_all(b"body").await.unwrap();
    let answer = read_until(&mut caller, "done").await;
    let refused = daemon.raw(&head("/x", "evil.example")).await;

    assert_eq!(asked, "HTTP/1.1 100 Continue\r\n\r\n");
    // The upstream's own 100 stays where it is.
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(upstream.requests()[0].ends_with("body") && !upstream.requests()[0].contains("expect"));
    assert!(refused.starts_with("HTTP/1.1 421 "), "{refused}");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_costs_the_caller_nothing() {
    let upstream = raw_upstream(|_| RawReply::Close(ok("once"))).await;
    let daemon = daemon_before_raw(&upstream).await;

    for _ in 0..5 {
        let answer = daemon.raw(&get("/x", "")).await;
        assert!(answer.ends_with("once"), "{answer}");
        let post =
            "POST /x HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1";
        let answer = daemon.raw(post).await;
        assert!(answer.ends_with("once"), "{answer}");
    }

    assert_eq!(upstream.requests().len(), 10);
}

#[tokio::test]
async fn a_write_without_an_answer_is_not_sent_again() {
    let upstream = raw_upstream(|_| RawReply::Cut(String::new())).await;
    let daemon = daemon_before_raw(&upstream).await;

    let answer = daemon
        .raw("POST /x HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1")
        .await;

    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream.closed"), "{answer}");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn connections_are_used_again() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let daemon = daemon_before_raw(&upstream).await;

    for _ in 0..20 {
        daemon.raw(&get("/x", "")).await;
    }

    // One for the token, one kept warm from the start, perhaps one before that was there.
    assert!(upstream.connections() <= 3, "{}", upstream.connections());
}
