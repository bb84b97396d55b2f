//! The limits of Nexudus are learned from its answers, and a crowd gets nine tenths of them.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use nexudus_proxy::clock::ManualClock;
use nexudus_simulator::{Alpn, RetryAfter, Scope, Settings, Simulator};

use crate::support::throttle::{Kind, READ, window};
use crate::support::{Daemon, daemon, secs, upstream};

#[tokio::test]
async fn thirty_clients_share_what_nexudus_allows_and_see_no_throttle_answer() {
    let windows = vec![window(10, 100, Scope::Reads), window(60, 60_000, Scope::Writes)];
    let upstream = upstream().set(|knobs| knobs.throttle.windows = windows).start().unwrap();
    let daemon = daemon(&upstream).run().await;

    let clients = (0..30).map(|_| async {
        for _ in 0..50 {
            assert_eq!(daemon.get(READ).await.status(), 200);
        }
    });
    join_all(clients).await;

    // How close this comes to the limit is a matter of time: the next test asks that of a clock of
    // its own, which no busy machine slows down.
    let pace = Figures::since(&Kind::Read.seen(&upstream), 2_000);
    assert!(pace.throttled * 20 <= pace.passed, "{pace:?}");
}

#[tokio::test]
async fn a_crowd_gets_nine_tenths_of_the_limit_and_hardly_a_throttle_answer() {
    let windows = vec![window(10, 100, Scope::Reads), window(60, 60_000, Scope::Writes)];
    let pace = crowd((30, 50), 4, |knobs| knobs.throttle.windows = windows).await;

    let since = pace.since(2_000);
    assert!(since.passed * 1_000 >= since.span_ms * 90, "{since:?}");
    assert!(since.throttled * 50 <= since.passed, "{since:?}");
    assert_eq!(pace.learned, ["10/100ms"]);
}

#[tokio::test]
async fn sixty_writes_a_minute_are_made_by_a_crowd_and_each_is_executed_once() {
    let upstream = upstream().frozen_clock().set(|knobs| {
        knobs.throttle.windows =
            vec![window(10, 100, Scope::Reads), window(60, 60_000, Scope::Writes)];
    });
    let upstream = upstream.start().unwrap();
    let (setup, hand) = daemon(&upstream).manual_clock();
    let daemon = setup.set(|config| config.throttle.wait = secs(3_600)).run().await;

    let pace = served(&daemon, &upstream, &hand, Kind::Write, (10, 36), 200).await;

    let since = pace.since(2_000);
    assert!(since.passed * 60_000 >= since.span_ms * 54, "{since:?}");
    assert!(since.throttled * 50 <= since.passed, "{since:?}");
    assert_eq!(pace.learned, ["60/60s"]);
    let executed = upstream.executed_writes();
    let different: HashSet<_> = executed.iter().map(|it| it.text()).collect();
    assert_eq!((executed.len(), different.len()), (360, 360));
}

#[tokio::test]
async fn one_in_100_ms_and_120_in_a_minute_are_learned_from_answers_alone() {
    for told in [RetryAfter::Seconds, RetryAfter::Missing] {
        let pace = crowd((10, 60), 50, |knobs| {
            knobs.throttle.windows =
                vec![window(1, 100, Scope::All), window(120, 60_000, Scope::All)];
            knobs.throttle.retry_after = told;
        });
        let pace = pace.await;

        assert_eq!(pace.learned.last().unwrap(), "120/60s", "{told:?}");
        let since = pace.since(120_000);
        assert!(since.passed * 60_000 >= since.span_ms * 108, "{told:?} {since:?}");
        assert!(since.throttled * 50 <= since.passed, "{told:?} {since:?}");
    }
}

