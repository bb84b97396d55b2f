//! Engines that fail: the primary dies, answers nothing, forgets everything, comes back as it was, is full.

use std::time::Duration;

use crate::judge::Excuse;
use crate::namespaces::{Cut, ENGINES, isolated};
use crate::stage::Fleet;
use crate::{LEASE, until};

#[test]
#[ignore = "takes minutes: make check-fleet"]
fn the_members_follow_the_sentinels_to_a_new_primary() {
    isolated("failing_engines::the_members_follow_the_sentinels_to_a_new_primary", || {
        let mut fleet = Fleet::start();
        let mark = fleet.mark();
        fail_over(&mut fleet, |fleet| fleet.members[2].begin_refresh());
        fleet.refresh(0);
        fleet.until_agreed();
        fleet.judge("the primary is killed", mark, Excuse::default());

        let mark = fleet.mark();
        let mut held = Some(fleet.refresh_held(2));
        fail_over(&mut fleet, |_| drop(held.take()));
        fleet.refresh(0);
        fleet.until_agreed();
        // The member could not say that it has the pair; the others have waited for it.
        fleet.judge("the primary is killed while a request is out", mark, Excuse::default());
    });
}

/// Kills the primary, waits until there is another one, and brings the old one back as a replica.
fn fail_over(fleet: &mut Fleet, meanwhile: impl FnOnce(&Fleet)) {
    let old = fleet.engines.primary();
    fleet.engines.kill(old);
    meanwhile(fleet);
    until("there is another primary", || fleet.engines.primary() != old);
    fleet.until_agreed();
    fleet.engines.start_again(old);
    fleet.engines.until_replica(old);
}

/// The members reach a primary that is none any more: what it takes is lost when it hears of the other.
#[test]
#[ignore = "takes minutes: make check-fleet"]
fn a_primary_that_its_replicas_have_lost_costs_no_login() {
    isolated("failing_engines::a_primary_that_its_replicas_have_lost_costs_no_login", || {
        let fleet = Fleet::start();
        let mark = fleet.mark();
        let old = fleet.engines.primary();
        fleet.engines.node(old).cut(Cut::Both, ENGINES);
        until("there is another primary", || fleet.engines.primary() != old);
        for member in &fleet.members {
            member.begin_refresh();
        }
        // No event tells that a lease would be over.
        std::thread::sleep(LEASE);
        fleet.engines.node(old).heal();
        fleet.engines.until_replica(old);
        fleet.until_agreed();
        fleet.refresh(0);
        fleet.until_agreed();
        fleet.judge("two primaries", mark, Excuse::default());
    });
}

#[test]
#[ignore = "takes minutes: make check-fleet"]
fn an_engine_that_is_emptied_paused_or_full_costs_no_login() {
    isolated("failing_engines::an_engine_that_is_emptied_paused_or_full_costs_no_login", || {
        let fleet = Fleet::start();
        let mark = fleet.mark();
        fleet.engines.tell(&["FLUSHALL"]);
        fleet.until_agreed();
        fleet.refresh(0);
        fleet.until_agreed();
        fleet.judge("emptied", mark, Excuse::default());

        let mark = fleet.mark();
        // Shorter than what the sentinels wait for.
        fleet.engines.tell(&["CLIENT", "PAUSE", "2500", "ALL"]);
        fleet.members[1].begin_refresh();
        fleet.refresh(2);
        fleet.until_agreed();
        fleet.judge("paused", mark, Excuse::default());

        let mark = fleet.mark();
        let primary = fleet.engines.primary();
        let filled = fleet.engines.fill_disk(primary);
        until("the engine takes no writes", || {
            fleet.engines.ask(primary, &["SET", "a", "b"]).contains("MISCONF")
        });
        fleet.members[1].begin_refresh();
        // No event tells that a lease would be over.
        std::thread::sleep(LEASE);
        assert_eq!(fleet.issuer.token_calls().len(), mark.token_calls, "nothing is spent");
        drop(filled);
        fleet.until_agreed();
        fleet.refresh(2);
        fleet.until_agreed();
        fleet.judge("full", mark, Excuse::default());
    });
}

#[test]
fn an_engine_that_comes_back_from_an_old_backup_costs_no_login() {
    isolated(
        "failing_engines::an_engine_that_comes_back_from_an_old_backup_costs_no_login",
        || {
            let mut fleet = Fleet::start();
            let mark = fleet.mark();
            // What is in the file a second later is what the backup has.
            std::thread::sleep(Duration::from_secs(2));
            let backup = fleet.engines.backup();
            for member in [1, 2] {
                fleet.refresh(member);
                fleet.until_agreed();
            }
            fleet.engines.restore(&backup);
            fleet.until_agreed();
            fleet.refresh(3);
            fleet.until_agreed();
            fleet.judge("restored", mark, Excuse::default());
        },
    );
}
