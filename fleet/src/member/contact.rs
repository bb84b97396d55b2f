//! When the engine was last known to be current, also across restarts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Member, Now};
use crate::call::Call;

/// A reading of both clocks of a member, made while the engine was current.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Milliseconds of the boot clock.
    boot: u64,
    /// Milliseconds since 1970.
    wall: u64,
}

impl Heard {
    pub(super) fn at(now: Now) -> Self {
        Self { boot: millis(now.boot), wall: now.wall }
    }

    /// Returns the time since then, rather too much than too little; `None` if the wall clock was set
    /// back behind it.
    pub(super) fn age(self, now: Now) -> Option<Duration> {
        let wall = now.wall.checked_sub(self.wall)?;
        // Without a reboot in between, the boot clock also sees what a wall clock that was set back
        // hides. After one, it can only make the age higher.
        let boot = millis(now.boot).saturating_sub(self.boot);
        Some(Duration::from_millis(wall.max(boot)))
    }
}

impl Member {
    /// Returns the time until which callers with keys are served, by the boot clock; `None` if the
    /// engine was never known to be current, or too long ago. Later, a revocation could be unheard.
    pub fn serves_keys_until(&self) -> Option<Duration> {
        self.engine.serves_keys_until
    }

    /// Says whether the set of this member is that of the engine, and the engine is current: what is
    /// missing there was never in it.
    pub fn knows_set(&self) -> bool {
        self.is_current()
            && self.engine.revision.is_some()
            && !self.queue.iter().any(|call| *call == Call::ReadSet)
    }

    /// Says whether the engine is known to be current.
    pub(super) fn is_current(&self) -> bool {
        self.engine.clean_since.is_some_and(|since| self.engine.heard >= Some(since))
    }

    /// Takes over the contact of an earlier run.
    pub(super) fn remember_contact(&mut self, now: Now) {
        let stale = self.setup.timing.clients_stale;
        let age = self.local.heard.and_then(|heard| heard.age(now));
        let rest = age.and_then(|age| stale.checked_sub(age));
        self.engine.serves_keys_until = rest.map(|rest| now.boot + rest);
    }

    /// Notes that the engine is current. The disk hears of it now and then: an older time makes a
    /// member refuse sooner after a restart, never later.
    pub(super) fn note_contact(&mut self, now: Now) {
        let stale = self.setup.timing.clients_stale;
        self.engine.heard = Some(now.boot);
        self.engine.serves_keys_until = Some(now.boot + stale);
        let age = self.local.heard.and_then(|heard| heard.age(now));
        if age.is_none_or(|age| age >= stale / 8) {
            self.local.heard = Some(Heard::at(now));
            self.changed();
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: u64, wall: u64) -> Now {
        Now { boot: Duration::from_secs(boot), wall: wall * 1_000 }
    }

    #[test]
    fn no_clock_makes_a_contact_younger_than_it_is() {
        let heard = Heard::at(at(100, 1_000));
        for (boot, wall, age) in [
            (130, 1_030, Some(30)),
            // The wall clock was set back by 20 s, and then by 60 s.
            (130, 1_010, Some(30)),
            (130, 970, None),
            // After a reboot, for 5 s and for 500 s.
            (5, 1_040, Some(40)),
            (500, 1_540, Some(540)),
        ] {
            let found = heard.age(at(boot, wall));
            assert_eq!(found, age.map(Duration::from_secs), "{boot} {wall}");
        }
    }
}
