//! No client sees a throttle error that waiting could have avoided.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use nexudus_proxy::admin::api::Status;
use nexudus_proxy::clock::ManualClock;
use nexudus_proxy::config::Rate as Configured;
use nexudus_proxy::throttle;
use nexudus_simulator::{
    Alpn, CounterKey, Fault, FaultAction, RetryAfter, Scope, Settings, Simulator, Window,
};

use crate::support::{
    Daemon, EVENT_TIMEOUT, advance, daemon, grant_types, impatient, problem_json, secs,
    short_lived_tokens, upstream,
};

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

#[tokio::test]
async fn an_api_that_never_throttles_is_never_slowed() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;

    join_all((0..200).map(|_| daemon.get(READ))).await;

    let view = daemon.running.throttle().status().reads;
    assert_eq!((view.paced.as_str(), view.waited_ms, view.refused), ("nothing", 0, 0));
}

#[tokio::test]
async fn a_throttled_write_arrives_exactly_once() {
    let upstream = upstream()
        .set(|knobs| knobs.throttle.windows = vec![window(5, 500, Scope::Writes)])
        .start()
        .unwrap();
    let daemon = daemon(&upstream).run().await;

    let bodies: Vec<_> = (0..25).map(|n| format!("{{\"FullName\":\"Number {n}\"}}")).collect();
    let answers = join_all(bodies.iter().map(|body| daemon.post(WRITE, body))).await;

    assert!(answers.iter().all(|answer| answer.status() == 200));
    let mut written: Vec<_> = upstream.executed_writes().iter().map(|it| it.text()).collect();
    let mut bodies = bodies;
    written.sort_unstable();
    bodies.sort_unstable();
    assert_eq!(written, bodies);
}

#[tokio::test]
async fn a_write_that_is_not_told_when_to_return_is_not_sent_again() {
    let upstream = upstream().start().unwrap();
    upstream.set(|knobs| knobs.throttle.retry_after = RetryAfter::Missing);
    upstream.throttle_next(1);
    let daemon = daemon(&upstream).run().await;

    let answer = daemon.post(WRITE, "{}").await;

    assert_eq!(answer.status(), 409);
    assert_eq!(upstream.executed_writes().len(), 0);
}

#[tokio::test]
async fn a_conflict_that_says_what_is_wrong_is_relayed_at_once() {
    let upstream = upstream().start().unwrap();
    upstream.set(|knobs| {
        knobs.throttle.retry_after = RetryAfter::Missing;
        knobs.throttle.body = "the booking overlaps another".to_owned();
    });
    upstream.throttle_next(1);
    let daemon = daemon(&upstream).run().await;

    let answer = daemon.get(READ).await;

    assert_eq!(answer.status(), 409);
    assert_eq!(answer.text().await.unwrap(), "the booking overlaps another");
    assert_eq!(daemon.running.throttle().status().reads.paced, "nothing");
}

