//! Heads and bodies as bytes: which are written, which are understood, which are refused.

use http::header::{ACCEPT, HOST};
use http_body_util::Empty;
use proptest::prelude::*;

use super::*;
use crate::body_codec::encode_chunk;
use crate::limits::{MAX_CHUNK_LINE, MAX_CONNECTION_OPTIONS};

const LIMITS: HeadLimits = HeadLimits { bytes: 64 << 10, headers: 200 };

/// Decodes the response to a request of `method` whose bytes come in these pieces.
fn decode(
    method: &Method,
    pieces: &[&[u8]],
) -> Result<(Option<ResponseHead>, Vec<u8>, BodyDecoder), Malformed> {
    let mut buf = BytesMut::new();
    let (mut head, mut body, mut decoder) = (None, vec![], BodyDecoder::Done);
    let mut interim_bytes = 0;
    for piece in pieces {
        buf.extend_from_slice(piece);
        if head.is_none()
            && let Some(found) =
                parse_head(&mut buf, &mut interim_bytes, LIMITS, method, &mut HeaderMap::new())?
        {
            decoder = found.decoder;
            head = Some(found);
        }
        while let Some(data) = decoder.take_data(&mut buf)? {
            body.extend_from_slice(&data);
        }
    }
    Ok((head, body, decoder))
}

fn get(response: &str) -> Result<(Option<ResponseHead>, Vec<u8>, BodyDecoder), Malformed> {
    decode(&Method::GET, &[response.as_bytes()])
}

#[test]
fn a_request_is_written_from_its_parts() {
    let mut request = http::Request::post("/a%2F[b]?c=%zz&").body(Empty::<Bytes>::new()).unwrap();
    request.headers_mut().insert(HOST, HeaderValue::from_static("example.com"));
    request.headers_mut().append(ACCEPT, HeaderValue::from_static("a/b"));
    request.headers_mut().append(ACCEPT, HeaderValue::from_bytes(b"c/d;e=\xe9").unwrap());
    let head =
        b"POST /a%2F[b]?c=%zz& HTTP/1.1\r\nhost: example.com\r\naccept: a/b\r\naccept: c/d;e=\xe9\r\n";

    for (length, sent, end) in [
        (Some(0), BodyEncoder::Length(0), "\r\n"),
        (Some(17), BodyEncoder::Length(17), "content-length: 17\r\n\r\n"),
        (None, BodyEncoder::Chunked, "transfer-encoding: chunked\r\n\r\n"),
    ] {
        let mut written = vec![];
        assert_eq!(encode_head(&request, length, &mut written), sent);
        assert_eq!(written, [head, end.as_bytes()].concat());
    }
}

#[test]
fn a_response_ends_where_rfc_9112_says() {
    for (method, response, body, decoder, keep_alive) in RESPONSE_ENDS {
        let method = Method::try_from(method).unwrap();
        let (head, seen, left) = decode(&method, &[response.as_bytes()]).unwrap();
        assert_eq!(String::from_utf8(seen).unwrap(), body, "{response:?}");
        assert_eq!(left, decoder, "{response:?}");
        assert_eq!(head.unwrap().keep_alive, keep_alive, "{response:?}");
    }
}

/// Method, response, its body, what is left to decode, and whether the connection goes on.
const RESPONSE_ENDS: [(&str, &str, &str, BodyDecoder, bool); 18] = [
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", BodyDecoder::Done, true),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nab",
        "ab",
        BodyDecoder::Length(1),
        true,
    ),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", BodyDecoder::Done, true),
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "", BodyDecoder::Done, true),
    ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", "", BodyDecoder::Done, true),
    ("GET", "HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n", "", BodyDecoder::Done, true),
    ("GET", "HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n", "", BodyDecoder::Done, true),
    ("GET", "HTTP/1.1 200 OK\r\n\r\nabc", "abc", BodyDecoder::UntilClose, false),
    ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", BodyDecoder::Done, false),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\na",
        "a",
        BodyDecoder::Done,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0A \r\n0123456789\r\n0\r\nT: v\r\n\r\n",
        "abc0123456789",
        BodyDecoder::Done,
        true,
    ),
    // Both: chunks count, and the connection is not used again.
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "a",
        BodyDecoder::Done,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.1 204 N\r\n\r\n",
        "",
        BodyDecoder::Done,
        true,
    ),
    ("GET", "HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n", "", BodyDecoder::Done, false),
    // A tunnel has no body, whatever its headers say (RFC 9110 §9.3.6).
    ("CONNECT", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "", BodyDecoder::Done, false),
    (
        "CONNECT",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "",
        BodyDecoder::Done,
        false,
    ),
    (
        "CONNECT",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: none\r\n\r\n",
        "",
        BodyDecoder::Done,
        false,
    ),
    ("CONNECT", "HTTP/1.1 407 No\r\nContent-Length: 1\r\n\r\na", "a", BodyDecoder::Done, true),
];

