//! The pool on a clock that tests move, with connections that are only numbers.

use std::io;
use std::sync::atomic::AtomicUsize;

use tokio::task::JoinSet;

use super::*;
use crate::clock::ManualClock;
use crate::config::Origin;
use crate::upstream::{Error, UnreachableReason};

/// A connection of a test.
#[derive(Debug)]
struct Stub {
    id: usize,
    client: Option<&'static str>,
    is_open: Arc<AtomicUsize>,
    runtime: Id,
    moves: usize,
}

impl Poolable for Stub {
    fn is_reusable(&mut self) -> bool {
        self.is_open.load(Ordering::Relaxed) == 1
    }

    fn is_used(&self) -> bool {
        false
    }

    fn reserved_client(&self) -> Option<&str> {
        self.client
    }

    fn runtime(&self) -> Id {
        self.runtime
    }

    fn move_here(&mut self) {
        self.runtime = Handle::current().id();
        self.moves += 1;
    }
}

fn stub(id: usize) -> Stub {
    let is_open = Arc::new(AtomicUsize::new(1));
    Stub { id, client: None, is_open, runtime: Handle::current().id(), moves: 0 }
}

fn pool(max_idle: usize) -> (Arc<Pool<Stub>>, ManualClock) {
    let (clock, hand) = Clock::manual();
    (Arc::new(Pool::new(clock, max_idle, false)), hand)
}

fn error() -> Error {
    Error::Unreachable {
        origin: Origin::new("localhost", 1),
        reason: UnreachableReason::Refused,
        source: io::ErrorKind::ConnectionRefused.into(),
    }
}

fn connection(outcome: Outcome<Stub>) -> Stub {
    match outcome {
        Outcome::Connection(conn) => conn,
        Outcome::Shared => panic!("nothing is shared"),
        Outcome::Failed(error) => panic!("{error}"),
    }
}

const READ: (Retry, Option<&str>) = (Retry::Safe, None);

/// A host that opens a connection in `HANDSHAKE` and responds in `response`.
struct Host {
    pool: Arc<Pool<Stub>>,
    response: Duration,
    opened: AtomicUsize,
    opening: AtomicUsize,
    most_opening: AtomicUsize,
}

const HANDSHAKE: Duration = Duration::from_millis(60);

impl Host {
    fn new(response: Duration) -> Arc<Self> {
        let (pool, _) = pool(4096);
        let (opened, opening, most_opening) = Default::default();
        Arc::new(Self { pool, response, opened, opening, most_opening })
    }

    /// Sends a request as the client does, and returns how long it waited for its connection.
    async fn request(self: Arc<Self>) -> Duration {
        let began = tokio::time::Instant::now();
        let (conn, epoch) = match self.pool.take(Retry::Safe, None) {
            Some(taken) => taken,
            None => {
                let (mut waiting, openings) = self.pool.wait(READ, Wanted::Any);
                self.open(openings);
                let outcome = match waiting.outcome_soon().await {
                    Ok(outcome) => outcome,
                    Err(openings) => {
                        self.open(openings);
                        waiting.outcome().await
                    }
                };
                (connection(outcome), waiting.epoch())
            }
        };
        let waited = began.elapsed();
        tokio::time::sleep(self.response).await;
        self.pool.put_back(conn, epoch);
        waited
    }

    fn open(self: &Arc<Self>, openings: Vec<Opening<Stub>>) {
        for mut opening in openings {
            let host = self.clone();
            tokio::spawn(async move {
                let now = host.opening.fetch_add(1, Ordering::Relaxed) + 1;
                host.most_opening.fetch_max(now, Ordering::Relaxed);
                let mut handshake = std::pin::pin!(tokio::time::sleep(HANDSHAKE));
                loop {
                    tokio::select! {
                        () = &mut handshake => break,
                        more = opening.late() => host.open(more),
                    }
                }
                host.opening.fetch_sub(1, Ordering::Relaxed);
                let id = host.opened.fetch_add(1, Ordering::Relaxed);
                host.open(opening.succeed(stub(id)));
            });
        }
    }

