//! The whole fleet: five members, the engine with its replicas and sentinels, the issuer, and callers.

use std::time::{Duration, Instant};

use nexudus_simulator::{Account, Route, Simulator};

use crate::engines::Engines;
use crate::members::Member;
use crate::namespaces::HUB;
use crate::traffic::Traffic;
use crate::{EMAIL, PASSWORD, TARGET, until};

/// A fleet that serves. What is dropped first stands first.
pub(crate) struct Fleet {
    pub(crate) traffic: Traffic,
    pub(crate) members: Vec<Member>,
    pub(crate) engines: Engines,
    pub(crate) issuer: Simulator,
    /// The key of the client `etl`.
    pub(crate) key: String,
}

/// The moment from which on a scenario is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) at: Instant,
    /// How many calls the token endpoint had seen.
    pub(crate) token_calls: usize,
}

impl Fleet {
    /// Starts everything, and waits until all members serve with one token.
    pub(crate) fn start() -> Self {
        let issuer = Simulator::builder()
            .account(Account::new(EMAIL, PASSWORD))
            .name(HUB)
            .listen(format!("{HUB}:{ISSUER_PORT}").parse().unwrap())
            .set(|settings| settings.token.access_life = ACCESS_LIFE)
            .start()
            .unwrap();
        let authority = format!("{HUB}:{ISSUER_PORT}");
        let engines = Engines::start(&format!("default@{authority}"));
        let origin = format!("https://{authority}");
        let members: Vec<_> = (FIRST_MEMBER..FIRST_MEMBER + MEMBERS)
            .map(|number| Member::start(number, &origin, issuer.ca_pem(), &engines))
            .collect();
        for member in &members {
            until("a member serves", || {
                member.get(TARGET, None).is_some_and(|answer| answer.status == 200)
            });
        }
        let grants: Vec<_> = issuer.token_calls().into_iter().map(|call| call.grant).collect();
        assert_eq!(grants, [Some("password".to_owned())], "five members, one login");
        let added = members[0].run("client add etl --json");
        let key = added.split('"').find(|word| word.starts_with("nxp_")).unwrap().to_owned();
        let sockets: Vec<_> = members.iter().map(Member::socket).collect();
        let serves =
            |member: &Member| member.get(TARGET, Some(&key)).is_some_and(|it| it.status == 200);
        until("each member knows the key", || members.iter().all(serves));
        let traffic = Traffic::start(&sockets, &key);
        let fleet = Self { traffic, members, engines, issuer, key };
        fleet.until_agreed();
        fleet
    }

    /// Renews the session with all members, so that a scenario begins with a young token.
    pub(crate) fn mark(&self) -> Mark {
        self.refresh(0);
        self.until_agreed();
        Mark { at: Instant::now(), token_calls: self.issuer.token_calls().len() }
    }

    /// Has a member renew the session, and waits until the issuer has issued a pair.
    pub(crate) fn refresh(&self, member: usize) {
        let before = self.issued();
        self.members[member].begin_refresh();
        until("the session is renewed", || self.issued() > before);
    }

    /// Has a member renew the session; its request waits at the issuer when this returns, until the
    /// guard goes. The pair is issued by then, and the answer is not sent.
    pub(crate) fn refresh_held(&self, member: usize) -> nexudus_simulator::HoldGuard {
        let held = self.issuer.hold_responses(Route::Token);
        self.members[member].begin_refresh();
        assert!(
            self.issuer.wait_until(|seen| seen.held() == 1, LONGEST_EVENT),
            "no request is held"
        );
        held
    }

    /// Returns how many pairs the issuer has issued.
    pub(crate) fn issued(&self) -> usize {
        self.issuer.token_calls().iter().filter(|call| call.issued.is_some()).count()
    }

    /// Waits until all members agree on the pair that lives at the issuer, and serve the key.
    ///
    /// The limit is the promised one. It is not scaled: what the members wait for here are the kernel's
    /// repetitions of lost packets, which know nothing of a test.
    pub(crate) fn until_agreed(&self) {
        let began = Instant::now();
        loop {
            let agreement = self.agreement();
            if agreement.is_ok() {
                return;
            }
            let late = began.elapsed() > AGREEMENT;
            assert!(!late, "I3: no agreement within {AGREEMENT:?}: {agreement:?}");
            // Nothing wakes a watcher of five programs.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Says whether all members hold the one pair that lives at the issuer; else which does not.
    fn agreement(&self) -> Result<(), String> {
        let mut shared: Option<String> = None;
        for (number, member) in self.members.iter().enumerate() {
            let status = member.fleet_status();
            let is = |name: &str| status[name] == true;
            if !is("connected") || !is("committed") || is("apart") || is("clients_stale") {
                return Err(format!("member {number}: {status}"));
            }
            let token = self.token_of(number).ok_or(format!("member {number} serves nothing"))?;
            if shared.as_ref().is_some_and(|shared| *shared != token) {
                return Err(format!("member {number} has another token: {status}"));
            }
            shared = Some(token);
        }
        let calls = self.issuer.token_calls();
        let pair = calls.iter().find(|call| call.issued == shared);
        let refresh = pair.and_then(|call| call.issued_refresh.clone()).unwrap_or_default();
        let is_live = self.issuer.live_refresh_tokens().iter().any(|(live, _)| *live == refresh);
        if is_live {
            Ok(())
        } else {
            Err("the refresh token of the shared pair is dead".to_owned())
        }
    }

    /// Returns the token that a member sends, as the issuer sees it.
    fn token_of(&self, number: usize) -> Option<String> {
        let target = format!("{TARGET}?seen={number}");
        let answer = self.members[number].get(&target, None)?;
        let mut token = None;
        self.issuer.wait_until(
            |seen| {
                let seen = seen.requests().rev().find(|request| request.target == target);
                token = seen.and_then(|request| request.bearer.clone());
                true
            },
            Duration::ZERO,
        );
        token.filter(|_| answer.status == 200)
    }
}

/// How many members there are.
pub(crate) const MEMBERS: usize = 5;

/// Twice what a member keeps of it at the end, in the times of the test: a pair is renewed after 72 s, and
/// a member that is cut off opens a session of its own 15 s before the end.
pub(crate) const ACCESS_LIFE: Duration = Duration::from_secs(90);

/// How long an event may take that must come.
const LONGEST_EVENT: Duration = Duration::from_secs(20);

/// After healing, all members agree within this time.
const AGREEMENT: Duration = Duration::from_secs(10);

const FIRST_MEMBER: usize = 11;

const ISSUER_PORT: u16 = 8443;
