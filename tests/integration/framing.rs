//! Where a message ends, up and down: never in doubt, never invented, never two at once.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::raw_upstream::{
    RawReply, RawUpstream, daemon_before_raw, get, ok, raw_upstream, read_until,
};
use crate::support::{Daemon, daemon_before};

#[tokio::test]
async fn what_two_servers_could_read_in_two_ways_is_refused() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let daemon = daemon_before_raw(&upstream).await;

    for lines in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: 5a",
        "Content-Length:",
        "Content-Length: 99999999999999999999999",
        "Content-Length : 5",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: , chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding:",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chunked\x0b",
        "Transfer-Encoding: ch\u{fc}nked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\x01: chunked",
        "Transfer-Encoding:\r\n chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        " Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "X: a\rTransfer-Encoding: chunked",
        "X: a\0b",
        ": y",
        "X Y: z",
    ] {
        let answer = daemon.raw(&post(lines, BODY)).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{lines:?}: {answer}");
        assert!(answer.contains("\"code\":\"request.framing\""), "{lines:?}: {answer}");
        assert_eq!(heads(&answer), 1, "{lines:?}: {answer}");
    }
    let old = post("Transfer-Encoding: chunked", BODY).replacen("HTTP/1.1", "HTTP/1.0", 1);
    assert!(daemon.raw(&old).await.contains(" 400 "));
    assert_eq!(upstream.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn of_a_length_and_chunks_only_the_chunks_count_and_nothing_follows() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let daemon = daemon_before_raw(&upstream).await;

    for lines in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "content-length: 999\r\ntransfer-encoding: Chunked",
    ] {
        let answer = daemon.raw(&post(lines, BODY)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{lines:?}: {answer}");
        assert_eq!(heads(&answer), 1, "{lines:?}: {answer}");
    }

    let seen = upstream.requests();
    assert_eq!(seen.len(), 3);
    for request in seen {
        assert!(request.starts_with("POST /x ") && request.ends_with("\r\n\r\nhello"), "{request}");
        assert!(request.contains("content-length: 5\r\n") && !request.contains("chunked"));
    }
}

#[tokio::test]
async fn chunks_that_are_none_end_the_connection() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let daemon = daemon_before_raw(&upstream).await;

    for body in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";x\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5;\n\r\nhello\r\n0\r\n\r\n",
        // CVE-2025-55315, https://github.com/apache/trafficserver/issues/11935
        "5;x=\nhello\r\n0\r\n\r\n",
        "5 \r ;x\r\nhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5these\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
    ] {
        let answer = daemon.raw(&(post("Transfer-Encoding: chunked", body) + SMUGGLED)).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer}");
        assert!(answer.contains("\"code\":\"request.framing\""), "{body:?}: {answer}");
        assert_eq!(heads(&answer), 1, "{body:?}: {answer}");
    }
    assert_eq!(upstream.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn more_extensions_or_trailers_than_anybody_sends_end_the_connection() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let daemon = daemon_before_raw(&upstream).await;
    let much = "x".repeat(40 << 10);
    let many = "T: u\r\n".repeat(200);

    for body in [
        format!("5;{much}\r\nhello\r\n0\r\n\r\n"),
        format!("5\r\nhello\r\n0\r\nT: {much}{much}\r\n\r\n"),
        format!("5\r\nhello\r\n0\r\n{many}\r\n"),
        "5\r\nhello\r\n0\r\nno trailer\r\n\r\n".to_owned(),
        "5\r\nhello\r\n0\r\n: no trailer\r\n\r\n".to_owned(),
        // https://github.com/zoxy-io/zoxy/issues/244
        "5\r\nhello\r\n0\r\nno trailer: x\r\n\r\n".to_owned(),
    ] {
        let answer = daemon.raw(&(post("Transfer-Encoding: chunked", &body) + SMUGGLED)).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:.40}: {answer}");
        assert!(answer.contains("\"code\":\"request.framing\""), "{body:.40}: {answer}");
        assert_eq!(heads(&answer), 1, "{body:.40}: {answer}");
    }
    assert_eq!(upstream.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_reader_may_forgive_goes_up_as_it_should_have_come() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let daemon = daemon_before_raw(&upstream).await;

    for request in [
        "POST /x HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "POST /x HTTP/1.1\nHost: HOST\nContent-Length: 5\n\nhello",
        "POST /x HTTP/1.1\r\nHost: HOST\r\nContent-Length:\t5 \t\r\n\r\nhello",
        "\r\n\r\nPOST /x HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\n\r\nhello",
        "POST /x HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n005 ;e\r\nhello\r\n00\r\n\r\n",
    ] {
        let answer = daemon.raw(&(request.to_owned() + &get("/next", ""))).await;
        assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "{request:?}: {answer}");
        let [.., first, next] = &upstream.requests()[..] else { panic!("{request:?}") };
        assert!(first.starts_with("POST /x HTTP/1.1\r\n"), "{first}");
        assert_eq!(first.matches("content-length: 5\r\n").count(), 1, "{first}");
        assert!(first.ends_with("\r\n\r\nhello") && next.starts_with("GET /next "), "{first}");
        assert!(!first.replace("\r\n", "").contains('\n'), "{first:?}");
    }
}

