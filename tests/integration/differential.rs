//! What passes through nginx and HAProxy passes through this proxy: a few hundred odd but legal
//! responses of the same upstream, through all three.
//!
//! Where both others let a response through and this proxy does not, or changes it, the difference
//! stands in `docs/limits.md` with its reason.

mod neighbour;
mod odd_responses;

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::neighbour::Neighbour;
use self::odd_responses::{OddResponse, odd_responses};
use crate::support::raw_upstream::{RawReply, daemon_before_raw, ok, raw_upstream};
use crate::support::{Daemon, EVENT_TIMEOUT};

/// How many responses are asked for at once.
const AT_ONCE: usize = 16;

/// Begins the name of a response, and the sentence of `docs/limits.md` that says why this proxy
/// differs.
const KNOWN: &[(&str, &str)] = &[
    ("control in a value", "a control character in a value becomes a blank"),
    ("field \"Connection: x-gone", "Headers that `Connection` names are dropped"),
];

#[tokio::test]
async fn what_passes_through_nginx_and_haproxy_passes_here() {
    let responses = Arc::new(odd_responses());
    assert!(responses.len() > 250, "{} responses", responses.len());
    let table = responses.clone();
    let upstream = raw_upstream(move |head| {
        let number = head.split(' ').nth(1).and_then(|path| path[1..].parse::<usize>().ok());
        match number.and_then(|number| table.get(number)) {
            Some(odd) => RawReply::Bytes(odd.bytes.clone()),
            None => RawReply::Keep(ok("{}")),
        }
    })
    .await;
    let daemon = daemon_before_raw(&upstream).await;
    let home = tempfile::tempdir().unwrap();
    let nginx = Neighbour::nginx(&home, upstream.address.port());
    let haproxy = Neighbour::haproxy(&home, upstream.address.port());

    let mut answers = vec![];
    let numbers: Vec<_> = (0..responses.len()).collect();
    for some in numbers.chunks(AT_ONCE) {
        let asked = some.iter().map(async |number| {
            let target = format!("/{number}");
            tokio::join!(nginx.ask(&target), haproxy.ask(&target), ask_daemon(&daemon, &target))
        });
        answers.extend(join_all(asked).await);
    }

    let (differences, both_pass) = compare(&responses, answers);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(both_pass > 200, "only {both_pass} of {} pass elsewhere", responses.len());

    let limits = std::fs::read_to_string("docs/limits.md").unwrap();
    let limits = limits.split_whitespace().collect::<Vec<_>>().join(" ");
    for (name, sentence) in KNOWN {
        assert!(limits.contains(sentence), "docs/limits.md does not say: {name}: {sentence}");
    }
}

/// Returns what differs here, and how many responses pass through both others.
fn compare(
    responses: &[OddResponse],
    answers: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>,
) -> (Vec<String>, usize) {
    let (mut differences, mut both_pass) = (vec![], 0);
    for (odd, (nginx, haproxy, ours)) in responses.iter().zip(answers) {
        let [Some(nginx), Some(haproxy)] = [nginx, haproxy].map(|answer| odd.passed(&answer))
        else {
            continue;
        };
        both_pass += 1;
        let known = KNOWN.iter().find(|(name, _)| odd.name.starts_with(name));
        let difference = match odd.passed(&ours) {
            None => Some(format!("refused: {}", text(&ours))),
            Some(passed) => passed.difference(&nginx, &haproxy),
        };
        match (known, difference) {
            (None, Some(how)) => differences.push(format!("{}: {how}", odd.name)),
            (Some((name, _)), None) => differences.push(format!("{name} is no difference")),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    (differences, both_pass)
}

/// What a client got of a response that was let through.
struct Passed {
    reason: Vec<u8>,
    fields: Vec<(String, Vec<u8>)>,
}

impl OddResponse {
    /// Reads an answer; `None` if it is not this response.
    fn passed(&self, answer: &[u8]) -> Option<Passed> {
        let mut rest = answer;
        loop {
            let end = find(rest, b"\r\n\r\n")?;
            let (head, body) = (&rest[..end], &rest[end + 4..]);
            let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
            let start = lines.next()?;
            let status: u16 = str::from_utf8(start.get(9..12)?).ok()?.parse().ok()?;
            if status < 200 {
                rest = body;
                continue;
            }
            let fields: Vec<_> = lines.filter_map(split_field).collect();
            let chunked = fields.iter().any(|(name, _)| name == "transfer-encoding");
            let body = if chunked { unchunk(body)? } else { body.to_vec() };
            let is_same = status == self.status && body == self.body;
            let reason = start.get(13..).unwrap_or_default().to_vec();
            return is_same.then_some(Passed { reason, fields });
        }
    }
}

impl Passed {
    /// Says what both others pass on and this answer does not.
    fn difference(&self, nginx: &Self, haproxy: &Self) -> Option<String> {
        if nginx.reason == haproxy.reason && self.reason != nginx.reason {
            return Some(format!("reason {:?}, not {:?}", text(&self.reason), text(&nginx.reason)));
        }
        let is_missing = |field: &&(String, Vec<u8>)| {
            field.0.starts_with("x-") || matches!(&*field.0, "content-type" | "content-encoding")
        };
        let mut both = nginx.fields.iter().filter(|field| haproxy.fields.contains(field));
        let missing = both.find(|field| is_missing(field) && !self.fields.contains(field));
        missing.map(|(name, value)| format!("{name}: {:?} is missing", text(value)))
    }
}

fn split_field(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = String::from_utf8_lossy(&line[..colon]).trim().to_ascii_lowercase();
    Some((name, line[colon + 1..].trim_ascii().to_vec()))
}

fn unchunk(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = vec![];
    loop {
        let end = find(body, b"\r\n")?;
        let size = str::from_utf8(&body[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        body = &body[end + 2..];
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(body.get(..size)?);
        body = body.get(size + 2..)?;
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|it| it == part)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned()
}

async fn ask_daemon(daemon: &Daemon, target: &str) -> Vec<u8> {
    exchange(TcpStream::connect(daemon.address()).await.unwrap(), target).await
}

async fn exchange(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    target: &str,
) -> Vec<u8> {
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![];
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(EVENT_TIMEOUT, read).await.expect("the connection stays open").ok();
    answer
}
