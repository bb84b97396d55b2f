//! What each script does, on both engines.

use std::collections::BTreeMap;
use std::time::Duration;

use shared_session::call::{Call, CallError, Place, Reply, Snapshot};
use shared_session::engine::Engine;
use shared_session::fence::Fence;
use shared_session::record::Incarnation;
use shared_session::register::Stored;

use super::server::{Program, Server};

/// Two members on one engine.
pub(super) struct Two {
    pub(super) server: Server,
    pub(super) a: Engine,
    pub(super) b: Engine,
}

pub(super) async fn two(program: Program) -> Two {
    let server = Server::start(program).await;
    let (a, b) = (server.engine(), server.engine());
    Two { server, a, b }
}

pub(super) fn me(name: &str) -> Incarnation {
    Incarnation::named(name)
}

pub(super) fn fence(number: u64) -> Fence {
    Fence::new(number).unwrap()
}

pub(super) fn stored(fence: Fence, text: &str) -> Stored {
    Stored { fence, is_tombstone: false, sealed: text.as_bytes().to_vec() }
}

pub(super) async fn acquire(engine: &mut Engine, name: &str) -> Reply {
    let seen = Fence::ZERO;
    engine
        .call(&Call::Acquire { me: me(name), seen, is_settled: false, answered: 0 })
        .await
        .unwrap()
}

pub(super) async fn lease(engine: &mut Engine, name: &str) -> (Fence, Snapshot) {
    let Reply::Acquired { fence, snapshot } = acquire(engine, name).await else {
        panic!("the lease is held")
    };
    (fence, snapshot)
}

pub(super) async fn intend(engine: &mut Engine, name: &str, lease: Fence, known: Fence) -> Reply {
    let intent = stored(lease, "intent");
    let attempts = None;
    engine.call(&Call::Intend { me: me(name), lease, known, intent, attempts }).await.unwrap()
}

pub(super) async fn commit(engine: &mut Engine, name: &str, generation: Fence) -> Reply {
    let session = stored(generation, &format!("pair of {generation}"));
    engine.call(&Call::Commit { me: me(name), session, drop: vec![] }).await.unwrap()
}

pub(super) async fn put(engine: &mut Engine, place: Place, name: &str, stored: Stored) -> Reply {
    let name = name.to_owned();
    engine.call(&Call::Put { place, name, stored, unopened: None }).await.unwrap()
}

pub(super) async fn poll(
    engine: &mut Engine,
    name: &str,
    seen: Fence,
    has_reported: bool,
) -> Snapshot {
    let have = BTreeMap::new();
    let info = stored(Fence::ZERO, name);
    let call = Call::Poll { me: me(name), seen, has_reported, have, info, number: 1, answered: 0 };
    let Reply::Polled(snapshot) = engine.call(&call).await.unwrap() else {
        panic!("a poll has a snapshot")
    };
    snapshot
}

pub(super) const DONE: Reply = Reply::Done { is_durable: true };

#[tokio::test]
async fn one_member_at_a_time_holds_the_lease() {
    for program in Program::ALL {
        let mut two = two(program).await;

        let (first, _) = lease(&mut two.a, "a").await;
        let Reply::Held(left) = acquire(&mut two.b, "b").await else { panic!("{program:?}") };
        let (again, _) = lease(&mut two.a, "a").await;

        assert!(again > first, "the holder draws a new fence");
        assert!(left > Duration::from_secs(80) && left <= Duration::from_secs(90));
        let release = |lease| Call::Release { me: me("a"), lease, keeps_lease: false, ends: None };
        assert_eq!(two.a.call(&release(first)).await, Ok(Reply::Lost));
        assert_eq!(two.a.call(&release(again)).await, Ok(DONE));
        assert!(lease(&mut two.b, "b").await.0 > again);
    }
}

#[tokio::test]
async fn a_lease_ends_by_itself() {
    for program in Program::ALL {
        let mut two = two(program).await;
        lease(&mut two.a, "a").await;
        two.server.command(&["PEXPIRE", "{shared:default}:lease", "1"]).await;
        while matches!(acquire(&mut two.b, "b").await, Reply::Held(_)) {}
        let intent = intend(&mut two.a, "a", fence(1), Fence::ZERO).await;
        assert_eq!(intent, Reply::Lost, "{program:?}");
    }
}

