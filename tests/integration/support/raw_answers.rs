//! An upstream that answers with given bytes, and a daemon in front of it.

use nexudus_proxy::config::Config;

use crate::support::raw_upstream::{RawReply, RawUpstream, ok, raw_upstream};
use crate::support::{Daemon, daemon_before};

/// An upstream that answers `/0`, `/1` and so on with these, in the way that `reply` makes of an
/// answer and the query; and a daemon in front of it.
pub async fn answering<A: ToString>(
    answers: &[A],
    reply: impl Fn(String, &str) -> RawReply + Send + Sync + 'static,
) -> (RawUpstream, Daemon) {
    answering_to(answers, reply, |_| ()).await
}

pub async fn answering_to<A: ToString>(
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

pub fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

/// Returns the lines of an answer's head but for the time, and its body without its chunks.
pub fn said(answer: &str) -> (Vec<&str>, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let lines = head.split("\r\n").filter(|line| !line.starts_with("date: ")).collect();
    let body = if head.contains("transfer-encoding: chunked") {
        body.split("\r\n").skip(1).step_by(2).collect()
    } else {
        body.to_owned()
    };
    (lines, body)
}
