//! The judge by itself: histories that a person wrote, each with one thing wrong, or excused.

use std::time::Duration;

use shared_session::fence::Fence;
use shared_session::history::{Fact, Limits, What, check};

/// No promise is broken.
const NONE: [u8; 0] = [];

const LIMITS: Limits = Limits { clients_stale: Duration::from_secs(900), rate: None };

fn fence(number: u64) -> Fence {
    Fence::new(number).unwrap()
}

/// Judges facts at their seconds; returns the broken promises.
fn broken(facts: &[(u64, What)]) -> Vec<u8> {
    let facts: Vec<Fact> = facts
        .iter()
        .map(|(at, what)| Fact { at: Duration::from_secs(*at), what: what.clone() })
        .collect();
    check(&facts, &LIMITS).into_iter().map(|violation| violation.promise).collect()
}

fn intended(member: u32, number: u64) -> What {
    let fence = fence(number);
    What::Intended { member, fence, is_over_another: false, is_durable: true }
}

fn posted(request: u64, member: u32, token: Option<&str>, intent: u64) -> What {
    let (token, intent) = (token.map(str::to_owned), Some(fence(intent)));
    What::Posted { request, member, token, intent, epoch: fence(1) }
}

fn ended(request: u64, is_refused: bool) -> What {
    What::Ended { request, is_refused: Some(is_refused) }
}

#[test]
fn a_token_that_another_member_had_spent_is_not_spent_again() {
    let mut facts = vec![
        (0, What::Connected(0)),
        (0, What::Connected(1)),
        (1, intended(0, 5)),
        (1, posted(1, 0, Some("t"), 5)),
        (2, ended(1, false)),
        (3, What::Resolved(fence(5))),
        (9, intended(1, 6)),
        (9, posted(2, 1, Some("t"), 6)),
    ];
    assert_eq!(broken(&facts), [1]);
    // A refused request spent nothing.
    facts[4] = (2, ended(1, true));
    assert_eq!(broken(&facts), NONE);
}

#[test]
fn a_spent_token_that_the_engine_has_forgotten_is_known_again_once_its_member_is_back() {
    let spent = [
        (0, What::Connected(0)),
        (1, intended(0, 5)),
        (1, posted(1, 0, Some("t"), 5)),
        (2, ended(1, false)),
        (3, What::Resolved(fence(5))),
        (4, What::Apart(0)),
    ];
    let back = |lost: bool| {
        let mut facts = spent.to_vec();
        facts.extend(lost.then_some((5, What::EngineLost)));
        facts.extend([(6, What::Connected(1)), (20, What::Connected(0))]);
        facts
    };
    let again = |at: u64| [(at, intended(1, 6)), (at, posted(2, 1, Some("t"), 6))];
    assert_eq!(broken(&[&back(true)[..], &again(21)].concat()), NONE);
    assert_eq!(broken(&[&back(true)[..], &again(31)].concat()), [1]);
    // The engine has it all the time.
    assert_eq!(broken(&[&back(false)[..], &again(21)].concat()), [1]);
}

#[test]
fn a_member_that_was_told_that_a_token_is_dead_does_not_send_it_again() {
    let told = [
        (0, What::Connected(0)),
        (1, intended(0, 5)),
        (1, posted(1, 0, Some("t"), 5)),
        (2, ended(1, true)),
        (2, What::Resolved(fence(5))),
    ];
    let again = [(9, intended(0, 6)), (9, posted(2, 0, Some("t"), 6))];
    assert_eq!(broken(&[&told[..], &again[..]].concat()), [1]);
    // Its next run does not know.
    let restarted = [(5, What::Apart(0)), (6, What::Connected(0))];
    assert_eq!(broken(&[&told[..], &restarted[..], &again[..]].concat()), NONE);
    // Nor if it ended while it was cut off.
    let died = [
        (1, What::Apart(0)),
        (3, What::Ended { request: 1, is_refused: None }),
        (6, What::Connected(0)),
    ];
    assert_eq!(broken(&[&told[..], &died[..], &again[..]].concat()), NONE);
}

#[test]
fn an_intent_of_the_same_fence_is_not_the_other_members() {
    let facts = [
        (0, What::Connected(0)),
        (1, intended(0, 5)),
        (1, posted(1, 0, Some("t"), 5)),
        (2, What::Apart(0)),
        (3, What::EngineLost),
        (4, What::Connected(1)),
        (5, intended(1, 5)),
        (5, posted(2, 1, Some("t"), 5)),
    ];
    // The first one is lost: nothing could tell the second member.
    assert_eq!(broken(&facts), NONE);
}

