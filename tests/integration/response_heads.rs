//! The head of a response: what is refused, what is forgiven, and the one length that is passed on.

use crate::support::raw_answers::{answering, answering_to, said};
use crate::support::raw_upstream::{RawReply, get};

#[tokio::test]
async fn a_head_that_two_readers_could_read_in_two_ways_is_no_answer() {
    let lines = [
        "X: a\r\n folded",
        "X: a\r\n\tfolded",
        " X: a",
        "X: a\rContent-Length: 9",
        "X: a\0b",
        ": a",
        "no colon",
        "X(: a",
        "X Y: a",
        "Content-Length: 3\u{1}",
        "Content-Length : 4, 3",
        "Transfer-Encoding : chunked\u{7f}",
        "Content-Length: 3, 4",
        "Content-Length: +3",
        "Content-Length: 0x3",
        "Content-Length: 3 3",
        "Content-Length: 3a",
        "Content-Length:",
        "Content-Length: 99999999999999999999999",
        "Content-Length: 3\r\nContent-Length: 4",
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
    let many: String = (0..490).map(|nth| format!("X-{nth}: {nth}\r\n")).collect();
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
        "HTTP/1.1 200 OK\r\nContent-Length : 3\r\nX : a\r\nSet-Cookie: \u{1}\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding\t: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
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
        assert_eq!(head.contains(&"x-489: 489"), answer.contains("X-489"));
        assert_eq!(head.contains(&"x: a"), answer.contains("X : a"));
        assert!(!answer_to.contains("cookie"), "{answer_to}");
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
    let ways = heads.map(|head| {
        if head.contains("chunked") {
            format!("HTTP/1.1 {head}\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        } else {
            format!("HTTP/1.1 {head}\r\n\r\n")
        }
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

    assert!(said.starts_with("HTTP/1.1 409 Zu häufig\r\n"), "{said}");
    assert!(said.contains("\r\nx-name: Käthe\r\n"), "{said}");
}

#[tokio::test]
async fn an_answer_beyond_the_limits_is_refused_with_its_reason() {
    let many = |count| (0..count).map(|nth| format!("X-{nth}: {nth}\r\n")).collect::<String>();
    let long = |length| format!("X-Long: {}\r\n", "x".repeat(length));
    let answers = [many(19), many(20), long(9_000), long(10_240)]
        .map(|fields| format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 3\r\n\r\nabc"));
    let (_upstream, daemon) = answering_to(
        &answers,
        |answer, _| RawReply::Close(answer),
        |config| {
            config.limits.response_headers = 20;
            config.limits.response_header_bytes = 10 << 10;
        },
    )
    .await;

    for (nth, reason) in [
        (0, None),
        (1, Some("too many headers")),
        (2, None),
        (3, Some("the head is longer than 10240 bytes")),
    ] {
        let said = daemon.raw(&get(&format!("/{nth}"), "")).await;
        assert_eq!(said.starts_with("HTTP/1.1 200 "), reason.is_none(), "{said}");
        assert!(reason.is_none_or(|reason| said.contains(reason)), "{said}");
    }
}