#[tokio::test]
async fn extensions_and_trailers_stay_here_also_where_a_body_is_streamed() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("done"))).await;
    let daemon = small_keep(&upstream).await;
    let body = "8;x=\"y;z\"\r\nlong one\r\n8;Authorization: x\r\nstreamed\r\n0;last\r\n\
                X-Trailer: 1\r\nAuthorization: Bearer x\r\nHost: evil\r\nContent-Length: 9\r\n\
                Transfer-Encoding: evil\r\n\r\n";

    let lines =
        "Transfer-Encoding: chunked\r\nTrailer: X-Trailer\r\nTE: trailers\r\nConnection: close";
    let answer = daemon.raw(&post(lines, body)).await;

    assert!(answer.ends_with("done"), "{answer}");
    let seen = upstream.requests().remove(0);
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length"));
    let lower = seen.to_ascii_lowercase();
    assert!(!lower.contains("trailer") && !lower.contains("evil") && !lower.contains("x="));
    let pieces: String = body.split("\r\n").skip(1).step_by(2).collect();
    assert_eq!(pieces, "long onestreamed");
    assert!(body.ends_with("\r\n0\r\n\r\n"), "{body}");
}

#[tokio::test]
async fn an_upload_that_breaks_off_never_arrives_as_a_whole_one() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    for daemon in [daemon_before_raw(&upstream).await, small_keep(&upstream).await] {
        for (lines, part) in [
            ("Content-Length: 100", "only this"),
            ("Transfer-Encoding: chunked", "9\r\nonly this\r\n"),
            ("Transfer-Encoding: chunked", "9\r\nonly this\r\n0\r\n"),
            ("Transfer-Encoding: chunked", "64\r\nonly this"),
        ] {
            let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
            let request = post(lines, part).replace("HOST", &daemon.address().to_string());
            caller.write_all(request.as_bytes()).await.unwrap();
            drop(caller);
        }
        // What was to come of them has come once they are over.
        while daemon.running.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(daemon.raw(&get("/after", "")).await.starts_with("HTTP/1.1 200 "));
    }
    let seen = upstream.requests();
    assert!(seen.iter().all(|request| request.starts_with("GET /after ")), "{seen:?}");
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn what_a_server_sends_too_much_is_nobodys_answer() {
    let upstream = raw_upstream(|head| {
        RawReply::Keep(match head.split(' ').nth(1).unwrap() {
            "/long" => format!("{}{}", ok("abc"), ok("evil")),
            "/204" => "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil".to_owned(),
            "/304" => "HTTP/1.1 304 Not Modified\r\n\r\nevil".to_owned(),
            "/head" => ok("evil"),
            _ => ok("good"),
        })
    })
    .await;
    let daemon = daemon_before_raw(&upstream).await;

    for path in ["/long", "/204", "/304", "/head"] {
        let first = get(path, "").replace("Connection: close\r\n", "");
        let first = if path == "/head" { first.replacen("GET", "HEAD", 1) } else { first };
        let answers = daemon.raw(&(first + &get("/next", ""))).await;
        assert!(answers.ends_with("good"), "{path}: {answers}");
        assert!(!answers.contains("evil"), "{path}: {answers}");
        assert_eq!(heads(&answers), 2, "{path}: {answers}");
    }
}

#[tokio::test]
async fn an_answer_in_an_unknown_coding_is_not_passed_on_as_plain() {
    for coding in [
        "gzip, chunked",
        "gzip",
        "chunked, gzip",
        "identity, chunked",
        "chunked\r\nTransfer-Encoding: chunked",
    ] {
        let upstream = raw_upstream(move |_| {
            RawReply::Close(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            ))
        })
        .await;
        let answer = daemon_before_raw(&upstream).await.raw(&get("/x", "")).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{coding}: {answer}");
        assert!(answer.contains("\"code\":\"upstream.closed\""), "{coding}: {answer}");
    }
}

