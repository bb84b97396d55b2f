//! Inputs of public bug reports about other proxies; `tests/reports.md` is the log of all of them.

use crate::support::raw_answers::answering;
use crate::support::raw_upstream::{RawReply, daemon_before_raw, get, ok, raw_upstream};

// https://github.com/nginx/nginx/issues/1427: the length of an interim response is no length, and
// the bytes after its head are the next response.
#[tokio::test]
async fn an_interim_response_with_a_length_does_not_shift_the_next_response() {
    let answers = [
        "HTTP/1.1 100 Continue\r\nContent-Length: 90\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    ];
    let (upstream, daemon) = answering(&answers, |answer, _| RawReply::Keep(answer)).await;

    for nth in 0..answers.len() {
        let received = daemon.raw(&get(&format!("/{nth}"), "")).await;
        let received = received.rsplit_once("HTTP/1.1 200 OK").expect("a final response").1;
        assert!(received.ends_with("\r\n\r\nabc"), "{received}");
        assert!(daemon.raw(&get("/next", "")).await.ends_with("next"));
    }
    assert_eq!(upstream.requests().len(), 2 * answers.len());
}

// https://github.com/nginx/nginx/pull/1604: fields of the connection reached callers inside of a
// 103.
#[tokio::test]
async fn an_interim_response_carries_no_field_of_the_connection_to_the_caller() {
    let answer = "HTTP/1.1 103 Early Hints\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
                  Keep-Alive: timeout=5\r\nUpgrade: h2c\r\nLink: </a>\r\n\r\n\
                  HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    let (_upstream, daemon) = answering(&[answer], |answer, _| RawReply::Keep(answer)).await;

    let received = daemon.raw(&get("/0", "")).await.to_lowercase();

    for name in ["transfer-encoding", "keep-alive:", "upgrade"] {
        assert!(!received.contains(name), "{received}");
    }
    assert!(received.ends_with("\r\n\r\nabc"), "{received}");
}

// https://github.com/tallarium/reverse_proxy_plug/issues/240,
// https://github.com/vaxerski/checkpoint/issues/14: fields of one name were joined, or but one of
// them was kept.
#[tokio::test]
async fn fields_of_one_name_arrive_one_by_one_and_in_order() {
    let answer = "HTTP/1.1 200 OK\r\nX-Many: 1\r\nWWW-Authenticate: A\r\nX-Many: 2\r\n\
                  WWW-Authenticate: B realm=\"x, y\"\r\nX-Many: 3\r\nContent-Length: 3\r\n\r\nabc";
    let (_upstream, daemon) = answering(&[answer], |answer, _| RawReply::Keep(answer)).await;

    let received = daemon.raw(&get("/0", "")).await;

    let values = |name: &str| -> Vec<_> {
        let fields = received.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1).collect()
    };
    assert_eq!(values("x-many"), ["1", "2", "3"]);
    assert_eq!(values("www-authenticate"), ["A", "B realm=\"x, y\""]);
}

// https://github.com/opensandbox-group/OpenSandbox/issues/1901,
// https://github.com/TecharoHQ/anubis/pull/1764: repeated names were sorted together, `;` and `+`
// were rewritten, and escapes that are no UTF-8 were lost.
#[tokio::test]
async fn a_query_arrives_as_it_was_written() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("abc"))).await;
    let daemon = daemon_before_raw(&upstream).await;
    let target = "/api/x?b=2&a=1&b=3&uploads&sig=%E9%FF&s=1;2&q=a%20b+c&=&&x==";

    daemon.raw(&get(target, "")).await;

    let requests = upstream.requests();
    let last = requests.last().unwrap();
    assert!(last.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{last}");
}

// https://github.com/mitmproxy/mitmproxy/issues/8364: the end of a body was lost where the server
// closed right behind it.
#[tokio::test]
async fn a_body_is_whole_although_the_server_closes_right_behind_it() {
    let body = "x".repeat(1 << 20);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        1 << 20
    );
    let (_upstream, daemon) = answering(&[answer], |answer, _| RawReply::Close(answer)).await;

    for _ in 0..5 {
        let received = daemon.raw(&get("/0", "")).await;
        assert_eq!(received.split_once("\r\n\r\n").unwrap().1.len(), body.len());
    }
}

// https://github.com/gpustack/gpustack/issues/5939, https://github.com/caddyserver/caddy/pull/7998:
// a cut body looked whole, and a head without any of its body never came.
#[tokio::test]
async fn a_cut_body_is_seen_as_cut_and_its_head_still_arrives() {
    let answers = [
        "HTTP/1.1 200 OK\r\nX-Head: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nX-Head: 1\r\nContent-Length: 100\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX-Head: 1\r\nContent-Length: 100\r\n\r\n",
    ];
    let (_upstream, daemon) = answering(&answers, |answer, _| RawReply::Close(answer)).await;

    for (nth, answer) in answers.iter().enumerate() {
        let received = daemon.raw(&get(&format!("/{nth}"), "")).await.to_lowercase();
        assert!(received.contains("x-head: 1\r\n"), "{answer:?}: {received}");
        assert!(!received.ends_with("0\r\n\r\n"), "{answer:?}: {received}");
        assert_eq!(received.contains("hello"), answer.contains("hello"), "{answer:?}: {received}");
    }
}

// https://github.com/chimurai/http-proxy-middleware/issues/1121: a HEAD lost its length.
#[tokio::test]
async fn the_answer_to_a_head_keeps_its_length() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n";
    let (_upstream, daemon) = answering(&[answer], |answer, _| RawReply::Keep(answer)).await;

    let received = daemon.raw(&get("/0", "").replacen("GET", "HEAD", 1)).await.to_lowercase();

    assert!(received.contains("content-length: 1234\r\n"), "{received}");
}

// https://github.com/tinyproxy/tinyproxy/issues/616: what was not the word `chunked` alone went up
// beside a length.
#[tokio::test]
async fn a_list_of_codings_is_refused_with_a_length_and_without() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("abc"))).await;
    let daemon = daemon_before_raw(&upstream).await;

    for codings in ["chunked,", "chunked, gzip", "chunked  ,  gzip"] {
        for length in ["", "Content-Length: 5\r\n"] {
            let head = format!(
                "POST /x HTTP/1.1\r\nHost: HOST\r\n{length}Transfer-Encoding: {codings}\r\n\r\n"
            );
            let received =
                daemon.raw(&(head + "0\r\n\r\nGET /y HTTP/1.1\r\nHost: HOST\r\n\r\n")).await;
            assert!(received.contains("\"code\":\"request.framing\""), "{codings}: {received}");
        }
    }
    assert_eq!(upstream.requests(), Vec::<String>::new());
}
