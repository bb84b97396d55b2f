//! When attempts start, and what their success and failure change.

use super::*;

#[test]
fn a_start_fetches_once_and_at_once() {
    let mut session = Session::new();

    assert_eq!(session.at(0, Event::Started { locked: false }), [first()]);
    assert!(session.0.is_busy(secs(0)));
    assert!(!session.0.is_settled());
    assert_eq!(session.at(1, Event::Tick), []);
}

#[test]
fn an_issued_token_is_held_stored_and_renewed_after_four_fifths() {
    let mut session = Session::started();

    let actions = session.at(0, issued(1, 0, 1_000));

    assert_eq!(actions, [Action::Store, Action::WakeAt(secs(800))]);
    assert_eq!(session.0.token(), Some(token(1, 0, 1_000)));
    assert_eq!(session.0.durability, Durability::Writing { failures: 0 });
    assert!(!session.0.is_settled());
    assert_eq!(session.at(1, Event::Stored), [Action::WakeAt(secs(800))]);
    assert!(session.0.is_settled());
    assert_eq!(session.at(799, Event::Tick), [Action::WakeAt(secs(800))]);
    assert_eq!(session.at(800, Event::Tick), [Action::Fetch(request(1, true))]);
}

#[test]
fn a_saved_token_is_held_and_not_stored_again() {
    let mut session = Session::started();

    let actions = session.at(0, Event::Issued { token: token(7, 0, 1_000), is_new: false });

    assert_eq!(actions, [Action::WakeAt(secs(800))]);
    assert_eq!(session.0.durability, Durability::Durable);
    assert!(session.0.is_settled());
}

#[test]
fn a_success_resets_the_failures() {
    let mut session = Session::started();
    session.at(0, transient(None));
    session.at(1, Event::Tick);

    session.at(1, issued(1, 1, 1_000));
    session.at(1, Event::Stored);

    assert_eq!(session.0.error(), None);
    assert_eq!(session.at(900, Event::Tick), [Action::Fetch(request(1, true))]);
}

#[test]
fn a_failed_refresh_keeps_a_token_that_still_works() {
    let mut session = holding(1_000);
    session.at(800, Event::Tick);

    assert_eq!(session.at(800, transient(None)), [Action::WakeAt(secs(801))]);

    assert_eq!(session.0.token(), Some(token(1, 0, 1_000)));
    assert_eq!(session.0.error().unwrap().code(), "session.unavailable");
    assert_eq!(session.0.next_attempt(), Some(secs(801)));
    assert!(!session.0.is_busy(secs(800)));
}

