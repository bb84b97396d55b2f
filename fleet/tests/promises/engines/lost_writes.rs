//! An engine that was emptied or restored, and values that no member wrote.

use std::collections::BTreeMap;
use std::time::Duration;

use shared_session::behind::Behind;
use shared_session::call::{Call, Reply};
use shared_session::fence::Fence;

use super::calls::{DONE, acquire, commit, fence, lease, me, poll, stored, two};
use super::server::Program;

#[tokio::test]
async fn an_emptied_engine_spends_nothing_until_all_have_reported() {
    for program in Program::ALL {
        let mut two = two(program).await;
        let (seen, _) = lease(&mut two.a, "a").await;
        two.server.command(&["FLUSHALL"]).await;

        let take = |is_settled| Call::Acquire { me: me("a"), seen, is_settled, answered: 0 };
        let Reply::Behind(behind) = two.a.call(&take(false)).await.unwrap() else {
            panic!("{program:?}: an emptied engine is behind")
        };
        assert!(behind.reported.is_empty() && behind.left > Duration::from_secs(25));
        // Also for a member that has seen nothing, and for as long as that is said.
        assert!(matches!(acquire(&mut two.b, "b").await, Reply::Behind(_)));
        poll(&mut two.a, "a", seen, true).await;
        let unreported = poll(&mut two.b, "b", Fence::ZERO, false).await.behind.unwrap();
        assert_eq!(unreported.reported, [me("a")].into());
        let Behind { reported, .. } =
            poll(&mut two.b, "b", Fence::ZERO, true).await.behind.unwrap();
        assert_eq!(reported, [me("a"), me("b")].into());
        assert!(matches!(two.a.call(&take(true)).await, Ok(Reply::Acquired { .. })));
    }
}

#[tokio::test]
async fn an_engine_with_an_older_pair_than_the_callers_is_behind() {
    for program in Program::ALL {
        let mut two = two(program).await;
        let (first, _) = lease(&mut two.a, "a").await;
        commit(&mut two.a, "a", first).await;
        let call = Call::Poll {
            me: me("b"),
            seen: first,
            has_reported: false,
            have: BTreeMap::from([("session".to_owned(), fence(first.number() + 1))]),
            info: stored(Fence::ZERO, "b"),
            number: 1,
            answered: 0,
        };
        let Reply::Polled(snapshot) = two.b.call(&call).await.unwrap() else { panic!("no poll") };
        assert!(snapshot.behind.is_some(), "{program:?}");
    }
}

#[tokio::test]
async fn values_that_no_member_wrote_break_no_script() {
    for program in Program::ALL {
        let mut two = two(program).await;
        let registers = "{shared:default}:registers";
        two.server.command(&["HSET", registers, "session", "x", "epoch", "", "lock", "9"]).await;
        two.server.command(&["HSET", "{shared:default}:members", "x", "y"]).await;
        two.server.command(&["HSET", "{shared:default}:intents", "x", "y"]).await;
        two.server.command(&["SET", "{shared:default}:fence", "many"]).await;

        let (held, snapshot) = lease(&mut two.a, "a").await;
        assert_eq!(snapshot.registers["session"].fence, Fence::ZERO, "{program:?}");
        assert_eq!(commit(&mut two.a, "a", held).await, DONE);
        assert_eq!(poll(&mut two.b, "b", Fence::ZERO, true).await.members.len(), 1);
    }
}
