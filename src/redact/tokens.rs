//! Tokens: what stands for a value, and which value a token stands for.
//!
//! A token is an HMAC of the value under a secret that no other key has, so that trying values
//! elsewhere tells nothing. Eight hexadecimal digits are shown; sixteen once two values of this key
//! have the same eight. Values are remembered (`remembered.rs`), for keys that send tokens back, within
//! bounds.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::Notify;

use super::category::Category;
use super::keyed_hash::KeyedHash;
use super::remembered::{Digits, Entries, Halves, Seen, Unsaved, Value};
use crate::clock::Clock;

/// The tokens of one key, or of a group of keys that share them.
pub struct TokenTable {
    secret: KeyedHash,
    clock: Clock,
    entries: Mutex<Entries>,
    work: Arc<TableWork>,
}

/// Tells another thread what it has to do for a table.
#[derive(Debug, Default)]
pub(super) struct TableWork {
    /// There is something to write.
    pub(super) write: Notify,
    /// There is something to free: at once, because a long list makes more of it many times a second.
    pub(super) free: Notify,
}

/// A token that stands for no value of this key, or for two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token in the request stands for no value, or for two values, of this key")]
pub struct UnknownToken;

impl TokenTable {
    /// Makes tokens under this secret, and remembers values in memory alone. `work` is told when
    /// another thread has something to do.
    pub(super) fn new(secret: &[u8; 32], clock: Clock, work: Arc<TableWork>) -> Self {
        Self { secret: KeyedHash::new(secret), clock, entries: Mutex::default(), work }
    }

    /// Begins with these values, and keeps changes for the disk.
    #[must_use]
    pub(super) fn with_saved(self, halves: Halves) -> Self {
        Self { entries: Mutex::new(Entries::from_saved(halves)), ..self }
    }

    /// Appends the token of a value; `remembers`: [`TokenTable::resolve`] gives the value back.
    pub fn write_token(&self, category: Category, value: &str, remembers: bool, out: &mut String) {
        self.write_token_at(self.hour(), category, value, remembers, out);
    }

    /// As [`TokenTable::write_token`], in this hour: a response asks for the time once.
    pub(super) fn write_token_at(
        &self,
        hour: u32,
        category: Category,
        value: &str,
        remembers: bool,
        out: &mut String,
    ) {
        let digits = self.secret.first_eight_bytes(value.as_bytes());
        let value = Some(value).filter(|value| remembers && value.len() <= MAX_VALUE_BYTES);
        let is_shared = self.remember(Seen { digits, value, category, at: hour });
        out.push_str("«PII:");
        out.push_str(category.word());
        out.push(':');
        let count = if is_shared { 16 } else { 8 };
        for at in 0..count {
            out.push(char::from(HEX[usize::from((digits >> (60 - 4 * at)) as u8 & 15)]));
        }
        out.push('»');
    }

    /// Returns the hour, as values are dated with it.
    pub(super) fn hour(&self) -> u32 {
        hours(&self.clock)
    }

    /// Returns the value of a token with these digits, as they are written.
    ///
    /// # Errors
    ///
    /// [`UnknownToken`]: also for one that was seen too long ago.
    pub fn resolve(&self, category: Category, digits: &str) -> Result<Value, UnknownToken> {
        let number = u64::from_str_radix(digits, 16).map_err(|_| UnknownToken)?;
        let digits = match digits.len() {
            16 => Digits::Sixteen(number),
            _ => Digits::Eight(u32::try_from(number).map_err(|_| UnknownToken)?),
        };
        let oldest = oldest_hour(&self.clock);
        self.lock().find(digits, category, oldest).ok_or(UnknownToken)
    }

    /// Forgets every value.
    pub fn wipe(&self) {
        let wiped = self.lock().wipe();
        drop(wiped);
    }

    /// Frees what was forgotten.
    pub(super) fn free_forgotten(&self) {
        let forgotten = self.lock().take_forgotten();
        drop(forgotten);
    }

    /// Takes what is not on disk yet. A request that has a value to remember waits for a part of it at most.
    pub(super) fn take_unsaved(&self) -> Option<Unsaved> {
        let unsaved = self.lock().take_unsaved()?;
        let all = |prefixes: Vec<u32>| {
            prefixes.chunks(PART).flat_map(|part| self.lock().values(part)).collect()
        };
        Some(match unsaved {
            Unsaved::Changes(changes) => Unsaved::Changes(changes),
            Unsaved::Whole(Halves { young, old }) => {
                Unsaved::Whole(Halves { young: all(young), old: all(old) })
            }
        })
    }

    /// Takes down that something could not be written.
    pub(super) fn set_incomplete(&self) {
        self.lock().set_incomplete();
    }

    /// Remembers a value, and says whether another one has the same eight digits.
    fn remember(&self, seen: Seen<'_>) -> bool {
        let mut entries = self.lock();
        let had_forgotten = entries.has_forgotten();
        let (is_shared, has_work) = entries.remember(seen);
        let has_forgotten = entries.has_forgotten();
        drop(entries);
        if has_work {
            self.work.write.notify_one();
        }
        if has_forgotten && !had_forgotten {
            self.work.free.notify_one();
        }
        is_shared
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TokenTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenTable(..)")
    }
}

