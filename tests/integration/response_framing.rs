//! Whatever an upstream answers with, byte for byte: read as RFC 9112 wants it, or not at all.

use std::sync::Arc;
use std::time::Duration;

use nexudus_proxy::config::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::raw_answers::{answering, answering_to, path, said};
use crate::support::raw_upstream::{
    RawReply, RawUpstream, daemon_before_raw, get, ok, raw_upstream, read_until,
};
use crate::support::{Daemon, EVENT_TIMEOUT, daemon_before};

#[tokio::test]
async fn an_answer_is_the_same_whether_it_comes_at_once_or_byte_by_byte() {
    let (upstream, daemon) = answering(&WHOLE, |answer, query| match query {
        "drip" => RawReply::Drip(answer),
        _ => RawReply::Close(answer),
    })
    .await;

    for (nth, answer) in WHOLE.iter().enumerate() {
        let at_once = daemon.raw(&get(&format!("/{nth}"), "")).await;
        let drop_by_drop = daemon.raw(&get(&format!("/{nth}?drip"), "")).await;
        assert!(at_once.starts_with("HTTP/1.1 "), "{answer:?}: {at_once}");
        assert_eq!(said(&at_once), said(&drop_by_drop), "{answer:?}");
    }
    assert_eq!(upstream.requests().len(), 2 * WHOLE.len());
}

