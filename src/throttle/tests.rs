//! The handle with a clock moved by hand and answers made by hand.

use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::clock::ManualClock;

#[test]
fn while_nothing_is_paced_nobody_touches_a_lock() {
    let (throttle, _hand) = throttle(20, Rate::Auto);
    let _locked = throttle.0.reads.limiter.state();

    for _ in 0..3 {
        let mut turn = read(&throttle, 1);
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(slot) = pin!(turn.acquire()).poll(&mut context) else { panic!("it waits") };
        assert_eq!(judge(slot.unwrap(), 200, None), RetryDecision::Accept);
    }
}

#[tokio::test]
async fn a_throttled_read_goes_again_in_a_turn_of_its_own() {
    let (throttle, hand) = throttle(20, Rate::Auto);
    let mut turn = read(&throttle, 1);
    let slot = turn.acquire().await.unwrap();
    assert_eq!(judge(slot, 409, Some("1")), RetryDecision::Retry);
    assert_eq!(throttle.status().reads.to_string(), "paused 1.0 s by Nexudus, for /api/a");

    let mut again = Box::pin(turn.acquire());
    assert!(is_pending(&mut again).await);
    assert_eq!(throttle.status().reads.waiting, 1);
    hand.advance(Duration::from_secs(1));
    let slot = again.await.unwrap();

    assert_eq!(judge(slot, 200, None), RetryDecision::Accept);
    let view = throttle.status().reads;
    assert_eq!((view.throttled, view.replayed, view.waited), (1, 1, Duration::from_secs(1)));
    assert_eq!((view.minute, view.day), (2, 2));
}

#[tokio::test]
async fn writes_go_again_only_when_told_when_and_with_all_of_their_body() {
    for (method, told, whole, verdict) in [
        (Method::POST, Some("1"), true, RetryDecision::Retry),
        (Method::POST, Some("1"), false, RetryDecision::Forward),
        (Method::POST, None, true, RetryDecision::Forward),
        (Method::DELETE, Some("soon"), true, RetryDecision::Forward),
        (Method::GET, None, true, RetryDecision::Retry),
        (Method::HEAD, None, true, RetryDecision::Retry),
        (Method::GET, None, false, RetryDecision::Forward),
    ] {
        let (throttle, _hand) = throttle(20, Rate::Auto);
        let slot =
            throttle.reserve(&method, "/api/a", FairnessKey::Process(1)).acquire().await.unwrap();
        let headers = headers(told);
        assert_eq!(slot.observe(&answer(429, &headers), whole), verdict, "{method} {told:?}");
    }
}

#[tokio::test]
async fn a_real_conflict_and_every_failure_pause_nothing() {
    let (throttle, _hand) = throttle(20, Rate::Auto);
    for status in [409, 500, 502, 503, 504] {
        let slot = read(&throttle, 1).acquire().await.unwrap();
        let headers = HeaderMap::new();
        let answer = ResponseHead { is_end_of_stream: false, ..answer(status, &headers) };
        assert_eq!(slot.observe(&answer, true), RetryDecision::Accept);
    }
    drop(read(&throttle, 1).acquire().await.unwrap());
    assert_eq!(throttle.status().reads.paced, PacedScope::Nothing);
}

#[tokio::test]
async fn a_retry_after_beyond_the_wait_is_told_at_once_and_probed_now_and_then() {
    let (throttle, hand) = throttle(20, Rate::Auto);
    let mut turn = read(&throttle, 1);
    judge(turn.acquire().await.unwrap(), 409, Some("3600"));

    let retry_after = Duration::from_secs(3_600);
    assert_eq!(turn.acquire().await.unwrap_err(), Error::Queue { retry_after });
    assert!(read(&throttle, 2).acquire().await.is_err());

    hand.advance(Duration::from_secs(1));
    let probe = read(&throttle, 2).acquire().await.unwrap();
    let mut other = read(&throttle, 3);
    let mut other = Box::pin(other.acquire());
    assert!(is_pending(&mut other).await, "one at a time");
    judge(probe, 200, None);
    assert!(other.await.is_ok());
}

#[tokio::test]
async fn one_request_waits_no_longer_than_allowed_in_all() {
    let (throttle, hand) = throttle(5, Rate::Auto);
    let mut turn = read(&throttle, 1);
    for _ in 0..2 {
        let slot = turn.acquire();
        let slot = if throttle.status().reads.paused.is_none() {
            slot.await.unwrap()
        } else {
            let mut slot = Box::pin(slot);
            assert!(is_pending(&mut slot).await);
            hand.advance(Duration::from_secs(3));
            slot.await.unwrap()
        };
        judge(slot, 429, Some("3"));
    }

    // Two of five seconds are left, and three would be needed.
    let retry_after = Duration::from_secs(3);
    assert_eq!(turn.acquire().await.unwrap_err(), Error::Queue { retry_after });
}

