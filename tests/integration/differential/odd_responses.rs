//! The table of odd responses.

/// A response of the upstream, and what a client should get of it.
pub struct OddResponse {
    pub name: String,
    pub bytes: Vec<u8>,
    pub status: u16,
    pub body: Vec<u8>,
}

/// The table: each kind of oddity alone, in a response that is plain otherwise.
pub fn odd_responses() -> Vec<OddResponse> {
    let mut all = vec![];
    status_lines(&mut all);
    field_names(&mut all);
    field_values(&mut all);
    control_bytes(&mut all);
    known_fields(&mut all);
    field_counts(&mut all);
    lengths(&mut all);
    chunks(&mut all);
    bodiless(&mut all);
    before_the_head(&mut all);
    codings(&mut all);
    all
}

/// A status line, some lines of fields, each with its end, and a body of three bytes.
fn plain(all: &mut Vec<OddResponse>, name: String, start: &[u8], fields: &[u8]) {
    let status = str::from_utf8(&start[9..12]).unwrap().parse().unwrap();
    let end = b"Content-Length: 3\r\n\r\nabc";
    let bytes = [start, b"\r\n", fields, end].concat();
    all.push(OddResponse { name, bytes, status, body: b"abc".to_vec() });
}

fn status_lines(all: &mut Vec<OddResponse>) {
    let long = [b'r'; 900];
    let reasons: [&[u8]; 13] = [
        b"OK",
        b"",
        b"Not OK at all",
        "Zu h\u{e4}ufig".as_bytes(),
        b"Zu h\xe4ufig",
        b"\xff",
        b"a\tb",
        b"  two blanks",
        b"at the end  ",
        b"200",
        b"x: y",
        b"<html>\"'&%",
        &long,
    ];
    for status in [200, 201, 202, 207, 226, 299, 300, 404, 409, 418, 428, 500, 503, 599] {
        for (nth, reason) in reasons.iter().enumerate() {
            for version in ["1.1", "1.0"] {
                // Everything with everything would say no more.
                if version == "1.0" && (status != 200 || nth > 4) || (status > 202 && nth > 5) {
                    continue;
                }
                let start = [format!("HTTP/{version} {status} ").as_bytes(), reason].concat();
                plain(all, format!("status {version} {status} reason {nth}"), &start, b"");
            }
        }
        plain(all, format!("status {status} alone"), format!("HTTP/1.1 {status}").as_bytes(), b"");
    }
}

fn field_names(all: &mut Vec<OddResponse>) {
    let long = format!("X-{}", "n".repeat(250));
    let names = [
        "x-lower", "X-UPPER", "X-MiXeD", "X", "x1", "X-1", "X_under", "X.dot", "X-a~b", "X-a|b",
        "X-a^b", "X-a`b", "X-a!b", "X-a#b", "X-a$b", "X-a%b", "X-a&b", "X-a'b", "X-a*b", "X-a+b",
        "X--", "X-", "1", "~", "-X", &long,
    ];
    for name in names {
        plain(all, format!("name {name}"), OK, format!("{name}: v\r\n").as_bytes());
    }
    for (nth, field) in ["X-A : v", "X-A\t: v", "X-A  \t : v"].iter().enumerate() {
        plain(all, format!("blank before the colon {nth}"), OK, format!("{field}\r\n").as_bytes());
    }
}

fn field_values(all: &mut Vec<OddResponse>) {
    let every: Vec<u8> = (0x21..=0x7e).chain(0x80..=0xff).collect();
    let long = [b'v'; 3_000];
    let values: [&[u8]; 22] = [
        b"",
        b"v",
        b"a b  c\td",
        b"\"quoted, \\\" and more\"",
        b"a,b,,c",
        b"(comment (nested))",
        "K\u{e4}the \u{1f600}".as_bytes(),
        b"K\xe4the",
        b"\xff\xfe",
        b"\xc3\x28",
        b"=?utf-8?q?x?=",
        b"a:b: c",
        b";;;",
        b"http://[::1]/%zz",
        b"{\"json\":[1,2]}",
        b"<a href='x'>",
        b"0",
        b"-1",
        b"99999999999999999999999999",
        b"Thu, 01 Jan 1970 00:00:00 GMT",
        &every,
        &long,
    ];
    for (nth, value) in values.iter().enumerate() {
        for (kind, before, after) in
            [("one", " ", ""), ("no", "", ""), ("many", "  \t ", " \t "), ("tab", "\t", "\t")]
        {
            let field = [b"X-Value:", before.as_bytes(), value, after.as_bytes(), b"\r\n"].concat();
            plain(all, format!("value {nth} {kind} blank"), OK, &field);
        }
    }
}

