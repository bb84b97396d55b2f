//! Request and response heads, to the byte.

use nexudus_simulator::Fault;
use nexudus_simulator::FaultAction;

use crate::support::raw_upstream::{RawReply, daemon_before_raw, get, ok, raw_upstream};
use crate::support::{daemon, daemon_before, upstream};

#[tokio::test]
async fn a_target_is_a_path_and_arrives_as_it_came() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let daemon = daemon_before_raw(&upstream).await;
    let long = format!("/{}", "x".repeat((16 << 10) - 1));

    for (target, arrived) in [
        ("/api/%2F%00%2e%zz%", "/api/%2F%00%2e%zz%"),
        ("/?", "/?"),
        ("/??a=?&&=", "/??a=?&&="),
        ("/a\"{}\"?b=[1]&c={d:e}|^`", "/a\"{}\"?b=[1]&c={d:e}|^`"),
        ("/'()*!$&+,;=:@~", "/'()*!$&+,;=:@~"),
        ("//", "//"),
        ("//evil.example//x", "//evil.example//x"),
        ("/http://evil.example/", "/http://evil.example/"),
        ("/a\\..\\b", "/a\\..\\b"),
        // No request target has a fragment (RFC 9112 §3.2).
        ("/x?y#z", "/x?y"),
        ("http://HOST/a?b", "/a?b"),
        ("http://HOST", "/"),
        ("HTTP://HOST//a/../b", "//a/../b"),
        (&long, &long),
    ] {
        let answer = daemon.raw(&get(target, "")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{target}: {answer}");
        let seen = upstream.requests().pop().unwrap();
        assert_eq!(seen.lines().next().unwrap(), format!("GET {arrived} HTTP/1.1"));
    }
    let count = upstream.requests().len();
    for (target, status) in [
        ("*", 400),
        ("x", 400),
        ("", 400),
        ("/a b", 400),
        ("?a", 400),
        ("#", 400),
        // What no URI may hold: hyper refuses it before it becomes a request.
        ("/?a=\"b\"", 400),
        ("/a<b>", 400),
        ("http:///a", 400),
        ("http://HOST?without-a-path", 400),
        ("http://HOST@evil.example/", 400),
        (&format!("{long}x"), 414),
        (&format!("/{}", "x".repeat(60_000)), 414),
    ] {
        let answer = daemon.raw(&get(target, "")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
    }
    assert_eq!(upstream.requests().len(), count);
}

#[tokio::test]
async fn json_is_asked_for_only_on_behalf_of_who_accepts_anything() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let daemon = daemon_before_raw(&upstream).await;

    let json = &["application/json, */*;q=0.1"][..];
    for (lines, at_the_api, elsewhere) in [
        ("", json, &[][..]),
        ("Accept: */*\r\n", json, &["*/*"]),
        ("Accept:   */*  \r\n", json, &["*/*"]),
        ("Accept: text/xml\r\n", &["text/xml"], &["text/xml"]),
        ("Accept: */*;q=0.8\r\n", &["*/*;q=0.8"], &["*/*;q=0.8"]),
        ("Accept: text/html, */*\r\n", &["text/html, */*"], &["text/html, */*"]),
        ("Accept: */*\r\nAccept: text/csv\r\n", &["*/*", "text/csv"], &["*/*", "text/csv"]),
        ("Accept: */*\r\nAccept: */*\r\n", &["*/*", "*/*"], &["*/*", "*/*"]),
        ("Accept: */*\r\nConnection: accept\r\n", json, &[]),
        ("Accept:\r\n", &[""], &[""]),
        ("Connection: close, accept\r\nAccept: text/csv\r\n", json, &[]),
    ] {
        let paths = [("/api/x", at_the_api), ("/API/x", at_the_api), ("/apix", elsewhere)];
        let pages = ["/ContentDownload/x", "/en/api/x", "/x"].map(|path| (path, elsewhere));
        for (path, arrived) in paths.into_iter().chain(pages) {
            daemon.raw(&get(path, lines)).await;
            let seen = upstream.requests().pop().unwrap();
            assert_eq!(values(&seen, "accept"), arrived, "{path} {lines:?}");
        }
    }
}

