//! A checker over a recorded history: what the issuer saw, and what the members did.
//!
//! The recorder writes down facts with one clock. [`check`] returns every promise that they break.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::fence::Fence;

/// The number of a member; its restarts have the same one.
pub type MemberId = u32;

/// A fact and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// When, by the recorder's clock.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The member runs and reaches the engine and the issuer, from now on.
    Connected(MemberId),
    /// It does not, from now on.
    Apart(MemberId),
    /// A request to the issuer left.
    Posted {
        /// The request.
        request: u64,
        /// By whom.
        member: MemberId,
        /// The refresh token; none with a password.
        token: Option<String>,
        /// The fence of the intent; none for a chain of the member's own.
        intent: Option<Fence>,
        /// The epoch that the member knew.
        epoch: Fence,
    },
    /// The request has an outcome at the member.
    Ended {
        /// The request.
        request: u64,
        /// Whether the issuer refused it; `None` without an answer.
        is_refused: Option<bool>,
    },
    /// The member wrote an intent.
    Intended {
        /// By whom.
        member: MemberId,
        /// Its fence.
        fence: Fence,
        /// Whether another open intent on the same was known, and waited for.
        is_over_another: bool,
        /// Whether it was durable.
        is_durable: bool,
    },
    /// The intent ended with its outcome written down.
    Resolved(Fence),
    /// The engine was emptied or restored: what members did not keep is gone.
    EngineLost,
    /// The member learned of an epoch.
    SawEpoch(MemberId, Fence),
    /// The member sent a token of this epoch or generation.
    Used(MemberId, Fence),
    /// The member gave an error to a client, although it had a valid token.
    Failed(MemberId),
    /// A client was revoked, and the engine said so.
    Revoked(String),
    /// The member served a request of this client.
    Served(MemberId, String),
    /// All faults are over.
    Healed,
    /// What the member holds after that: the access token, and whether the issuer accepts it.
    Holds {
        /// The member.
        member: MemberId,
        /// The token.
        access: Option<String>,
        /// Whether it works.
        is_live: bool,
    },
    /// A request left for the upstream, under the common rate.
    Sent(MemberId),
}

/// What the checker must know.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a member may serve a revoked client.
    pub clients_stale: Duration,
    /// The common rate, if one is shared: requests in a period.
    pub rate: Option<(u32, Duration)>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one: 1 to 7.
    pub promise: u8,
    /// When.
    pub at: Duration,
    /// What happened.
    pub what: String,
}

/// Returns every promise that the facts break.
pub fn check(facts: &[Fact], limits: &Limits) -> Vec<Violation> {
    let mut check = Check { limits, violations: vec![], state: State::default() };
    for fact in facts {
        check.take(fact);
    }
    check.rate(facts);
    check.violations
}

struct Check<'a> {
    limits: &'a Limits,
    violations: Vec<Violation>,
    state: State,
}

#[derive(Default)]
struct State {
    connected: BTreeSet<MemberId>,
    posts: Vec<Post>,
    intents: BTreeMap<Fence, (MemberId, bool, bool)>,
    resolved: BTreeSet<Fence>,
    epochs: BTreeMap<MemberId, Fence>,
    revoked: BTreeMap<String, Duration>,
    /// Epochs whose password was refused: to whom, and when.
    refused: BTreeMap<Fence, (MemberId, Duration)>,
    tried_apart: BTreeSet<(MemberId, Fence)>,
    healed: bool,
    holds: BTreeMap<MemberId, Option<String>>,
}

struct Post {
    request: u64,
    member: MemberId,
    token: Option<String>,
    intent: Option<Fence>,
    epoch: Fence,
    is_open: bool,
    /// The token was dead before: this request spent nothing.
    is_refused: bool,
}