#[tokio::test]
async fn five_thousand_requests_of_one_caller_delay_another_by_two_turns_at_most() {
    let (throttle, hand) = throttle(60, Rate::Fixed { count: 10, per: Duration::from_millis(100) });
    let served = Arc::new(Mutex::new(Vec::new()));
    let bulk: Vec<_> = (0..5_000).map(|_| ask(&throttle, 1, &served)).collect();
    until(|| throttle.status().reads.waiting == 4_990).await;

    let person = ask(&throttle, 2, &served);
    until(|| throttle.status().reads.waiting == 4_991).await;
    let before = served.lock().unwrap().len();
    hand.advance(Duration::from_millis(110));
    person.await.unwrap();

    let after = served.lock().unwrap()[before..].iter().take_while(|pid| **pid != 2).count();
    assert!(after <= 2, "{after}");
    bulk.iter().for_each(JoinHandle::abort);
    until(|| throttle.status().reads.waiting == 0).await;
}

#[tokio::test]
async fn who_goes_away_while_waiting_costs_no_turn() {
    let (throttle, hand) = throttle(60, Rate::Fixed { count: 1, per: Duration::from_secs(1) });
    let served = Arc::default();
    ask(&throttle, 1, &served).await.unwrap();
    let gone: Vec<_> = (0..50).map(|_| ask(&throttle, 1, &served)).collect();
    let stays = ask(&throttle, 1, &served);
    settle().await;

    gone.iter().for_each(JoinHandle::abort);
    settle().await;
    assert_eq!(throttle.status().reads.waiting, 1);
    hand.advance(Duration::from_millis(1_100));

    stays.await.unwrap();
    assert_eq!(throttle.status().reads.minute, 2);
}

#[tokio::test]
async fn who_goes_away_when_called_gives_the_turn_back() {
    let (throttle, hand) = throttle(60, Rate::Fixed { count: 1, per: Duration::from_secs(1) });
    let served = Arc::default();
    ask(&throttle, 1, &served).await.unwrap();
    let mut gone = read(&throttle, 1);
    let mut gone = Box::pin(gone.acquire());
    assert!(is_pending(&mut gone).await);

    // Its turn lies ready for it, unread, when it goes.
    hand.advance(Duration::from_millis(1_100));
    settle().await;
    drop(gone);

    ask(&throttle, 2, &served).await.unwrap();
}

#[tokio::test]
async fn those_who_cannot_get_a_turn_in_time_hear_it_at_once() {
    let (throttle, _hand) = throttle(20, Rate::Fixed { count: 1, per: Duration::from_secs(60) });
    judge(read(&throttle, 1).acquire().await.unwrap(), 200, None);

    let retry_after = Duration::from_secs(60);
    assert_eq!(read(&throttle, 1).acquire().await.unwrap_err(), Error::Queue { retry_after });
    assert_eq!(throttle.status().reads.refused, 1);
}

#[tokio::test]
async fn who_waited_in_vain_is_sent_away_when_the_time_is_over() {
    let (throttle, hand) = throttle(2, Rate::Fixed { count: 1, per: Duration::from_secs(1) });
    let served = Arc::default();
    let waiting: Vec<_> = (0..5).map(|_| ask(&throttle, 1, &served)).collect();
    for _ in 0..40 {
        settle().await;
        hand.advance(Duration::from_millis(100));
    }
    let mut got = 0;
    for task in waiting {
        got += u32::from(task.await.unwrap());
    }
    assert_eq!((got, throttle.status().reads.refused), (2, 3));
}

#[tokio::test]
async fn a_published_daily_figure_is_told_and_blocks_nobody() {
    let (throttle, hand) = throttle(0, Rate::Auto);
    let write = async || {
        let slot =
            throttle.reserve(&Method::POST, "/api/a", FairnessKey::Process(1)).acquire().await;
        slot.unwrap().judge_ok();
        throttle.status().writes
    };

    for today in 1..=2_600 {
        assert_eq!(write().await.above_published, today >= 2_500, "{today}");
    }
    hand.advance(Duration::from_secs(86_400));

    assert!(!write().await.above_published);
}

#[tokio::test]
async fn our_own_calls_are_held_apart() {
    let (throttle, _hand) = throttle(20, Rate::Auto);
    judge(read(&throttle, 1).acquire().await.unwrap(), 409, Some("10"));
    let (post, wait) = (Method::POST, Duration::from_secs(5));

    let slot = throttle.internal(&post, "/api/token", wait).acquire().await.unwrap();
    judge(slot, 409, Some("10"));

    assert!(throttle.internal(&post, "/api/token", wait).acquire().await.is_err(), "bounded");
    let writes = throttle.reserve(&post, "/api/a", FairnessKey::Process(1)).acquire().await;
    assert!(writes.is_ok());
}

