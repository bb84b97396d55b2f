//! The admin socket as HTTP: answers, the status, counts.

use std::collections::BTreeMap;

use nexudus_proxy::admin::api::Status;
use nexudus_proxy::admin::client::AdminClient;
use nexudus_proxy::config::Paths;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::{Daemon, EVENT_TIMEOUT};

/// Reads the metrics as strictly as `promtool check metrics`: every family has its help and its
/// type before its samples, once; counters end in `_total`; histograms add up; no series twice.
pub async fn scrape(daemon: &Daemon) -> BTreeMap<String, f64> {
    let answer = get(daemon, "/metrics").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    let (_, text) = answer.split_once("\r\n\r\n").unwrap();
    let mut families: BTreeMap<&str, &str> = BTreeMap::new();
    let mut series = BTreeMap::new();
    let mut help = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, said) = rest.split_once(' ').unwrap();
            assert!(said.ends_with('.'), "{line}");
            help = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, help, "a type follows its help");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(families.insert(name, kind).is_none(), "twice: {line}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = name.split('{').next().unwrap();
            let parts = ["_bucket", "_sum", "_count"];
            let base = parts.iter().find_map(|part| family.strip_suffix(part));
            let base = base.filter(|base| families.get(base) == Some(&"histogram"));
            assert_eq!(base.unwrap_or(family), help, "a sample follows its family: {line}");
            let value: f64 = value.parse().unwrap();
            assert!(series.insert(name.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    let buckets = series.iter().filter(|(name, _)| name.contains("le=\"+Inf\""));
    for (name, value) in buckets {
        let (base, _) = name.split_once("_bucket").unwrap();
        assert_eq!(series[&format!("{base}_count")], *value);
    }
    series
}

pub async fn status_until(daemon: &Daemon, wanted: impl Fn(&Status) -> bool) -> Status {
    let admin: AdminClient = daemon.admin().await;
    let waiting = async {
        loop {
            let status: Status = admin.get("/v1/status").await.unwrap();
            if wanted(&status) {
                return status;
            }
            // A request is counted once its last byte is sent, which its caller may see first.
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, waiting).await.unwrap()
}

pub async fn get(daemon: &Daemon, path: &str) -> String {
    let socket = Paths::rooted_at(daemon.home()).admin_socket();
    let stream = UnixStream::connect(socket).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    exchange(stream, &head).await
}

pub async fn exchange(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, head: &str) -> String {
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

pub fn counts<const N: usize>(pairs: [(&str, u64); N]) -> BTreeMap<String, u64> {
    pairs.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}