#[tokio::test]
async fn a_fence_is_above_the_engines_time_and_all_that_the_caller_saw() {
    for program in Program::ALL {
        let mut two = two(program).await;
        let draw = |seen| Call::Draw { seen };

        let Reply::Drawn(by_time) = two.a.call(&draw(Fence::ZERO)).await.unwrap() else {
            panic!("no fence")
        };
        let high = fence(1 << 51);
        let Reply::Drawn(by_caller) = two.a.call(&draw(high)).await.unwrap() else {
            panic!("no fence")
        };
        let Reply::Drawn(by_store) = two.b.call(&draw(by_time)).await.unwrap() else {
            panic!("no fence")
        };

        // 2026 in microseconds, and not yet 2112.
        assert!(by_time > fence(1_767_000_000_000_000), "{program:?}: {by_time}");
        assert_eq!(by_caller, fence((1 << 51) + 1));
        assert_eq!(by_store, fence((1 << 51) + 2));
        // Beyond the last fence there is none.
        assert_eq!(two.a.call(&draw(Fence::LAST)).await, Err(CallError::Malformed));
    }
}

#[tokio::test]
async fn an_intent_needs_the_lease_and_the_known_pair_and_overwrites_none() {
    for program in Program::ALL {
        let mut two = two(program).await;
        let (held, _) = lease(&mut two.a, "a").await;

        assert_eq!(intend(&mut two.b, "b", held, Fence::ZERO).await, Reply::Lost);
        assert_eq!(intend(&mut two.a, "a", held, fence(5)).await, Reply::Stale);
        assert_eq!(intend(&mut two.a, "a", held, Fence::ZERO).await, DONE);
        assert_eq!(intend(&mut two.a, "a", held, Fence::ZERO).await, Reply::Stale);

        let (next, snapshot) = lease(&mut two.a, "a").await;
        assert_eq!(snapshot.intents, [stored(held, "intent")]);
        assert_eq!(intend(&mut two.a, "a", next, Fence::ZERO).await, DONE);
        let (_, snapshot) = lease(&mut two.a, "a").await;
        assert_eq!(snapshot.intents.len(), 2, "{program:?}");
    }
}

#[tokio::test]
async fn a_try_of_the_password_is_written_with_its_intent() {
    for program in Program::ALL {
        let mut two = two(program).await;
        let (held, _) = lease(&mut two.a, "a").await;
        let intent = |lease, attempts: Fence| Call::Intend {
            me: me("a"),
            lease,
            known: Fence::ZERO,
            intent: stored(lease, "password"),
            attempts: Some(stored(attempts, "one")),
        };
        assert_eq!(two.a.call(&intent(held, held)).await, Ok(DONE), "{program:?}");

        let (next, snapshot) = lease(&mut two.a, "a").await;
        assert_eq!(snapshot.registers["attempts"], stored(held, "one"));

        // Attempts that are not newer refuse the whole intent.
        assert_eq!(two.a.call(&intent(next, held)).await, Ok(Reply::Stale));
        assert_eq!(lease(&mut two.a, "a").await.1.intents.len(), 1);
    }
}

#[tokio::test]
async fn a_commit_ends_the_lease_and_the_intents_up_to_its_generation() {
    for program in Program::ALL {
        let mut two = two(program).await;
        let (first, _) = lease(&mut two.a, "a").await;
        intend(&mut two.a, "a", first, Fence::ZERO).await;

        assert_eq!(commit(&mut two.a, "a", first).await, DONE);
        let (second, snapshot) = lease(&mut two.b, "b").await;

        assert_eq!(snapshot.registers["session"], stored(first, &format!("pair of {first}")));
        assert_eq!(snapshot.intents, [], "{program:?}");
        intend(&mut two.b, "b", second, first).await;
        // Again, as after a lost answer: done, and the newer intent and lease stay.
        assert_eq!(commit(&mut two.a, "a", first).await, DONE);
        assert!(matches!(acquire(&mut two.a, "a").await, Reply::Held(_)));
        assert_eq!(poll(&mut two.a, "a", Fence::ZERO, true).await.intents.len(), 1);
    }
}