#[tokio::test]
async fn our_fields_frame_those_of_the_caller() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let setup = daemon_before(upstream.address.port(), &upstream.ca);
    let agent = Some("ours/1".to_owned());
    let setup = setup.set(|config| config.upstream.user_agent = agent);
    let daemon = setup.set(|config| config.upstream.via = true).run().await;

    // A body that turns out to be empty is none.
    for body in ["\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let fields = "User-Agent: theirs\r\nB: 1\r\nAccept: */*\r\nA: 2\r\nVia: x\r\n";
        let head = "POST /api/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        daemon.raw(&format!("{head}{fields}{body}")).await;

        let seen = upstream.requests().pop().unwrap();
        let names = seen.lines().skip(1).filter_map(|line| Some(line.split_once(": ")?.0));
        let expected = "host b a accept user-agent content-length via authorization";
        assert_eq!(names.collect::<Vec<_>>().join(" "), expected, "{body:?}");
        assert_eq!(values(&seen, "user-agent"), ["ours/1"]);
        assert_eq!(values(&seen, "content-length"), ["0"]);
        assert_eq!(values(&seen, "via"), ["1.1 nexudus-proxy"]);
    }
}

#[tokio::test]
async fn a_hundred_fields_pass_in_their_order_and_with_every_byte() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let daemon = daemon_before_raw(&upstream).await;
    // With Host and Connection a hundred.
    let fields: String =
        (0..98).map(|nth| format!("x-{}: {nth}; \"a\\b\" ~\t|\r\n", nth / 2)).collect();

    daemon.raw(&get("/x", &fields)).await;

    let seen = upstream.requests().pop().unwrap();
    for nth in 0..49 {
        let [one, two] = [2 * nth, 2 * nth + 1].map(|nth| format!("{nth}; \"a\\b\" ~\t|"));
        assert_eq!(values(&seen, &format!("x-{nth}")), [one, two]);
    }
    let refused = daemon.raw(&get("/x", &(fields + "one-more: 1\r\n"))).await;
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
}

#[tokio::test]
async fn nothing_that_connection_names_is_lost_but_what_it_may_name() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let daemon = daemon_before_raw(&upstream).await;

    for lines in [
        "Connection: authorization, host\r\n",
        "Connection: close,\tAuthorization ,HOST, via, content-length, transfer-encoding, accept\r\n",
        "Connection: close\r\nConnection: authorization\r\nConnection: host\r\nconnection: x_named\r\n",
        "Connection: \"authorization\", ,,close,\r\n",
    ] {
        let request = format!(
            "POST /x HTTP/1.1\r\nHost: HOST\r\n{lines}Content-Length: 2\r\nX_Named: 1\r\nX-Other: 2\r\n\r\n{{}}"
        );
        let again = get("/end", "");
        daemon.raw(&(request + &again)).await;
        let seen = upstream.requests();
        let seen = seen.iter().rev().find(|it| it.starts_with("POST /x ")).unwrap();
        assert_eq!(values(seen, "authorization"), ["Bearer marker-token-5c1d"], "{lines}");
        assert_eq!(values(seen, "host").len(), 1, "{lines}");
        assert_eq!(values(seen, "via").len(), 0, "{lines}");
        assert_eq!(values(seen, "content-length"), ["2"], "{lines}");
        assert_eq!(values(seen, "x-other"), ["2"], "{lines}");
        assert_eq!(values(seen, "x_named").is_empty(), lines.contains("x_named"), "{lines}");
        assert!(seen.ends_with("{}") && values(seen, "connection").is_empty(), "{seen}");
    }
}

#[tokio::test]
async fn an_answers_head_comes_down_as_it_is() {
    let upstream = raw_upstream(|_| {
        RawReply::Keep(
            "HTTP/1.1 409 API calls quota exceeded\r\nLink: <a>\r\nVary: x\r\nlink: <b>\r\n\
             Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nset-cookie: c\r\nAccess-Control-Allow-Origin: *\r\n\
             Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: x\r\n\
             Proxy-Authenticate: Basic\r\nTrailer: x\r\nUpgrade: h2\r\nProxy-Connection: close\r\n\
             Connection: vary\r\nX-Empty:\r\nX-Tab: a\tb\r\nContent-Length: 0\r\n\r\n"
                .to_owned(),
        )
    })
    .await;
    let daemon = daemon_before_raw(&upstream).await;

    // A write: one that is throttled is not asked again without a word on when.
    let answer = daemon
        .raw("POST /x HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        .await;

    assert!(answer.starts_with("HTTP/1.1 409 API calls quota exceeded\r\n"), "{answer}");
    assert_eq!(values(&answer, "link"), ["<a>", "<b>"]);
    assert_eq!(values(&answer, "x-empty"), [""]);
    assert_eq!(values(&answer, "x-tab"), ["a\tb"]);
    assert_eq!(values(&answer, "content-length"), ["0"]);
    let lower = answer.to_ascii_lowercase();
    for gone in [
        "set-cookie",
        "access-control",
        "proxy-authenticate",
        "trailer",
        "upgrade",
        "vary",
        "proxy-connection",
    ] {
        assert!(!lower.contains(gone), "{gone}: {answer}");
    }
}

#[tokio::test]
async fn a_head_beyond_all_bounds_is_the_upstreams_fault() {
    for answer in [
        format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(300_000)),
        format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X: y\r\n".repeat(500)),
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/2.0 200 OK\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
        "\r\n\r\n\r\n".to_owned(),
    ] {
        let told = answer.clone();
        let upstream = raw_upstream(move |_| RawReply::Close(told.clone())).await;
        let said = daemon_before_raw(&upstream).await.raw(&get("/x", "")).await;
        assert!(said.starts_with("HTTP/1.1 502 "), "{:.80}: {said:.80}", answer);
        assert!(said.contains("\"code\":\"upstream.closed\""), "{said}");
    }
}

#[tokio::test]
async fn a_location_leads_here_only_if_it_led_to_the_upstream() {
    let upstream = raw_upstream(|head| {
        let port = head.split("host: localhost:").nth(1).unwrap().split("\r\n").next().unwrap();
        let to = head.split("x-to: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let to = to.replace("PORT", port);
        RawReply::Keep(format!("HTTP/1.1 307 X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"))
    })
    .await;
    let daemon = daemon_before_raw(&upstream).await;
    let here = format!("http://{}", daemon.address());

    for (to, told) in [
        ("https://localhost:PORT/a?b#c", Ok("/a?b#c")),
        ("https://localhost:PORT", Ok("")),
        ("HTTPS://LocalHost:PORT/A", Ok("/A")),
        ("https://localhost:PORT?x", Ok("?x")),
        ("//localhost:PORT/a", Ok("/a")),
        ("/a", Err("/a")),
        ("a/../b?c", Err("a/../b?c")),
        ("?c", Err("?c")),
        ("https://localhost/a", Err("https://localhost/a")),
        ("https://localhost:1PORT/a", Err("https://localhost:1PORT/a")),
        ("https://localhost:PORT.evil.example/", Err("https://localhost:PORT.evil.example/")),
        ("https://localhost:PORT@evil.example/", Err("https://localhost:PORT@evil.example/")),
        ("https://me@localhost:PORT/", Err("https://me@localhost:PORT/")),
        // <https://github.com/dotnet/aspnetcore/issues/38744>
        ("http://localhost:PORT/a", Ok("/a")),
        ("http://localhost/a", Ok("/a")),
        ("HTTP://LocalHost:80?x", Ok("?x")),
        ("http://localhost:1PORT/a", Err("http://localhost:1PORT/a")),
        ("http://localhost.evil.example/", Err("http://localhost.evil.example/")),
        ("//evil.example/a", Err("//evil.example/a")),
        (
            "https://evil.example/?https://localhost:PORT/",
            Err("https://evil.example/?https://localhost:PORT/"),
        ),
    ] {
        let answer = daemon.raw(&get("/x", &format!("x-to: {to}\r\n"))).await;
        let told = match told {
            Ok(path) => format!("{here}{path}"),
            Err(same) => same.replace("PORT", &upstream.address.port().to_string()),
        };
        assert_eq!(values(&answer, "location"), [told], "{to}");
    }
    assert_eq!(upstream.requests().len(), 20, "none was followed");
}

#[tokio::test]
async fn a_redirect_leads_no_token_anywhere() {
    let elsewhere = upstream().start().unwrap();
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.get("/api/auth/me").await;
    for status in [301, 302, 303, 307, 308] {
        let headers = vec![("Location".to_owned(), format!("{}/x", elsewhere.origin()))];
        let deed = FaultAction::Answer { status, headers, body: String::new() };
        upstream.fault(Fault::on("/moved", deed).times(2));

        for method in ["GET", "POST"] {
            let answer = daemon.request(method, "/moved").send().await.unwrap();
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers()["location"], format!("{}/x", elsewhere.origin()));
        }
    }
    assert_eq!(elsewhere.connections().accepted, 0);
}

#[tokio::test]
async fn nobody_but_the_daemon_speaks_under_its_name_in_proxy_status() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.get("/api/auth/me").await;
    let send = async |lines: &[&str]| {
        let headers = lines.iter().map(|line| ("Proxy-Status".to_owned(), (*line).to_owned()));
        let deed =
            FaultAction::Answer { status: 502, headers: headers.collect(), body: "{}".to_owned() };
        upstream.fault(Fault::on("/other", deed).times(1));
        let answer = daemon.get("/other").await;
        let lines = answer.headers().get_all("proxy-status").iter();
        lines.map(|line| line.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    for (sent, told) in [
        (
            "nexudus-proxy; error=connection_refused",
            "relayed-nexudus-proxy; error=connection_refused",
        ),
        ("cdn, NEXUDUS-Proxy;error=x", "cdn, relayed-nexudus-proxy;error=x"),
        ("\"nexudus-proxy\"; error=x", "\"relayed-nexudus-proxy\"; error=x"),
    ] {
        assert_eq!(send(&[sent]).await, [told]);
        assert_eq!(send(&["cdn; error=x", sent]).await, ["cdn; error=x", told]);
    }
    assert_eq!(send(&["cdn; error=x"]).await, ["cdn; error=x"]);
}

/// Returns the values of a field in a head as it was sent.
fn values(message: &str, name: &str) -> Vec<String> {
    let head = message.split("\r\n\r\n").next().unwrap();
    let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let named = fields.filter(|(other, _)| other.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.trim_matches(' ').to_owned()).collect()
}