#[tokio::test]
async fn an_answer_says_by_itself_where_it_ends_and_its_connection_goes_on() {
    let (upstream, daemon) = answering(&ENDING, |answer, _| RawReply::Keep(answer)).await;

    for (nth, answer) in ENDING.iter().enumerate() {
        for method in ["GET", "HEAD"] {
            if method == "HEAD" && answer.contains("evil") {
                continue;
            }
            // What belongs to no answer to HEAD is left out there.
            let target = format!("/{nth}?{}", if method == "HEAD" { "head" } else { "" });
            let asked = get(&target, "").replacen("GET", method, 1);
            let said = daemon.raw(&asked).await;
            assert!(said.starts_with("HTTP/1.1 ") && !said.contains("evil"), "{answer:?}: {said}");
            assert!(daemon.raw(&get("/next", "")).await.ends_with("next"), "{answer:?}");
            let over = upstream.connection_ids();
            let [.., one, next] = over[..] else { panic!("{over:?}") };
            assert_eq!(one, next, "{method} {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_may_hold_more_than_an_answer_carries_no_other() {
    let (upstream, daemon) = answering(&DOUBTFUL, |answer, _| RawReply::Keep(answer)).await;

    for (nth, answer) in DOUBTFUL.iter().enumerate() {
        let said = daemon.raw(&get(&format!("/{nth}"), "")).await;
        assert!(said.starts_with("HTTP/1.1 ") && !said.contains("evil"), "{answer:?}: {said}");
        assert!(daemon.raw(&get("/next", "")).await.ends_with("next"), "{answer:?}");
        let over = upstream.connection_ids();
        let [.., one, next] = over[..] else { panic!("{over:?}") };
        assert_ne!(one, next, "{answer:?}");
    }
}

#[tokio::test]
async fn chunks_that_are_none_break_the_answer_off_in_sight() {
    let extension = format!("5;{}\r\nfirst\r\n0\r\n\r\n", "x".repeat(20 << 10));
    let trailer = format!("0\r\nX: {}\r\n\r\n", "x".repeat(80 << 10));
    let chunks = [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";x\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;\n\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n",
        "ffff\r\nhello\r\n0\r\n\r\n",
        "0\r\nbroken trailer\r\n\r\n",
        &extension,
        &trailer,
    ];
    let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    let answers = chunks.map(|chunks| format!("{begun}{chunks}"));
    let (upstream, daemon) = answering(&answers, |answer, _| RawReply::Close(answer)).await;

    for (nth, answer) in answers.iter().enumerate() {
        let said = daemon.raw(&get(&format!("/{nth}"), "")).await;
        assert!(said.starts_with("HTTP/1.1 200 "), "{answer:.99}: {said:.999}");
        assert!(said.contains("\r\n\r\n5\r\nfirst\r\n"), "{answer:.99}: {said:.999}");
        assert!(!said.ends_with("0\r\n\r\n"), "{answer:.99}: {said:.999}");
    }
    assert_eq!(upstream.requests().len(), answers.len(), "none was asked for again");
}

#[tokio::test]
async fn an_answer_that_ended_before_its_connection_broke_is_whole() {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ];
    let (_upstream, daemon) = answering(&answers, |answer, _| RawReply::Cut(answer)).await;

    for nth in 0..answers.len() {
        let answer = daemon.raw(&get(&format!("/{nth}"), "")).await;
        assert_eq!(said(&answer).1, "abc", "{answer}");
        let ends = if nth == 0 { "\r\n\r\nabc" } else { "abc\r\n0\r\n\r\n" };
        assert!(answer.ends_with(ends), "{answer}");
    }
}

#[tokio::test]
async fn what_came_unasked_over_an_idle_connection_answers_nobody() {
    for unasked in ["HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nevil", "e"] {
        for method in ["GET", "POST"] {
            let word = Arc::new(Semaphore::new(0));
            let held = word.clone();
            let upstream = raw_upstream(move |head| match path(head) {
                "/first" => RawReply::Late(ok("first"), held.clone(), unasked.to_owned()),
                path => RawReply::Keep(ok(path)),
            })
            .await;
            let setup = daemon_before(upstream.address.port(), &upstream.ca);
            let (setup, hand) = setup.manual_clock();
            let daemon = setup.run().await;
            assert!(daemon.raw(&get("/first", "")).await.ends_with("first"));
            word.add_permits(1);
            while !word.is_closed() {
                tokio::task::yield_now().await;
            }

            // Bytes right behind a response are not read, and a mistake there does no harm.
            hand.advance(Duration::from_millis(10));
            let asked = get("/next", "Content-Length: 0\r\n").replacen("GET", method, 1);
            let answer = daemon.raw(&asked).await;

            assert!(answer.ends_with("/next"), "{method} {unasked:?}: {answer}");
            let over = upstream.connection_ids();
            assert!(over.len() == 2 && over[0] != over[1], "{method}: {over:?}");
        }
    }
}

#[tokio::test]
async fn what_answers_before_the_upload_has_ended_carries_no_other() {
    let upstream = raw_upstream(|head| match path(head) {
        "/upload" => RawReply::Early(ok("enough")),
        path => RawReply::Keep(ok(path)),
    })
    .await;
    let daemon = small_keep(&upstream).await;
    let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
    let head = "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\nsome";

    caller.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut caller, "enough").await;

    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(daemon.raw(&get("/next", "")).await.ends_with("/next"));
    let over = upstream.connection_ids();
    assert_ne!(over[0], over[1]);
    // Nor the other way: half an upload is followed by no request.
    let mut rest = vec![];
    tokio::time::timeout(EVENT_TIMEOUT, caller.read_to_end(&mut rest)).await.unwrap().ok();
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

#[tokio::test]
async fn an_answer_that_a_reset_follows_still_arrives() {
    let upstream = raw_upstream(|_| RawReply::Slam(ok("enough"))).await;
    let daemon = small_keep(&upstream).await;
    let head = "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n";

    // The reset is met at another place every time.
    for _ in 0..20 {
        let caller = TcpStream::connect(daemon.address()).await.unwrap();
        let (mut from, mut to) = caller.into_split();
        to.write_all(head.as_bytes()).await.unwrap();
        let upload = tokio::spawn(async move {
            to.write_all(&vec![b'x'; 9_999_999]).await.ok();
        });
        let mut answer = vec![];
        while !answer.ends_with(b"enough") {
            let read = tokio::time::timeout(EVENT_TIMEOUT, from.read_buf(&mut answer)).await;
            let more = read.unwrap().unwrap_or(0) > 0;
            assert!(more, "{}", String::from_utf8_lossy(&answer));
        }
        upload.abort();
    }
}

#[tokio::test]
async fn an_answer_that_its_caller_leaves_is_left() {
    let word = Arc::new(Semaphore::new(0));
    let held = word.clone();
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it";
    let upstream = raw_upstream(move |head| match path(head) {
        "/left" => RawReply::Late(begun.to_owned(), held.clone(), "the rest".to_owned()),
        path => RawReply::Keep(ok(path)),
    })
    .await;
    let daemon = daemon_before_raw(&upstream).await;
    let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
    caller.write_all(b"GET /left HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    read_until(&mut caller, "half of it").await;

    let ended = upstream.ended();
    drop(caller);
    word.add_permits(1);

    let gone = async {
        while upstream.ended() == ended {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, gone).await.expect("its connection is kept");
    assert!(daemon.raw(&get("/next", "")).await.ends_with("/next"));
}

#[tokio::test]
async fn half_a_head_and_interim_answers_do_not_keep_a_caller_waiting() {
    let answers = ["", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 100 Continue\r\n\r\n"];
    let never = Arc::new(Semaphore::new(0));
    let reply = move |answer, _: &str| RawReply::Late(answer, never.clone(), String::new());
    let soon = |config: &mut Config| config.upstream.header_timeout = EVENT_TIMEOUT / 100;
    let (upstream, daemon) = answering_to(&answers, reply, soon).await;

    for (nth, answer) in answers.iter().enumerate() {
        let said = daemon.raw(&get(&format!("/{nth}"), "")).await;
        assert!(said.starts_with("HTTP/1.1 504 "), "{answer:?}: {said}");
        assert!(said.contains("\"code\":\"upstream.timeout\""), "{answer:?}: {said}");
    }
    assert_eq!(upstream.requests().len(), answers.len(), "none was asked for again");
}

/// Answers that are read to an end of their own, or to that of their connection.
const WHOLE: [&str; 12] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 11\r\nX: y\r\nX: z\r\n\r\nall of this",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=\"y\r\"\r\nwiki\r\nA\r\npedia ends\r\n0;z\r\nT: u\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nas long as it comes",
    "HTTP/1.0 200 OK\r\n\r\nas long as it comes",
    "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: \"x\"\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 500 Quite\tbroken\r\nContent-Length: 4\r\nConnection: close, X-Gone\r\nX-Gone: 1\r\n\r\nhelp",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n",
];

/// Answers after which there is nothing more to read.
const ENDING: [&str; 9] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;e\r\nabc\r\n0\r\nT: u\r\nV: w\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.1 500 X\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc",
    "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
];

/// Responses after which that is not certain.
const DOUBTFUL: [&str; 8] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: x, Close\r\nConnection: keep-alive\r\n\r\nabc",
    "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nevil",
    "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil",
    "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil",
];

/// A daemon that keeps no body: all are streamed.
async fn small_keep(upstream: &RawUpstream) -> Daemon {
    let daemon = daemon_before(upstream.address.port(), &upstream.ca);
    daemon.set(|config| config.limits.replay_body = 0).run().await
}
