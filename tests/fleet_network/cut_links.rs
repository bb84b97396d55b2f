//! Links that are cut: of one member to the engine, one way and both ways, and to everything.

use std::time::{Duration, Instant};

use crate::judge::Excuse;
use crate::namespaces::{Cut, ENGINES, isolated};
use crate::stage::Fleet;
use crate::{LEASE, TARGET, until};

/// The member whose link is cut.
const APART: usize = 4;

#[test]
#[ignore = "takes minutes: make check-fleet"]
fn a_member_whose_link_is_cut_serves_on_and_comes_back() {
    isolated("cut_links::a_member_whose_link_is_cut_serves_on_and_comes_back", || {
        let fleet = Fleet::start();
        for (cut, others) in [
            (Cut::Both, ENGINES),
            (Cut::Sent, ENGINES),
            (Cut::Received, ENGINES),
            (Cut::Both, "10.77.0.0/24"),
        ] {
            let told = format!("{cut:?} {others}");
            let mark = fleet.mark();
            let apart = &fleet.members[APART];
            apart.node.cut(cut, others);
            // It is told to renew the session, and cannot: what it spent nobody would hear of.
            apart.begin_refresh();
            // No event tells that a lease would be over.
            std::thread::sleep(LEASE);
            fleet.refresh(0);
            std::thread::sleep(LEASE);
            apart.node.heal();
            fleet.until_agreed();
            let unreachable = (others != ENGINES).then_some(APART);
            let excuse = Excuse { stale: Some(APART), unreachable, ..Excuse::default() };
            fleet.judge(&told, mark, excuse);
        }
    });
}

#[test]
#[ignore = "takes minutes: make check-fleet"]
fn a_member_that_is_cut_off_while_it_renews_brings_the_pair_when_it_is_back() {
    isolated(
        "cut_links::a_member_that_is_cut_off_while_it_renews_brings_the_pair_when_it_is_back",
        || {
            let fleet = Fleet::start();
            let mark = fleet.mark();
            let apart = &fleet.members[APART];
            let held = fleet.refresh_held(APART);
            apart.node.cut(Cut::Both, ENGINES);
            drop(held);
            // No event tells that a lease would be over.
            std::thread::sleep(LEASE);
            fleet.members[0].begin_refresh();
            std::thread::sleep(LEASE);
            let spent = fleet.issuer.token_calls().len() - mark.token_calls;
            assert_eq!(spent, 1, "the others leave it to its owner");
            apart.node.heal();
            fleet.until_agreed();
            let excuse = Excuse { stale: Some(APART), ..Excuse::default() };
            fleet.judge("cut off while its request was out", mark, excuse);
        },
    );
}

#[test]
#[ignore = "takes minutes: make check-fleet"]
fn a_member_that_is_cut_off_until_its_token_ends_opens_one_session_of_its_own() {
    isolated(
        "cut_links::a_member_that_is_cut_off_until_its_token_ends_opens_one_session_of_its_own",
        || {
            let fleet = Fleet::start();
            fleet.issuer.set(|settings| settings.token.access_life = Duration::from_secs(25));
            let mark = fleet.mark();
            let apart = &fleet.members[APART];
            apart.node.cut(Cut::Both, ENGINES);
            until("it has a session of its own", || apart.fleet_status()["apart"] == true);
            // Two lives more: it renews its own session, and shows no password again.
            std::thread::sleep(Duration::from_secs(50));
            apart.node.heal();
            fleet.until_agreed();
            let excuse = Excuse { passwords: 1, stale: Some(APART), ..Excuse::default() };
            fleet.judge("cut off for three lives of a token", mark, excuse);
            let strays = || fleet.members.iter().all(|member| member.fleet_status()["strays"] == 1);
            until("each member lists its session", strays);
        },
    );
}

#[test]
#[ignore = "takes minutes: make check-fleet"]
fn a_revoked_key_is_refused_by_a_member_that_cannot_hear_of_it() {
    isolated("cut_links::a_revoked_key_is_refused_by_a_member_that_cannot_hear_of_it", || {
        let fleet = Fleet::start();
        let apart = &fleet.members[APART];
        let cut = Instant::now();
        apart.node.cut(Cut::Both, ENGINES);
        fleet.members[0].run("client revoke etl");
        let revoked = Instant::now();
        let is_refused = || apart.get(TARGET, Some(&fleet.key)).is_some_and(|it| it.status == 403);
        until("it refuses the key", is_refused);
        std::thread::sleep(LEASE);
        apart.node.heal();
        fleet.until_agreed();
        // A moment for the callers: no member may take the key again.
        std::thread::sleep(LEASE);
        fleet.judge_revocation((APART, cut), revoked);
    });
}
