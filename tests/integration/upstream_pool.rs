//! How many connections to the upstream there are, and how they come and go.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use crate::support::admin::scrape;
use crate::support::raw_upstream::{RawReply, get, ok, raw_upstream};
use crate::support::{Daemon, EVENT_TIMEOUT, daemon, daemon_before, upstream};

#[tokio::test]
async fn idle_connections_follow_the_demand_up_to_their_limit() {
    let word = Arc::new(Semaphore::new(0));
    let held = word.clone();
    let upstream = raw_upstream(move |_| RawReply::Held(held.clone(), ok("{}"))).await;
    let setup = daemon_before(upstream.address.port(), &upstream.ca);
    let daemon = setup.set(|config| config.limits.idle_connections = 3).run().await;
    let requests = join_all((0..6).map(|_| daemon.get("/held")));
    let released = async {
        while upstream.requests().len() < 6 {
            tokio::task::yield_now().await;
        }
        word.add_permits(6);
    };

    let (answers, ()) = tokio::join!(requests, released);

    for answer in answers {
        answer.error_for_status().unwrap().bytes().await.unwrap();
    }
    let metrics = metrics_until(&daemon, |metrics| metrics[IDLE] > 0.0).await;
    assert!(metrics[IDLE] <= 3.0, "{metrics:?}");
    assert!(metrics[OPENED] >= 6.0, "{metrics:?}");
}

#[tokio::test]
async fn a_burst_opens_few_connections_and_each_of_them_stays_for_the_next() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.get("/api/auth/me").await.bytes().await.unwrap();

    let answers = join_all((0..200).map(|_| async {
        daemon.get("/api/auth/me").await.error_for_status().unwrap().bytes().await.unwrap()
    }));

    assert_eq!(answers.await.len(), 200);
    let metrics = metrics_until(&daemon, |metrics| metrics[IDLE] == metrics[OPENED]).await;
    assert!(metrics[OPENED] <= 200.0, "{metrics:?}");
    assert_eq!(metrics[OPENED], metrics[FULL] + metrics[RESUMED]);
}

#[tokio::test]
async fn later_handshakes_are_resumed() {
    let word = Arc::new(Semaphore::new(0));
    let held = word.clone();
    let upstream = raw_upstream(move |head| match head.split(' ').nth(1).unwrap() {
        "/held" => RawReply::Held(held.clone(), ok("{}")),
        _ => RawReply::Keep(ok("{}")),
    })
    .await;
    let daemon = daemon_before(upstream.address.port(), &upstream.ca).run().await;
    // Its response brings the tickets of its connection.
    assert!(daemon.raw(&get("/first", "")).await.starts_with("HTTP/1.1 200 "));
    let before = metrics_until(&daemon, |metrics| metrics[IDLE] == metrics[OPENED]).await;

    let requests = join_all((0..3).map(|_| daemon.get("/held")));
    let released = async {
        while upstream.requests().len() < 4 {
            tokio::task::yield_now().await;
        }
        word.add_permits(3);
    };
    tokio::join!(requests, released);

    let after = scrape(&daemon).await;
    assert_eq!(after[FULL], before[FULL], "{after:?}");
    assert!(after[RESUMED] >= before[RESUMED] + 1.0, "{after:?}");
}

/// Reads the metrics until they are as wanted: a connection is given back after its last byte.
async fn metrics_until(
    daemon: &Daemon,
    wanted: impl Fn(&BTreeMap<String, f64>) -> bool,
) -> BTreeMap<String, f64> {
    let waiting = async {
        loop {
            let metrics = scrape(daemon).await;
            if wanted(&metrics) {
                return metrics;
            }
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, waiting).await.expect("the metrics never show that")
}

const IDLE: &str = "nexudus_proxy_upstream_connections_idle{host=\"api\"}";
const OPENED: &str = "nexudus_proxy_upstream_connections_opened_total{host=\"api\"}";
const FULL: &str = "nexudus_proxy_upstream_handshakes_total{host=\"api\",kind=\"full\"}";
const RESUMED: &str = "nexudus_proxy_upstream_handshakes_total{host=\"api\",kind=\"resumed\"}";