    /// Sends so many requests at once, and returns the longest wait for a connection.
    async fn burst(self: &Arc<Self>, count: usize) -> Duration {
        let mut requests = JoinSet::new();
        (0..count).for_each(|_| drop(requests.spawn(self.clone().request())));
        requests.join_all().await.into_iter().max().unwrap()
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_at_once_do_not_open_a_thousand_connections_at_once() {
    let host = Host::new(Duration::from_millis(1));

    let longest = host.burst(1_000).await;

    // The first handshakes end at once here, before any of their requests has a response.
    assert!(host.most_opening.load(Ordering::Relaxed) <= 2 * INITIAL_LIMIT);
    assert!(host.opened() <= 3 * INITIAL_LIMIT, "{}", host.opened());
    assert!(longest <= 2 * HANDSHAKE, "{longest:?}");
    // Each connection that was opened is there for the next burst, which opens none.
    tokio::time::sleep(2 * HANDSHAKE).await;
    assert_eq!(host.pool.idle_count(), host.opened());
    let opened = host.opened();
    host.burst(opened).await;
    assert_eq!(host.opened(), opened);
}

#[tokio::test(start_paused = true)]
async fn callers_of_slow_responses_all_get_a_connection_within_a_few_handshakes() {
    let host = Host::new(Duration::from_secs(120));

    let longest = host.burst(1_000).await;

    assert_eq!(host.opened(), 1_000);
    // 32, 64, 128 and then 256 at a time.
    assert!(longest <= 7 * HANDSHAKE, "{longest:?}");
    assert!(host.most_opening.load(Ordering::Relaxed) <= 256);
}

#[tokio::test(start_paused = true)]
async fn a_request_behind_long_downloads_waits_for_its_own_handshake_alone() {
    let host = Host::new(Duration::from_secs(120));
    let mut downloads = JoinSet::new();
    for _ in 0..200 {
        downloads.spawn(host.clone().request());
        tokio::time::sleep(2 * HANDSHAKE).await;
    }

    let waited = host.clone().request().await;

    assert!(waited <= HANDSHAKE, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_respond_delays_each_request_by_its_own_time_and_a_little() {
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
    let (pool, _) = pool(64);
    fn open(pool: &Arc<Pool<Stub>>, openings: Vec<Opening<Stub>>) {
        for mut opening in openings {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut hanging = std::pin::pin!(tokio::time::sleep(CONNECT_TIMEOUT));
                loop {
                    tokio::select! {
                        () = &mut hanging => break,
                        more = opening.late() => open(&pool, more),
                    }
                }
                open(&pool, opening.fail(error()));
            });
        }
    }
    let began = tokio::time::Instant::now();
    let mut requests = JoinSet::new();
    for _ in 0..1_000 {
        let pool = pool.clone();
        requests.spawn(async move {
            let (mut waiting, openings) = pool.wait(READ, Wanted::Any);
            open(&pool, openings);
            if let Err(openings) = waiting.outcome_soon().await {
                open(&pool, openings);
                assert!(matches!(waiting.outcome().await, Outcome::Failed(_)));
            }
        });
    }

    requests.join_all().await;

    let took = began.elapsed();
    assert!(took <= CONNECT_TIMEOUT + Duration::from_secs(4), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_outlives_its_request_and_its_connection_becomes_idle() {
    let host = Host::new(Duration::from_millis(1));
    let request = tokio::spawn(host.clone().request());
    tokio::task::yield_now().await;

    request.abort();
    tokio::time::sleep(2 * HANDSHAKE).await;

    assert_eq!((host.opened(), host.pool.idle_count()), (1, 1));
    assert_eq!(host.clone().request().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_connection_given_to_a_request_that_is_given_up_goes_to_the_next() {
    let (pool, _) = pool(64);
    let (first, _openings) = pool.wait(READ, Wanted::Any);
    let (mut second, _) = pool.wait(READ, Wanted::Any);

    pool.add(stub(7));
    drop(first);

    assert_eq!(connection(second.outcome().await).id, 7);
    drop(second);
    assert_eq!(pool.idle_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn requests_are_served_in_their_order_and_an_error_goes_to_one_that_was_there_before() {
    let (pool, _) = pool(64);
    let (mut first, openings) = pool.wait(READ, Wanted::Any);
    let [opening] = openings.try_into().ok().unwrap();
    pool.put_back(stub(1), 0);
    assert_eq!(connection(first.outcome().await).id, 1);
    drop(first);
    let (mut late, openings) = pool.wait(READ, Wanted::Any);
    assert!(openings.is_empty(), "one is being opened already");

    // It began before the request was there: the network may be back since.
    let [next] = opening.fail(error()).try_into().ok().unwrap();
    let none = next.fail(error());

    assert!(none.is_empty());
    assert!(matches!(late.outcome().await, Outcome::Failed(_)));
}

#[tokio::test]
async fn a_request_that_needs_a_new_connection_gets_no_used_one() {
    let (pool, _) = pool(64);
    pool.add(stub(1));
    let (mut waiting, openings) = pool.wait(READ, Wanted::New);
    let [opening] = openings.try_into().ok().unwrap();

    pool.put_back(stub(2), 0);
    assert!(opening.succeed(stub(3)).is_empty());

    assert_eq!(connection(waiting.outcome().await).id, 3);
    assert_eq!(pool.idle_count(), 2);
}

#[tokio::test]
async fn a_clients_own_connection_serves_no_other_client_and_not_longer_than_others() {
    let (pool, hand) = pool(64);
    pool.add(Stub { client: Some("a"), ..stub(1) });
    pool.add(stub(2));
    let id = |taken: Option<(Stub, u64)>| taken.map(|(conn, _)| conn.id);

    assert_eq!(id(pool.take(Retry::Safe, Some("b"))), Some(2));
    assert_eq!(id(pool.take(Retry::Safe, None)), None);
    let (mut other, _openings) = pool.wait((Retry::Safe, Some("b")), Wanted::Any);
    pool.put_back(Stub { client: Some("a"), ..stub(3) }, 0);
    assert!(tokio::time::timeout(Duration::ZERO, other.outcome()).await.is_err());
    drop(other);
    assert_eq!(id(pool.take(Retry::Safe, Some("a"))), Some(3));
    hand.advance(MAX_IDLE_TIME_WITHOUT_RETRY + Duration::from_millis(1));
    assert_eq!(id(pool.take(Retry::Never, Some("a"))), None);
    assert_eq!(id(pool.take(Retry::Safe, Some("a"))), Some(1));
}

#[tokio::test]
async fn idle_connections_follow_the_demand_and_age() {
    let (pool, hand) = pool(100);
    (0..150).for_each(|id| pool.put_back(stub(id), 0));
    assert_eq!(pool.idle_count(), 100, "the oldest made room");

    // Ten callers go on, over and over.
    for _ in 0..60 {
        hand.advance(Duration::from_secs(1));
        let used: Vec<_> = (0..10).map(|_| pool.take(Retry::Safe, None).unwrap()).collect();
        used.into_iter().for_each(|(conn, epoch)| pool.put_back(conn, epoch));
    }
    let (closed, is_warm_missing) = pool.remove_expired();

    assert_eq!((closed.len(), pool.idle_count(), is_warm_missing), (90, 10, false));
    assert!(closed.iter().all(|conn| conn.id < 140), "{closed:?}");
    hand.advance(MAX_IDLE_TIME);
    assert!(pool.remove_expired().1);
}

#[tokio::test]
async fn closed_connections_are_never_given_out() {
    let (pool, _) = pool(64);
    let closed = stub(1);
    let is_open = closed.is_open.clone();
    pool.add(stub(2));
    pool.add(closed);
    is_open.store(0, Ordering::Relaxed);

    let (taken, epoch) = pool.take(Retry::Never, None).unwrap();
    assert_eq!(taken.id, 2);
    pool.close_all();
    pool.put_back(taken, epoch);

    assert_eq!(pool.idle_count(), 0);
}

#[test]
fn a_connection_of_another_thread_is_taken_and_moved_before_one_is_opened() {
    let (pool, _) = pool(64);
    let run = |work: &(dyn Fn() + Sync)| {
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async { work() });
            });
        });
    };
    run(&|| (0..2).for_each(|id| pool.add(stub(id))));

    run(&|| {
        pool.add(stub(2));
        let moved = [(); 3].map(|()| {
            let (conn, _) = pool.take(Retry::Safe, None).unwrap();
            assert_eq!(conn.runtime(), Handle::current().id());
            (conn.id, conn.moves)
        });
        assert_eq!(moved, [(2, 0), (1, 1), (0, 1)], "its own first");
        assert!(pool.take(Retry::Safe, None).is_none());
    });
}
