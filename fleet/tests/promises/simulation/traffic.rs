//! What travels: calls to the engine, requests to the issuer, requests of programs; and what a person
//! and the checker look at in the end.

use std::time::Duration;

use shared_session::call::{Call, CallError, Place, Reply};
use shared_session::history::What;
use shared_session::member::{Command, Event, Grant, GrantError, Member, Redemption};
use shared_session::secret::Secret;

use super::issuer::{LIFETIME, Pair};
use super::member::{EPOCH, Machine};
use super::world::{Gateway, Job, World};

impl World {
    pub(super) fn no_answer(&mut self, machine: usize, run: u64) {
        let event = Event::Replied(Err(CallError::Away));
        self.after(CALL_TIMEOUT, Job::ToMember { machine, run, event });
    }

    pub(super) fn reach_engine(&mut self, machine: usize, run: u64, call: &Call) {
        if self.engine.down_until > self.at {
            return self.no_answer(machine, run);
        }
        let now = EPOCH * 1_000 + self.at.as_micros();
        let now = i64::try_from(now).unwrap() + self.engine.skew * 1_000_000;
        let now = now.try_into().unwrap();
        let mut reply = self.engine.store.perform(call, now, &self.plan.timing);
        let mut wait = self.between(1, 40);
        if let Ok(Reply::Done { is_durable }) = &mut reply {
            *is_durable = self.engine.replicates || self.plan.waits_elsewhere;
            if !*is_durable {
                wait += CALL_TIMEOUT / 2;
            }
        }
        if !matches!(call, Call::Poll { .. }) {
            let store = Box::new(self.engine.store.clone());
            let primary = self.engine.primary;
            // Before the answer: that is what it waited for.
            self.after(wait / 2, Job::Replicate { primary, store });
        }
        if let (Call::Put { place: Place::Set, stored, .. }, Ok(Reply::Done { is_durable })) =
            (call, &reply)
            && stored.is_tombstone
        {
            self.fact(What::Revoked { client: "k".to_owned(), is_durable: *is_durable });
        }
        if matches!(call, Call::Commit { .. } | Call::Put { .. } | Call::Spare { .. }) {
            self.hint();
        }
        if matches!(call, Call::Commit { .. }) {
            self.renewed = self.at;
        }
        if self.machines[machine].can_hear {
            self.after(wait, Job::ToMember { machine, run, event: Event::Replied(reply) });
        } else {
            self.no_answer(machine, run);
        }
    }

    pub(super) fn hint(&mut self) {
        for machine in 0..self.machines.len() {
            if self.machines[machine].can_hear {
                let (wait, run) = (self.between(1, 30), self.machines[machine].run);
                self.after(wait, Job::ToMember { machine, run, event: Event::Hinted });
            }
        }
    }

    pub(super) fn redeem(&mut self, machine: usize, run: u64, redemption: Redemption) {
        self.requests += 1;
        let request = self.requests;
        let one = &self.machines[machine];
        let Some(member) = &one.member else { return };
        let is_persons = self.is_helped && one.id == 0 && redemption.refresh.is_none();
        let posted = What::Posted {
            request,
            member: one.id,
            token: redemption.refresh.as_ref().map(|token| token.expose().to_owned()),
            intent: (!redemption.is_apart).then_some(one.intent),
            // A login that a person gives begins an epoch of its own.
            epoch: if is_persons { one.intent } else { member.local().epoch.fence() },
        };
        self.fact(posted);
        self.open.insert(machine, request);
        if self.dies(machine) {
            // The request is on its way all the same.
        }
        let wait = self.issuer_delay();
        self.after(wait, Job::ToIssuer { machine, run, redemption });
    }

    pub(super) fn reach_issuer(&mut self, machine: usize, run: u64, redemption: &Redemption) {
        let is_faulty = self.plan.faults && !self.is_healed;
        let (lost, twice) = (self.random.u8(..100) < 6, self.random.u8(..100) < 4);
        let mut result = None;
        let gateway = self.gateway_fails(redemption);
        let passes = gateway.is_none() || self.random.bool();
        if passes && !(is_faulty && lost && self.random.bool()) {
            result = Some(self.ask_issuer(redemption));
            if is_faulty && twice {
                self.ask_issuer(redemption);
            }
        }
        let answer = match result {
            Some(Some(pair)) => Ok(grant(pair)),
            Some(None) => Err(GrantError::Refused),
            None => Err(GrantError::Unanswered),
        };
        let is_lost = is_faulty && lost || answer == Err(GrantError::Unanswered);
        let (wait, answer) = if let Some(failure) = gateway {
            (self.issuer_delay(), Err(failure))
        } else if is_lost {
            (Duration::from_secs(30), Err(GrantError::Unanswered))
        } else {
            (self.issuer_delay(), answer)
        };
        self.after(wait, Job::ToMember { machine, run, event: Event::Redeemed(answer) });
    }

