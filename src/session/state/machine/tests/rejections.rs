//! Tokens that the API rejects.

use super::*;

#[test]
fn a_rejection_of_another_token_changes_nothing() {
    let mut session = holding(1_000);

    assert_eq!(session.at(1, rejected(0)), [Action::WakeAt(secs(800))]);
    assert_eq!(session.at(1, rejected(2)), [Action::WakeAt(secs(800))]);

    assert_eq!(session.0.token(), Some(token(1, 0, 1_000)));
}

#[test]
fn a_rejected_token_is_withdrawn_and_replaced_once() {
    let mut session = holding(1_000);

    assert_eq!(session.at(1, rejected(1)), [next(1, false)]);

    assert_eq!(session.0.token(), None);
    assert_eq!(session.0.error(), None);
    assert_eq!(session.at(1, rejected(1)), []);
}

#[test]
fn an_unlock_does_not_bring_back_a_token_that_was_rejected() {
    let mut session = holding(1_000);
    session.at(1, rejected(1));
    session.at(1, fatal());

    let again = FetchRequest { failures: 1, ..request(1, false) };
    assert_eq!(session.at(2, Event::Unlocked), [Action::Fetch(again)]);
}

#[test]
fn rejections_are_limited_by_a_budget() {
    let mut session = holding(1_000_000);
    let revoked = |generation| Event::TokenRejected { generation, proven: true };
    for generation in 1..=3 {
        let actions = session.at(generation, revoked(generation));
        assert_eq!(actions, [next(generation, false)]);
        session.at(generation, issued(generation + 1, generation, 1_000_000));
        session.at(generation, Event::Stored);
    }

    assert_eq!(session.at(4, revoked(4)), [Action::WakeAt(secs(301))]);

    assert_eq!(session.0.error().unwrap().retry_after(), Some(secs(297)));
    assert!(!session.0.is_busy(secs(4)));
    assert_eq!(session.at(301, Event::Tick), [next(4, false)]);
}

#[test]
fn a_rejection_during_an_attempt_or_a_back_off_starts_nothing() {
    let mut session = holding(1_000);
    session.at(800, Event::Tick);
    assert_eq!(session.at(801, rejected(1)), []);
    assert_eq!(session.0.token(), None);

    assert_eq!(session.at(801, transient(Some(secs(30)))), [Action::WakeAt(secs(831))]);

    let mut session = holding(1_000);
    session.at(800, Event::Tick);
    session.at(800, transient(Some(secs(30))));
    assert_eq!(session.at(801, rejected(1)), [Action::WakeAt(secs(830))]);
    assert_eq!(session.0.token(), None);
}

#[test]
fn a_rejection_after_a_failure_without_a_plan_fetches_again() {
    let mut session = holding(1_000);
    session.at(800, Event::Tick);
    session.at(800, fatal());

    let fetch = FetchRequest { failures: 1, ..request(1, false) };
    assert_eq!(session.at(801, rejected(1)), [Action::Fetch(fetch)]);
}

#[test]
fn a_replacement_rejected_from_birth_means_no_api_access() {
    let mut session = replaced();

    assert_eq!(session.at(2, rejected(2)), [Action::WakeAt(secs(801))]);

    assert!(session.0.lacks_access());
    assert!(session.0.token().is_some());
    session.at(9_999, rejected(2));
    assert!(session.0.lacks_access() && session.0.token().is_some());
}

#[test]
fn a_replacement_that_worked_or_is_older_was_revoked() {
    let mut session = replaced();
    let proven = Event::TokenRejected { generation: 2, proven: true };
    assert_eq!(session.at(2, proven), [next(2, false)]);
    assert!(!session.0.lacks_access());

    let mut session = replaced();
    assert_eq!(session.at(301, rejected(2)), [next(2, false)]);
    let mut session = replaced();
    assert_eq!(session.at(300, rejected(2)), [Action::WakeAt(secs(801))]);

    let mut session = holding(1_000);
    session.at(1, rejected(1));
    session.at(1, issued(2, 1, 1_000));
    session.at(1, Event::Stored);
    session.at(801, Event::Tick);
    session.at(801, issued(3, 801, 1_000));
    session.at(801, Event::Stored);
    assert_eq!(session.at(802, rejected(3)), [next(3, false)]);
}

#[test]
fn a_confirmed_token_has_api_access_after_all() {
    let mut session = replaced();
    session.at(2, rejected(2));

    session.at(3, Event::TokenConfirmed { generation: 1 });
    assert!(session.0.lacks_access());
    session.at(3, Event::TokenConfirmed { generation: 2 });
    assert!(!session.0.lacks_access());
}

#[test]
fn a_new_token_clears_the_missing_access() {
    let mut session = replaced();
    session.at(2, rejected(2));
    session.at(801, Event::Tick);

    session.at(801, issued(3, 801, 1_000));

    assert!(!session.0.lacks_access());
}