fn control_bytes(all: &mut Vec<OddResponse>) {
    for control in (1..=8).chain([0x0b, 0x0c]).chain(0x0e..=0x1f).chain([0x7f]) {
        let field = [b"Set-Cookie: a=".as_slice(), &[control], b"b\r\n"].concat();
        plain(all, format!("control in a cookie: {control}"), OK, &field);
        let field = [b"X-Control: a".as_slice(), &[control], b"b\r\n"].concat();
        plain(all, format!("control in a value: {control}"), OK, &field);
    }
}

fn known_fields(all: &mut Vec<OddResponse>) {
    for field in [
        "Content-Type: ",
        "Content-Type: text/html",
        "Content-Type: TEXT/HTML;Charset=\"x\"",
        "Content-Type: x",
        "Date: yesterday",
        "Server: ",
        "ETag: W/\"\u{e4}\"",
        "Vary: *",
        "Warning: 199 - \"x\"",
        "Age: -1",
        "Expires: -1",
        "Expires: 0",
        "Last-Modified: never",
        "Cache-Control: x=\"y\", no-cache=\"set-cookie\"",
        "WWW-Authenticate: Basic",
        "Allow: ",
        "Retry-After: soon",
        "Link: <x>; rel=y",
        "Connection: close",
        "Connection: keep-alive",
        "Connection: keep-alive, close",
        "Connection: x-gone\r\nX-Gone: 1",
        "Keep-Alive: timeout=5",
        "Trailer: X-T",
        "Pragma: no-cache",
        "X-Powered-By: ASP.NET",
        "X-AspNet-Version: 4.0.30319",
        "Accept-Ranges: none",
        "Content-Language: \u{e4}",
        "Content-Disposition: attachment; \
         filename=\"a b.pdf\"; filename*=UTF-8''%e4",
        "Content-Location: /x",
        "Via: 1.1 x",
        "Set-Cookie: a=b; Path=/\r\nSet-Cookie: a=b; HttpOnly",
        "Proxy-Status: x; error=y",
    ] {
        plain(all, format!("field {field:?}"), OK, format!("{field}\r\n").as_bytes());
    }
}

fn field_counts(all: &mut Vec<OddResponse>) {
    for count in [0, 1, 20, 50, 90, 95, 97, 98, 99, 100, 101, 102, 110, 150, 300] {
        let fields: String = (0..count).map(|nth| format!("X-{nth}: {nth}\r\n")).collect();
        plain(all, format!("{count} fields"), OK, fields.as_bytes());
        let fields = "X-Same: v\r\n".repeat(count);
        plain(all, format!("{count} equal fields"), OK, fields.as_bytes());
    }
    for length in [1_000, 3_500, 4_000, 7_000, 8_000, 12_000, 15_000, 20_000, 40_000] {
        let field = format!("X-Long: {}\r\n", "x".repeat(length));
        plain(all, format!("a field of {length} bytes"), OK, field.as_bytes());
    }
}

/// Adds a response by its name, its head without the empty line, its body, and that without framing.
fn adder(all: &mut Vec<OddResponse>) -> impl FnMut(&str, &str, &[u8], &[u8]) {
    move |name, head, body, expected| {
        let status = head.get(9..12).unwrap().parse().unwrap();
        let bytes = [head.as_bytes(), b"\r\n\r\n", body].concat();
        all.push(OddResponse { name: name.to_owned(), bytes, status, body: expected.to_vec() });
    }
}

