//! The judge of a history: one pass over its facts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Fact, Limits, MemberId, Violation, What};
use crate::fence::Fence;

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
    /// By fence and member: after a loss of the engine a fence can be drawn twice.
    intents: BTreeMap<(Fence, MemberId), Written>,
    /// When the outcome of each intent was written down.
    resolved: BTreeMap<Fence, Duration>,
    epochs: BTreeMap<MemberId, Fence>,
    revoked: BTreeMap<String, Revocation>,
    /// Epochs whose password was refused.
    refused: BTreeMap<Fence, Refusal>,
    /// The members that were told in which epoch that the password is refused, also while cut off.
    told: BTreeMap<(MemberId, Fence), Duration>,
    /// Since when each member is connected.
    back: BTreeMap<MemberId, Duration>,
    /// When each member was last cut off or down.
    apart: BTreeMap<MemberId, Duration>,
    /// When the engine was last emptied or restored.
    engine_lost: Option<Duration>,
    tried_apart: BTreeSet<(MemberId, Fence)>,
    healed: bool,
    holds: BTreeMap<MemberId, Option<String>>,
}

/// An intent as its member wrote it.
#[derive(Clone, Copy)]
struct Written {
    is_over_another: bool,
    is_durable: bool,
}

/// A password was refused.
struct Refusal {
    to: MemberId,
    at: Duration,
    intent: Fence,
}

/// A client was revoked.
#[derive(Default)]
struct Revocation {
    /// `None` while the engine has lost it and every member that knows of it is away.
    since: Option<Duration>,
    /// A member that knows of it is back, and had no time yet to tell the engine.
    is_untold: bool,
    known: BTreeSet<MemberId>,
    lost: Option<Duration>,
    /// The engine has said that no failover loses it.
    is_durable: bool,
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
    /// The run of the member that was told has ended.
    is_forgotten: bool,
    ended: Option<Duration>,
}

impl Revocation {
    fn is_known(&self, connected: &BTreeSet<MemberId>) -> bool {
        self.known.iter().any(|member| connected.contains(member))
    }

    /// The engine does not have it any more; a connected member that knows of it writes it again.
    fn lose(&mut self, at: Duration, connected: &BTreeSet<MemberId>) {
        self.lost = Some(at);
        if !self.is_known(connected) {
            self.since = None;
        }
    }
}