    /// Notes the outcome at the member: one that is stopped hears it later, and one that died never.
    pub(super) fn heard(&mut self, machine: usize, answer: &Result<Grant, GrantError>) {
        let is_refused = match answer {
            Ok(_) => Some(false),
            Err(GrantError::Refused) => Some(true),
            Err(GrantError::NotSent | GrantError::Unanswered) => None,
        };
        if let Some(request) = self.open.get(&machine).copied() {
            self.fact(What::Ended { request, is_refused });
        }
    }

    /// Returns what a member makes of the response of a gateway, if one responds: after the issuer has
    /// taken the request, or without having passed it on.
    fn gateway_fails(&mut self, redemption: &Redemption) -> Option<GrantError> {
        let fails = self.plan.gateway != Gateway::Sound && !self.is_healed;
        if !(fails && self.random.u8(..100) < 25) {
            return None;
        }
        // A password that was perhaps not looked at may be tried again, but once by a member on its own.
        let is_refresh = redemption.refresh.is_some();
        let is_believed = self.plan.gateway == Gateway::Believed && is_refresh;
        Some(if is_believed || !is_refresh && !redemption.is_apart {
            GrantError::NotSent
        } else {
            GrantError::Unanswered
        })
    }

    pub(super) fn issuer_delay(&mut self) -> Duration {
        let is_slow = self.plan.faults && !self.is_healed && self.random.u8(..4) == 0;
        if is_slow { self.between(3_000, 14_000) } else { self.between(20, 400) }
    }

    pub(super) fn ask_issuer(&mut self, redemption: &Redemption) -> Option<Pair> {
        match &redemption.refresh {
            Some(token) => self.issuer.refresh(&redemption.client_id, token.expose(), self.at),
            None => self.issuer.log_in(&redemption.client_id, self.known_password, self.at),
        }
    }

    /// A program sends a request through each member, and one with a key.
    pub(super) fn client(&mut self, machine: usize) {
        self.after(Duration::from_secs(5), Job::Client(machine));
        let one = &self.machines[machine];
        let (id, run, now) = (one.id, one.run, one.now(self.at));
        let Some(member) = one.member.as_ref().filter(|_| one.stopped_until <= self.at) else {
            return;
        };
        if member.admits("k", now) {
            self.fact(What::Served(id, "k".to_owned()));
        }
        let Some(member) = &self.machines[machine].member else { return };
        let own = member.local().session.get().filter(|(generation, session)| {
            let is_live = self.issuer.accepts(session.access.expose(), self.at);
            is_live && *generation >= member.local().epoch.fence() && !member.is_shut()
        });
        let (has_valid, bearer) = (own.is_some(), member.bearer(now));
        let Some(bearer) = bearer else {
            if has_valid {
                self.fact(What::Failed(id));
            }
            return;
        };
        self.fact(What::Used(id, bearer.epoch));
        if !self.issuer.accepts(bearer.access.expose(), self.at) {
            if has_valid {
                self.fact(What::Failed(id));
            }
            self.deliver(machine, run, Event::Rejected(bearer.access));
        }
    }

    /// Says whether a new pair is on its way to the members: at the issuer, or in the engine and not
    /// yet read after the hint. Then nothing could let them agree at once, and the look is put off, but
    /// not for long.
    pub(super) fn waits_to_look(&self, planned: Duration) -> bool {
        self.at < planned + Duration::from_secs(5) && self.is_renewing()
    }

    fn is_renewing(&self) -> bool {
        let is_working = |one: &Machine| one.member.as_ref().is_some_and(Member::holds_lease);
        self.machines.iter().any(is_working) || self.at < self.renewed + self.plan.timing.hint * 2
    }

    pub(super) fn agree(&mut self, is_last: bool) {
        self.fact(What::Healed);
        for machine in 0..self.machines.len() {
            let one = &self.machines[machine];
            let (member, now) = (one.id, one.now(self.at));
            let Some(state) = &one.member else { continue };
            let session = state.local().session.get().map(|(_, session)| session);
            let access = session.map(|session| session.access.expose().to_owned());
            let is_served = state
                .bearer(now)
                .is_some_and(|bearer| self.issuer.accepts(bearer.access.expose(), self.at));
            let can_go_on = session.is_some_and(|session| {
                let refresh = session.refresh.as_ref().map_or("", Secret::expose);
                self.issuer.would_refresh(&session.client_id, refresh)
            });
            let is_live = !is_last || (is_served && can_go_on);
            self.fact(What::Holds { member, access, is_live });
        }
    }

    /// A person does what the fleet asks for: gives the password again.
    pub(super) fn help(&mut self) {
        let needs_person = self
            .machines
            .iter()
            .any(|one| one.member.as_ref().is_some_and(|member| member.blocked().is_some()));
        if needs_person || self.plan.password_changes {
            self.is_helped = true;
            self.known_password = u64::from(self.plan.password_changes);
            assert!(self.issuer.has_password(self.known_password));
            let account = "a@example.test".to_owned();
            self.perform(Job::Ask(0, Command::Login { account, needs_code: false }));
        }
    }
}

fn grant(pair: Pair) -> Grant {
    Grant {
        access: Secret::new(pair.access),
        refresh: Some(Secret::new(pair.refresh)),
        lifetime: LIFETIME,
        account: None,
    }
}

/// After that a call has no answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