impl Check<'_> {
    fn take(&mut self, fact: &Fact) {
        let at = fact.at;
        match &fact.what {
            What::Connected(member) => drop(self.state.connected.insert(*member)),
            What::Apart(member) => {
                self.state.connected.remove(member);
                // A refusal that its member had no time to write down is known to none.
                let is_told = |(to, when): &(MemberId, Duration)| to != member || at > *when + TOLD;
                self.state.refused.retain(|_, refusal| is_told(refusal));
            }
            What::Posted { .. } => self.posted(fact),
            What::Ended { request, is_refused } => self.ended(at, *request, *is_refused),
            What::Intended { member, fence, is_over_another, is_durable } => {
                self.state.intents.insert(*fence, (*member, *is_over_another, *is_durable));
            }
            What::EngineLost => {
                self.state.intents.values_mut().for_each(|intent| intent.2 = false);
                // Until a member that knows of them is back, the fleet does not.
                self.state.revoked.clear();
            }
            What::Resolved(fence) => drop(self.state.resolved.insert(*fence)),
            What::SawEpoch(member, epoch) => {
                self.state.epochs.entry(*member).or_default().raise(*epoch);
            }
            What::Used(member, epoch) => self.used(at, *member, *epoch),
            What::Failed(member) => {
                self.broken(4, at, format!("member {member} failed with a valid token"));
            }
            What::Revoked(client) => {
                self.state.revoked.entry(client.clone()).or_insert(at);
            }
            What::Served(member, client) => self.served(at, *member, client),
            What::Healed => {
                self.state.healed = true;
                self.state.holds.clear();
            }
            What::Holds { member, access, is_live } => {
                self.holds(at, *member, access.clone(), *is_live);
            }
            What::Sent(_) => {}
        }
    }

    fn used(&mut self, at: Duration, member: MemberId, epoch: Fence) {
        let seen = self.state.epochs.get(&member).copied().unwrap_or_default();
        if epoch < seen {
            self.broken(2, at, format!("member {member} used {epoch} after it saw {seen}"));
        }
    }

    fn served(&mut self, at: Duration, member: MemberId, client: &str) {
        let revoked = self.state.revoked.get(client).copied();
        if revoked.is_some_and(|revoked| at > revoked + self.limits.clients_stale) {
            self.broken(7, at, format!("member {member} served {client} after it was revoked"));
        }
    }

    fn posted(&mut self, fact: &Fact) {
        let What::Posted { request, member, token, intent, epoch } = &fact.what else { return };
        match (token, intent) {
            (Some(token), Some(_)) => self.spent(fact.at, *member, token, *intent),
            (None, Some(_)) => self.tried(fact.at, *member, *epoch),
            (None, None) if !self.state.tried_apart.insert((*member, *epoch)) => {
                self.broken(6, fact.at, format!("member {member} tried twice in epoch {epoch}"));
            }
            // The chain is the member's own, and so is its refresh token.
            (_, None) => {}
        }
        self.state.posts.push(Post {
            request: *request,
            member: *member,
            token: token.clone(),
            intent: *intent,
            epoch: *epoch,
            is_open: true,
            is_refused: false,
        });
    }

    /// A refresh token: never twice, except under an intent that is unresolved and known.
    fn spent(&mut self, at: Duration, member: MemberId, token: &str, intent: Option<Fence>) {
        let known = intent.and_then(|fence| self.state.intents.get(&fence).copied());
        let Some((_, is_over_another, _)) = known.filter(|(owner, ..)| *owner == member) else {
            return self.broken(1, at, format!("member {member} spent a token without an intent"));
        };
        let mut wrong = vec![];
        let is_again = self.state.posts.iter().any(|post| {
            let is_own = post.member == member && post.token.as_deref() == Some(token);
            is_own && !self.is_resolved(post)
        });
        for post in self.state.posts.iter().filter(|post| post.token.as_deref() == Some(token)) {
            let is_there = self.state.connected.contains(&post.member);
            if post.is_refused || (post.member == member && !self.is_resolved(post)) {
                continue;
            }
            if post.is_open && is_there && post.member != member {
                wrong.push(format!("member {member} spent a token while {} did", post.member));
            } else if self.is_resolved(post) && is_there {
                wrong.push(format!("member {member} spent a token that {} had spent", post.member));
            } else if !is_over_another
                && !is_again
                && self.was_durable(post)
                && !self.is_resolved(post)
            {
                wrong
                    .push(format!("member {member} did not know of the intent of {}", post.member));
            }
        }
        for what in wrong {
            self.broken(1, at, what);
        }
    }

    /// A password under a lease: one at a time, and none after a refusal.
    fn tried(&mut self, at: Duration, member: MemberId, epoch: Fence) {
        if self.state.refused.contains_key(&epoch) {
            self.broken(6, at, format!("member {member} tried a password that was refused"));
        }
        let other = self.state.posts.iter().find(|post| {
            let is_there = self.state.connected.contains(&post.member);
            post.is_open
                && post.token.is_none()
                && post.intent.is_some()
                && is_there
                && post.member != member
                && post.epoch == epoch
        });
        if let Some(other) = other.map(|post| post.member) {
            self.broken(6, at, format!("member {member} tried the password while {other} did"));
        }
    }

    fn is_resolved(&self, post: &Post) -> bool {
        post.intent.is_some_and(|fence| self.state.resolved.contains(&fence))
    }

    fn was_durable(&self, post: &Post) -> bool {
        let intent = post.intent.and_then(|fence| self.state.intents.get(&fence));
        intent.is_some_and(|(_, _, is_durable)| *is_durable)
    }

    fn ended(&mut self, at: Duration, request: u64, is_refused: Option<bool>) {
        let Some(post) = self.state.posts.iter_mut().find(|post| post.request == request) else {
            return;
        };
        post.is_open = false;
        post.is_refused |= is_refused == Some(true);
        // What a member alone was told, the others may learn only when it is back.
        let is_known = post.intent.is_some() && self.state.connected.contains(&post.member);
        if is_refused == Some(true) && post.token.is_none() && is_known {
            self.state.refused.entry(post.epoch).or_insert((post.member, at));
        }
    }

    fn holds(&mut self, at: Duration, member: MemberId, access: Option<String>, is_live: bool) {
        if !self.state.healed {
            return;
        }
        if !is_live {
            self.broken(3, at, format!("member {member} holds no live token after healing"));
        }
        let other = self.state.holds.iter().find(|(_, held)| **held != access).map(|(id, _)| *id);
        if let Some(other) = other {
            self.broken(3, at, format!("members {other} and {member} do not agree"));
        }
        self.state.holds.insert(member, access);
    }

    /// No window of the period has more requests than the limit and 5 %.
    fn rate(&mut self, facts: &[Fact]) {
        let Some((limit, period)) = self.limits.rate else { return };
        let most = (limit + limit / 20) as usize;
        let sent = facts.iter().filter(|fact| matches!(fact.what, What::Sent(_)));
        let sent: Vec<Duration> = sent.map(|fact| fact.at).collect();
        let excess = sent.windows(most + 1).find(|window| window[most] - window[0] < period);
        if let Some(window) = excess {
            let what = format!("more than {most} requests in {period:?}");
            self.broken(5, window[0], what);
        }
    }

    fn broken(&mut self, promise: u8, at: Duration, what: String) {
        self.violations.push(Violation { promise, at, what });
    }
}

/// A member that lives needs less to write down a refusal.
const TOLD: Duration = Duration::from_secs(2);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I{} at {:?}: {}", self.promise, self.at, self.what)
    }
}