#[tokio::test]
async fn other_shapes_go_on_until_one_of_them_is_throttled_too() {
    let (throttle, _hand) = throttle(0, Rate::Auto);
    let get = |path| throttle.reserve(&Method::GET, path, FairnessKey::Process(1));
    judge(get("/api/a/1").acquire().await.unwrap(), 409, Some("10"));

    assert!(get("/api/a/2").acquire().await.is_err());
    let other = get("/api/b").acquire().await.unwrap();
    other.observe(&answer(409, &headers(Some("10"))), true);

    assert!(get("/api/c").acquire().await.is_err());
    assert_eq!(throttle.status().reads.paced, PacedScope::All);
}

#[tokio::test]
async fn a_pace_that_is_configured_anew_holds_at_once_and_counts_what_was_sent() {
    let (throttle, hand) = throttle(20, Rate::Auto);
    for _ in 0..2 {
        read(&throttle, 1).acquire().await.unwrap().judge_ok();
    }

    throttle.reconfigure(&configured(2, Rate::Fixed { count: 2, per: Duration::from_secs(60) }));
    assert!(
        read(&throttle, 1).acquire().await.is_err(),
        "two have been sent, and 2 s are no minute"
    );
    assert_eq!(throttle.status().reads.to_string(), "2/60s (configured)");

    throttle.reconfigure(&configured(20, Rate::Fixed { count: 2, per: Duration::from_secs(10) }));
    let mut waiting = read(&throttle, 1);
    let mut waiting = Box::pin(waiting.acquire());
    assert!(is_pending(&mut waiting).await);
    throttle.reconfigure(&configured(20, Rate::Auto));
    waiting.await.unwrap().judge_ok();
    assert_eq!(throttle.status().reads.to_string(), "unpaced");

    judge(read(&throttle, 1).acquire().await.unwrap(), 409, Some("5"));
    throttle.reconfigure(&configured(1, Rate::Fixed { count: 9, per: Duration::from_secs(1) }));
    throttle.reconfigure(&configured(1, Rate::Auto));
    assert!(read(&throttle, 1).acquire().await.is_err(), "what Nexudus asked for holds on");
    hand.advance(Duration::from_secs(5));
    read(&throttle, 1).acquire().await.unwrap().judge_ok();
}

#[test]
fn the_line_is_looked_after_when_the_runtime_that_did_so_is_gone() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (throttle, hand) = throttle(60, Rate::Fixed { count: 1, per: Duration::from_secs(1) });
    let first = runtime();
    first.block_on(async {
        read(&throttle, 1).acquire().await.unwrap().judge_ok();
        let served = Arc::default();
        drop(ask(&throttle, 1, &served));
        settle().await;
    });
    drop(first);

    runtime().block_on(async {
        let served = Arc::default();
        let waiting = ask(&throttle, 2, &served);
        settle().await;
        hand.advance(Duration::from_millis(1_100));
        assert!(waiting.await.unwrap());
    });
}

#[test]
fn the_handle_goes_everywhere() {
    fn goes<T: Send + Sync>() {}
    goes::<Throttle>();
    goes::<Reservation<'_>>();
    goes::<Permit<'_>>();
}

impl Permit<'_> {
    fn judge_ok(self) {
        judge(self, 200, None);
    }
}

fn throttle(wait: u64, reads: Rate) -> (Throttle, ManualClock) {
    let (clock, hand) = Clock::manual();
    (Throttle::new(&configured(wait, reads), clock), hand)
}

fn configured(wait: u64, reads: Rate) -> config::Throttle {
    config::Throttle { wait: Duration::from_secs(wait), reads, writes: Rate::Auto }
}

fn read(throttle: &Throttle, pid: i32) -> Reservation<'_> {
    throttle.reserve(&Method::GET, "/api/a", FairnessKey::Process(pid))
}

/// Sends one request on a task of its own; tells whether it got its turn.
fn ask(throttle: &Throttle, pid: i32, served: &Arc<Mutex<Vec<i32>>>) -> JoinHandle<bool> {
    let (throttle, served) = (throttle.clone(), served.clone());
    tokio::spawn(async move {
        let slot = read(&throttle, pid).acquire().await;
        if let Ok(slot) = slot {
            served.lock().unwrap().push(pid);
            slot.judge_ok();
            return true;
        }
        false
    })
}

fn judge(slot: Permit<'_>, status: u16, told: Option<&str>) -> RetryDecision {
    slot.observe(&answer(status, &headers(told)), true)
}

fn headers(told: Option<&str>) -> HeaderMap {
    let told = told.map(|told| (header::RETRY_AFTER, HeaderValue::from_str(told).unwrap()));
    told.into_iter().collect()
}

fn answer(status: u16, headers: &HeaderMap) -> ResponseHead<'_> {
    ResponseHead { status: StatusCode::from_u16(status).unwrap(), headers, is_end_of_stream: true }
}

async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    let polled = std::future::poll_fn(|cx| {
        Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())
    });
    let pending = polled.await;
    settle().await;
    pending
}

/// Lets tasks run until it is so.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        yield_now().await;
    }
}

/// Lets every task run until it waits; there are few.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}
