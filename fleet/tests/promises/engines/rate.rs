//! One rate for all members, on both engines.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use shared_session::call::{Call, Reply};
use shared_session::engine::{Engine, Hint};
use shared_session::fence::Fence;
use shared_session::history::{Fact, Limits, What, check};
use shared_session::pace::{LaneAsk, Paced, Permit, Share, Window, Windows};
use shared_session::record::Incarnation;
use shared_session::timing::Timing;

use super::calls::stored;
use super::server::{Program, Server};

const HORIZON: Duration = Duration::from_millis(100);

fn windows(version: u64, limit: u32, period: Duration) -> Windows {
    Windows { version, windows: vec![Window { limit, period }], scope: "/a/*".to_owned() }
}

async fn pace(engine: &mut Engine, name: &str, wants: u32, windows: Windows) -> Paced {
    told(engine, name, LaneAsk { wants, windows, ..LaneAsk::default() }).await
}

async fn told(engine: &mut Engine, name: &str, ask: LaneAsk) -> Paced {
    let (me, lanes) = (Incarnation::named(name), vec![LaneAsk { lane: "reads".to_owned(), ..ask }]);
    let call = Call::Pace { me, lanes, horizon: HORIZON };
    let Reply::Paced(paced) = engine.call(&call).await.unwrap() else { panic!("no pace") };
    paced.into_iter().next().unwrap()
}

#[tokio::test]
async fn a_pause_and_the_newest_windows_are_shared() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let mut engine = server.engine();
        let (old, new) = (windows(1, 5, HORIZON * 50), windows(2, 9, HORIZON * 50));
        let mut hints = Engine::hints(server.options()).await.unwrap();
        let (windows, pause) = (new.clone(), Duration::from_secs(30));
        told(&mut engine, "a", LaneAsk { wants: 1, pause, windows, ..LaneAsk::default() }).await;

        let other = pace(&mut engine, "b", 3, old).await;

        assert_eq!((other.windows, other.slots), (new.clone(), 0), "{program:?}");
        assert_eq!(hints.recv().await, Some(Hint::Pace), "the others look at once");
        assert_eq!(polled(&mut engine, "c").await["reads"].1, new, "or with their next poll");
        assert!(other.pause > Duration::from_secs(25) && other.pause <= pause_of(30));
    }
}

async fn polled(engine: &mut Engine, name: &str) -> BTreeMap<String, (Duration, Windows)> {
    let poll = Call::Poll {
        me: Incarnation::named(name),
        seen: Fence::ZERO,
        has_reported: true,
        have: [].into(),
        info: stored(Fence::ZERO, name),
        number: 1,
        answered: 0,
    };
    let Reply::Polled(snapshot) = engine.call(&poll).await.unwrap() else { panic!("no snapshot") };
    snapshot.paces
}

#[tokio::test]
async fn lanes_are_paced_apart_in_one_call() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let mut engine = server.engine();
        let minute = |limit| windows(1, limit, Duration::from_secs(60));
        let ask = |lane: &str, limit| LaneAsk {
            lane: lane.to_owned(),
            wants: 500,
            windows: minute(limit),
            ..LaneAsk::default()
        };
        let (me, lanes) = (Incarnation::named("a"), vec![ask("reads", 100), ask("writes", 40)]);
        let call = Call::Pace { me, lanes, horizon: HORIZON };

        let Reply::Paced(paced) = engine.call(&call).await.unwrap() else { panic!("no pace") };

        let slots: Vec<_> = paced.iter().map(|lane| lane.slots).collect();
        assert_eq!(slots, [100, 40], "{program:?}");
    }
}

fn pause_of(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn no_more_slots_are_given_than_the_window_has_and_each_member_gets_some() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let mut engine = server.engine();
        let minute = windows(1, 120, Duration::from_secs(60));
        let mut given = [0; 3];
        for _ in 0..40 {
            for (member, name) in ["a", "b", "c"].iter().enumerate() {
                given[member] += pace(&mut engine, name, 50, minute.clone()).await.slots;
            }
        }
        assert_eq!(given.iter().sum::<u32>(), 120, "{program:?}: {given:?}");
        // The first one asked alone.
        assert!(given.iter().all(|slots| *slots > 5), "{program:?}: {given:?}");
    }
}