/// Returns the hour since which no value counts that was not seen again.
pub(super) fn oldest_hour(clock: &Clock) -> u32 {
    hours(clock).saturating_sub(MAX_AGE_HOURS)
}

fn hours(clock: &Clock) -> u32 {
    let since = clock.now().wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs() / HOUR.as_secs()).unwrap_or(u32::MAX)
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Longest value that is remembered, in bytes: longer ones are texts, which no filter takes.
pub(super) const MAX_VALUE_BYTES: usize = 4 << 10;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// How long a token can be sent back after its value was last seen: 30 days.
const MAX_AGE_HOURS: u32 = 30 * 24;

/// How many values are copied while requests wait: some 50 µs.
const PART: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::remembered::MAX_VALUES;

    fn table(secret: u8) -> TokenTable {
        TokenTable::new(&[secret; 32], Clock::system(), Arc::default())
    }

    fn token(table: &TokenTable, category: Category, value: &str) -> String {
        let mut out = String::new();
        table.write_token(category, value, true, &mut out);
        out
    }

    fn see(table: &TokenTable, value: &str, digits: u64) -> bool {
        let (value, at) = (Some(value), table.hour());
        table.remember(Seen { digits, value, category: Category::Name, at })
    }

    fn digits(token: &str) -> &str {
        token.rsplit(':').next().unwrap().trim_end_matches('»')
    }

    #[test]
    fn a_token_is_the_same_for_one_key_and_another_for_another() {
        let (one, other) = (table(1), table(2));
        let first = token(&one, Category::Email, "ada@example.com");
        assert_eq!(token(&one, Category::Email, "ada@example.com"), first);
        assert_ne!(token(&other, Category::Email, "ada@example.com"), first);
        assert!(first.starts_with("«PII:EMAIL:") && digits(&first).len() == 8, "{first}");
        assert_eq!(&**one.resolve(Category::Email, digits(&first)).unwrap(), "ada@example.com");
        assert_eq!(other.resolve(Category::Email, digits(&first)), Err(UnknownToken));
        assert_eq!(one.resolve(Category::Name, digits(&first)), Err(UnknownToken));
        assert_eq!(format!("{one:?}"), "TokenTable(..)");
        one.wipe();
        assert_eq!(one.resolve(Category::Email, digits(&first)), Err(UnknownToken));
    }

    /// As `printf %s VALUE | openssl dgst -sha256 -hmac KEY` prints it.
    #[test]
    fn a_token_begins_as_the_hmac_of_its_value() {
        let mut out = String::new();
        let table = TokenTable::new(&[b'J'; 32], Clock::system(), Arc::default());
        table.write_token(Category::Name, "what do ya want for nothing?", false, &mut out);
        assert_eq!(out, "«PII:NAME:2e5b04b2»");
    }

    #[test]
    fn two_values_with_the_same_eight_digits_get_sixteen() {
        let table = table(1);
        assert!(!see(&table, "Ada", 0x3f9a_1c20_0000_0001));
        assert!(table.resolve(Category::Name, "3f9a1c20").is_ok());
        assert!(see(&table, "Bob", 0x3f9a_1c20_0000_0002));
        assert!(see(&table, "Ada", 0x3f9a_1c20_0000_0001));
        assert_eq!(table.resolve(Category::Name, "3f9a1c20"), Err(UnknownToken));
        let bob = table.resolve(Category::Name, "3f9a1c2000000002").unwrap();
        assert_eq!(&**bob, "Bob");
        assert_eq!(table.resolve(Category::Name, "3f9a1c2000000003"), Err(UnknownToken));
    }

    #[test]
    fn values_are_forgotten_after_thirty_days_and_when_there_are_too_many() {
        let (clock, time) = Clock::manual();
        let table = TokenTable::new(&[1; 32], clock, Arc::default());
        let first = token(&table, Category::Name, "Ada");
        time.advance(HOUR * MAX_AGE_HOURS);
        assert!(table.resolve(Category::Name, digits(&first)).is_ok());
        time.advance(HOUR);
        assert_eq!(table.resolve(Category::Name, digits(&first)), Err(UnknownToken));

        let first = token(&table, Category::Name, "Ada");
        // Some have the same eight digits.
        for number in 0..MAX_VALUES + 100 {
            table.write_token(Category::Name, &number.to_string(), true, &mut String::new());
        }
        assert_eq!(table.resolve(Category::Name, digits(&first)), Err(UnknownToken));
        assert!(table.lock().len() <= MAX_VALUES);
    }

    #[test]
    fn a_whole_table_is_copied_in_parts() {
        let table = table(1).with_saved(Halves::default());
        for number in 0..3 * PART + 1 {
            table.write_token(Category::Name, &number.to_string(), true, &mut String::new());
        }
        table.set_incomplete();
        let Some(Unsaved::Whole(halves)) = table.take_unsaved() else { panic!() };
        assert_eq!((halves.young.len(), halves.old.len()), (3 * PART + 1, 0));
    }

    #[test]
    fn a_value_that_no_key_sends_back_is_not_remembered() {
        let table = table(1);
        let mut out = String::new();
        table.write_token(Category::Name, "Ada", false, &mut out);
        assert_eq!(table.resolve(Category::Name, digits(&out)), Err(UnknownToken));
    }
}
