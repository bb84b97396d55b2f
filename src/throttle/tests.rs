//! The handle with a manual clock and made-up responses.

mod shared;
mod simulation;

use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::clock::ManualClock;

#[test]
fn while_nothing_is_paced_no_lock_is_taken() {
    let (throttle, _hand) = throttle(20, Rate::Auto);
    let _locked = throttle.0.reads.limiter.state();

    for _ in 0..3 {
        let mut reservation = read(&throttle, 1);
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(permit) = pin!(reservation.acquire()).poll(&mut context) else {
            panic!("it waits")
        };
        assert_eq!(observe(permit.unwrap(), 200, None), RetryDecision::Accept);
    }
}

#[tokio::test]
async fn a_throttled_read_is_sent_again_with_a_permit_of_its_own() {
    let (throttle, hand) = throttle(20, Rate::Auto);
    let mut reservation = read(&throttle, 1);
    let permit = reservation.acquire().await.unwrap();
    assert_eq!(observe(permit, 409, Some("1")), RetryDecision::Retry);
    assert_eq!(throttle.status().reads.state, "paused 1.0 s by Nexudus, for /api/a");

    let mut again = Box::pin(reservation.acquire());
    assert!(is_pending(&mut again).await);
    assert_eq!(throttle.status().reads.waiting, 1);
    hand.advance(Duration::from_secs(1));
    let permit = again.await.unwrap();

    assert_eq!(observe(permit, 200, None), RetryDecision::Accept);
    let reads = throttle.status().reads;
    assert_eq!((reads.throttled, reads.replayed, reads.waited_ms), (1, 1, 1_000));
    assert_eq!((reads.minute, reads.day), (2, 2));
}

#[tokio::test]
async fn writes_are_sent_again_only_after_a_retry_after_and_with_their_whole_body() {
    for (method, retry_after, whole, decision) in [
        (Method::POST, Some("1"), true, RetryDecision::Retry),
        (Method::POST, Some("1"), false, RetryDecision::Forward),
        (Method::POST, None, true, RetryDecision::Forward),
        (Method::DELETE, Some("soon"), true, RetryDecision::Forward),
        (Method::GET, None, true, RetryDecision::Retry),
        (Method::HEAD, None, true, RetryDecision::Retry),
        (Method::GET, None, false, RetryDecision::Forward),
    ] {
        let (throttle, _hand) = throttle(20, Rate::Auto);
        let permit =
            throttle.reserve(&method, "/api/a", FairnessKey::Process(1)).acquire().await.unwrap();
        let headers = headers(retry_after);
        assert_eq!(
            permit.observe(&response(429, &headers), whole),
            decision,
            "{method} {retry_after:?}"
        );
    }
}

#[tokio::test]
async fn a_real_conflict_and_server_errors_pause_nothing() {
    let (throttle, _hand) = throttle(20, Rate::Auto);
    for status in [409, 500, 502, 503, 504] {
        let permit = read(&throttle, 1).acquire().await.unwrap();
        let headers = HeaderMap::new();
        let response = ResponseHead { is_end_of_stream: false, ..response(status, &headers) };
        assert_eq!(permit.observe(&response, true), RetryDecision::Accept);
    }
    drop(read(&throttle, 1).acquire().await.unwrap());
    assert_eq!(throttle.status().reads.paced, "nothing");
}

#[tokio::test]
async fn a_retry_after_beyond_the_wait_is_returned_at_once_and_probed_now_and_then() {
    let (throttle, hand) = throttle(20, Rate::Auto);
    let mut reservation = read(&throttle, 1);
    observe(reservation.acquire().await.unwrap(), 409, Some("3600"));

    let retry_after = Duration::from_secs(3_600);
    assert_eq!(reservation.acquire().await.unwrap_err(), Error::Queue { retry_after });
    assert!(read(&throttle, 2).acquire().await.is_err());

    hand.advance(Duration::from_secs(1));
    let probe = read(&throttle, 2).acquire().await.unwrap();
    let mut other = read(&throttle, 3);
    let mut other = Box::pin(other.acquire());
    assert!(is_pending(&mut other).await, "one at a time");
    observe(probe, 200, None);
    assert!(other.await.is_ok());
}