/// A member's loop, in the time of the test.
struct Sender {
    name: &'static str,
    engine: Engine,
    share: Share,
    asked: Instant,
    wants: u32,
}

/// Members come and go; each sends as often as it may.
async fn send(server: &Server, windows: &Windows, lasts: Duration) -> Vec<Fact> {
    let (start, timing, mut facts) = (Instant::now(), Timing::default(), vec![]);
    let mut senders: Vec<Sender> = ["a", "b", "c"]
        .into_iter()
        .map(|name| {
            let (share, asked) = (Share::default(), start - HORIZON);
            Sender { name, engine: server.engine(), share, asked, wants: 40 }
        })
        .collect();
    while start.elapsed() < lasts {
        let half = start.elapsed() > lasts / 3;
        for (id, sender) in (0..).zip(&mut senders) {
            if half != (id == 1) && id != 0 {
                continue;
            }
            if sender.asked.elapsed() >= HORIZON {
                sender.asked = Instant::now();
                let asked = start.elapsed();
                let call = pace(&mut sender.engine, sender.name, sender.wants, windows.clone());
                let paced = call.await;
                sender.share.paced(&paced, asked, HORIZON);
            }
            let now = start.elapsed();
            while sender.share.take(now, &timing) == Permit::Now {
                facts.push(Fact { at: now, what: What::Sent(id) });
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    facts
}

#[tokio::test]
async fn members_that_come_and_go_stay_within_the_rate() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let (limit, period) = (40, Duration::from_secs(2));
        let facts = send(&server, &windows(1, limit, period), Duration::from_secs(6)).await;

        let limits = Limits { clients_stale: Duration::ZERO, rate: Some((limit, period)) };
        let violations = check(&facts, &limits);
        assert!(violations.is_empty(), "{program:?}: {violations:?}");
        // A limit that lets nothing through would also hold.
        assert!(facts.len() > 40, "{program:?}: {} of 120", facts.len());
    }
}

#[tokio::test]
async fn slots_of_a_short_window_follow_each_other() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let mut engine = server.engine();
        let (start, mut slots, mut gap) = (Instant::now(), 0, Duration::ZERO);
        for round in 0..60 {
            let name = ["a", "b", "c"][round % 3];
            let paced =
                pace(&mut engine, name, 20, windows(1, 10, Duration::from_millis(500))).await;
            slots += paced.slots;
            gap = paced.gap;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(gap > Duration::from_millis(52), "{program:?}: {gap:?}");
        let line = (start.elapsed() + HORIZON).as_secs_f64() / gap.as_secs_f64();
        assert!(f64::from(slots) <= line + 1.0, "{program:?}: {slots} slots, not {line}");
        assert!(slots >= 3, "{program:?}: {slots}");
    }
}

#[tokio::test]
async fn the_share_of_a_member_that_is_cut_off_is_left_unused() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let mut options = server.options();
        options.timing.cut_off = Duration::from_millis(1);
        let mut engine = Engine::new(options);
        for name in ["a", "b", "c", "d"] {
            polled(&mut engine, name).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        let minute = windows(1, 120, Duration::from_secs(60));
        let slots = pace(&mut engine, "d", 500, minute).await.slots;
        // The others would use 120/1, 120/2 and 120/3 of it, as they have heard of so many.
        assert_eq!(slots, 0, "{program:?}");
        for name in ["a", "b", "c"] {
            engine.call(&Call::Leave { me: Incarnation::named(name) }).await.unwrap();
        }
        let minute = windows(1, 120, Duration::from_secs(60));
        assert_eq!(pace(&mut engine, "d", 500, minute).await.slots, 120, "{program:?}");
    }
}
