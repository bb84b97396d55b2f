//! A member by itself, on the model of an engine: when it reads again.

use std::sync::Arc;
use std::time::Duration;

use shared_session::call::{Call, Reply};
use shared_session::member::{Action, Event, Local, Member, Now, Setup};
use shared_session::record::{Incarnation, MemberInfo};
use shared_session::seal::Keyring;
use shared_session::timing::Timing;

use crate::model::{Defect, Store};

fn at(ms: u64) -> Now {
    Now { boot: Duration::from_millis(ms), wall: 1_790_000_000_000 + ms }
}

/// Reads the engine once; a hint comes before the answer, or does not. Returns when the next look is.
fn looks_again(is_hinted: bool) -> Duration {
    let timing = Timing::default();
    let setup = Setup {
        me: Incarnation::named("m"),
        keys: Arc::new(Keyring::new("default", &[&[7; 32]]).unwrap()),
        timing,
        info: MemberInfo { name: "m".to_owned(), version: "1".to_owned() },
        client_id: "shared".to_owned(),
        apart_client_id: "apart".to_owned(),
        password: None,
        partition_login: false,
    };
    let mut member = Member::new(setup, Local::default(), at(1_000));
    let actions = member.step(Event::Tick, at(1_000));
    let poll = actions.iter().find_map(|action| {
        if let Action::Call(call @ Call::Poll { .. }) = action { Some(call.clone()) } else { None }
    });
    let reply = Store::new(Defect::None).perform(&poll.unwrap(), 1_790_000_001_000_000, &timing);
    assert!(matches!(reply, Ok(Reply::Polled(_))));
    if is_hinted {
        member.step(Event::Hinted, at(1_010));
    }
    let actions = member.step(Event::Replied(reply), at(1_020));
    let wake = actions
        .iter()
        .find_map(|action| if let Action::WakeAt(time) = action { Some(*time) } else { None });
    wake.unwrap()
}

#[test]
fn a_hint_that_comes_while_the_engine_is_read_is_no_later_than_another() {
    assert_eq!(looks_again(true), Duration::from_millis(1_250));
    assert_eq!(looks_again(false), Duration::from_millis(6_020));
}