#[tokio::test]
async fn all_waits_of_one_request_together_are_limited() {
    let (throttle, hand) = throttle(5, Rate::Auto);
    let mut reservation = read(&throttle, 1);
    for _ in 0..2 {
        let permit = reservation.acquire();
        let permit = if throttle.status().reads.paused_ms.is_none() {
            permit.await.unwrap()
        } else {
            let mut permit = Box::pin(permit);
            assert!(is_pending(&mut permit).await);
            hand.advance(Duration::from_secs(3));
            permit.await.unwrap()
        };
        observe(permit, 429, Some("3"));
    }

    // Two of five seconds are left, and three would be needed.
    let retry_after = Duration::from_secs(3);
    assert_eq!(reservation.acquire().await.unwrap_err(), Error::Queue { retry_after });
}

#[tokio::test]
async fn five_thousand_requests_of_one_client_delay_another_by_two_requests_at_most() {
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
async fn a_client_that_leaves_the_queue_uses_no_permit() {
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
async fn a_client_that_leaves_with_a_permit_gives_it_back() {
    let (throttle, hand) = throttle(60, Rate::Fixed { count: 1, per: Duration::from_secs(1) });
    let served = Arc::default();
    ask(&throttle, 1, &served).await.unwrap();
    let mut gone = read(&throttle, 1);
    let mut gone = Box::pin(gone.acquire());
    assert!(is_pending(&mut gone).await);

    // The permit has been granted and not been received when the client leaves.
    hand.advance(Duration::from_millis(1_100));
    settle().await;
    drop(gone);

    ask(&throttle, 2, &served).await.unwrap();
}

#[tokio::test]
async fn a_request_that_cannot_get_a_permit_in_time_is_rejected_at_once() {
    let (throttle, _hand) = throttle(20, Rate::Fixed { count: 1, per: Duration::from_secs(60) });
    observe(read(&throttle, 1).acquire().await.unwrap(), 200, None);

    let retry_after = Duration::from_secs(60);
    assert_eq!(read(&throttle, 1).acquire().await.unwrap_err(), Error::Queue { retry_after });
    assert_eq!(throttle.status().reads.refused, 1);
}

#[tokio::test]
async fn a_request_that_waited_in_vain_is_rejected_at_its_deadline() {
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
async fn a_published_daily_limit_is_reported_and_blocks_no_request() {
    let (throttle, hand) = throttle(0, Rate::Auto);
    let write = async || {
        let permit =
            throttle.reserve(&Method::POST, "/api/a", FairnessKey::Process(1)).acquire().await;
        permit.unwrap().observe_ok();
        throttle.status().writes
    };

    for today in 1..=2_600 {
        assert_eq!(write().await.above_published, today >= 2_500, "{today}");
    }
    hand.advance(Duration::from_secs(86_400));

    assert!(!write().await.above_published);
}

#[tokio::test]
async fn our_own_calls_have_a_limiter_of_their_own() {
    let (throttle, _hand) = throttle(20, Rate::Auto);
    observe(read(&throttle, 1).acquire().await.unwrap(), 409, Some("10"));
    let (post, wait) = (Method::POST, Duration::from_secs(5));

    let permit = throttle.internal(&post, "/api/token", wait).acquire().await.unwrap();
    observe(permit, 409, Some("10"));

    assert!(throttle.internal(&post, "/api/token", wait).acquire().await.is_err(), "bounded");
    let writes = throttle.reserve(&post, "/api/a", FairnessKey::Process(1)).acquire().await;
    assert!(writes.is_ok());
}

#[tokio::test]
async fn other_templates_are_free_until_one_of_them_is_throttled_too() {
    let (throttle, _hand) = throttle(0, Rate::Auto);
    let get = |path| throttle.reserve(&Method::GET, path, FairnessKey::Process(1));
    observe(get("/api/a/1").acquire().await.unwrap(), 409, Some("10"));

    assert!(get("/api/a/2").acquire().await.is_err());
    let other = get("/api/b").acquire().await.unwrap();
    other.observe(&response(409, &headers(Some("10"))), true);

    assert!(get("/api/c").acquire().await.is_err());
    assert_eq!(throttle.status().reads.paced, "all");
}

#[tokio::test]
async fn a_new_configured_pace_holds_at_once_and_counts_earlier_requests() {
    let (throttle, hand) = throttle(20, Rate::Auto);
    for _ in 0..2 {
        read(&throttle, 1).acquire().await.unwrap().observe_ok();
    }

    throttle.reconfigure(&configured(2, Rate::Fixed { count: 2, per: Duration::from_secs(60) }));
    assert!(
        read(&throttle, 1).acquire().await.is_err(),
        "two have been sent, and 2 s are no minute"
    );
    assert_eq!(throttle.status().reads.state, "2/60s (configured)");

    throttle.reconfigure(&configured(20, Rate::Fixed { count: 2, per: Duration::from_secs(10) }));
    let mut waiting = read(&throttle, 1);
    let mut waiting = Box::pin(waiting.acquire());
    assert!(is_pending(&mut waiting).await);
    throttle.reconfigure(&configured(20, Rate::Auto));
    waiting.await.unwrap().observe_ok();
    assert_eq!(throttle.status().reads.state, "unpaced");

    observe(read(&throttle, 1).acquire().await.unwrap(), 409, Some("5"));
    throttle.reconfigure(&configured(1, Rate::Fixed { count: 9, per: Duration::from_secs(1) }));
    throttle.reconfigure(&configured(1, Rate::Auto));
    assert!(
        read(&throttle, 1).acquire().await.is_err(),
        "the pause that Nexudus asked for continues"
    );
    hand.advance(Duration::from_secs(5));
    read(&throttle, 1).acquire().await.unwrap().observe_ok();
}

#[test]
fn the_queue_is_served_after_the_runtime_that_served_it_is_gone() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (throttle, hand) = throttle(60, Rate::Fixed { count: 1, per: Duration::from_secs(1) });
    let first = runtime();
    first.block_on(async {
        read(&throttle, 1).acquire().await.unwrap().observe_ok();
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
fn the_handle_can_be_sent_to_any_thread() {
    fn goes<T: Send + Sync>() {}
    goes::<Throttle>();
    goes::<Reservation<'_>>();
    goes::<Permit<'_>>();
}

impl Permit<'_> {
    fn observe_ok(self) {
        observe(self, 200, None);
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

/// Sends one request on a task of its own; returns whether it got a permit.
fn ask(throttle: &Throttle, pid: i32, served: &Arc<Mutex<Vec<i32>>>) -> JoinHandle<bool> {
    let (throttle, served) = (throttle.clone(), served.clone());
    tokio::spawn(async move {
        let permit = read(&throttle, pid).acquire().await;
        if let Ok(permit) = permit {
            served.lock().unwrap().push(pid);
            permit.observe_ok();
            return true;
        }
        false
    })
}

fn observe(permit: Permit<'_>, status: u16, retry_after: Option<&str>) -> RetryDecision {
    permit.observe(&response(status, &headers(retry_after)), true)
}

fn headers(retry_after: Option<&str>) -> HeaderMap {
    let retry_after = retry_after
        .map(|retry_after| (header::RETRY_AFTER, HeaderValue::from_str(retry_after).unwrap()));
    retry_after.into_iter().collect()
}

fn response(status: u16, headers: &HeaderMap) -> ResponseHead<'_> {
    let status = StatusCode::from_u16(status).unwrap();
    ResponseHead { status, headers, is_end_of_stream: true, text: b"" }
}

async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    let polled = std::future::poll_fn(|cx| {
        Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())
    });
    let pending = polled.await;
    settle().await;
    pending
}

/// Lets tasks run until `condition` holds.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        yield_now().await;
    }
}

/// Lets all tasks run until they wait; there are few.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}
