//! The model and the real engines give the same answers to the same calls: what the simulations
//! prove of the model holds for the scripts.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use shared_session::call::{Call, Place, Reply, Snapshot};
use shared_session::fence::Fence;
use shared_session::record::Incarnation;
use shared_session::register::Stored;
use shared_session::timing::Timing;

use super::server::{Program, Server};
use crate::model::Store;

/// Above the engine's time, so that fences do not depend on it.
const BASE: u64 = 1 << 51;

/// Calls of three members with fences that were drawn, or nearly.
struct Script {
    random: fastrand::Rng,
    highest: u64,
    lease: [u64; 3],
}

impl Script {
    fn fence(&mut self) -> Fence {
        let low = self.highest.saturating_sub(6).max(BASE);
        Fence::new(self.random.u64(low..=self.highest)).unwrap()
    }

    fn stored(&mut self) -> Stored {
        let is_tombstone = self.random.u8(..4) == 0;
        Stored { fence: self.fence(), is_tombstone, sealed: vec![self.random.u8(..); 3] }
    }

    fn plain(&mut self) -> Stored {
        Stored { is_tombstone: false, ..self.stored() }
    }

    fn next(&mut self) -> Call {
        let member = self.random.usize(..3);
        let me = Incarnation::named(["a", "b", "c"][member]);
        let lease = Fence::new(self.lease[member].max(BASE)).unwrap();
        match self.random.u8(..12) {
            0..2 => Call::Acquire {
                me,
                seen: self.fence(),
                is_settled: self.random.bool(),
                answered: self.random.u64(..4),
            },
            2..4 => {
                let attempts = self.random.bool().then(|| self.plain());
                let intent = Stored { fence: lease, ..self.plain() };
                Call::Intend { me, lease, known: self.known(), intent, attempts }
            }
            4..6 => {
                let session = Stored { fence: lease, ..self.plain() };
                Call::Commit { me, session, drop: vec![self.fence(), self.fence()] }
            }
            6 => Call::Spare { spare: self.plain() },
            7 => {
                let ends = self.random.bool().then(|| self.fence());
                Call::Release { me, lease, keeps_lease: self.random.bool(), ends }
            }
            8 => Call::Put {
                place: Place::Registers,
                name: ["epoch", "lock", "attempts"][self.random.usize(..3)].to_owned(),
                stored: self.plain(),
                unopened: self.random.bool().then(|| self.fence()),
            },
            9 => Call::Put {
                place: Place::Set,
                name: ["client/a", "client/b"][self.random.usize(..2)].to_owned(),
                stored: self.stored(),
                unopened: None,
            },
            10 => self.poll(me),
            _ => {
                let leave = Call::Leave { me };
                let draw = Call::Draw { seen: self.fence() };
                [leave, draw, Call::ReadSet][self.random.usize(..3)].clone()
            }
        }
    }

    fn known(&mut self) -> Fence {
        if self.random.bool() { Fence::ZERO } else { self.fence() }
    }

    fn poll(&mut self, me: Incarnation) -> Call {
        let mut have = BTreeMap::new();
        for name in ["session", "epoch", "lock", "attempts"] {
            if self.random.bool() {
                have.insert(name.to_owned(), self.fence());
            }
        }
        let info = self.plain();
        Call::Poll {
            me,
            seen: self.fence(),
            has_reported: self.random.bool(),
            have,
            info,
            number: self.random.u64(1..5),
            answered: self.random.u64(..4),
        }
    }

    fn learn(&mut self, call: &Call, reply: &Reply) {
        let (Reply::Acquired { fence, .. } | Reply::Drawn(fence)) = reply else { return };
        self.highest = self.highest.max(fence.number());
        if let Call::Acquire { me, .. } = call {
            let member = ["a", "b", "c"].iter().position(|name| *name == me.as_str()).unwrap();
            self.lease[member] = fence.number();
        }
    }
}

/// Takes away what depends on the time.
fn timeless(reply: Reply) -> Reply {
    let snapshot = |mut snapshot: Snapshot| {
        snapshot.now = 0;
        snapshot.revision = snapshot.revision.is_empty().to_string();
        snapshot.members.values_mut().for_each(|(ago, _)| *ago = Duration::ZERO);
        if let Some(behind) = &mut snapshot.behind {
            behind.left = Duration::ZERO;
        }
        snapshot.intents.sort_by_key(|one| one.fence);
        snapshot.spares.sort_by_key(|one| one.fence);
        snapshot.same.sort();
        snapshot
    };
    match reply {
        Reply::Polled(one) => Reply::Polled(snapshot(one)),
        Reply::Acquired { fence, snapshot: one } => {
            Reply::Acquired { fence, snapshot: snapshot(one) }
        }
        Reply::Held(_) => Reply::Held(Duration::ZERO),
        Reply::Behind(mut behind) => {
            behind.left = Duration::ZERO;
            Reply::Behind(behind)
        }
        Reply::Set { revision, mut records } => {
            records.sort_by(|one, other| one.0.cmp(&other.0));
            Reply::Set { revision: revision.is_empty().to_string(), records }
        }
        Reply::Done { .. } => Reply::Done { is_durable: true },
        Reply::Lost | Reply::Stale | Reply::Drawn(_) | Reply::Paced(_) | Reply::Counted(_) => reply,
    }
}

#[tokio::test]
async fn the_model_and_the_engines_agree_on_random_calls() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        for seed in 0..12 {
            server.command(&["FLUSHALL"]).await;
            agree(program, &server, seed).await;
        }
    }
}

async fn agree(program: Program, server: &Server, seed: u64) {
    let mut engine = server.engine();
    let (mut model, timing) = (Store::default(), Timing::default());
    let random = fastrand::Rng::with_seed(seed);
    let mut script = Script { random, highest: BASE + 8, lease: [0; 3] };
    let mut calls = vec![];
    for _ in 0..150 {
        if script.random.u8(..60) == 0 {
            server.command(&["FLUSHALL"]).await;
            model = Store::default();
        }
        if script.random.u8(..20) == 0 {
            server.command(&["DEL", "{shared:default}:lease"]).await;
            model.end_lease();
        }
        let call = script.next();
        calls.push(call.clone());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let said = engine.call(&call).await.map(timeless);
        let expected = model.perform(&call, now.as_micros().try_into().unwrap(), &timing);
        let last = &calls[calls.len().saturating_sub(4)..];
        assert_eq!(said, expected.map(timeless), "{program:?}, seed {seed}: {last:#?}");
        if let Ok(reply) = said {
            script.learn(&call, &reply);
        }
    }
}
