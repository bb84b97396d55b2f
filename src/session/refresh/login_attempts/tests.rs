//! Attempts with a password, across restarts and origins.

use super::*;
use crate::secret::Secret;

#[test]
fn a_refused_login_stays_refused_until_it_changes() {
    let (_directory, attempts) = attempts();
    attempts.block(&login("p1"), BlockReason::Refused).unwrap();
    let attempts = restarted(&attempts);

    let refused = LoginDecision::Blocked(BlockReason::Refused);
    assert_eq!(attempts.decide(&login("p1"), false, at(0)), refused);
    assert_eq!(attempts.decide(&login("p1"), true, at(0)), refused);
    assert_eq!(attempts.decide(&login("p2"), false, at(0)), LoginDecision::Allow);
    let factor = Some(SecondFactor::Shared(Secret::new("s")));
    let with_factor = Login { second_factor: factor, ..login("p1") };
    assert_eq!(attempts.decide(&with_factor, false, at(0)), LoginDecision::Allow);
}

#[test]
fn a_person_may_note_what_is_not_about_the_password() {
    for reason in [BlockReason::TotpRequired, BlockReason::CodeRejected, BlockReason::PasswordReset]
    {
        let (_directory, attempts) = attempts();
        attempts.block(&login("p"), reason).unwrap();

        assert_eq!(attempts.decide(&login("p"), false, at(0)), LoginDecision::Blocked(reason));
        assert_eq!(attempts.decide(&login("p"), true, at(0)), LoginDecision::Allow);
    }
}

/// A file that was zeroed may have held a lock, or a refused password.
#[test]
fn a_damaged_record_locks_the_session_and_a_copy_of_it_is_kept() {
    for damage in [b"".as_slice(), &[0; 200], b"{\"salt\":1}", b"[]"] {
        let (directory, attempts) = attempts();
        attempts.set_locked(true).unwrap();
        let path = directory.path().join(FILE_NAME);
        std::fs::write(&path, damage).unwrap();

        let restarted = restarted(&attempts);

        assert!(restarted.is_locked() && restarted.damage().is_some(), "{damage:?}");
        let copy = directory.path().join("attempts.json.damaged-1");
        assert_eq!(std::fs::read(&copy).unwrap(), damage);
        restarted.set_locked(false).unwrap();
        assert!(restarted.damage().is_none());
        let unlocked = self::restarted(&restarted);
        assert!(!unlocked.is_locked() && unlocked.damage().is_none());
        assert_eq!(std::fs::read(&copy).unwrap(), damage);
    }
}

#[test]
fn a_process_that_knows_the_record_repairs_it() {
    let (directory, attempts) = attempts();
    attempts.block(&login("p1"), BlockReason::Refused).unwrap();
    let path = directory.path().join(FILE_NAME);
    std::fs::write(&path, "").unwrap();

    attempts.load();

    assert!(!attempts.is_locked());
    attempts.record_unprocessed(&login("p2")).unwrap();
    let refused = LoginDecision::Blocked(BlockReason::Refused);
    assert_eq!(restarted(&attempts).decide(&login("p1"), false, at(0)), refused);
}

/// A directory in the place of the file cannot be read, by root neither.
#[test]
fn an_unreadable_record_locks_the_session() {
    let (directory, attempts) = attempts();
    std::fs::create_dir_all(directory.path().join(FILE_NAME)).unwrap();

    attempts.load();

    assert!(attempts.is_locked());
    assert!(attempts.damage().unwrap().contains("cannot be read"));
}

#[test]
fn a_crash_loop_spends_one_budget() {
    let (_directory, mut attempts) = attempts();
    let mut tries = Vec::new();
    for second in 0..3_600 {
        attempts = restarted(&attempts);
        if attempts.decide(&login("p"), false, at(second)) == LoginDecision::Allow {
            tries.push(second);
            attempts.record_start(&login("p"), &TotpCode::None, at(second)).unwrap();
        }
    }
    assert_eq!(tries, [0, 5, 10, 910, 1_810, 2_710]);
}

#[test]
fn a_clock_set_back_waits_no_longer_than_ever() {
    let (_directory, attempts) = attempts();
    attempts.record_start(&login("p"), &TotpCode::None, at(1_000_000)).unwrap();

    assert_eq!(attempts.decide(&login("p"), false, at(0)), LoginDecision::Wait(SHORT_WAIT));
}

#[test]
fn an_attempt_that_was_not_looked_at_does_not_count() {
    let (_directory, attempts) = attempts();
    for second in 0..10 {
        assert_eq!(attempts.decide(&login("p"), false, at(second)), LoginDecision::Allow);
        attempts.record_start(&login("p"), &TotpCode::None, at(second)).unwrap();
        attempts.record_unprocessed(&login("p")).unwrap();
    }
    attempts.record_start(&login("p"), &TotpCode::None, at(20)).unwrap();
    attempts.record_start(&login("p"), &TotpCode::None, at(30)).unwrap();
    attempts.record_unprocessed(&login("p")).unwrap();
    assert_eq!(
        attempts.decide(&login("p"), false, at(31)),
        LoginDecision::Wait(at(4).duration_since(at(0)).unwrap())
    );
}

