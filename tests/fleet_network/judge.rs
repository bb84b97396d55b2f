//! The judge of a scenario: what the issuer saw and what callers were told, held against the promises.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::stage::{Fleet, MEMBERS, Mark};
use crate::traffic::Call;
use crate::until;

/// What the fault of a scenario excuses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Excuse {
    /// Refresh tokens that were spent again, because the one who spent them first cannot say so.
    pub(crate) spent_again: usize,
    /// Passwords shown.
    pub(crate) passwords: usize,
    /// The member that was down, or stopped: it answers nothing.
    pub(crate) down: Option<usize>,
    /// The member that was cut off for so long that it refuses callers with keys.
    pub(crate) stale: Option<usize>,
    /// The member that could not reach Nexudus.
    pub(crate) unreachable: Option<usize>,
}

impl Excuse {
    /// The excuse of a member that was down or stopped, and came back without having heard anything.
    pub(crate) fn gone(member: usize) -> Self {
        Self { down: Some(member), stale: Some(member), ..Self::default() }
    }
}

impl Fleet {
    /// Judges what happened since the mark, to which nothing but the excuse may have led.
    pub(crate) fn judge(&self, told: &str, mark: Mark, excuse: Excuse) {
        self.until_served();
        let mut broken = self.issuer_log(mark, excuse);
        broken.extend(answers(&self.traffic.since(mark.at), excuse));
        assert!(broken.is_empty(), "{told}: {broken:#?}");
    }

    fn until_served(&self) {
        // Each of the callers is served again, also one that has waited for a member that was stopped.
        let healed = Instant::now();
        until("every caller of every member is served", || {
            let calls = self.traffic.since(healed);
            let is_served = |member: usize, has_key: bool| {
                let by = |call: &&Call| (call.member, call.has_key) == (member, has_key);
                calls.iter().filter(by).any(|call| call.status == Some(200))
            };
            (0..MEMBERS).all(|member| is_served(member, true) && is_served(member, false))
        });
    }

    /// Judges the calls of the token endpoint (I1, I6).
    fn issuer_log(&self, mark: Mark, excuse: Excuse) -> Vec<String> {
        let calls = self.issuer.token_calls();
        let mut broken = vec![];
        let mut spent: BTreeMap<String, usize> = BTreeMap::new();
        let mut again = 0;
        for (number, call) in calls.iter().enumerate() {
            let Some(token) = &call.refresh_token else { continue };
            let times = spent.entry(token.clone()).or_default();
            *times += 1;
            again += usize::from(*times > 1 && number >= mark.token_calls);
        }
        if again > excuse.spent_again {
            broken
                .push(format!("I1: {again} refresh tokens were spent again: {:#?}", told(&calls)));
        }
        let since = &calls[mark.token_calls..];
        let passwords = since.iter().filter(|call| call.grant.as_deref() == Some("password"));
        let passwords = passwords.count();
        if passwords > excuse.passwords {
            broken.push(format!("I6: {passwords} passwords were shown: {:#?}", told(&calls)));
        }
        broken
    }

    /// Judges a revocation (I7): no member serves the key a poll after it, and the member that was
    /// cut off none after the time of staleness.
    pub(crate) fn judge_revocation(&self, cut: (usize, Instant), revoked: Instant) {
        let calls = self.traffic.since(revoked.min(cut.1));
        let late = calls.iter().filter(|call| call.has_key && call.status == Some(200));
        let late: Vec<_> = late
            .filter(|call| {
                let limit = if call.member == cut.0 { cut.1 + STALE } else { revoked + HEARD };
                call.began > limit
            })
            .collect();
        assert!(late.is_empty(), "I7: {late:#?}");
        let is_refused = |call: &&Call| call.has_key && call.member == cut.0;
        assert!(calls.iter().filter(is_refused).any(|call| call.status == Some(403)), "{calls:#?}");
    }
}

/// Judges the answers (I4): a token was valid at all times.
fn answers(calls: &[Call], excuse: Excuse) -> Vec<String> {
    let is_fine = |call: &Call| match call.status {
        Some(200) => true,
        Some(403) => {
            let is_stale = excuse.stale == Some(call.member);
            call.has_key && is_stale && call.error.contains("guard.client")
        }
        Some(_) => excuse.unreachable == Some(call.member) && call.error.contains("upstream."),
        None => excuse.down == Some(call.member),
    };
    calls.iter().filter(|call| !is_fine(call)).map(|call| format!("I4: {call:?}")).collect()
}

/// Returns the calls of the token endpoint without most of each token.
fn told(calls: &[nexudus_simulator::TokenCall]) -> Vec<String> {
    let short = |token: &Option<String>| {
        token.as_ref().map_or("-".to_owned(), |token| token.chars().take(6).collect())
    };
    let line = |call: &nexudus_simulator::TokenCall| {
        let grant = call.grant.clone().unwrap_or_default();
        let client = short(&call.client_id);
        let (spent, issued) = (short(&call.refresh_token), short(&call.issued_refresh));
        format!("{grant} as {client}: {spent} for {issued}, {:?}", call.status)
    };
    calls.iter().map(line).collect()
}

/// `clients_stale`, and a moment for a busy machine.
const STALE: Duration = Duration::from_secs(crate::CLIENTS_STALE.as_secs() + 2);

/// A command reaches every connected member within this time.
const HEARD: Duration = Duration::from_secs(5);