#[tokio::test]
async fn interim_answers_are_not_answers() {
    let upstream = raw_upstream(|_| {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 9\r\n\r\n";
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
        RawReply::Keep(format!("{interim}{early}{early}{}", ok("the answer")))
    })
    .await;
    let daemon = daemon_before_raw(&upstream).await;
    let first = get("/1", "").replace("Connection: close\r\n", "");

    let answers = daemon.raw(&(first + &get("/2", ""))).await;

    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 2, "{answers}");
    assert_eq!(heads(&answers), 2, "{answers}");
    assert!(!answers.contains("link"), "{answers}");
}

#[tokio::test]
async fn a_slow_first_answer_keeps_its_place() {
    let word = Arc::new(Semaphore::new(0));
    let slow = word.clone();
    let upstream = raw_upstream(move |head| match head.split(' ').nth(1).unwrap() {
        "/slow" => RawReply::Held(slow.clone(), ok("slow")),
        path => RawReply::Keep(ok(path)),
    })
    .await;
    let daemon = daemon_before_raw(&upstream).await;
    let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
    let requests = ["/slow", "/2", "/3"].map(|path| {
        let request = get(path, "").replace("Connection: close\r\n", "");
        request.replace("HOST", &daemon.address().to_string())
    });

    caller.write_all(requests.concat().as_bytes()).await.unwrap();
    // Another caller is not held up, and what it gets came after the others had been sent.
    assert!(daemon.raw(&get("/other", "")).await.ends_with("/other"));
    word.add_permits(1);
    let answers = read_until(&mut caller, "/3").await;

    let bodies: Vec<_> = answers.split("\r\n\r\n").skip(1).map(|it| &it[..2]).collect();
    assert_eq!(bodies, ["sl", "/2", "/3"], "{answers}");
}

#[tokio::test]
async fn a_caller_of_http_1_0_gets_what_it_can_read() {
    let upstream = raw_upstream(|head| {
        RawReply::Keep(match head.split(' ').nth(1).unwrap() {
            "/chunked" => {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
                    .to_owned()
            }
            _ => ok("abc"),
        })
    })
    .await;
    let daemon = daemon_before_raw(&upstream).await;

    for path in ["/chunked", "/length"] {
        let request = format!("GET {path} HTTP/1.0\r\nHost: HOST\r\nExpect: 100-continue\r\n\r\n");
        let answer = daemon.raw(&request).await;
        assert!(!answer.contains("transfer-encoding"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nabc"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "no interim answer: {answer}");
    }
    assert!(
        upstream.requests().iter().all(|it| it.contains(" HTTP/1.1\r\n")),
        "{:?}",
        upstream.requests()
    );
}

#[tokio::test]
async fn a_body_is_asked_for_only_by_whoever_is_to_get_it() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("done"))).await;
    let expect = "Expect: 100-continue\r\nConnection: close\r\nContent-Length: 4";
    let ours = daemon_before_raw(&upstream).await;
    let nobody = daemon_before(upstream.address.port(), &upstream.ca).without_login().run().await;

    let refused = nobody.raw(&post(expect, "")).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    let refused = ours.raw(&post(expect, "").replacen("POST", "TRACE", 1)).await;
    assert!(refused.starts_with("HTTP/1.1 405 "), "{refused}");
    for (field, asked) in [("100-Continue", true), ("200-ok", false)] {
        let answer = ours.raw(&post(&expect.replace("100-continue", field), "body")).await;
        assert!(answer.ends_with("done"), "{field}: {answer}");
        assert_eq!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\n"), asked, "{answer}");
    }
    let bodiless = ours.raw(&get("/x", "Expect: 100-continue\r\n")).await;
    assert!(bodiless.starts_with("HTTP/1.1 200 "), "{bodiless}");
    assert!(upstream.requests().iter().all(|it| !it.to_ascii_lowercase().contains("expect")));
}

/// A daemon that keeps no body: all are streamed.
async fn small_keep(upstream: &RawUpstream) -> Daemon {
    let daemon = daemon_before(upstream.address.port(), &upstream.ca);
    daemon.set(|config| config.limits.replay_body = 0).run().await
}

/// Counts the answers; that their bodies may speak of HTTP does not count.
fn heads(answers: &str) -> usize {
    let after = answers.split("HTTP/1.1 ").skip(1);
    after.filter(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit())).count()
}

fn post(lines: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: HOST\r\n{lines}\r\n\r\n{body}")
}

/// Five bytes in a chunk, and a request that is none.
const BODY: &str = "5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
