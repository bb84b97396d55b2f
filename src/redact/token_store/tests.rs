//! The values of tokens: each survives a restart and a crash, and is read by its own key alone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::clock::Clock;
use crate::redact::remembered::MAX_VALUES;
use crate::redact::{Category, TokenTable, TokenVault};
use crate::secret::{KeyMaterial, Secret};

#[test]
fn a_restart_changes_no_token_and_loses_no_value() {
    let state = tempfile::tempdir().unwrap();
    let first = started(&state, KEY);
    let ada = token(&first.table(&bot()), "Ada Lovelace");
    let mine = token(&first.table(&TableName::Anonymous), "Ada Lovelace");
    first.flush().unwrap();

    let second = started(&state, KEY);

    assert_eq!(resolved(&second, &ada).as_deref(), Some("Ada Lovelace"));
    assert_eq!(token(&second.table(&bot()), "Ada Lovelace"), ada);
    assert_eq!(token(&second.table(&TableName::Anonymous), "Ada Lovelace"), mine);
    assert_ne!(ada, mine);
    // What was read is added to, and not written again.
    let bob = token(&second.table(&bot()), "Bob");
    second.flush().unwrap();
    let third = started(&state, KEY);
    assert_eq!(resolved(&third, &ada).as_deref(), Some("Ada Lovelace"));
    assert_eq!(resolved(&third, &bob).as_deref(), Some("Bob"));
}

#[test]
fn no_value_stands_in_the_clear_and_others_read_nothing() {
    let state = tempfile::tempdir().unwrap();
    let vault = started(&state, KEY);
    let ada = token(&vault.table(&bot()), "Ada Lovelace");
    vault.flush().unwrap();

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory(state.path())), 0o700);
    let digits = u64::from_str_radix(&ada[ada.len() - 10..ada.len() - 2], 16).unwrap();
    for path in files(&directory(state.path())) {
        assert_eq!(mode(&path), 0o600);
        let bytes = fs::read(&path).unwrap();
        for text in ["Lovelace", "Ada", &ada, &digits.to_string()] {
            assert!(!bytes.windows(text.len()).any(|it| it == text.as_bytes()), "{text}");
        }
    }
    assert_eq!(format!("{vault:?}"), "TokenVault(..)");
}

#[test]
fn a_crash_at_any_byte_loses_the_last_piece_alone() {
    let state = tempfile::tempdir().unwrap();
    let vault = started(&state, KEY);
    let table = vault.table(&bot());
    let tokens: Vec<_> = (0..3)
        .map(|number| {
            let token = token(&table, &format!("Ada {number}"));
            vault.flush().unwrap();
            token
        })
        .collect();
    let path = young(&state);
    let whole = fs::read(&path).unwrap();
    let header = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;

    let mut before = 0;
    for length in (header..whole.len()).step_by(3).chain([whole.len()]) {
        // As a disk leaves the part that was not written.
        for end in [&[][..], &[0; 100]] {
            fs::write(&path, [&whole[..length], end].concat()).unwrap();
            let after = started(&state, KEY);
            let left = tokens.iter().take_while(|it| resolved(&after, it).is_some()).count();
            assert!((before..=before + 1).contains(&left), "{length}");
            before = left;
            assert_eq!(tokens.iter().filter(|it| resolved(&after, it).is_some()).count(), left);
            // The next value takes the place of what was cut off.
            let bob = token(&after.table(&bot()), "Bob");
            after.flush().unwrap();
            assert!(resolved(&started(&state, KEY), &bob).is_some(), "{length}");
        }
    }
    assert_eq!(before, 3);
}

#[test]
fn a_damaged_file_is_an_empty_table_and_is_replaced() {
    let state = tempfile::tempdir().unwrap();
    let vault = started(&state, KEY);
    let ada = token(&vault.table(&bot()), "Ada");
    vault.flush().unwrap();
    let path = young(&state);
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();

        let after = started(&state, KEY);

        assert_eq!(resolved(&after, &ada), None, "byte {at}");
        assert_eq!(token(&after.table(&bot()), "Ada"), ada);
        after.flush().unwrap();
        assert!(resolved(&started(&state, KEY), &ada).is_some(), "byte {at}");
    }
    let sealer = sealer(KEY, "default");
    fs::write(&path, "{}").unwrap();
    let error = TokenFile::read(&path, &sealer).unwrap_err();
    assert!(error.to_string().ends_with("young is no file of tokens"), "{error}");
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(TokenFile::read(&path, &sealer).unwrap().1.is_empty());
}

#[test]
fn another_key_and_another_profile_open_nothing() {
    let state = tempfile::tempdir().unwrap();
    let vault = started(&state, KEY);
    let ada = token(&vault.table(&bot()), "Ada");
    vault.flush().unwrap();

    let other = started(&state, "another key of 16");

    assert_ne!(token(&other.table(&bot()), "Ada"), ada);
    assert_eq!(resolved(&other, &ada), None);
    let path = young(&state);
    let why = |sealer| TokenFile::read(&path, &sealer).unwrap_err().to_string();
    let error = why(sealer("another key of 16", "default"));
    assert!(error.ends_with("the file is damaged, or the key is wrong"), "{error}");
    let error = why(sealer(KEY, "work"));
    assert!(
        error.ends_with("was made in the profile \"default\" and is used in no other"),
        "{error}"
    );
    // Nothing was written, so that the key that comes back finds its values.
    assert!(resolved(&started(&state, KEY), &ada).is_some());
    // A piece does not count in another file.
    let group = TableName::Group("ada".to_owned());
    token(&vault.table(&group), "Ada");
    vault.flush().unwrap();
    let store = TableStore::new(state.path(), Arc::new(sealer(KEY, "default")));
    let header = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let (own, theirs) = (fs::read(&path).unwrap(), store.path(&group, YOUNG));
    let other = fs::read(&theirs).unwrap();
    fs::write(&theirs, [&other[..header(&other)], &own[header(&own)..]].concat()).unwrap();
    assert!(TokenFile::read(&theirs, &store.sealer).is_err());
}

