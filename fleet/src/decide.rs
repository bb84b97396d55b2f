//! What the holder of the lease does next: a pure function of what it has read.
//!
//! | what the holder sees, the first row that applies | it |
//! |---|---|
//! | the fleet is locked, or logged out | rests |
//! | a pair in the record that is newer than its own | adopts it |
//! | its pair is not due | rests until it is |
//! | a refresh token that was not refused, and another's open intent on it, and time, or its request may be out | waits for the owner |
//! | a refresh token in the record that was not refused | refreshes with it |
//! | a spare that was not refused, newest first | refreshes with that |
//! | another's open intent to use the password, and time, or its request may be out | waits for the owner |
//! | an epoch, but attempts that are missing or do not open | is blocked: lost attempts count as spent |
//! | a password that was refused in this epoch, or tried too often | is blocked |
//! | a password | logs in |
//! | else | is lapsing: a person must log in before the token ends |
//!
//! The answer `invalid_grant` is no row of its own. The holder remembers the refused generation, takes
//! the lease again, and so reads the record before it decides again.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::fence::Fence;
use crate::record::{Attempts, Incarnation, Spend};

/// Everything that a decision rests on.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The boot clock.
    pub now: Duration,
    /// The runs of this member.
    pub mine: &'a BTreeSet<Incarnation>,
    /// Whether the fleet is locked.
    pub is_locked: bool,
    /// The fence of the last login or logout.
    pub epoch: Fence,
    /// Whether that was a logout.
    pub is_logged_out: bool,
    /// The pair in the record.
    pub record: Option<Candidate>,
    /// The generation that this member serves.
    pub serves: Fence,
    /// Pairs that lost their commit.
    pub spares: Vec<Candidate>,
    /// Open intents, this member's own too.
    pub intents: &'a [OpenIntent],
    /// Generations whose refresh token was refused.
    pub refused: &'a BTreeSet<Fence>,
    /// The attempts, if they are there and open.
    pub attempts: Option<(Fence, Attempts)>,
    /// Whether this member knows that the password was refused in this epoch, whatever the attempts say.
    pub is_password_refused: bool,
    /// Whether this member has a password.
    pub has_password: bool,
    /// When the pair is to be renewed, by the boot clock.
    pub due: Duration,
    /// Until when the owner of an intent is waited for.
    pub patience: Duration,
}

/// A pair that could be refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its generation.
    pub generation: Fence,
    /// Whether it has a refresh token that is young enough.
    pub is_refreshable: bool,
}

/// An intent that no commit has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenIntent {
    /// Its fence.
    pub fence: Fence,
    /// What it spends; `None` if the intent does not open: it may spend anything.
    pub spends: Option<Spend>,
    /// Whose it is; `None` if it does not open.
    pub by: Option<Incarnation>,
    /// When no request under it can be out any more, by the boot clock. The engine's own expiry of the
    /// lease says less: its clock can be set.
    pub over: Duration,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Rest,
    /// Serve the pair in the record.
    Adopt,
    /// Spend the refresh token of the record.
    Refresh(Fence),
    /// Spend the refresh token of this spare.
    Spare(Fence),
    /// Leave the lease to the owner of an open intent, until then.
    Wait(Duration),
    /// Try the password.
    Password,
    /// Say that a person is needed.
    Blocked(Block),
}

/// Why only a person can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// The record of attempts is lost.
    AttemptsLost,
    /// The password was refused, or tried too often.
    PasswordSpent,
    /// There is no password here.
    NoPassword,
}

/// Decides for the holder of the lease.
pub fn decide(view: &View<'_>) -> Decision {
    if view.is_locked || view.is_logged_out {
        return Decision::Rest;
    }
    let record = view.record.filter(|record| record.generation >= view.epoch);
    if record.is_some_and(|record| record.generation > view.serves) {
        return Decision::Adopt;
    }
    if view.now < view.due {
        return Decision::Rest;
    }
    let best = record.into_iter().chain(newest_first(view)).find(|one| view.can_refresh(*one));
    let spends = best.map_or(Spend::Password, |best| Spend::Refresh(best.generation));
    if let Some(until) = view.waits_for_others(spends) {
        return Decision::Wait(until);
    }
    match best {
        Some(best) if record == Some(best) => Decision::Refresh(best.generation),
        Some(best) => Decision::Spare(best.generation),
        None => password(view, record),
    }
}

/// Says how the password may be used: the tries so far and this one, or why not.
fn password(view: &View<'_>, record: Option<Candidate>) -> Decision {
    // A refusal is final in its epoch. A later pair is no proof of the password: a refresh token that was
    // out meanwhile brings one too.
    let is_refused = |attempts: Attempts| attempts.epoch == view.epoch && attempts.refused;
    if view.is_password_refused || view.attempts.is_some_and(|(_, attempts)| is_refused(attempts)) {
        return Decision::Blocked(Block::PasswordSpent);
    }
    let attempts = match view.attempts {
        Some((_, attempts)) if attempts.epoch != view.epoch => Attempts::default(),
        // A pair of that try, or a later one: the try succeeded.
        Some((fence, _)) if record.is_some_and(|record| record.generation >= fence) => {
            Attempts::default()
        }
        Some((_, attempts)) => attempts,
        None if view.epoch > Fence::ZERO => return Decision::Blocked(Block::AttemptsLost),
        None => Attempts::default(),
    };
    if attempts.tries >= MAX_TRIES {
        return Decision::Blocked(Block::PasswordSpent);
    }
    if !view.has_password {
        return Decision::Blocked(Block::NoPassword);
    }
    Decision::Password
}

/// Returns the attempts to write down before the password is tried once more.
pub fn with_another_try(view: &View<'_>, dead: Fence) -> Attempts {
    let succeeded = |fence| view.record.is_some_and(|record| record.generation >= fence);
    let tries = view
        .attempts
        .filter(|(fence, attempts)| attempts.epoch == view.epoch && !succeeded(*fence))
        .map_or(0, |(_, attempts)| attempts.tries);
    Attempts { epoch: view.epoch, tries: tries + 1, refused: false, dead }
}

fn newest_first(view: &View<'_>) -> Vec<Candidate> {
    let mut spares: Vec<_> =
        view.spares.iter().filter(|spare| spare.generation >= view.epoch).copied().collect();
    spares.sort_by_key(|spare| std::cmp::Reverse(spare.generation));
    spares
}

impl View<'_> {
    fn can_refresh(&self, candidate: Candidate) -> bool {
        let dead = self.attempts.map_or(Fence::ZERO, |(_, attempts)| attempts.dead);
        candidate.is_refreshable
            && !self.refused.contains(&candidate.generation)
            && candidate.generation != dead
    }

    /// Returns until when other members are waited for that may be spending the same thing right now.
    fn waits_for_others(&self, spends: Spend) -> Option<Duration> {
        let is_anothers = |intent: &&OpenIntent| {
            let is_same = intent.spends.is_none_or(|other| other == spends);
            is_same && intent.by.as_ref().is_none_or(|by| !self.mine.contains(by))
        };
        let over = self.intents.iter().filter(is_anothers).map(|intent| intent.over).max()?;
        Some(over.max(self.patience)).filter(|until| self.now < *until)
    }
}

/// How often a password is tried in one epoch without an answer: as one daemon does. A refusal is
/// final at once.
pub const MAX_TRIES: u32 = 3;

#[cfg(test)]
mod tests;