impl Check<'_> {
    fn take(&mut self, fact: &Fact) {
        let at = fact.at;
        match &fact.what {
            What::Connected(member) => self.connected(at, *member),
            What::Apart(member) => self.parted(at, *member),
            What::Posted { .. } => self.posted(fact),
            What::Ended { request, is_refused } => self.ended(at, *request, *is_refused),
            What::Intended { member, fence, is_over_another, is_durable } => {
                let (is_over_another, is_durable) = (*is_over_another, *is_durable);
                let written = Written { is_over_another, is_durable };
                self.state.intents.insert((*fence, *member), written);
            }
            What::EngineLost => self.engine_lost(at),
            What::Resolved(fence) => drop(self.state.resolved.entry(*fence).or_insert(at)),
            What::SawEpoch(member, epoch) => {
                self.state.epochs.entry(*member).or_default().raise(*epoch);
            }
            What::Used(member, epoch) => self.used(at, *member, *epoch),
            What::Failed(member) => {
                self.broken(4, at, format!("member {member} failed with a valid token"));
            }
            What::Revoked { client, is_durable } => {
                let revocation = self.state.revoked.entry(client.clone()).or_default();
                revocation.since.get_or_insert(at);
                (revocation.lost, revocation.is_untold) = (None, false);
                revocation.is_durable |= *is_durable;
            }
            What::RevocationLost(client) => {
                let state = &mut self.state;
                if let Some(one) = state.revoked.get_mut(client).filter(|one| !one.is_durable) {
                    one.lose(at, &state.connected);
                }
            }
            What::Knows(member, client) => {
                let revocation = self.state.revoked.entry(client.clone()).or_default();
                revocation.known.insert(*member);
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

    fn connected(&mut self, at: Duration, member: MemberId) {
        self.state.connected.insert(member);
        self.state.back.insert(member, at);
        // A member that is back writes again what it knows.
        for revocation in self.state.revoked.values_mut() {
            if revocation.known.contains(&member) && revocation.since.is_none() {
                (revocation.since, revocation.is_untold) = (Some(at), true);
            }
        }
    }

    fn parted(&mut self, at: Duration, member: MemberId) {
        let state = &mut self.state;
        state.connected.remove(&member);
        state.apart.insert(member, at);
        let back = state.back.remove(&member);
        let had_time = back.is_some_and(|back| at > back + REWRITTEN);
        state.told.retain(|(to, _), told| *to != member || at > *told + TOLD);
        // A refusal that its member had no time to write down is known to none.
        let resolved = &state.resolved;
        state.refused.retain(|_, one| {
            one.to != member || resolved.contains_key(&one.intent) || at > one.at + TOLD
        });
        // So is a revocation that the engine lost right before.
        for revocation in state.revoked.values_mut() {
            let is_lost = revocation.lost.is_some_and(|lost| at <= lost + REWRITTEN);
            revocation.is_untold &= !(had_time && revocation.known.contains(&member));
            if (is_lost || revocation.is_untold) && !revocation.is_known(&state.connected) {
                revocation.since = None;
            }
        }
    }

    fn engine_lost(&mut self, at: Duration) {
        let state = &mut self.state;
        state.engine_lost = Some(at);
        state.intents.values_mut().for_each(|intent| intent.is_durable = false);
        for revocation in state.revoked.values_mut() {
            revocation.is_durable = false;
            revocation.lose(at, &state.connected);
        }
    }

    fn used(&mut self, at: Duration, member: MemberId, epoch: Fence) {
        let seen = self.state.epochs.get(&member).copied().unwrap_or_default();
        if epoch < seen {
            self.broken(2, at, format!("member {member} used {epoch} after it saw {seen}"));
        }
    }

    fn served(&mut self, at: Duration, member: MemberId, client: &str) {
        let revoked = self.state.revoked.get(client).and_then(|one| one.since);
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
            (None, None) if self.state.told.contains_key(&(*member, *epoch)) => {
                let what = format!("member {member} tried a password that it knew to be refused");
                self.broken(6, fact.at, what);
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
            is_forgotten: false,
            ended: None,
        });
    }

    /// A refresh token: never twice, except under an intent that is unresolved and known.
    fn spent(&mut self, at: Duration, member: MemberId, token: &str, intent: Option<Fence>) {
        let known = intent.and_then(|fence| self.state.intents.get(&(fence, member)).copied());
        let Some(Written { is_over_another, .. }) = known else {
            return self.broken(1, at, format!("member {member} spent a token without an intent"));
        };
        let mut wrong = vec![];
        let is_again = self.state.posts.iter().any(|post| {
            let is_own = post.member == member && post.token.as_deref() == Some(token);
            is_own && !self.is_resolved(post)
        });
        for post in self.state.posts.iter().filter(|post| post.token.as_deref() == Some(token)) {
            let is_there = self.state.connected.contains(&post.member);
            // A request whose token was dead before spent nothing; but its member was told.
            let apart = self.state.apart.get(&member).copied();
            let is_told = post.is_refused && !post.is_forgotten && post.ended > apart;
            if is_told && post.member == member {
                wrong.push(format!("member {member} sent a token that it knew to be dead"));
            }
            if post.is_refused || (post.member == member && !self.is_resolved(post)) {
                continue;
            }
            if post.is_open && is_there && post.member != member {
                wrong.push(format!("member {member} spent a token while {} did", post.member));
            } else if self.is_told(at, post) {
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
        // A member that was told while it was cut off tells the others when it is back.
        let state = &self.state;
        let is_known =
            state.told.iter().filter(|((_, of), _)| *of == epoch).any(|((to, _), told)| {
                let since = state.back.get(to).map(|since| *since.max(told));
                *to == member || since.is_some_and(|since| at > since + REWRITTEN)
            });
        if is_known || state.refused.contains_key(&epoch) {
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
        post.intent.is_some_and(|fence| self.state.resolved.contains_key(&fence))
    }

    /// Says whether others can know what came of the intent. What the engine has lost since, its member
    /// writes again when it is back.
    fn is_told(&self, at: Duration, post: &Post) -> bool {
        let resolved = post.intent.and_then(|fence| self.state.resolved.get(&fence).copied());
        let back = self.state.back.get(&post.member).copied();
        let is_lost = self.state.engine_lost > resolved;
        let had_time = back.is_some_and(|back| at > back + REWRITTEN);
        resolved.is_some() && back.is_some() && (!is_lost || had_time)
    }

    fn was_durable(&self, post: &Post) -> bool {
        let intent = post.intent.and_then(|fence| self.state.intents.get(&(fence, post.member)));
        intent.is_some_and(|intent| intent.is_durable)
    }

    fn ended(&mut self, at: Duration, request: u64, is_refused: Option<bool>) {
        // A second end is that of the run.
        let is_second = |post: &&Post| post.request == request && !post.is_open;
        let ended = self.state.posts.iter().find(is_second).filter(|_| is_refused.is_none());
        let died = ended.map(|post| post.member);
        let own = self.state.posts.iter_mut().filter(|post| Some(post.member) == died);
        own.for_each(|post| post.is_forgotten = true);
        let Some(post) = self.state.posts.iter_mut().find(|post| post.request == request) else {
            return;
        };
        post.is_open = false;
        post.ended = post.ended.max(Some(at));
        post.is_refused |= is_refused == Some(true);
        let (member, epoch) = (post.member, post.epoch);
        if is_refused == Some(true) && post.token.is_none() {
            self.state.told.entry((member, epoch)).or_insert(at);
        } else if is_refused.is_none() {
            // The member died: with what it had no time to keep.
            self.state.told.retain(|(to, _), told| *to != member || at > *told + TOLD);
        }
        // What a member alone was told, the others may learn only when it is back.
        let is_known = post.intent.is_some() && self.state.connected.contains(&post.member);
        if is_refused == Some(true) && post.token.is_none() && is_known {
            let refusal = Refusal { to: post.member, at, intent: post.intent.unwrap_or_default() };
            self.state.refused.entry(post.epoch).or_insert(refusal);
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

/// A member that reaches the engine finds out by its next poll that it lost something.
const REWRITTEN: Duration = Duration::from_secs(10);
