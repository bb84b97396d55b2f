//! A redacted response of any length takes the same memory.

use nexudus_proxy::config::RedactMode;

use crate::redaction::{MARKER, get, record, redacted};
use crate::support::daemon_before;
use crate::support::raw_upstream::{RawReply, raw_upstream};

#[tokio::test]
async fn a_long_list_takes_no_more_memory_than_a_short_one() {
    let records: String = (0..40).map(|nth| record(nth).to_string() + ",").collect();
    let chunk = format!("{:x}\r\n{records}\r\n", records.len());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n";
    let upstream = raw_upstream(move |_| RawReply::Endless(head.to_owned(), chunk.clone())).await;
    let daemon = daemon_before(upstream.address.port(), &upstream.ca).run().await;
    let key = redacted(&daemon, RedactMode::Table, false);

    let mut answer = get(&daemon, &key, "/api/spaces/coworkers").await;
    let (mut read, mut begin) = (0, 0);
    while read < LONG {
        let data = answer.chunk().await.unwrap().unwrap();
        assert!(!data.windows(MARKER.len()).any(|it| it == MARKER.as_bytes()));
        read += data.len();
        begin = if read < LONG / 8 { resident() } else { begin };
    }
    let grown = resident().saturating_sub(begin);
    assert!(grown < 8 << 20, "{grown} bytes more than after the first eighth");
}

/// How much of the endless list is read, in bytes.
const LONG: usize = 64 << 20;

/// The memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}