fn lengths(all: &mut Vec<OddResponse>) {
    let mut add = adder(all);
    let ok = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}");
    add("until close", "HTTP/1.1 200 OK", b"abc", b"abc");
    add("until close, HTTP/1.0", "HTTP/1.0 200 OK", b"abc", b"abc");
    add("until close, empty", "HTTP/1.1 200 OK", b"", b"");
    for (nth, length) in
        ["3", "03", "0003", "3, 3", "3,3", "3\r\nContent-Length: 3", " 3", "3 ", "\t3\t"]
            .iter()
            .enumerate()
    {
        add(&format!("length {nth}"), &ok(&format!("Content-Length:{length}")), b"abc", b"abc");
        let extra = format!("length {nth} and more bytes");
        add(&extra, &ok(&format!("Content-Length:{length}")), b"abcdef", b"abc");
    }
    for name in ["content-length", "CONTENT-LENGTH", "Content-length"] {
        add(&format!("length as {name}"), &ok(&format!("{name}: 3")), b"abc", b"abc");
    }
}

fn chunks(all: &mut Vec<OddResponse>) {
    let mut add = adder(all);
    let ok = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}");
    for coding in ["chunked", "Chunked", "CHUNKED", " chunked ", "\tchunked"] {
        let head = ok(&format!("Transfer-Encoding:{coding}"));
        for (nth, (chunks, body)) in CHUNKS.iter().enumerate() {
            let name = format!("chunks {nth} as {coding:?}");
            add(&name, &head, chunks.as_bytes(), body.as_bytes());
        }
    }
    let both = ok("Content-Length: 3\r\nTransfer-Encoding: chunked");
    add("chunks beside a length", &both, b"3\r\nabc\r\n0\r\n\r\n", b"abc");
}

fn bodiless(all: &mut Vec<OddResponse>) {
    let mut add = adder(all);
    for head in [
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 204 No Content\r\nContent-Length: 0",
        "HTTP/1.1 304 Not Modified",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5",
        "HTTP/1.1 304 Not Modified\r\nETag: \"x\"",
        "HTTP/1.1 205 Reset\r\nContent-Length: 0",
        "HTTP/1.1 200 OK\r\nContent-Length: 0",
        "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\
         Location: /x",
        "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: //x/\u{e4} b",
        "HTTP/1.1 401 No\r\nContent-Length: 0\r\nWWW-Authenticate: Negotiate",
        "HTTP/1.1 206 Partial\r\nContent-Length: 0\r\nContent-Range: bytes 0-0/*",
    ] {
        add(&format!("no body {head:?}"), head, b"", b"");
    }
}

fn before_the_head(all: &mut Vec<OddResponse>) {
    for interim in ["100 Continue", "102 Processing", "103 Early Hints\r\nLink: </x>"] {
        let head = format!("HTTP/1.1 {interim}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3");
        let bytes = [head.as_bytes(), b"\r\n\r\nabc"].concat();
        let name = format!("after {interim:?}");
        all.push(OddResponse { name, bytes, status: 200, body: b"abc".to_vec() });
    }
    for (name, bytes) in [
        ("lines end in LF", "HTTP/1.1 200 OK\nX-A: b\nContent-Length: 3\n\nabc"),
        ("an empty line first", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
    ] {
        let (name, bytes) = (name.to_owned(), bytes.into());
        all.push(OddResponse { name, bytes, status: 200, body: b"abc".to_vec() });
    }
}

const CHUNKS: [(&str, &str); 9] = [
    ("3\r\nabc\r\n0\r\n\r\n", "abc"),
    ("1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n", "abc"),
    ("0003\r\nabc\r\n000\r\n\r\n", "abc"),
    ("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
    ("3;x=y\r\nabc\r\n0;z\r\n\r\n", "abc"),
    ("3;x=\"a b\"\r\nabc\r\n0\r\n\r\n", "abc"),
    ("3 \r\nabc\r\n0\r\n\r\n", "abc"),
    ("3\r\nabc\r\n0\r\nX-T: v\r\n\r\n", "abc"),
    ("0\r\n\r\n", ""),
];

fn codings(all: &mut Vec<OddResponse>) {
    let codings =
        ["gzip", "x-gzip", "GZIP", "deflate", "br", "zstd", "identity", "none", "", "gzip, br"];
    for coding in codings {
        for kind in ["application/json", "text/html", "application/octet-stream"] {
            let fields = format!("Content-Type: {kind}\r\nContent-Encoding: {coding}\r\n");
            plain(all, format!("coding {coding} of {kind}"), OK, fields.as_bytes());
        }
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK";