#[tokio::test]
async fn an_older_pair_and_one_of_an_older_epoch_are_stale() {
    for program in Program::ALL {
        let mut two = two(program).await;
        let (first, _) = lease(&mut two.a, "a").await;
        let (second, _) = lease(&mut two.a, "a").await;

        assert_eq!(commit(&mut two.a, "a", second).await, DONE);
        assert_eq!(commit(&mut two.b, "b", first).await, Reply::Stale);

        let (third, _) = lease(&mut two.b, "b").await;
        let Reply::Drawn(epoch) = two.a.call(&Call::Draw { seen: third }).await.unwrap() else {
            panic!("no fence")
        };
        put(&mut two.a, Place::Registers, "epoch", stored(epoch, "logout")).await;
        assert_eq!(commit(&mut two.b, "b", third).await, Reply::Stale, "{program:?}");
    }
}

#[tokio::test]
async fn a_pair_that_is_written_late_ends_no_intent_but_its_own() {
    for program in Program::ALL {
        let mut two = two(program).await;
        let (first, _) = lease(&mut two.a, "a").await;
        intend(&mut two.a, "a", first, Fence::ZERO).await;
        two.server.command(&["DEL", "{shared:default}:lease"]).await;
        let (second, _) = lease(&mut two.b, "b").await;
        intend(&mut two.b, "b", second, Fence::ZERO).await;

        assert_eq!(commit(&mut two.a, "a", first).await, DONE);
        // Its fence was drawn before the engine forgot: it is higher than that of a younger intent.
        let late = fence(second.number() + 1_000_000);
        assert_eq!(commit(&mut two.a, "a", late).await, DONE);

        two.server.command(&["DEL", "{shared:default}:lease"]).await;
        let (third, snapshot) = lease(&mut two.a, "a").await;
        assert_eq!(snapshot.intents, [stored(second, "intent")], "{program:?}");
        assert_eq!(commit(&mut two.a, "a", third).await, DONE);
        assert_eq!(lease(&mut two.a, "a").await.1.intents, []);
    }
}

#[tokio::test]
async fn spares_are_kept_until_a_commit_names_them() {
    for program in Program::ALL {
        let mut two = two(program).await;
        let (first, _) = lease(&mut two.a, "a").await;
        intend(&mut two.a, "a", first, Fence::ZERO).await;
        let spare = stored(first, "lost");

        assert_eq!(two.a.call(&Call::Spare { spare: spare.clone() }).await, Ok(DONE));
        let (second, snapshot) = lease(&mut two.a, "a").await;

        assert_eq!((snapshot.spares, snapshot.intents), (vec![spare], vec![]), "{program:?}");
        let session = stored(second, "pair");
        let commit = Call::Commit { me: me("a"), session, drop: vec![first] };
        assert_eq!(two.a.call(&commit).await, Ok(DONE));
        assert_eq!(lease(&mut two.a, "a").await.1.spares, []);
    }
}

#[tokio::test]
async fn only_the_newest_spares_are_kept() {
    for program in Program::ALL {
        let mut two = two(program).await;
        for number in 1..=10 {
            two.a.call(&Call::Spare { spare: stored(fence(number), "x") }).await.unwrap();
        }
        let (_, snapshot) = lease(&mut two.a, "a").await;
        let mut kept: Vec<u64> = snapshot.spares.iter().map(|one| one.fence.number()).collect();
        kept.sort_unstable();
        assert_eq!(kept, [3, 4, 5, 6, 7, 8, 9, 10], "{program:?}");
    }
}

