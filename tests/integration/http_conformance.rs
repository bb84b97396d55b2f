//! The bytes on both sides of the daemon, as RFC 9110 and RFC 9112 want them.

use nexudus_proxy::clients::{self, ClientPolicy};
use nexudus_proxy::config::AnonymousAccess;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::daemon_before;
use crate::support::raw_upstream::{
    RawReply, daemon_before_raw, get, ok, raw_upstream, read_until,
};

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
async fn lengths_are_neither_lost_nor_made_up() {
    let upstream = raw_upstream(|head| RawReply::Keep(of_some_length(head))).await;
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

fn of_some_length(head: &str) -> String {
    match head.split(' ').nth(1).unwrap() {
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_owned(),
            "/head-bare" => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            "/204-long" => "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n".to_owned(),
            "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"x\"\r\n\r\n".to_owned(),
            "/empty" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/103" => format!("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{}", ok("after")),
            "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n".to_owned(),
            _ => ok("body"),
        }
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
    let upstream = raw_upstream(|head| {
        if head.starts_with("POST ") {
            RawReply::Early(ok("enough"))
        } else {
            RawReply::Keep(ok("other"))
        }
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
