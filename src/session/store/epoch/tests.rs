//! An epoch only grows, and decides which record is used.

use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::secret::Secret;
use crate::session::store::record::TokenPair;
use crate::session::token::TokenGrant;

const A: &str = "https://a.example";
const B: &str = "https://b.example";

#[test]
fn login_logout_and_lock_raise_it_and_a_restart_keeps_it() {
    let directory = tempfile::tempdir().unwrap();
    let epochs = Epochs::new(Some(directory.path()));
    assert_eq!(epochs.current(), 1);

    epochs.record_login(A, 2, at(0)).unwrap();
    assert_eq!(restarted(&epochs).current(), 2);
    epochs.increment().unwrap();
    assert_eq!(restarted(&epochs).current(), 3);
    epochs.record_login_without_session(B).unwrap();
    assert_eq!(restarted(&epochs).current(), 4);
    epochs.record_logout(Some(A), at(1)).unwrap();
    epochs.record_logout(None, at(2)).unwrap();
    assert_eq!(restarted(&epochs).current(), 6);
}

#[test]
fn it_never_falls_back_whoever_writes_and_whatever_becomes_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) =
        (Epochs::new(Some(directory.path())), Epochs::new(Some(directory.path())));
    first.load();
    second.load();
    first.increment().unwrap();
    second.increment().unwrap();
    first.increment().unwrap();
    assert_eq!(restarted(&first).current(), 4, "each has counted");

    // A record that is ahead, as after a crash between the record and the epoch.
    first.observe(9, 5);
    first.increment().unwrap();
    assert_eq!((restarted(&first).current(), restarted(&first).generation()), (10, 5));

    std::fs::write(directory.path().join(FILE_NAME), "damaged").unwrap();
    first.increment().unwrap();
    assert_eq!(restarted(&first).current(), 11);
    let copy = directory.path().join("epoch.json.damaged-1");
    assert_eq!(std::fs::read(copy).unwrap(), b"damaged");
    // A fencing token may replace the number.
    first.observe(u64::MAX, u64::MAX);
    first.increment().unwrap();
    assert_eq!(restarted(&first).current(), u64::MAX);
}

#[test]
fn turns_of_many_at_once_lose_no_number() {
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let epochs = Epochs::new(Some(directory.path()));
                (0..5).for_each(|_| epochs.increment().unwrap());
            });
        }
    });
    let epochs = Epochs::new(Some(directory.path()));
    epochs.load();
    assert_eq!(epochs.current(), 41);
}

#[test]
fn a_record_from_before_the_last_login_or_logout_is_not_used() {
    let epochs = Epochs::new(None);
    epochs.record_login(A, 2, at(0)).unwrap();
    assert!(!epochs.is_current(&record(1, 9), A));
    assert!(epochs.is_current(&record(2, 0), A));
    assert!(epochs.is_current(&record(3, 0), A), "ahead, as after a crash between the two files");

    // Another origin's login, and a lock, withdraw nothing.
    epochs.record_login(B, 3, at(1)).unwrap();
    epochs.increment().unwrap();
    assert!(epochs.is_current(&record(2, 0), A));

    epochs.record_logout(None, at(2)).unwrap();
    for origin in [A, B] {
        assert!(!epochs.is_current(&record(4, 9), origin));
    }
    assert!(epochs.is_current(&record(epochs.current(), 9), A));
    assert!(epochs.logins().is_empty());
}

#[test]
fn a_record_beside_a_lost_file_is_set_aside_and_stays_so() {
    for text in [None, Some(""), Some("{\"ep"), Some("{\"epoch\":0}"), Some("[]")] {
        let directory = tempfile::tempdir().unwrap();
        if let Some(text) = text {
            std::fs::write(directory.path().join(FILE_NAME), text).unwrap();
        }
        let epochs = Epochs::new(Some(directory.path()));
        epochs.load();
        assert!(epochs.is_missing_beside(&record(5, 9)), "{text:?}");
        assert!(!epochs.is_missing_beside(&record(0, 9)), "of version 1, which had no such file");
        assert_eq!(epochs.current(), 6);

        epochs.ensure_file().unwrap();
        let epochs = restarted(&epochs);
        assert!(!epochs.is_missing_beside(&record(5, 9)) && !epochs.is_current(&record(5, 9), A));
        assert!(epochs.is_current(&record(epochs.current(), 9), A), "{text:?}");
    }
    let epochs = Epochs::new(None);
    assert!(!epochs.is_missing_beside(&record(5, 9)), "in memory there is nothing to lose");
}

#[test]
fn what_is_prepared_is_the_first_epoch_and_changes_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let epochs = Epochs::new(Some(directory.path()));
    epochs.ensure_file().unwrap();
    assert_eq!(restarted(&epochs).current(), 1);
    assert!(restarted(&epochs).is_current(&record(1, 0), A));
    epochs.record_login(A, 2, at(0)).unwrap();
    epochs.ensure_file().unwrap();
    Epochs::new(Some(directory.path())).ensure_file().unwrap();
    assert_eq!(restarted(&epochs).current(), 2);
}

/// An earlier program may have logged in since.
#[test]
fn a_record_without_an_epoch_is_used_if_it_is_later_than_the_last_login_or_logout() {
    let epochs = Epochs::new(None);
    assert!(epochs.is_current(&record(0, 5), A));
    epochs.record_login(A, 2, at(6)).unwrap();
    assert!(!epochs.is_current(&record(0, 5), A));
    assert!(epochs.is_current(&record(0, 7), A));
    epochs.record_logout(None, at(8)).unwrap();
    assert!(!epochs.is_current(&record(0, 7), A));
    assert!(epochs.is_current(&record(0, 9), A));
}

#[test]
fn the_origins_with_a_login_are_known_across_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let epochs = Epochs::new(Some(directory.path()));
    epochs.record_login(A, 2, at(0)).unwrap();
    epochs.record_login_without_session(B).unwrap();
    assert_eq!(restarted(&epochs).logins(), [A, B]);

    restarted(&epochs).record_logout(Some(A), at(1)).unwrap();
    assert_eq!(restarted(&epochs).logins(), [B]);
}

fn restarted(epochs: &Epochs) -> Epochs {
    let epochs = Epochs::new(epochs.directory.as_deref());
    epochs.load();
    epochs
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

/// A record whose tokens were received then.
fn record(epoch: u64, second: u64) -> StoredSession {
    let (clock, hand) = Clock::manual();
    hand.set_wall(at(second));
    let lasts = Duration::from_secs(60);
    let issued = TokenGrant { access: Secret::new("a"), refresh: None, lifetime: lasts };
    let pair = Some(TokenPair::new(issued, None, clock.now()));
    StoredSession { epoch, generation: 1, client_id: "c".into(), account: None, pair }
}
