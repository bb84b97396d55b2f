//! Which version stays.

use proptest::prelude::*;

use super::*;
use crate::record::Lock;

fn keys() -> Keyring {
    Keyring::new("default", &[&[1; 32]]).unwrap()
}

fn fence(number: u64) -> Fence {
    Fence::new(number).unwrap()
}

fn lock(keys: &Keyring, number: u64, locked: bool) -> Stored {
    Stored::seal(keys, "lock", fence(number), &Lock { locked })
}

fn client(number: u64) -> Entry {
    Entry::Live(fence(number), Client { payload: number.to_string() })
}

fn revoked(number: u64) -> Entry {
    Entry::Revoked(fence(number), Tombstone {})
}

proptest! {
    #[test]
    fn a_value_survives_the_engine(number in 0_u64..1 << 52, sealed: Vec<u8>, is_tombstone: bool) {
        let stored = Stored { fence: fence(number), is_tombstone, sealed };
        prop_assert_eq!(Stored::from_bytes(&stored.to_bytes()), stored);
    }

    #[test]
    fn any_bytes_are_a_value_or_have_the_lowest_fence(bytes: Vec<u8>) {
        let stored = Stored::from_bytes(&bytes);
        prop_assert!(stored.fence == Fence::ZERO || stored.to_bytes() == bytes);
    }

    /// Whatever order two members see versions in, they hold the same in the end.
    #[test]
    fn registers_agree_in_any_order(numbers in proptest::collection::vec(1_u64..50, 1..8)) {
        let keys = keys();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        let (mut one, mut other) = (Register::<Lock>::default(), Register::<Lock>::default());
        for number in &numbers {
            one.merge(&keys, "lock", Some(&lock(&keys, *number, number % 2 == 0)));
        }
        for number in &sorted {
            other.merge(&keys, "lock", Some(&lock(&keys, *number, number % 2 == 0)));
        }
        prop_assert_eq!(one, other);
    }

    #[test]
    fn no_order_of_events_brings_a_revoked_client_back(
        fences in proptest::collection::vec(1_u64..50, 1..6), at in 0_usize..6, tomb in 1_u64..50,
    ) {
        let mut set = RecordSet::default();
        let at = at % fences.len();
        for (index, number) in fences.iter().enumerate() {
            if index == at {
                set.raise("a", revoked(tomb));
            }
            set.raise("a", client(*number));
        }
        prop_assert_eq!(set.client("a"), Some(&revoked(tomb)));
    }
}

#[test]
fn a_newer_version_is_adopted_and_an_older_one_replaced() {
    let keys = keys();
    let mut register = Register::<Lock>::default();

    assert_eq!(register.merge(&keys, "lock", None), Merge::Same);
    assert_eq!(register.merge(&keys, "lock", Some(&lock(&keys, 5, true))), Merge::Adopted);
    assert_eq!(register.merge(&keys, "lock", Some(&lock(&keys, 5, true))), Merge::Same);
    assert_eq!(register.merge(&keys, "lock", Some(&lock(&keys, 4, false))), Merge::Reassert);
    assert_eq!(register.merge(&keys, "lock", None), Merge::Reassert);
    assert_eq!(register.get(), Some((fence(5), &Lock { locked: true })));
}

#[test]
fn a_planted_record_unlocks_no_member_that_knows_better() {
    let keys = keys();
    let mut register = Register::default();
    register.merge(&keys, "lock", Some(&lock(&keys, 5, true)));
    let foreign = Keyring::new("default", &[&[9; 32]]).unwrap();

    let merged = register.merge(&keys, "lock", Some(&lock(&foreign, 900, false)));

    assert_eq!(merged, Merge::Reassert);
    assert_eq!(register.unopened(), Some(fence(900)));
    assert_eq!(register.get(), Some((fence(5), &Lock { locked: true })));
}

#[test]
fn a_record_with_the_fence_of_another_does_not_open() {
    let keys = keys();
    let mut moved = lock(&keys, 5, false);
    moved.fence = fence(6);
    assert_eq!(Register::<Lock>::default().merge(&keys, "lock", Some(&moved)), Merge::Unopened);
}

#[test]
fn a_client_whose_record_does_not_open_is_known_as_such() {
    let (keys, mut set) = (keys(), RecordSet::default());
    let foreign = Keyring::new("default", &[&[9; 32]]).unwrap();
    let planted = Client { payload: "admin".to_owned() };
    let planted = Stored::seal(&foreign, "client/a", fence(7), &planted);

    let again = set.merge(&keys, &[("client/a".to_owned(), planted)]);

    assert_eq!(set.client("a"), Some(&Entry::Unopened(fence(7))));
    assert!(again.is_empty());
    set.merge(&keys, &[]);
    assert_eq!(set.client("a"), None, "the engine's operator has removed it");
}

#[test]
fn a_client_is_refused_as_long_as_what_is_newer_does_not_open() {
    let (keys, mut set) = (keys(), RecordSet::default());
    let foreign = Keyring::new("default", &[&[9; 32]]).unwrap();
    let sealed = |keys: &Keyring, number: u64| {
        let client = Client { payload: number.to_string() };
        vec![("client/a".to_owned(), Stored::seal(keys, "client/a", fence(number), &client))]
    };
    set.raise("a", client(5));

    let again = set.merge(&keys, &sealed(&foreign, 4));
    assert_eq!((set.client("a"), again.len()), (Some(&client(5)), 1), "an older one is replaced");
    let again = set.merge(&keys, &sealed(&foreign, 6));
    assert_eq!((set.client("a"), again.len()), (Some(&Entry::Unopened(fence(6))), 0));
    // Its key has come, or a member that has it wrote again.
    set.merge(&keys, &sealed(&keys, 7));
    assert_eq!(set.client("a"), Some(&client(7)));
    set.merge(&foreign, &sealed(&keys, 8));
    set.raise("a", revoked(1));
    assert_eq!(set.client("a"), Some(&revoked(1)));
}

#[test]
fn what_the_engine_lost_is_written_again() {
    let (keys, mut set) = (keys(), RecordSet::default());
    set.raise("a", client(3));
    set.raise("b", revoked(4));
    set.raise_stray(
        "x",
        fence(5),
        Stray { client_id: "c".into(), account: "a".into(), ended: false },
    );

    let names = |again: Vec<(String, Stored)>| -> Vec<String> {
        again.into_iter().map(|(name, _)| name).collect()
    };
    let again = set.merge(&keys, &[]);
    assert_eq!(names(set.merge(&keys, &again)), Vec::<String>::new());
    assert_eq!(names(again), ["client/a", "client/b", "stray/x"]);
}

/// A key had no end, was given one, and was revoked: the first version must not come back with an old backup.
#[test]
fn a_tombstone_stays_whatever_its_last_version_said() {
    let (keys, mut set) = (keys(), RecordSet::default());
    let first =
        Stored::seal(&keys, "client/a", fence(1), &Client { payload: "for ever".to_owned() });
    set.raise("a", client(2));
    set.raise("a", revoked(4));

    let again = set.merge(&keys, &[("client/a".to_owned(), first)]);

    assert_eq!(set.client("a"), Some(&revoked(4)));
    assert_eq!(again.len(), 1, "and the engine hears of it");
}

/// What an earlier version has kept says when a tombstone ends.
#[test]
fn the_end_of_an_earlier_versions_tombstone_says_nothing() {
    let kept = r#"{"Revoked":[4,{"expires":100}]}"#;
    assert_eq!(serde_json::from_str::<Entry>(kept).unwrap(), revoked(4));
}
