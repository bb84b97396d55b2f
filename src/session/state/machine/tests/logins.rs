//! Actions of the user: login, logout, lock and unlock.

use super::*;

#[test]
fn a_start_while_locked_waits_for_the_unlock() {
    let mut session = Session::new();

    assert_eq!(session.at(0, Event::Started { locked: true }), []);
    assert_eq!(session.0.error(), Some(Error::Locked));
    assert_eq!(session.0.next_attempt(), None);
    assert_eq!(session.at(5, Event::Unlocked), [first()]);
    assert_eq!(session.0.error(), None);
}

#[test]
fn a_token_issued_after_a_logout_is_dropped() {
    let mut session = Session::started();
    assert_eq!(session.at(0, Event::LoggedOut), []);

    assert_eq!(session.at(0, issued(1, 0, 1_000)), [Action::Erase]);

    assert_eq!(session.0.token(), None);
    assert_eq!(session.at(1, Event::Erased), []);
    assert_eq!(
        session.at(1, Event::CredentialsChanged),
        [Action::Fetch(FetchRequest { trigger: LOGIN, ..plain() })]
    );
}

#[test]
fn a_token_issued_while_locked_is_stored_and_not_held() {
    let mut session = Session::started();
    session.at(0, Event::Locked);

    assert_eq!(session.at(0, issued(1, 0, 1_000)), [Action::Store]);

    assert_eq!(session.0.token(), None);
    assert_eq!(session.at(900, Event::Stored), []);
    assert_eq!(session.at(900, Event::Unlocked), [first()]);
}

#[test]
fn a_changed_login_of_the_same_account_keeps_the_token_and_lifts_blocks() {
    let mut session = holding(1_000);
    session.at(1, Event::CredentialsChanged);

    assert_eq!(session.at(2, Event::Unchanged), [Action::WakeAt(secs(800))]);

    assert_eq!(session.0.token(), Some(token(1, 0, 1_000)));
    let mut session = holding(1_000);
    session.at(800, Event::Tick);
    session.at(800, fatal());
    session.at(801, Event::CredentialsChanged);
    assert_eq!(session.at(801, Event::Unchanged), [next(1, true)]);
    assert_eq!(session.0.error(), None);
}

#[test]
fn a_token_rejected_while_the_login_was_compared_is_replaced() {
    let mut session = holding(1_000);
    session.at(1, Event::CredentialsChanged);
    session.at(1, rejected(1));

    assert_eq!(session.at(2, Event::Unchanged), [next(1, false)]);
}

#[test]
fn a_login_that_changed_again_is_read_again() {
    let mut session = holding(1_000);
    session.at(1, Event::CredentialsChanged);
    session.at(1, Event::CredentialsChanged);

    let again = FetchRequest { trigger: LOGIN, ..request(1, true) };
    assert_eq!(session.at(2, Event::Unchanged), [Action::Fetch(again)]);
}

#[test]
fn a_login_that_changed_during_an_attempt_is_read_after_its_success() {
    let mut session = holding(1_000);
    session.at(800, Event::Tick);
    session.at(800, Event::CredentialsChanged);

    session.at(801, issued(2, 801, 1_000));

    let again = FetchRequest { trigger: LOGIN, ..request(2, true) };
    assert_eq!(session.at(801, Event::Stored), [Action::Fetch(again)]);
}

#[test]
fn a_changed_login_is_read_though_the_newest_pair_could_not_be_written() {
    let mut session = unsaved(1_000);
    session.at(0, Event::StoreFailed);

    let again = FetchRequest { trigger: LOGIN, ..request(1, true) };
    assert_eq!(session.at(0, Event::CredentialsChanged), [Action::Fetch(again)]);
}

#[test]
fn a_changed_login_that_cannot_be_read_is_read_again_and_spends_nothing() {
    let mut session = holding(1_000);
    session.at(1, Event::CredentialsChanged);
    let error = Error::CredentialsUnavailable { retry_after: secs(0), cause: None };

    session.at(1, Event::Failed { error: error.clone(), wait: None });
    session.at(1, Event::CredentialsUnreadable);

    assert_eq!((session.0.token(), session.0.error()), (Some(token(1, 0, 1_000)), Some(error)));
    let again = FetchRequest { trigger: LOGIN, failures: 1, ..request(1, true) };
    assert_eq!(session.at(2, Event::Tick), [Action::Fetch(again)]);
}

#[test]
fn another_accounts_token_is_withdrawn() {
    let mut session = holding(1_000);
    session.at(1, Event::CredentialsChanged);

    assert_eq!(session.at(2, Event::AccountChanged), []);
    session.at(2, transient(None));

    assert_eq!(session.0.token(), None);
    assert_eq!(
        session.at(3, Event::Tick),
        [Action::Fetch(FetchRequest { failures: 1, ..plain() })]
    );
}