#[test]
fn a_refused_password_is_tried_again_only_if_its_member_had_no_time_to_tell() {
    let refused = |resolved: bool, parted: u64| {
        let mut facts = vec![
            (0, What::Connected(0)),
            (0, What::Connected(1)),
            (1, intended(0, 5)),
            (1, posted(1, 0, None, 5)),
            (2, ended(1, true)),
        ];
        facts.extend(resolved.then(|| (3, What::Resolved(fence(5)))));
        facts.extend([(parted, What::Apart(0)), (9, intended(1, 6)), (9, posted(2, 1, None, 6))]);
        broken(&facts)
    };
    assert_eq!(refused(false, 3), NONE);
    // It was written down.
    assert_eq!(refused(true, 3), [6]);
    // It had the time.
    assert_eq!(refused(false, 6), [6]);
}

#[test]
fn a_member_that_was_told_while_it_was_cut_off_tries_no_more_and_tells_the_others() {
    let apart =
        |member, intent| What::Posted { request: 1, member, token: None, intent, epoch: fence(1) };
    let told = [(0, What::Connected(1)), (1, apart(0, None)), (2, ended(1, true))];
    let tries = |at: u64, by: u32| [(at, intended(by, 6)), (at, posted(2, by, None, 6))];
    let back = |at: u64| (at, What::Connected(0));
    assert_eq!(broken(&[&told[..], &[back(20)], &tries(21, 0)].concat()), [6]);
    assert_eq!(broken(&[&told[..], &tries(900, 1)].concat()), NONE);
    assert_eq!(broken(&[&told[..], &[back(20)], &tries(29, 1)].concat()), NONE);
    assert_eq!(broken(&[&told[..], &[back(20)], &tries(31, 1)].concat()), [6]);
    // It died before it could keep what it was told.
    let died = (3, What::Ended { request: 1, is_refused: None });
    assert_eq!(broken(&[&told[..], &[died, back(20)], &tries(31, 0)].concat()), NONE);
}

fn served_after(loss: &[(u64, What)], at: u64) -> Vec<u8> {
    let begun = [
        (0, What::Connected(0)),
        (0, What::Connected(1)),
        (1, What::Revoked { client: "k".to_owned(), is_durable: true }),
        (1, What::Knows(0, "k".to_owned())),
    ];
    let served = [(at, What::Served(1, "k".to_owned()))];
    broken(&[&begun[..], loss, &served[..]].concat())
}

#[test]
fn a_revocation_that_a_connected_member_knows_survives_the_engine() {
    assert_eq!(served_after(&[], 900), NONE);
    assert_eq!(served_after(&[], 902), [7]);
    assert_eq!(served_after(&[(5, What::EngineLost)], 902), [7]);
    // The one that knows is away when the engine loses it, or right after.
    let away = [(4, What::Apart(0)), (5, What::EngineLost)];
    assert_eq!(served_after(&away, 2_000), NONE);
    assert_eq!(served_after(&[(5, What::EngineLost), (6, What::Apart(0))], 2_000), NONE);
    // It had the time to write it again.
    assert_eq!(served_after(&[(5, What::EngineLost), (60, What::Apart(0))], 2_000), [7]);
    // It is back.
    let back = [&away[..], &[(1_000, What::Connected(0))]].concat();
    assert_eq!(served_after(&back, 1_900), NONE);
    assert_eq!(served_after(&back, 1_901), [7]);
    // It is away again before it can tell; and then it is back for good.
    let brief = [&back[..], &[(1_003, What::Apart(0))]].concat();
    assert_eq!(served_after(&brief, 2_500), NONE);
    let kept = [&brief[..], &[(1_100, What::Connected(0)), (1_120, What::Apart(0))]].concat();
    assert_eq!(served_after(&kept, 2_000), NONE);
    assert_eq!(served_after(&kept, 2_001), [7]);
}

#[test]
fn a_failover_excuses_only_what_was_never_durable() {
    let lost = (5, What::RevocationLost("k".to_owned()));
    let away = [(4, What::Apart(0)), lost.clone()];
    assert_eq!(served_after(&away, 902), [7]);
    let hasty = |loss: &[(u64, What)]| {
        let mut facts = vec![
            (0, What::Connected(0)),
            (0, What::Connected(1)),
            (1, What::Revoked { client: "k".to_owned(), is_durable: false }),
            (1, What::Knows(0, "k".to_owned())),
        ];
        facts.extend_from_slice(loss);
        facts.push((902, What::Served(1, "k".to_owned())));
        broken(&facts)
    };
    assert_eq!(hasty(&away), NONE);
    // A member that knows of it is there, and writes it again.
    assert_eq!(hasty(&[lost]), [7]);
}