#[tokio::test]
async fn a_register_takes_only_newer_values() {
    for program in Program::ALL {
        let mut two = two(program).await;
        let at = Place::Registers;
        assert_eq!(put(&mut two.a, at, "lock", stored(fence(5), "x")).await, DONE);
        assert_eq!(put(&mut two.a, at, "lock", stored(fence(5), "y")).await, Reply::Stale);
        assert_eq!(put(&mut two.b, at, "lock", stored(fence(4), "y")).await, Reply::Stale);
        assert_eq!(put(&mut two.b, at, "lock", stored(fence(6), "z")).await, DONE);
        let (_, snapshot) = lease(&mut two.a, "a").await;
        assert_eq!(snapshot.registers["lock"], stored(fence(6), "z"), "{program:?}");
    }
}

#[tokio::test]
async fn a_tombstone_is_never_overwritten() {
    for program in Program::ALL {
        let mut two = two(program).await;
        let tombstone = Stored { fence: fence(5), is_tombstone: true, sealed: b"revoked".to_vec() };
        put(&mut two.a, Place::Set, "client/a", stored(fence(7), "live")).await;

        assert_eq!(put(&mut two.a, Place::Set, "client/a", tombstone.clone()).await, DONE);
        let again = put(&mut two.b, Place::Set, "client/a", stored(fence(9), "live")).await;

        assert_eq!(again, Reply::Stale, "{program:?}");
        let Reply::Set { revision, records } = two.b.call(&Call::ReadSet).await.unwrap() else {
            panic!("no set")
        };
        assert_eq!(records, [("client/a".to_owned(), tombstone)]);
        assert_eq!(poll(&mut two.b, "b", Fence::ZERO, true).await.revision, revision);
        put(&mut two.a, Place::Set, "client/b", stored(fence(9), "live")).await;
        assert_ne!(poll(&mut two.b, "b", Fence::ZERO, true).await.revision, revision);
    }
}

#[tokio::test]
async fn what_does_not_open_can_be_replaced_by_name_of_its_fence() {
    for program in Program::ALL {
        let mut two = two(program).await;
        let planted = stored(Fence::LAST, "planted");
        put(&mut two.b, Place::Set, "client/a", planted).await;
        let replace = |unopened| Call::Put {
            place: Place::Set,
            name: "client/a".to_owned(),
            stored: stored(fence(7), "ours"),
            unopened: Some(unopened),
        };
        assert_eq!(two.a.call(&replace(fence(6))).await, Ok(Reply::Stale), "{program:?}");
        assert_eq!(two.a.call(&replace(Fence::LAST)).await, Ok(DONE));
    }
}

#[tokio::test]
async fn a_poll_returns_only_what_the_caller_does_not_have() {
    for program in Program::ALL {
        let mut two = two(program).await;
        put(&mut two.a, Place::Registers, "lock", stored(fence(5), "x")).await;
        put(&mut two.a, Place::Registers, "epoch", stored(fence(6), "y")).await;
        let call = Call::Poll {
            me: me("a"),
            seen: fence(6),
            has_reported: true,
            have: BTreeMap::from([("lock".to_owned(), fence(5))]),
            info: stored(fence(0), "name"),
            number: 1,
            answered: 0,
        };
        let Reply::Polled(snapshot) = two.a.call(&call).await.unwrap() else { panic!("no poll") };

        assert_eq!(snapshot.same, ["lock"], "{program:?}");
        assert_eq!(snapshot.registers.keys().collect::<Vec<_>>(), ["epoch"]);
        assert_eq!(snapshot.behind, None);
        assert_eq!(snapshot.members[&me("a")].1, stored(fence(0), "name"));
    }
}

#[tokio::test]
async fn a_member_stays_on_the_list_until_it_leaves() {
    for program in Program::ALL {
        let mut two = two(program).await;
        poll(&mut two.a, "a", Fence::ZERO, true).await;
        let both = poll(&mut two.b, "b", Fence::ZERO, true).await;
        assert_eq!(both.members.len(), 2, "{program:?}");
        lease(&mut two.a, "a").await;

        two.a.call(&Call::Leave { me: me("a") }).await.unwrap();

        let left = poll(&mut two.b, "b", Fence::ZERO, true).await;
        assert_eq!(left.members.keys().collect::<Vec<_>>(), [&me("b")]);
        lease(&mut two.b, "b").await;
    }
}