#[tokio::test]
async fn a_wait_longer_than_allowed_is_relayed_as_it_is_and_then_told_by_us() {
    let upstream = upstream().start().unwrap();
    upstream.set(|knobs| knobs.throttle.next_wait = Duration::from_secs(3_600));
    upstream.throttle_next(1);
    let daemon = daemon(&upstream).run().await;

    let first = daemon.get(READ).await;
    let second = daemon.get(READ).await;

    assert_eq!(
        (first.status().as_u16(), &first.headers()["retry-after"]),
        (409, &"3600".parse().unwrap())
    );
    assert!(!first.headers().contains_key("proxy-status"));
    assert_eq!(second.status(), 429);
    let left: u64 = second.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&left));
    assert_eq!(problem_json(second).await["code"], "throttle.queue");
    assert_eq!(Kind::Read.seen(&upstream).len(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_costs_nothing_upstream() {
    let upstream = upstream().start().unwrap();
    upstream.throttle_next(1);
    let daemon = daemon(&upstream).run().await;

    let request = tokio::spawn(daemon.request("GET", READ).send());
    waiting(&daemon, 1).await;
    request.abort();
    waiting(&daemon, 0).await;

    assert_eq!(daemon.get(READ).await.status(), 200);
    assert_eq!(Kind::Read.seen(&upstream).len(), 2, "the throttled one, and the one of who stayed");
}

#[tokio::test]
async fn a_configured_pace_is_kept_from_the_first_request_on() {
    let upstream = upstream()
        .set(|knobs| knobs.throttle.windows = vec![window(5, 200, Scope::Reads)])
        .start()
        .unwrap();
    let per = Duration::from_millis(200);
    let pace = Configured::Fixed { count: 5, per };
    let daemon = daemon(&upstream).set(|config| config.throttle.reads = pace).run().await;
    // The first connections take longer than the pace allows for.
    daemon.get("/api/auth/me").await;

    for _ in 0..30 {
        assert_eq!(daemon.get(READ).await.status(), 200);
    }

    let view = daemon.running.throttle().status().reads;
    assert_eq!((view.throttled, view.windows), (0, vec![format!("5/{per:?}")]));
}

#[tokio::test]
async fn the_status_says_that_nexudus_has_paused_us_and_who_waits() {
    let upstream = upstream().start().unwrap();
    upstream.set(|knobs| knobs.throttle.next_wait = secs(15));
    upstream.throttle_next(1);
    let daemon = daemon(&upstream).run().await;

    let ask = |_| tokio::spawn(daemon.request("GET", READ).send());
    let first = ask(0);
    waiting(&daemon, 1).await;
    let others: Vec<_> = (1..14).map(ask).collect();
    waiting(&daemon, 14).await;
    let status: Status = daemon.admin().await.get("/v1/status").await.unwrap();
    let metrics = daemon.metrics().await;
    others.iter().chain([&first]).for_each(tokio::task::JoinHandle::abort);

    let reads = status.throttle.reads;
    assert!(
        reads.state.starts_with("paused 1") && reads.state.contains(" s by Nexudus, 14 waiting")
    );
    assert!(reads.paused_ms.is_some_and(|left| (5_000..=15_000).contains(&left)), "{reads:?}");
    assert_eq!((reads.waiting, reads.throttled, reads.paced.as_str()), (14, 1, "shape"));
    assert_eq!((reads.minute, reads.day, reads.above_published), (1, 1, false));
    assert_eq!(status.throttle.writes.state, "unpaced");
    for line in [
        "nexudus_proxy_throttle_waiting{host=\"api\",kind=\"read\"} 14\n",
        "nexudus_proxy_throttle_answers_total{host=\"api\",kind=\"read\"} 1\n",
        "nexudus_proxy_throttle_requests_today{host=\"api\",kind=\"read\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test]
async fn who_asks_is_told_where_the_time_went() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.log.server_timing = true).run().await;
    daemon.get("/api/auth/me").await;
    upstream.throttle_next(1);

    let answer = daemon.get(READ).await;

    let told = answer.headers()["server-timing"].to_str().unwrap();
    let part = |name: &str| {
        let entry = told.split(", ").find_map(|entry| entry.strip_prefix(name));
        entry.unwrap().strip_prefix(";dur=").unwrap().parse::<f64>().unwrap()
    };
    assert!(part("queue") >= 950.0, "{told}");
    assert!(part("upstream") > 0.0 && part("token") < part("queue"), "{told}");
    let metrics = daemon.metrics().await;
    let sum =
        metrics.lines().find_map(|it| it.strip_prefix("nexudus_proxy_request_queue_seconds_sum "));
    assert!(sum.unwrap().parse::<f64>().unwrap() >= 0.95, "{metrics}");

    let silent = crate::support::daemon(&upstream).run().await;
    assert!(!silent.get(READ).await.headers().contains_key("server-timing"));
}

#[tokio::test]
async fn a_throttled_renewal_is_repeated_and_holds_up_nobody() {
    let upstream = upstream().frozen_clock().set(short_lived_tokens).start().unwrap();
    let (setup, hand) = impatient(&upstream).manual_clock();
    let daemon = setup.run().await;
    daemon.session_until(|view| view.generation == 1 && !view.renewing).await;

    upstream.set(|knobs| {
        knobs.throttle.token_calls = true;
        knobs.throttle.next_path = "/api/token".to_owned();
        knobs.throttle.next_wait = secs(2);
    });
    upstream.throttle_next(1);
    advance(&hand, &upstream, secs(85));
    own_waiting(&daemon).await;

    assert_eq!(daemon.get(READ).await.status(), 200, "the old token is still valid");
    assert_eq!(daemon.running.throttle().status().reads.paced, "nothing");
    advance(&hand, &upstream, secs(2));
    daemon.session_until(|view| view.generation == 2).await;
    assert_eq!(token_calls(&upstream), ["password 200", "refresh_token 409", "refresh_token 200"]);
}

#[tokio::test]
async fn a_throttled_password_is_not_offered_twice_in_one_attempt() {
    let upstream = upstream().frozen_clock().start().unwrap();
    upstream.set(|knobs| {
        knobs.throttle.token_calls = true;
        knobs.throttle.next_wait = secs(2);
    });
    upstream.throttle_next(1);
    let (setup, hand) = impatient(&upstream).manual_clock();
    let daemon = setup.run().await;

    let view = daemon.session_until(|view| view.error.is_some() && !view.renewing).await;
    assert_eq!(view.error.as_ref().unwrap().code, "session.unavailable");
    assert_eq!(daemon.running.throttle().status().own.throttled, 1);
    for _ in 0..10 {
        advance(&hand, &upstream, secs(1));
        daemon.idle().await;
    }

    assert_eq!(daemon.get(READ).await.status(), 200);
    assert_eq!(token_calls(&upstream), ["password 409", "password 200"]);
}

#[tokio::test]
async fn a_throttled_probe_does_not_turn_a_refused_request_into_a_renewal() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    assert_eq!(daemon.get(READ).await.status(), 200);
    upstream.set(|knobs| knobs.throttle.next_path = "/api/auth/me".to_owned());
    upstream.throttle_next(1);
    let refused = FaultAction::Answer { status: 401, headers: vec![], body: String::new() };
    upstream.fault(Fault::on(WRITE, refused).times(1));

    let answer = daemon.get(READ).await;

    assert_eq!(answer.status(), 401);
    assert!(answer.headers()["proxy-status"].to_str().unwrap().contains("lacks permission"));
    assert_eq!(daemon.running.throttle().status().own.replayed, 1);
    assert_eq!(grant_types(&upstream), ["password"]);
}

fn token_calls(upstream: &Simulator) -> Vec<String> {
    let statuses = upstream.token_calls().into_iter().map(|call| call.status.unwrap_or_default());
    let calls = grant_types(upstream).into_iter().zip(statuses);
    calls.map(|(grant, status)| format!("{grant} {status}")).collect()
}

/// Waits until one of the daemon's own calls waits for its turn.
async fn own_waiting(daemon: &Daemon) {
    let reached = async {
        while daemon.running.throttle().status().own.waiting == 0 {
            daemon.post("/api/token", "").await;
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, reached).await.expect("it does not wait");
}

/// Waits until that many requests wait for their turn. The daemon has no event for it; its view is
/// cheap and a read takes the time of a round trip.
async fn waiting(daemon: &Daemon, wanted: u64) {
    let reached = async {
        while daemon.running.throttle().status().reads.waiting != wanted {
            daemon.post("/api/token", "").await;
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, reached).await.expect("the line stays as it is");
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

/// The requests of a crowd.
#[derive(Clone, Copy)]
enum Kind {
    Read,
    Write,
}

impl Kind {
    /// Asks for the `number`th time.
    async fn ask(self, daemon: &Daemon, number: usize) -> u16 {
        let answer = match self {
            Self::Read => daemon.get(READ).await,
            Self::Write => daemon.post(WRITE, &format!("{{\"FullName\":\"{number}\"}}")).await,
        };
        answer.status().as_u16()
    }

    /// Returns the pace of such requests.
    fn view(self, daemon: &Daemon) -> throttle::LimiterStatus {
        let view = daemon.running.throttle().status();
        match self {
            Self::Read => view.reads,
            Self::Write => view.writes,
        }
    }

    /// Returns when each of them arrived, in milliseconds, and how it was answered.
    fn seen(self, upstream: &Simulator) -> Vec<(u64, u16)> {
        let target = match self {
            Self::Read => READ,
            Self::Write => WRITE,
        };
        let seen = upstream.requests().into_iter().filter(|seen| seen.target == target);
        seen.map(|seen| (seen.arrived_ms, seen.status.unwrap_or_default())).collect()
    }
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

fn window(limit: u32, millis: u64, scope: Scope) -> Window {
    Window { limit, per: Duration::from_millis(millis), scope, key: CounterKey::Global }
}

const READ: &str = "/api/spaces/coworkers?size=1";
const WRITE: &str = "/api/spaces/coworkers";