#[tokio::test]
async fn ten_in_5_s_are_learned_from_answers_alone() {
    for (status, told) in [
        (429, RetryAfter::Seconds),
        (429, RetryAfter::Missing),
        (409, RetryAfter::Missing),
        (409, RetryAfter::Fraction),
        (429, RetryAfter::Date),
    ] {
        let pace = crowd((10, 20), 100, |knobs| {
            knobs.throttle.windows = vec![window(10, 5_000, Scope::All)];
            knobs.throttle.status = status;
            knobs.throttle.retry_after = told;
        });
        let pace = pace.await;

        assert_eq!(pace.learned, ["10/5s"], "{status} {told:?}");
        let since = pace.since(10_000);
        assert!(since.passed * 500 >= since.span_ms * 90 / 100, "{status} {told:?} {since:?}");
        // One in a minute tries whether more would pass.
        assert!(since.throttled * 50 <= since.passed, "{status} {told:?} {since:?}");
    }
}

#[tokio::test]
async fn without_reason_phrases_it_is_learned_all_the_same() {
    let upstream = upstream().alpn(Alpn::Both).frozen_clock();
    let upstream = upstream
        .set(|knobs| knobs.throttle.windows = vec![window(10, 100, Scope::Reads)])
        .start()
        .unwrap();
    let (setup, hand) = daemon(&upstream).manual_clock();
    let setup = setup.set(|config| {
        config.upstream.http2 = true;
        config.throttle.wait = secs(3_600);
    });
    let daemon = setup.run().await;

    let pace = served(&daemon, &upstream, &hand, Kind::Read, (30, 20), 4).await;

    let seen = upstream.requests().into_iter().filter(|seen| seen.target == READ);
    assert!(seen.clone().any(|seen| seen.status == Some(409)));
    assert!(seen.into_iter().all(|seen| seen.version == "HTTP/2.0"));
    assert_eq!(pace.learned, ["10/100ms"]);
}

/// The responses to so many clients that each ask so many times without pause, and the learned limit:
/// daemon and upstream have clocks that are moved by `step` milliseconds whenever all clients wait
/// for their turn.
async fn crowd(crowd: (usize, usize), step: u64, set: impl FnOnce(&mut Settings)) -> Pace {
    let upstream = upstream().frozen_clock().set(set).start().unwrap();
    let (setup, hand) = daemon(&upstream).manual_clock();
    let daemon = setup.set(|config| config.throttle.wait = secs(3_600)).run().await;
    served(&daemon, &upstream, &hand, Kind::Read, crowd, step).await
}

async fn served(
    daemon: &Daemon,
    upstream: &Simulator,
    hand: &ManualClock,
    kind: Kind,
    (clients, each): (usize, usize),
    step: u64,
) -> Pace {
    let step = Duration::from_millis(step);
    let left = &Cell::new(clients);
    let ask = |client| async move {
        for number in 0..each {
            assert_eq!(kind.ask(daemon, client * each + number).await, 200);
        }
        left.set(left.get() - 1);
    };
    let time = async {
        while left.get() > 0 {
            if kind.view(daemon).waiting == left.get() as u64 {
                // The upstream first: what we hold back for 100 ms must arrive no sooner.
                upstream.advance(step);
                hand.advance(step);
                // By the time it answers, the data path has looked at the clock.
                daemon.post("/api/token", "").await;
            }
            tokio::task::yield_now().await;
        }
    };
    let all = async { tokio::join!(join_all((0..clients).map(ask)), time) };
    tokio::time::timeout(secs(120), all).await.expect("all clients are served");
    Pace { seen: kind.seen(upstream), learned: kind.view(daemon).windows }
}

/// How it went: when each request arrived, and what it got.
struct Pace {
    seen: Vec<(u64, u16)>,
    learned: Vec<String>,
}

/// How many requests were let through and throttled, and in which time.
#[derive(Debug)]
struct Figures {
    passed: u64,
    throttled: u64,
    span_ms: u64,
}

impl Pace {
    /// Counts from so many milliseconds after the first one on.
    fn since(&self, millis: u64) -> Figures {
        Figures::since(&self.seen, millis)
    }
}

impl Figures {
    fn since(seen: &[(u64, u16)], millis: u64) -> Self {
        let start = seen[0].0 + millis;
        let (passed, throttled): (Vec<&(u64, u16)>, Vec<_>) =
            seen.iter().filter(|(at, _)| *at >= start).partition(|(_, status)| *status == 200);
        Self {
            passed: passed.len() as u64,
            throttled: throttled.len() as u64,
            span_ms: seen.last().unwrap().0 - start,
        }
    }
}
