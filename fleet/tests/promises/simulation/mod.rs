//! Seeded fleets with faults, judged by the checker; and mutants that it must catch.

mod faults;
mod issuer;
mod member;
mod throttled;
mod traffic;
mod world;

use std::time::{Duration, Instant};

use self::world::{Gateway, Plan, World};
use crate::model::Defect;

/// `SHARED_SESSION_SEEDS=100` runs as many seeds of each plan; three are for every day.
fn seeds() -> std::ops::Range<u64> {
    let count = std::env::var("SHARED_SESSION_SEEDS").ok().and_then(|text| text.parse().ok());
    let first =
        std::env::var("SHARED_SESSION_FIRST").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    first..first + count.unwrap_or(3)
}

/// Runs every seed before it fails, so that one run names all seeds that show something.
#[track_caller]
#[allow(clippy::print_stdout, reason = "the time of each seed, for a run of many")]
fn holds(plan: &Plan) {
    let mut broken = vec![];
    for seed in seeds() {
        let began = Instant::now();
        let violations = World::run(plan, seed);
        println!("seed {seed}: {:?}, {} broken", began.elapsed(), violations.len());
        broken.extend(violations.iter().map(|violation| format!("seed {seed}: {violation}")));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Says which promises a mutant breaks, over as many seeds as it takes.
#[track_caller]
fn is_caught(plan: &Plan) {
    let caught = (0..60).find(|seed| !World::run(plan, *seed).is_empty());
    assert!(caught.is_some(), "no seed shows what is wrong with {plan:?}");
}

#[test]
fn a_fleet_without_faults_keeps_every_promise() {
    holds(&Plan { faults: false, ..Plan::default() });
}

#[test]
fn a_fleet_with_faults_keeps_every_promise() {
    holds(&Plan::default());
}

#[test]
fn a_fleet_whose_password_changes_during_a_partition_keeps_every_promise() {
    holds(&Plan { password_changes: true, ..Plan::default() });
}

#[test]
fn a_fleet_without_passwords_keeps_every_promise() {
    holds(&Plan { passwords: 1, ..Plan::default() });
}

#[test]
fn a_fleet_whose_primaries_die_keeps_every_promise() {
    holds(&Plan { primaries_die: true, ..Plan::default() });
}

#[test]
fn a_fleet_behind_a_gateway_that_fails_keeps_every_promise() {
    holds(&Plan { gateway: Gateway::Failing, ..Plan::default() });
}

/// Seed 38 had a refused password taken back by a pair of a refresh token, and by the record of a member
/// that did not know.
#[test]
fn the_password_of_seed_38_is_tried_no_more_once_it_was_refused() {
    let plan = Plan { password_changes: true, ..Plan::default() };
    assert_eq!(World::run(&plan, 38), []);
}

/// Seeds that once broke a promise, whose cause was found.
#[test]
fn seeds_that_broke_a_promise_once_keep_every_promise() {
    let dying = Plan { primaries_die: true, ..Plan::default() };
    let gateway = Plan { gateway: Gateway::Failing, ..Plan::default() };
    let one_password = Plan { passwords: 1, ..Plan::default() };
    let broken: [(&Plan, &[u64]); 4] = [
        (&Plan::default(), &[92]),
        (&dying, &[27, 40, 59, 72, 79, 112, 130, 209, 310, 385]),
        (&gateway, &[17, 128, 246, 263]),
        (&one_password, &[308]),
    ];
    for (plan, seeds) in broken {
        for seed in seeds {
            assert_eq!(World::run(plan, *seed), [], "{plan:?} {seed}");
        }
    }
}

#[test]
fn the_checker_catches_a_fleet_that_believes_a_gateway() {
    is_caught(&Plan { gateway: Gateway::Believed, ..Plan::default() });
}

#[test]
fn the_checker_catches_a_fleet_without_intents() {
    is_caught(&Plan { defect: Defect::NoIntent, ..Plan::default() });
}

#[test]
fn the_checker_catches_a_fleet_without_fences() {
    is_caught(&Plan { defect: Defect::NoFence, ..Plan::default() });
}

#[test]
fn the_checker_catches_a_fleet_that_counts_generations() {
    is_caught(&Plan { defect: Defect::CountedGenerations, ..Plan::default() });
}

#[test]
fn the_checker_catches_a_wait_on_the_wrong_connection() {
    is_caught(&Plan { waits_elsewhere: true, primaries_die: true, ..Plan::default() });
}

#[test]
fn the_checker_catches_a_lease_of_two_seconds_without_a_margin() {
    let mut plan = Plan::default();
    plan.timing.lease = Duration::from_secs(2);
    plan.timing.spend_margin = Duration::ZERO;
    is_caught(&plan);
}