#[test]
fn a_head_is_parsed_once_all_of_it_has_come() {
    let response = "HTTP/1.1 409 1 exceeded 10 per 1s\r\nA: b\r\nA:\t c \r\nX_y: \u{e9}\r\nContent-Length: 2\r\n\r\nokHTTP";
    let (head, body, decoder) = get(response).unwrap();
    let response = head.unwrap().response;

    assert_eq!(response.status(), 409);
    let reason = response.extensions().get::<ReasonPhrase>().unwrap();
    assert_eq!(*reason.0, *b"1 exceeded 10 per 1s");
    let values: Vec<_> = response.headers().get_all("a").iter().collect();
    assert_eq!(values, ["b", "c"]);
    assert_eq!(response.headers()["x_y"].as_bytes(), "\u{e9}".as_bytes());
    assert_eq!((body.as_slice(), decoder), (&b"ok"[..], BodyDecoder::Done));
    assert!(get("HTTP/1.1 200 OK\r\nA: b\r\n").unwrap().0.is_none());
    for line in ["HTTP/1.1 200", "HTTP/1.1 200 "] {
        let (head, ..) = get(&format!("{line}\r\n\r\n")).unwrap();
        let response = head.unwrap().response;
        assert_eq!(response.extensions().get(), Some(&ReasonPhrase(Bytes::new())), "{line:?}");
    }
}

/// <https://github.com/envoyproxy/envoy/issues/13827>, <https://github.com/seanmonstar/httparse/issues/88>
#[test]
fn what_strict_parsers_drop_is_understood() {
    let response =
        b"\r\nHTTP/1.1 409 Zu h\xe4ufig\r\nA : b\r\nB\t: c\r\nSet-Cookie: a=\x01\x7f;\tb\r\n\
        Content-Length : 2\r\n\r\no\x01";
    let (head, body, _) = decode(&Method::GET, &[response]).unwrap();
    let response = head.unwrap().response;

    let reason = response.extensions().get::<ReasonPhrase>().unwrap();
    assert_eq!(*reason.0, *b"Zu h\xe4ufig");
    let headers = response.headers();
    assert_eq!(
        (&headers["a"], &headers["b"], &headers["set-cookie"]),
        (
            &HeaderValue::from_static("b"),
            &HeaderValue::from_static("c"),
            &HeaderValue::from_static("a=  ;\tb"),
        )
    );
    assert_eq!(body, b"o\x01", "the body keeps its bytes");

    let many: String = (0..LIMITS.headers).map(|nth| format!("X-{nth}: {nth}\r\n")).collect();
    let (head, ..) = get(&format!("HTTP/1.1 204 No Content\r\n{many}\r\n")).unwrap();
    let headers = head.unwrap().response.into_parts().0.headers;
    assert_eq!((headers.len(), &headers["x-199"]), (200, &HeaderValue::from_static("199")));
}

#[test]
fn limits_below_the_usual_ones_hold_too() {
    let mut buf = BytesMut::from("HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n");
    let limits = HeadLimits { headers: 1, ..LIMITS };
    let parsed = parse_head(&mut buf, &mut 0, limits, &Method::GET, &mut HeaderMap::new());

    assert_eq!(parsed.unwrap_err(), Malformed::Head(httparse::Error::TooManyHeaders));
}

