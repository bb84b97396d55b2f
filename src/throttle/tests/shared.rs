//! Limiters that keep one pace with other machines.

use std::collections::VecDeque;

use super::*;

/// A common pace whose turns are given by the test.
#[derive(Debug, Default)]
struct Scripted {
    turns: Mutex<VecDeque<Turn>>,
    asked: Mutex<Vec<usize>>,
    known: Mutex<KnownPace>,
    paused: Mutex<Vec<Option<Duration>>>,
}

impl SharedPace for Scripted {
    fn take(&self, _: Duration, waiting: usize) -> Turn {
        self.asked.lock().unwrap().push(waiting);
        let mut turns = self.turns.lock().unwrap();
        if turns.len() > 1 { turns.pop_front().unwrap() } else { turns[0] }
    }

    fn pause(&self, until: Option<Duration>) {
        self.paused.lock().unwrap().push(until);
    }

    fn learn(&self, pace: &LearnedPace) -> u64 {
        let mut known = self.known.lock().unwrap();
        (known.version, known.pace) = (known.version + 1, pace.clone());
        known.version
    }

    fn known(&self) -> KnownPace {
        self.known.lock().unwrap().clone()
    }
}

impl Scripted {
    fn give(&self, turns: impl IntoIterator<Item = Turn>) {
        *self.turns.lock().unwrap() = turns.into_iter().collect();
    }

    fn tell(&self, count: u32, millis: u64) {
        let windows = vec![Window { count, per: Duration::from_millis(millis) }];
        self.learn(&LearnedPace { template: None, windows });
    }
}

fn shared() -> (Throttle, ManualClock, Arc<Scripted>) {
    let (throttle, hand) = throttle(20, Rate::Auto);
    let (reads, writes) = (Arc::<Scripted>::default(), Arc::<Scripted>::default());
    throttle.share([reads.clone(), writes]);
    (throttle, hand, reads)
}

#[tokio::test]
async fn until_a_machine_was_throttled_no_slot_is_taken_and_afterwards_each_request_takes_one() {
    let (throttle, _hand, pace) = shared();
    read(&throttle, 1).acquire().await.unwrap().observe_ok();
    assert!(pace.asked.lock().unwrap().is_empty());

    pace.tell(100, 1_000);
    throttle.heed();
    pace.give([Turn::Now]);
    read(&throttle, 1).acquire().await.unwrap().observe_ok();

    assert_eq!(*pace.asked.lock().unwrap(), [1]);
    let reads = throttle.status().reads;
    assert_eq!(reads.state, "100/1s (learned), paced by the fleet");
    assert_eq!(throttle.status().writes.paced_by, "machine");
}

#[tokio::test]
async fn queued_requests_go_when_slots_have_come() {
    let (throttle, hand, pace) = shared();
    pace.tell(100, 1_000);
    throttle.heed();
    let at = throttle.0.clock.boot() + Duration::from_millis(300);
    pace.give([Turn::Unknown]);
    let served = Arc::default();
    let waiting = [1, 2, 1].map(|pid| ask(&throttle, pid, &served));
    settle().await;
    assert_eq!(throttle.status().reads.waiting, 3);

    pace.give([Turn::Now, Turn::At(at)]);
    throttle.heed();
    until(|| served.lock().unwrap().len() == 1).await;
    pace.give([Turn::Now]);
    hand.advance(Duration::from_millis(300));

    for one in waiting {
        assert!(one.await.unwrap());
    }
    assert_eq!(*served.lock().unwrap(), [1, 2, 1], "clients take turns here as ever");
}

#[tokio::test]
async fn a_slot_that_comes_too_late_is_refused_at_once() {
    let (throttle, _hand, pace) = shared();
    pace.tell(100, 1_000);
    throttle.heed();
    let at = throttle.0.clock.boot() + Duration::from_secs(25);
    pace.give([Turn::At(at)]);

    let refused = read(&throttle, 1).acquire().await.unwrap_err();

    assert_eq!(refused, Error::Queue { retry_after: Duration::from_secs(25) });
}

#[tokio::test]
async fn alone_means_one_request_at_a_time() {
    let (throttle, _hand, pace) = shared();
    pace.tell(100, 1_000);
    throttle.heed();
    pace.give([Turn::Alone]);
    let permit = read(&throttle, 1).acquire().await.unwrap();
    let served = Arc::default();
    let waiting = ask(&throttle, 2, &served);
    settle().await;
    assert!(served.lock().unwrap().is_empty());

    permit.observe_ok();

    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn a_pause_and_what_is_learned_from_it_are_told_once() {
    let (throttle, hand, pace) = shared();
    pace.give([Turn::Now]);
    for _ in 0..3 {
        read(&throttle, 1).acquire().await.unwrap().observe_ok();
    }
    let permit = read(&throttle, 1).acquire().await.unwrap();
    let until = throttle.0.clock.boot() + Duration::from_secs(1);
    observe(permit, 429, Some("1"));
    assert_eq!(*pace.paused.lock().unwrap().last().unwrap(), Some(until));

    hand.advance(Duration::from_secs(1));
    read(&throttle, 1).acquire().await.unwrap().observe_ok();

    assert_eq!(*pace.paused.lock().unwrap().last().unwrap(), None);
    let known = pace.known();
    assert_eq!((known.version, known.pace.windows.len()), (1, 1), "{known:?}");
    read(&throttle, 1).acquire().await.unwrap().observe_ok();
    throttle.heed();
    assert_eq!(pace.known().version, 1);
}

#[tokio::test]
async fn a_pause_that_another_machine_was_told_holds_here() {
    let (throttle, _hand, pace) = shared();
    let at = throttle.0.clock.boot() + Duration::from_secs(2);
    pace.known.lock().unwrap().paused_until = at;
    pace.give([Turn::At(at)]);
    throttle.heed();

    let served = Arc::default();
    let waiting = ask(&throttle, 1, &served);
    settle().await;

    assert!(served.lock().unwrap().is_empty());
    let state = throttle.status().reads.state;
    assert_eq!(state, "paused 2.0 s by Nexudus, 1 waiting");
    waiting.abort();
}