#[test]
fn a_failed_attempt_is_repeated_at_once_if_the_user_asked_meanwhile() {
    for (event, trigger) in
        [(Event::CredentialsChanged, LOGIN), (Event::RefreshRequested, Trigger::User)]
    {
        let mut session = Session::started();
        assert_eq!(session.at(1, event), []);

        let actions = session.at(2, fatal());

        assert_eq!(actions, [Action::Fetch(FetchRequest { trigger, ..plain() })]);
        let again = session.at(3, fatal());
        assert_eq!(again, [], "the second failure counts");
    }
}

#[test]
fn a_refresh_request_after_a_logout_fetches_nothing() {
    let mut session = holding(1_000);
    session.at(1, Event::LoggedOut);
    session.at(1, Event::Erased);

    assert_eq!(session.at(2, Event::RefreshRequested), []);
    assert!(!session.0.is_busy(secs(2)));
}

#[test]
fn a_locked_session_holds_no_token_and_fetches_nothing() {
    let mut session = holding(1_000);

    assert_eq!(session.at(1, Event::Locked), []);

    assert_eq!(session.0.token(), None);
    assert!(session.0.is_shut() && !session.0.is_logged_out());
    assert_eq!(session.at(900, Event::Tick), []);
    assert_eq!(session.0.error(), Some(Error::Locked));
    assert_eq!(session.at(901, Event::Unlocked), [first()]);
}

/// The attempt in flight may have found the keyring locked, a moment before the user opened it.
#[test]
fn an_unlock_during_an_attempt_is_followed_by_another_attempt_if_that_one_fails() {
    let mut session = Session::started();

    assert_eq!(session.at(1, Event::Unlocked), []);

    let locked = Error::CredentialsLocked { retry_after: Duration::ZERO };
    let fetch = FetchRequest { trigger: Trigger::Unlock, ..plain() };
    assert!(!fetch.is_user_request() && !fetch.has_changed_login());
    let failed = Event::Failed { error: locked, wait: None };
    assert_eq!(session.at(2, failed.clone()), [Action::Fetch(fetch)]);
    assert!(session.0.is_busy(secs(2)), "a caller waits for that attempt");
    assert_eq!(session.at(3, failed), [Action::WakeAt(secs(4))]);

    let mut session = Session::started();
    session.at(1, Event::Unlocked);
    session.at(1, issued(1, 1, 1_000));
    assert_eq!(session.at(1, Event::Stored), [Action::WakeAt(secs(801))], "nothing is left to do");
}

#[test]
fn a_refresh_that_the_user_wants_follows_an_attempt_that_brought_no_token() {
    let mut session = holding(1_000);
    session.at(1, Event::CredentialsChanged);
    session.at(1, Event::RefreshRequested);

    let fetch = FetchRequest { trigger: Trigger::User, ..request(1, true) };
    assert_eq!(session.at(2, Event::Unchanged), [Action::Fetch(fetch)]);
}

#[test]
fn a_changed_login_is_not_forgotten_over_a_refresh_request() {
    let mut session = Session::started();
    session.at(1, Event::CredentialsChanged);
    session.at(1, Event::RefreshRequested);

    let fetch = FetchRequest { trigger: LOGIN, ..plain() };
    assert!(fetch.is_user_request() && fetch.has_changed_login());
    assert_eq!(session.at(2, fatal()), [Action::Fetch(fetch)]);
    let user = FetchRequest { trigger: Trigger::User, ..plain() };
    assert!(user.is_user_request() && !user.has_changed_login());
    assert!(!plain().is_user_request() && !plain().has_changed_login());
}

#[test]
fn a_lock_outlives_a_logout_and_a_logout_outlives_an_unlock() {
    let mut session = holding(1_000);
    session.at(1, Event::Locked);
    assert_eq!(session.at(1, Event::LoggedOut), [Action::Erase]);
    session.at(1, Event::Erased);
    assert!(session.0.is_locked() && session.0.is_logged_out());
    assert_eq!(session.0.error(), Some(Error::Locked));

    assert_eq!(session.at(2, Event::CredentialsChanged), []);
    assert!(session.0.is_locked() && !session.0.is_logged_out());

    session.at(3, Event::LoggedOut);
    session.at(3, Event::Erased);
    assert_eq!(session.at(4, Event::Unlocked), []);
    assert!(!session.0.is_locked() && session.0.is_logged_out());
    assert_eq!(session.0.error(), Some(Error::NotLoggedIn(None)));
    let fetch = FetchRequest { trigger: LOGIN, ..plain() };
    assert_eq!(session.at(5, Event::CredentialsChanged), [Action::Fetch(fetch)]);
}

#[test]
fn a_locked_session_keeps_no_caller_waiting_for_the_disk() {
    let mut session = unsaved(1_000);
    session.at(1, Event::Locked);

    session.at(1, Event::RefreshRequested);

    assert!(!session.0.is_busy(secs(1)) && !session.0.is_settled());
}
