//! Writing and erasing the token pair.

use super::*;

#[test]
fn no_rotation_starts_before_the_newest_pair_is_durable() {
    let mut session = unsaved(100);

    assert_eq!(session.at(80, Event::Tick), [Action::WakeAt(secs(100))]);
    assert!(session.0.is_busy(secs(80)), "a request waits for the write");
    assert_eq!(session.at(100, Event::Tick), []);
    assert_eq!(session.at(110, Event::Stored), [next(1, false)]);
}

#[test]
fn an_unsaved_pair_is_written_again_and_not_rotated_while_it_works() {
    let mut session = unsaved(100);

    assert_eq!(session.at(0, Event::StoreFailed), [Action::WakeAt(secs(1))]);
    assert!(session.0.is_settled());
    assert_eq!(session.0.durability, Durability::Failed { failures: 1, retry_at: secs(1) });
    assert_eq!(session.at(1, Event::Tick), [Action::Store, Action::WakeAt(secs(80))]);
    assert_eq!(session.at(1, Event::StoreFailed), [Action::WakeAt(secs(3))]);
    assert_eq!(session.at(82, Event::Tick), [Action::Store, Action::WakeAt(secs(100))]);
    assert_eq!(session.at(82, Event::StoreFailed), [Action::WakeAt(secs(86))]);
    assert!(!session.0.is_busy(secs(82)));
    assert_eq!(session.at(86, Event::Tick), [Action::Store, Action::WakeAt(secs(100))]);
    assert_eq!(session.at(86, Event::Stored), [next(1, true)]);
    assert_eq!(session.0.durability, Durability::Durable);
}

#[test]
fn an_unsaved_pair_without_a_valid_token_does_not_stop_the_next() {
    let mut session = unsaved(100);
    session.at(99, Event::StoreFailed);

    let actions = session.at(100, Event::Tick);

    assert_eq!(actions, [Action::Store]);
    assert_eq!(session.at(101, Event::StoreFailed), [next(1, false)]);
}

#[test]
fn failed_writes_are_counted_in_a_row() {
    let mut session = unsaved(1_000);
    session.at(0, Event::StoreFailed);
    session.at(1, Event::Tick);
    session.at(1, Event::Stored);
    session.at(800, Event::Tick);
    session.at(800, issued(2, 800, 1_000));

    assert_eq!(session.at(800, Event::StoreFailed), [Action::WakeAt(secs(801))]);
}

#[test]
fn a_logout_drops_the_token_and_erases_the_session() {
    let mut session = holding(1_000);

    assert_eq!(session.at(1, Event::LoggedOut), [Action::Erase]);

    assert_eq!(session.0.token(), None);
    assert!(session.0.is_logged_out() && session.0.is_shut());
    assert_eq!(session.0.error(), Some(Error::NotLoggedIn(None)));
    assert_eq!(session.0.next_attempt(), None);
    assert_eq!(session.at(1, Event::CredentialsChanged), [], "not before it is erased");
    let fetch = FetchRequest { trigger: LOGIN, ..plain() };
    assert_eq!(session.at(2, Event::Erased), [Action::Fetch(fetch)]);
}

#[test]
fn an_unsaved_pair_is_not_written_after_a_logout() {
    let mut session = unsaved(1_000);
    session.at(0, Event::StoreFailed);

    assert_eq!(session.at(5, Event::LoggedOut), [Action::Erase]);
    assert_eq!(session.at(5, Event::Erased), []);
    assert_eq!(session.at(9, Event::Tick), []);
}

#[test]
fn a_refresh_request_writes_an_unsaved_pair_first_and_once() {
    let mut session = unsaved(1_000);
    session.at(0, Event::StoreFailed);

    let actions = session.at(0, Event::RefreshRequested);

    assert_eq!(actions, [Action::Store, Action::WakeAt(secs(1_000))]);
    assert!(session.0.is_busy(secs(0)), "the request waits for the write");
    let mut failing = Session(session.0.clone());
    assert_eq!(failing.at(5, Event::StoreFailed), [Action::WakeAt(secs(7))]);
    assert!(!failing.0.is_busy(secs(5)), "the request has failed");
    let fetch = FetchRequest { trigger: Trigger::User, ..request(1, true) };
    assert_eq!(session.at(5, Event::Stored), [Action::Fetch(fetch)]);
}

