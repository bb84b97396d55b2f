//! The values that are remembered or to be written, and how much memory both take.

use super::*;

fn value(digits: u64, text: &str, seen: u32) -> Remembered {
    let value = Some(Zeroizing::new(text.into()));
    Remembered { digits, value, category: Category::Name, seen }
}

fn see(entries: &mut Entries, it: &Remembered) -> (bool, bool) {
    let value = it.value.as_ref().map(|value| &***value);
    entries.remember(Seen { digits: it.digits, value, category: it.category, at: it.seen })
}

fn changes(entries: &mut Entries) -> Vec<Option<Remembered>> {
    let Some(Unsaved::Changes(changes)) = entries.take_unsaved() else { return vec![] };
    let seen = |change| match change {
        Change::Seen(value) => Some(value),
        Change::Rotated => None,
    };
    changes.into_iter().map(seen).collect()
}

#[test]
fn a_value_is_written_once_a_day_and_when_it_becomes_young_again() {
    let old = value(1 << 32, "Bob", 100);
    let halves = Halves { young: vec![], old: vec![old.clone()] };
    let mut entries = Entries::from_saved(halves);
    let ada = value(2 << 32, "Ada", 100);

    assert_eq!(see(&mut entries, &ada), (false, true), "something is to be written");
    assert_eq!(see(&mut entries, &Remembered { seen: 123, ..ada.clone() }), (false, false));
    see(&mut entries, &value(1 << 32, "Bob", 101));
    assert_eq!(changes(&mut entries), [Some(ada.clone()), Some(old)]);

    let next = Remembered { seen: 124, ..ada };
    assert_eq!(see(&mut entries, &next), (false, true));
    assert_eq!(changes(&mut entries), [Some(next)]);
    drop(entries.wipe());
    assert!(entries.take_unsaved().is_none() && entries.len() == 0);
}

#[test]
fn what_could_not_be_written_is_written_as_a_whole() {
    let mut entries = Entries::from_saved(Halves::default());
    see(&mut entries, &value(1 << 32, "Ada", 1));
    drop(entries.take_unsaved());
    entries.set_incomplete();
    see(&mut entries, &value(2 << 32, "Bob", 1));

    let Some(Unsaved::Whole(mut halves)) = entries.take_unsaved() else { panic!() };

    halves.young.sort_unstable();
    assert_eq!(halves, Halves { young: vec![1, 2], old: vec![] });
    let both = [value(1 << 32, "Ada", 1), value(2 << 32, "Bob", 1)];
    assert_eq!(entries.values(&halves.young), both);
    assert!(entries.take_unsaved().is_none());
}

/// While everything is copied in parts, requests go on: what they change is written after it.
#[test]
fn what_changes_while_everything_is_written_counts_after_it() {
    let old = value(1 << 32, "Ada", 1);
    let mut entries = Entries::from_saved(Halves { young: vec![], old: vec![old.clone()] });
    entries.set_incomplete();
    let Some(Unsaved::Whole(halves)) = entries.take_unsaved() else { panic!() };

    let again = Remembered { seen: 30, ..old };
    see(&mut entries, &again);

    assert_eq!(halves, Halves { young: vec![], old: vec![1] });
    assert_eq!(
        entries.values(&[1, 7]),
        std::slice::from_ref(&again),
        "what is gone since is left out"
    );
    assert_eq!(changes(&mut entries).last(), Some(&Some(again)));
}

#[test]
fn a_disk_that_does_not_keep_up_costs_no_memory() {
    let mut entries = Entries::from_saved(Halves::default());
    for number in 0..=MAX_PENDING as u64 {
        see(&mut entries, &value(number << 40 | number, "Ada", 1));
    }
    assert!(entries.pending.as_ref().unwrap().changes.is_empty());
    assert!(matches!(entries.take_unsaved(), Some(Unsaved::Whole(_))));
}

#[test]
fn what_was_forgotten_is_bounded_also_where_it_is_not_freed() {
    let mut entries = Entries::from_saved(Halves::default());
    let mut most = 0;
    for number in 0..MAX_VALUES as u64 * 3 {
        see(&mut entries, &value(number << 32 | number, "Ada", 1));
        most = most.max(entries.forgotten.halves.len() + entries.forgotten.changes.len());
    }
    assert_eq!(most, MAX_FORGOTTEN);
    assert!(entries.has_forgotten());
    drop(entries.take_forgotten());
    assert!(!entries.has_forgotten());
}