#[test]
fn success_forgets_and_another_login_has_its_own_budget() {
    let (_directory, attempts) = attempts();
    attempts.record_start(&login("p"), &TotpCode::None, at(0)).unwrap();
    assert_eq!(attempts.decide(&login("q"), false, at(0)), LoginDecision::Allow);
    attempts.record_success().unwrap();
    assert_eq!(attempts.decide(&login("p"), false, at(0)), LoginDecision::Allow);
}

#[test]
fn a_typed_code_and_a_step_are_spent_across_restarts() {
    let (_directory, attempts) = attempts();
    let code = Secret::new("123456");
    let typed = Login { second_factor: Some(SecondFactor::Code(code.clone())), ..login("p") };
    attempts.record_start(&typed, &TotpCode::Typed(code.clone()), at(0)).unwrap();
    attempts.record_start(&login("p"), &TotpCode::Generated { code, step: 7 }, at(0)).unwrap();
    let attempts = restarted(&attempts);

    assert_eq!(attempts.decide(&typed, true, at(9)), LoginDecision::CodeUsed);
    assert_eq!(attempts.totp_step(), 7);
}

#[test]
fn the_file_holds_no_secret_and_the_lock() {
    let (_directory, attempts) = attempts();
    attempts.block(&login("hunter2"), BlockReason::Refused).unwrap();
    attempts.set_locked(true).unwrap();

    let text = std::fs::read_to_string(attempts.path.as_ref().unwrap()).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("ada@"), "{text}");
    assert!(restarted(&attempts).is_locked());
}

#[test]
fn an_account_keeps_its_client_id_across_restarts_whatever_else_happens() {
    let (_directory, attempts) = attempts();
    let (ada, _) = attempts.client_id("ada@example.test", None);
    let (bob, _) = attempts.client_id("bob@example.test", Some("bobs".into()));
    attempts.record_success().unwrap();
    let attempts = restarted(&attempts);

    assert_eq!(attempts.client_id("Ada@Example.test", None).0, ada);
    assert_eq!(
        (bob.as_str(), attempts.client_id("bob@example.test", None).0.as_str()),
        ("bobs", "bobs")
    );
}

#[test]
fn what_was_tried_at_one_origin_says_nothing_about_another_but_a_lock_holds_at_all() {
    let (_directory, a) = attempts();
    a.block(&login("p"), BlockReason::Refused).unwrap();
    let (id, _) = a.client_id("ada@example.test", None);
    a.set_locked(true).unwrap();

    let b = at_origin(&a, "https://b.example");
    assert_eq!(b.decide(&login("p"), false, at(0)), LoginDecision::Allow);
    assert_ne!(b.client_id("ada@example.test", None).0, id);
    assert!(b.is_locked());
    b.record_start(&login("q"), &TotpCode::None, at(0)).unwrap();
    b.record_success().unwrap();

    let a = restarted(&b);
    assert_eq!(a.decide(&login("p"), false, at(0)), LoginDecision::Blocked(BlockReason::Refused));
    assert_eq!(a.client_id("ada@example.test", None).0, id);
}

/// Attempts that an earlier version has written count as made at the default origin.
#[test]
fn attempts_without_an_origin_are_those_at_nexudus() {
    let (directory, a) = attempts();
    let path = directory.path().join("attempts.json");
    let fingerprint = fingerprint("s", &login("p"));
    let old = format!(
        r#"{{"salt":"s","latched":{{"login":{fingerprint},"reason":"refused"}},"unclear":null,
            "spent_code":null,"totp_step":7,"locked":true,"client_ids":{{}}}}"#
    );
    std::fs::write(path, old).unwrap();

    let a = restarted(&a);
    let refused = LoginDecision::Blocked(BlockReason::Refused);
    assert_eq!(a.decide(&login("p"), false, at(0)), refused);
    assert_eq!((a.totp_step(), a.is_locked()), (7, true));
    let b = at_origin(&a, "https://b.example");
    assert_eq!((b.decide(&login("p"), false, at(0)), b.totp_step()), (LoginDecision::Allow, 0));
}

#[test]
fn without_a_directory_it_holds_in_memory() {
    let attempts = LoginAttempts::new(None, NEXUDUS);
    attempts.load();
    attempts.block(&login("p"), BlockReason::Refused).unwrap();
    attempts.load();

    let refused = LoginDecision::Blocked(BlockReason::Refused);
    assert_eq!(attempts.decide(&login("p"), false, at(0)), refused);
}

fn attempts() -> (tempfile::TempDir, LoginAttempts) {
    let directory = tempfile::tempdir().unwrap();
    let attempts = LoginAttempts::new(Some(directory.path().join("attempts.json")), NEXUDUS);
    attempts.load();
    (directory, attempts)
}

fn restarted(attempts: &LoginAttempts) -> LoginAttempts {
    at_origin(attempts, NEXUDUS)
}

fn at_origin(attempts: &LoginAttempts, origin: &str) -> LoginAttempts {
    let attempts = LoginAttempts::new(attempts.path.clone(), origin);
    attempts.load();
    attempts
}

const NEXUDUS: &str = "https://spaces.nexudus.com";

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn login(password: &str) -> Login {
    let password = Secret::new(password);
    Login { email: "ada@example.test".into(), password, second_factor: None }
}
