//! Whatever an upstream answers with, byte for byte: read as RFC 9112 wants it, or not at all.

use std::sync::Arc;
use std::time::Duration;

use nexudus_proxy::config::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

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
async fn a_head_that_two_readers_could_read_in_two_ways_is_no_answer() {
    let lines = [
        "X: a\r\n folded",
        "X: a\r\n\tfolded",
        " X: a",
        "X : a",
        "X: a\rContent-Length: 9",
        "X: a\0b",
        ": a",
        "no colon",
        "X(: a",
        "Content-Length: 3, 4",
        "Content-Length: +3",
        "Content-Length: 0x3",
        "Content-Length: 3 3",
        "Content-Length: 3a",
        "Content-Length:",
        "Content-Length: 99999999999999999999999",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length : 3",
        "Transfer-Encoding : chunked",
    ];
    let starts = [
        "http/1.1 200 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 +20 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.2 200 OK",
        "HTTP/2 200 OK",
        "ICY 200 OK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
    ];
    let lines = lines.map(|lines| format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\nabc"));
    let starts = starts.map(|start| format!("{start}\r\nContent-Length: 3\r\n\r\nabc"));
    let answers = [&lines[..], &starts[..]].concat();
    let (_upstream, daemon) = answering(&answers, |answer, _| RawReply::Close(answer)).await;

    for (nth, answer) in answers.iter().enumerate() {
        let said = daemon.raw(&get(&format!("/{nth}"), "")).await;
        assert!(said.starts_with("HTTP/1.1 502 "), "{answer:?}: {said}");
        assert!(said.contains("\"code\":\"upstream.closed\""), "{answer:?}: {said}");
    }
    assert!(daemon.raw(&get("/next", "")).await.ends_with("next"));
}

#[tokio::test]
async fn what_a_reader_may_forgive_is_forgiven_and_passed_on_in_order() {
    let long = "x".repeat(48 << 10);
    let many: String = (0..98).map(|nth| format!("X-{nth}: {nth}\r\n")).collect();
    let answers = [
        "HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 \r\nContent-Length: 3\r\n\r\nabc",
        "\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: \t 3 \t\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length:3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n003;a=\"b;c\";d\r\nabc\r\n000;e\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n2\t;x\r\nbc\r\n0\r\n\r\n",
    ];
    let long = [
        format!("HTTP/1.1 200 OK\r\nX-Long: {long}\r\nContent-Length: 3\r\n\r\nabc"),
        format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 3\r\n\r\nabc"),
    ];
    let answers = [&answers.map(str::to_owned)[..], &long].concat();
    let (_upstream, daemon) = answering(&answers, |answer, _| RawReply::Keep(answer)).await;

    for (nth, answer) in answers.iter().enumerate() {
        let answer_to = daemon.raw(&get(&format!("/{nth}"), "")).await;
        let (head, body) = said(&answer_to);
        assert!(head[0].starts_with("HTTP/1.1 200 ") && body == "abc", "{answer:?}: {answer_to}");
        let lengths = head.iter().filter(|line| line.starts_with("content-length: "));
        assert!(lengths.count() <= 1, "{answer_to}");
        assert_eq!(head.iter().any(|it| it.starts_with("x-97: ")), answer.contains("X-97"));
    }
}

#[tokio::test]
async fn a_length_is_passed_on_as_the_one_number_that_it_is() {
    let lines =
        ["5, 5", "5,5,5", "005", "5\r\nContent-Length: 5", "05\r\nContent-Length: 5 ,5", "5"];
    let ways =
        lines.map(|it| format!("HTTP/1.1 200 OK\r\nContent-Length: {it}\r\nX: y\r\n\r\nhello"));
    let (upstream, daemon) = answering(&ways, |answer, _| RawReply::Keep(answer)).await;

    for (nth, line) in lines.iter().enumerate() {
        let read = daemon.raw(&get(&format!("/{nth}"), "")).await;
        let asked = get(&format!("/{nth}?head"), "").replacen("GET", "HEAD", 1);
        let head = daemon.raw(&asked).await;
        for (answer, body) in [(&read, "hello"), (&head, "")] {
            assert!(answer.starts_with("HTTP/1.1 200 "), "{line:?}: {answer}");
            let lengths: Vec<_> =
                answer.lines().filter(|it| it.starts_with("content-length")).collect();
            assert_eq!(lengths, ["content-length: 5"], "{line:?}: {answer}");
            assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{line:?}: {answer}");
        }
    }
    let over = upstream.connection_ids();
    assert!(over.iter().all(|it| it == &over[0]), "the connection goes on: {over:?}");
}

#[tokio::test]
async fn of_a_length_beside_chunks_or_nothing_no_trace_comes_down() {
    let heads = [
        "200 OK\r\nContent-Length: 5, 5\r\nTransfer-Encoding: chunked",
        "204 No Content\r\nContent-Length: 0, 0",
        "204 No Content\r\nContent-Length: 5\r\nContent-Length: 5",
        "304 Not Modified\r\nContent-Length: 5, 5",
    ];
    let ways = heads.map(|head| match head.contains("chunked") {
        true => format!("HTTP/1.1 {head}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        false => format!("HTTP/1.1 {head}\r\n\r\n"),
    });
    let (_upstream, daemon) = answering(&ways, |answer, _| RawReply::Close(answer)).await;

    for (nth, head) in heads.iter().enumerate() {
        let answer = daemon.raw(&get(&format!("/{nth}"), "")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {}", &head[..3])), "{head:?}: {answer}");
        assert!(!answer.contains("content-length"), "{head:?}: {answer}");
    }
}

#[tokio::test]
async fn a_value_that_is_not_ascii_comes_down_as_it_is() {
    let answer = "HTTP/1.1 409 Zu häufig\r\nX-Name: Käthe\r\nContent-Length: 3\r\n\r\nabc";
    let (_upstream, daemon) = answering(&[answer], |answer, _| RawReply::Keep(answer)).await;

    let said = daemon.raw(&get("/0", "").replacen("GET", "POST", 1)).await;

    // Of a reason phrase that is not ASCII the parser keeps nothing, which leaves a valid head.
    assert!(said.starts_with("HTTP/1.1 409 \r\n"), "{said}");
    assert!(said.contains("\r\nx-name: Käthe\r\n"), "{said}");
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

/// An upstream that answers `/0`, `/1` and so on with these, in the way that `reply` makes of an
/// answer and the query; and a daemon in front of it.
async fn answering<A: ToString>(
    answers: &[A],
    reply: impl Fn(String, &str) -> RawReply + Send + Sync + 'static,
) -> (RawUpstream, Daemon) {
    answering_to(answers, reply, |_| ()).await
}

async fn answering_to<A: ToString>(
    answers: &[A],
    reply: impl Fn(String, &str) -> RawReply + Send + Sync + 'static,
    change: impl FnOnce(&mut Config),
) -> (RawUpstream, Daemon) {
    let answers: Vec<String> = answers.iter().map(A::to_string).collect();
    let upstream = raw_upstream(move |head| {
        let (number, query) = path(head)[1..].split_once('?').unwrap_or((&path(head)[1..], ""));
        let Ok(nth) = number.parse::<usize>() else { return RawReply::Keep(ok(number)) };
        let answer = &answers[nth];
        let end = answer.rfind("\r\n\r\n").map_or(answer.len(), |at| at + 4);
        match query {
            // The head of what would have been said.
            "head" if answer.contains("chunked") => {
                RawReply::Keep("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned())
            }
            "head" => RawReply::Keep(answer[..end].to_owned()),
            query => reply(answer.clone(), query),
        }
    })
    .await;
    let setup = daemon_before(upstream.address.port(), &upstream.ca).set(change);
    let daemon = setup.run().await;
    (upstream, daemon)
}

/// A daemon that keeps no body: all are streamed.
async fn small_keep(upstream: &RawUpstream) -> Daemon {
    let daemon = daemon_before(upstream.address.port(), &upstream.ca);
    daemon.set(|config| config.limits.replay_body = 0).run().await
}

fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

/// Returns the lines of an answer's head but for the time, and its body without its chunks.
fn said(answer: &str) -> (Vec<&str>, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let lines = head.split("\r\n").filter(|line| !line.starts_with("date: ")).collect();
    let body = match head.contains("transfer-encoding: chunked") {
        true => body.split("\r\n").skip(1).step_by(2).collect(),
        false => body.to_owned(),
    };
    (lines, body)
}