#[test]
fn failures_back_off_to_a_minute() {
    let mut session = Session::started();
    let mut now = 0;
    let mut waits = Vec::new();
    for failures in 1..=8 {
        session.at(now, transient(None));
        let due = session.0.next_attempt().unwrap().as_secs();
        waits.push(due - now);
        now = due;
        assert_eq!(
            session.at(now, Event::Tick),
            [Action::Fetch(FetchRequest { failures, ..plain() })]
        );
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn a_longer_wait_that_the_server_asks_for_is_kept() {
    let mut session = Session::started();

    assert_eq!(session.at(0, transient(Some(secs(900)))), [Action::WakeAt(secs(900))]);

    session.at(900, Event::Tick);
    assert_eq!(session.at(900, transient(Some(secs(1)))), [Action::WakeAt(secs(902))]);
}

#[test]
fn an_error_that_needs_the_user_plans_no_attempt() {
    let mut session = holding(1_000);
    session.at(800, Event::Tick);

    let actions = session.at(800, Event::Failed { error: refused(), wait: Some(secs(1)) });

    assert_eq!(actions, [Action::WakeAt(secs(1_000))], "only the expiry is looked at");
    assert_eq!(session.0.token(), Some(token(1, 0, 1_000)));
    assert_eq!(session.at(1_000, Event::Tick), []);
    assert_eq!(session.0.error(), Some(refused()));
}

#[test]
fn a_due_renewal_waits_five_seconds_after_a_resume() {
    let mut session = holding(1_000);
    assert_eq!(session.at(810, Event::Resumed), [Action::WakeAt(secs(815))]);
    assert_eq!(session.at(815, Event::Tick), [next(1, true)]);

    let mut session = holding(1_000);
    assert_eq!(session.at(100, Event::Resumed), [Action::WakeAt(secs(800))]);
    assert_eq!(session.at(998, Event::Resumed), [Action::WakeAt(secs(1_000))]);
    assert_eq!(session.at(1_000, Event::Tick), [next(1, false)]);
}

#[test]
fn jitter_lengthens_the_wait_after_a_resume() {
    let mut session = holding(1_000);

    let actions = session.0.step(Event::Resumed, secs(810), Jitter(400));

    assert_eq!(actions, [Action::WakeAt(secs(817))]);
}

#[test]
fn an_expired_token_is_replaced_at_once_after_a_resume() {
    let mut session = holding(1_000);

    assert_eq!(session.at(1_000, Event::Resumed), [next(1, false)]);
}

#[test]
fn a_renewal_request_brings_the_renewal_forward() {
    let mut session = holding(1_000);
    assert_eq!(
        session.at(10, Event::RenewalRequested { generation: 2 }),
        [Action::WakeAt(secs(800))]
    );
    assert_eq!(session.at(10, Event::RenewalRequested { generation: 1 }), [next(1, true)]);

    let mut session = holding(1_000);
    session.at(800, Event::Tick);
    session.at(800, transient(Some(secs(60))));
    let needed = Event::RenewalRequested { generation: 1 };
    assert_eq!(session.at(810, needed), [Action::WakeAt(secs(860))], "a back-off is kept");
}

#[test]
fn a_refresh_request_fetches_at_once() {
    let mut session = holding(1_000);
    let fetch = FetchRequest { trigger: Trigger::User, ..request(1, true) };
    assert_eq!(session.at(10, Event::RefreshRequested), [Action::Fetch(fetch)]);

    session.at(11, issued(2, 11, 1_000));
    session.at(11, Event::Stored);
    assert_eq!(session.at(811, Event::Tick), [next(2, true)], "asked only once");
}

#[test]
fn a_refresh_request_during_an_attempt_needs_no_other_attempt() {
    let mut session = holding(1_000);
    session.at(800, Event::Tick);
    session.at(800, Event::RefreshRequested);

    session.at(800, issued(2, 800, 1_000));

    assert_eq!(session.at(800, Event::Stored), [Action::WakeAt(secs(1_600))]);
    assert_eq!(session.at(1_600, Event::Tick), [next(2, true)]);
}

#[test]
fn a_refresh_request_while_a_saved_token_is_read_fetches_a_new_one() {
    let mut session = Session::started();
    session.at(0, Event::RefreshRequested);

    let actions = session.at(0, Event::Issued { token: token(7, 0, 1_000), is_new: false });

    let renewal = FetchRequest { trigger: Trigger::User, ..request(7, true) };
    assert_eq!(actions, [Action::Fetch(renewal)]);
    assert_eq!(session.0.token(), Some(token(7, 0, 1_000)));
    session.at(1, issued(8, 1, 1_000));
    assert_eq!(session.at(1, Event::Stored), [Action::WakeAt(secs(801))]);
}

#[test]
fn a_stop_starts_no_attempt_and_finishes_the_write() {
    let mut session = unsaved(1_000);
    session.at(0, Event::StoreFailed);

    assert_eq!(session.at(0, Event::Stopping), [Action::WakeAt(secs(1))]);

    assert_eq!(session.at(1, Event::Tick), [Action::Store, Action::WakeAt(secs(1_000))]);
    session.at(1, Event::Stored);
    assert_eq!(session.at(900, Event::Tick), [Action::WakeAt(secs(1_000))]);
    assert_eq!(session.0.next_attempt(), None);
}

#[test]
fn a_new_session_holds_nothing() {
    let state = StateMachine::new();

    assert!(state.is_settled() && !state.is_shut() && !state.lacks_access());
    assert_eq!((state.token(), state.next_attempt(), state.error()), (None, None, None));
    assert!(!state.is_busy(secs(0)));
}

#[test]
fn a_stop_during_an_attempt_lets_it_end_and_starts_no_other() {
    let mut session = holding(1_000);
    session.at(800, Event::Tick);

    assert_eq!(session.at(800, Event::Stopping), [Action::WakeAt(secs(1_000))]);
    assert!(session.0.is_busy(secs(800)) && session.0.next_attempt().is_none());
    session.at(800, Event::CredentialsChanged);
    session.at(800, Event::Stopping);

    assert_eq!(session.at(801, transient(None)), [Action::WakeAt(secs(1_000))]);
    assert!(session.0.is_settled());
    assert_eq!(session.at(2_000, Event::CredentialsChanged), []);
}

#[test]
fn a_locked_credential_store_is_tried_again_after_at_most_half_a_minute() {
    let mut session = Session::started();
    let locked = Error::CredentialsUnavailable { retry_after: Duration::ZERO, cause: None };
    let mut waits = Vec::new();
    let mut now = 0;
    for _ in 0..7 {
        session.at(now, Event::Failed { error: locked.clone(), wait: None });
        let next = session.0.next_attempt().unwrap().as_secs();
        waits.push(next - now);
        now = next;
        session.at(now, Event::Tick);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
}
