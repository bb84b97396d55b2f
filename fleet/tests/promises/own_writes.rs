//! A member by itself, on the model of an engine: what it has not written yet says nothing of the engine.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use shared_session::call::Call;
use shared_session::member::{Action, Event, Grant, Local, Member, Note, Now, Password, Setup};
use shared_session::record::{Incarnation, MemberInfo};
use shared_session::seal::Keyring;
use shared_session::secret::Secret;
use shared_session::timing::Timing;

use crate::model::{Defect, Store};

/// A member whose disk takes a second for each save, on an empty engine.
struct World {
    member: Member,
    store: Store,
    /// Milliseconds.
    time: u64,
    events: VecDeque<(u64, Event)>,
    notes: Vec<Note>,
}

impl World {
    fn new() -> Self {
        let setup = Setup {
            me: Incarnation::named("m"),
            keys: Arc::new(Keyring::new("default", &[&[7; 32]]).unwrap()),
            timing: Timing::default(),
            info: MemberInfo { name: "m".to_owned(), version: "1".to_owned() },
            client_id: "shared".to_owned(),
            apart_client_id: "apart".to_owned(),
            password: Some(Password { account: "a@example.test".to_owned(), needs_code: false }),
            partition_login: false,
        };
        let member = Member::new(setup, Local::default(), at(1_000));
        let store = Store::new(Defect::None);
        Self { member, store, time: 1_000, events: VecDeque::new(), notes: vec![] }
    }

    /// Lives until this time, a hint after each write.
    fn live_until(&mut self, end: u64) {
        while self.time < end {
            self.time += 10;
            let next = self.events.iter().position(|(due, _)| *due <= self.time);
            let event = next.and_then(|next| self.events.remove(next));
            let event = event.map_or(Event::Tick, |(_, event)| event);
            for action in self.member.step(event, at(self.time)) {
                self.perform(action);
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Call(call) => {
                let now = 1_790_000_000_000_000 + self.time * 1_000;
                let reply = self.store.perform(&call, now, &Timing::default());
                self.events.push_back((self.time + 10, Event::Replied(reply)));
                if matches!(call, Call::Commit { .. } | Call::Put { .. }) {
                    self.events.push_back((self.time + 20, Event::Hinted));
                }
            }
            Action::Redeem(_) => {
                let grant = Grant {
                    access: Secret::new("access"),
                    refresh: Some(Secret::new("refresh")),
                    lifetime: Duration::from_secs(604_800),
                    account: Some("a@example.test".to_owned()),
                };
                self.events.push_back((self.time + 10, Event::Redeemed(Ok(grant))));
            }
            Action::Save(_) => self.events.push_back((self.time + 1_000, Event::Saved)),
            Action::Note(note) => self.notes.push(note),
            Action::WakeAt(_) => {}
        }
    }
}

fn at(ms: u64) -> Now {
    Now { boot: Duration::from_millis(ms), wall: 1_790_000_000_000 + ms }
}

#[test]
fn a_login_that_is_being_saved_does_not_make_the_engine_look_behind() {
    let mut world = World::new();

    world.live_until(60_000);

    let serves = world.notes.iter().any(|note| matches!(note, Note::Serving(_)));
    assert!(serves && !world.notes.contains(&Note::Behind), "{:?}", world.notes);
}