#[test]
fn what_is_wiped_or_revoked_is_gone_from_the_disk() {
    let state = tempfile::tempdir().unwrap();
    let vault = started(&state, KEY);
    let group = TableName::Group("ada".to_owned());
    let ada = token(&vault.table(&bot()), "Ada");
    token(&vault.table(&group), "Ada");
    vault.flush().unwrap();
    let count = || files(&directory(state.path())).count();
    assert_eq!(count(), 2);

    vault.retain(|name| *name == bot());
    assert_eq!(count(), 1);
    token(&vault.table(&bot()), "Bob");
    vault.wipe();
    assert_eq!(count(), 0);
    vault.flush().unwrap();
    assert_eq!((count(), resolved(&vault, &ada)), (0, None));
    assert_eq!(token(&vault.table(&bot()), "Ada"), ada, "the secret stays");
    vault.flush().unwrap();

    // Revoked while no daemon ran: without the key, and at the start of the next.
    let before = fs::read(young(&state)).unwrap();
    erase_unused(state.path(), |name| *name != bot()).unwrap();
    assert_eq!(count(), 0);
    fs::write(young(&state), before).unwrap();
    let vault = TokenVault::unsettled(state.path(), Clock::system());
    assert!(!vault.is_settled());
    vault.keep_sealed(&Arc::new(sealer(KEY, "default")), |name| *name != bot());
    assert!(vault.is_settled());
    assert_eq!((count(), resolved(&vault, &ada)), (0, None));
    token(&vault.table(&group), "Ada");
    vault.flush().unwrap();
    erase(state.path()).unwrap();
    assert_eq!(count(), 0);
    erase(state.path()).unwrap();
}

#[test]
fn the_disk_holds_no_more_than_memory() {
    let state = tempfile::tempdir().unwrap();
    let vault = started(&state, KEY);
    let table = vault.table(&bot());
    let first = token(&table, "first");
    let mut last = String::new();
    for number in 0..MAX_VALUES + 1_000 {
        last = token(&table, &number.to_string());
        if number % 70_000 == 0 {
            vault.flush().unwrap();
        }
    }
    vault.flush().unwrap();

    let after = started(&state, KEY);

    assert_eq!(resolved(&after, &first), None);
    assert_eq!(resolved(&after, &last), Some((MAX_VALUES + 999).to_string()));
    let kept = (0..MAX_VALUES + 1_000).map(|number| number.to_string());
    let kept = kept.filter(|it| resolved(&after, &token(&table, it)).is_some()).count();
    assert!((MAX_VALUES / 2..=MAX_VALUES).contains(&kept), "{kept}");
    assert_eq!(files(&directory(state.path())).count(), 2);
}

#[test]
fn a_value_that_is_thirty_days_old_is_not_read() {
    let state = tempfile::tempdir().unwrap();
    let vault = started(&state, KEY);
    let ada = token(&vault.table(&bot()), "Ada");
    vault.flush().unwrap();

    let (clock, hand) = Clock::manual();
    hand.advance(std::time::Duration::from_secs(30 * 24 * 60 * 60 + 2 * 60 * 60));
    let late = TokenVault::unsettled(state.path(), clock);
    late.keep_sealed(&Arc::new(sealer(KEY, "default")), |_| true);

    assert_eq!(resolved(&late, &ada), None);
}

#[test]
fn a_disk_that_fails_gets_all_of_it_when_it_works_again() {
    let state = tempfile::tempdir().unwrap();
    let vault = started(&state, KEY);
    let ada = token(&vault.table(&bot()), "Ada");
    fs::write(directory(state.path()), "in the way").unwrap();
    assert!(vault.flush().is_err());
    let bob = token(&vault.table(&bot()), "Bob");
    assert!(vault.flush().is_err());
    fs::remove_file(directory(state.path())).unwrap();

    vault.flush().unwrap();

    let after = started(&state, KEY);
    assert!(resolved(&after, &ada).is_some() && resolved(&after, &bob).is_some());
}

const KEY: &str = "sixteen bytes ok";

fn bot() -> TableName {
    TableName::Client("bot".to_owned())
}

fn sealer(key: &str, profile: &str) -> TokenSealer {
    TokenSealer::new(&KeyMaterial::from_secret(&Secret::new(key)), profile).unwrap()
}

fn started(state: &tempfile::TempDir, key: &str) -> TokenVault {
    let vault = TokenVault::unsettled(state.path(), Clock::system());
    vault.keep_sealed(&Arc::new(sealer(key, "default")), |_| true);
    vault
}

fn young(state: &tempfile::TempDir) -> PathBuf {
    TableStore::new(state.path(), Arc::new(sealer(KEY, "default"))).path(&bot(), YOUNG)
}

fn token(table: &TokenTable, value: &str) -> String {
    let mut out = String::new();
    table.write_token(Category::Name, value, true, &mut out);
    out
}

fn resolved(vault: &TokenVault, token: &str) -> Option<String> {
    let digits = token.trim_end_matches('»').rsplit(':').next().unwrap();
    let value = vault.table(&bot()).resolve(Category::Name, digits).ok()?;
    Some(value.to_string())
}