#[test]
fn a_write_that_was_given_up_and_ends_late_counts() {
    let mut session = unsaved(1_000);
    session.at(30, Event::StoreFailed);
    assert_eq!(session.at(30, Event::Stored), [Action::WakeAt(secs(800))]);
    assert!(session.0.is_durable());

    session.at(30, Event::StoreFailed);
    let first = Durability::Failed { failures: 1, retry_at: secs(31) };
    assert_eq!(session.0.durability, first);
    session.at(30, Event::StoreFailed);
    let second = Durability::Failed { failures: 2, retry_at: secs(32) };
    assert_eq!(session.0.durability, second);
    assert!(!session.0.is_durable());
}

#[test]
fn an_erasure_waits_for_the_attempt_in_flight() {
    let mut session = holding(1_000);
    session.at(800, Event::Tick);

    assert_eq!(session.at(801, Event::LoggedOut), []);
    assert!(!session.0.is_settled());

    assert_eq!(session.at(802, transient(None)), [Action::Erase]);
    assert!(!session.0.is_settled());
    session.at(802, Event::Erased);
    assert!(session.0.is_settled() && session.0.is_durable());
}

#[test]
fn an_erasure_waits_for_the_write_in_progress() {
    for end in [Event::Stored, Event::StoreFailed] {
        let mut session = unsaved(1_000);

        assert_eq!(session.at(1, Event::LoggedOut), []);
        assert!(!session.0.is_settled());

        assert_eq!(session.at(2, end), [Action::Erase]);
    }
}

#[test]
fn a_second_logout_during_an_erasure_erases_again() {
    let mut session = holding(1_000);
    session.at(1, Event::LoggedOut);
    session.at(1, Event::CredentialsChanged);
    assert_eq!(session.at(1, Event::LoggedOut), []);

    assert_eq!(session.at(2, Event::Erased), [Action::Erase]);
    assert_eq!(session.at(3, Event::Erased), []);
    assert!(session.0.is_durable());
}

#[test]
fn an_erasure_is_not_ended_by_a_write_that_ends_late() {
    for end in [Event::Stored, Event::StoreFailed] {
        let mut session = holding(1_000);
        session.at(1, Event::LoggedOut);
        assert_eq!(session.at(1, end.clone()), []);
        assert_eq!(session.0.durability, Durability::Erasing);

        let mut session = holding(1_000);
        session.at(800, Event::Tick);
        session.at(801, Event::LoggedOut);
        assert_eq!(session.at(801, end), []);
        assert_eq!(session.0.durability, Durability::ErasePending);
    }
}

#[test]
fn a_pair_from_before_a_logout_is_written_and_erased_after_the_next_login() {
    let mut session = holding(1_000);
    session.at(800, Event::Tick);
    session.at(801, Event::LoggedOut);
    session.at(801, Event::CredentialsChanged);

    let actions = session.at(802, issued(2, 802, 1_000));
    assert_eq!(actions, [Action::Store, Action::WakeAt(secs(1_802))]);
    assert_eq!(session.at(803, Event::Stored), [Action::Erase, Action::WakeAt(secs(1_802))]);

    let fetch = FetchRequest { trigger: LOGIN, ..request(2, true) };
    assert_eq!(session.at(804, Event::Erased), [Action::Fetch(fetch)]);
}

#[test]
fn a_second_pair_keeps_the_count_of_failed_writes() {
    let mut session = unsaved(100);
    session.at(0, Event::StoreFailed);
    session.at(0, Event::CredentialsChanged);

    session.at(0, issued(2, 0, 100));

    assert_eq!(session.0.durability, Durability::Writing { failures: 1 });
}