#[test]
fn an_ambiguous_response_is_refused() {
    use httparse::Error as E;

    let long = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(LIMITS.bytes));
    let ended = format!("{long}\r\n\r\n");
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(LIMITS.headers + 1));
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(LIMITS.bytes / 25 + 1);
    let with = |header: &str| format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n");
    for (response, why) in [
        ("nonsense\r\n\r\n".to_owned(), Malformed::Head(E::Version)),
        ("HTTP/2 200 OK\r\n\r\n".to_owned(), Malformed::Head(E::Version)),
        ("HTTP/1.1 99 OK\r\n\r\n".to_owned(), Malformed::Head(E::Status)),
        (with("A B: c"), Malformed::Head(E::HeaderName)),
        (with("Content-Length: 3\u{1}"), Malformed::Head(E::HeaderValue)),
        (with("Content-Length : 3\u{1}"), Malformed::Head(E::HeaderValue)),
        (with("A: \u{1}\r\nTransfer-Encoding: chunked\u{1}"), Malformed::Head(E::HeaderValue)),
        (with("A: \u{1}\rContent-Length: 3"), Malformed::Head(E::HeaderValue)),
        (with("A: b\r\n c"), Malformed::Head(E::HeaderName)),
        (with("A: b\0"), Malformed::Head(E::HeaderValue)),
        (many, Malformed::Head(E::TooManyHeaders)),
        (long, Malformed::HeadTooLong(LIMITS.bytes)),
        (ended, Malformed::HeadTooLong(LIMITS.bytes)),
        (interim, Malformed::HeadTooLong(LIMITS.bytes)),
        (with("Content-Length: 3\r\nContent-Length: 4"), Malformed::ContentLength),
        (with("Content-Length: 3,4"), Malformed::ContentLength),
        (with("Content-Length: +3"), Malformed::ContentLength),
        (with("Content-Length: -1"), Malformed::ContentLength),
        (with("Content-Length: "), Malformed::ContentLength),
        (with("Content-Length: 3,"), Malformed::ContentLength),
        (with("Content-Length: 99999999999999999999"), Malformed::ContentLength),
        (with("Transfer-Encoding: gzip, chunked"), Malformed::TransferEncoding),
        (with("Transfer-Encoding: identity"), Malformed::TransferEncoding),
        (
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            Malformed::TransferEncoding,
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            Malformed::TransferEncoding,
        ),
    ] {
        assert_eq!(get(&response).map(|_| ()), Err(why), "{:.80}", response);
    }
}

#[test]
fn malformed_chunks_are_refused() {
    let long = format!("3;{}", "x".repeat(MAX_CHUNK_LINE));
    let trailers = format!("0\r\n{}", "A: b\r\n".repeat(MAX_CHUNK_LINE));
    for chunks in [
        "x\r\n",
        "\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\n",
        "1 1\r\n",
        "1;\rx\r\n",
        "11111111111111111\r\n",
        "3\nabc\r\n",
        "3\r\nabcd\r\n",
        "3\r\nabc\n",
        "3\r\nabc0\r\n\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\nbroken trailer\r\n\r\n",
        &long,
        &trailers,
    ] {
        let response = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        assert_eq!(get(&response).map(|_| ()), Err(Malformed::Chunk), "{chunks:.40?}");
    }
}

#[test]
fn an_empty_chunk_is_not_written_before_the_end() {
    let mut buf = vec![];
    encode_chunk(b"", false, &mut buf);
    assert_eq!(buf, b"");
    encode_chunk(&[b'x'; 26], false, &mut buf);
    encode_chunk(b"", true, &mut buf);
    assert_eq!(buf, b"1a\r\nxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n");
}

proptest! {
    #[test]
    fn a_response_is_the_same_however_its_bytes_are_split(
        data in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
        is_chunked: bool,
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
    ) {
        let whole = data.concat();
        let mut response = b"HTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 Fine\r\nA: b\r\n".to_vec();
        if is_chunked {
            response.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            data.iter().for_each(|piece| encode_chunk(piece, false, &mut response));
            encode_chunk(b"", true, &mut response);
        } else {
            response.extend_from_slice(format!("Content-Length: {}\r\n\r\n", whole.len()).as_bytes());
            response.extend_from_slice(&whole);
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(response.len())).collect();
        cuts.extend([0, response.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|cut| &response[cut[0]..cut[1]]).collect();

        let (head, body, decoder) = decode(&Method::GET, &pieces).unwrap();

        prop_assert_eq!(head.unwrap().response.headers().len(), 2);
        prop_assert_eq!(body, whole);
        prop_assert_eq!(decoder, BodyDecoder::Done);
    }

    #[test]
    fn no_bytes_cause_a_panic(
        start in "(HTTP/1.1 200 OK\r\n|HTTP/1\\.[01] [0-9]{3} \r\n)?((Content-Length: [0-9]{1,3}|Transfer-Encoding: chunked|A: b)\r\n){0,3}(\r\n)?",
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = decode(&Method::GET, &[start.as_bytes(), &bytes]);
    }
}

#[test]
fn a_connection_header_with_many_options_is_refused() {
    let response = |options: usize| {
        let names = vec!["x"; options].join(",");
        format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: {names}\r\n\r\n")
    };

    assert!(get(&response(MAX_CONNECTION_OPTIONS)).is_ok());
    for options in [MAX_CONNECTION_OPTIONS + 1, 29_000] {
        assert_eq!(get(&response(options)).unwrap_err(), Malformed::ConnectionOptions);
    }
    let lines = "Connection: x\r\n".repeat(MAX_CONNECTION_OPTIONS + 1);
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{lines}\r\n");
    assert_eq!(get(&response).unwrap_err(), Malformed::ConnectionOptions);
}
