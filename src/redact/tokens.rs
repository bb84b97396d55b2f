//! Tokens: what stands for a value, and which value a token stands for.
//!
//! A token is an HMAC of the value under a secret that no other key has, so that trying values
//! elsewhere tells nothing. Eight hexadecimal digits are shown; sixteen once two values of this key
//! have the same eight. Values are remembered, for keys that send tokens back, within bounds.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::hmac;
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::category::Category;
use crate::clock::Clock;

/// The tokens of one key, or of a group of keys that share them.
pub struct TokenTable {
    secret: hmac::Key,
    clock: Clock,
    entries: Mutex<Entries>,
}

/// A token that stands for no value of this key, or for two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token in the request stands for no value, or for two values, of this key")]
pub struct UnknownToken;

/// Two halves: when the young one is full, the old one is forgotten. A value that is used again
/// becomes young.
#[derive(Default)]
struct Entries {
    young: HashMap<u32, Entry>,
    old: HashMap<u32, Entry>,
    /// The bytes of the values in the young half.
    young_bytes: usize,
}

/// The values whose tokens begin with the same eight digits: nearly always one.
type Entry = SmallVec<[Remembered; 1]>;

struct Remembered {
    digits: u64,
    /// `None` where no key takes tokens back, or the value is long.
    value: Option<Zeroizing<Box<str>>>,
    category: Category,
    /// Hours since 1970.
    seen: u32,
}

impl TokenTable {
    /// Makes tokens under this secret.
    pub fn new(secret: &[u8; 32], clock: Clock) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Self { secret, clock, entries: Mutex::default() }
    }

    /// Appends the token of a value; `remembers`: [`TokenTable::resolve`] gives the value back.
    pub fn write_token(&self, category: Category, value: &str, remembers: bool, out: &mut String) {
        let tag = hmac::sign(&self.secret, value.as_bytes());
        let digits = tag.as_ref().iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        let value = Some(value).filter(|value| remembers && value.len() <= MAX_VALUE_BYTES);
        let is_shared = self.remember(category, value, digits);
        let word = category.word();
        // Writing to a `String` never fails.
        let _ = if is_shared {
            write!(out, "«PII:{word}:{digits:016x}»")
        } else {
            write!(out, "«PII:{word}:{:08x}»", digits >> 32)
        };
    }

    /// Returns the value of a token with these digits, as they are written.
    ///
    /// # Errors
    ///
    /// [`UnknownToken`]: also for one that was seen too long ago.
    pub fn resolve(
        &self,
        category: Category,
        digits: &str,
    ) -> Result<Zeroizing<Box<str>>, UnknownToken> {
        let is_long = digits.len() == 16;
        let number = u64::from_str_radix(digits, 16).map_err(|_| UnknownToken)?;
        let prefix = if is_long { number >> 32 } else { number };
        let prefix = u32::try_from(prefix).map_err(|_| UnknownToken)?;
        let oldest = self.hours().saturating_sub(MAX_AGE_HOURS);
        let entries = self.lock();
        let entry = entries.young.get(&prefix).or_else(|| entries.old.get(&prefix));
        let entry = entry.ok_or(UnknownToken)?;
        if !is_long && is_shared(entry) {
            return Err(UnknownToken);
        }
        let is_meant = |it: &&Remembered| {
            it.category == category && it.seen >= oldest && (!is_long || it.digits == number)
        };
        let found = entry.iter().find(is_meant).and_then(|it| it.value.clone());
        found.ok_or(UnknownToken)
    }

    /// Forgets every value.
    pub fn wipe(&self) {
        *self.lock() = Entries::default();
    }

    /// Remembers a value, and says whether another one has the same eight digits.
    fn remember(&self, category: Category, value: Option<&str>, digits: u64) -> bool {
        let prefix = u32::try_from(digits >> 32).unwrap_or_default();
        let seen = self.hours();
        let mut entries = self.lock();
        let Entries { young, old, young_bytes } = &mut *entries;
        if (young.len() >= MAX_VALUES / 2 || *young_bytes >= MAX_BYTES / 2)
            && !young.contains_key(&prefix)
        {
            *old = std::mem::take(young);
            *young_bytes = 0;
        }
        let entry = young.entry(prefix).or_insert_with(|| old.remove(&prefix).unwrap_or_default());
        let is_known = |it: &Remembered| it.digits == digits && it.category == category;
        let keep = |value: &str| Zeroizing::new(value.into());
        match entry.iter().position(is_known) {
            Some(at) => {
                let known = &mut entry[at];
                known.seen = seen;
                if let (None, Some(value)) = (&known.value, value) {
                    known.value = Some(keep(value));
                    *young_bytes += value.len();
                }
            }
            None if entry.len() < MAX_SHARED => {
                *young_bytes += value.map_or(0, str::len);
                entry.push(Remembered { digits, value: value.map(keep), category, seen });
            }
            None => {}
        }
        is_shared(entry)
    }

    fn hours(&self) -> u32 {
        let since = self.clock.now().wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        u32::try_from(since.as_secs() / HOUR.as_secs()).unwrap_or(u32::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_shared(entry: &Entry) -> bool {
    let first = entry.first().map(|it| it.digits);
    entry.iter().any(|it| Some(it.digits) != first)
}

impl fmt::Debug for TokenTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenTable(..)")
    }
}

/// Most values that are remembered.
const MAX_VALUES: usize = 200_000;

/// Most bytes of values that are remembered: 160 for each.
const MAX_BYTES: usize = 32 << 20;

/// Longest value that is remembered, in bytes: longer ones are texts, which no filter takes.
const MAX_VALUE_BYTES: usize = 4 << 10;

/// Most values with the same eight digits: three are as good as impossible, but for categories.
const MAX_SHARED: usize = 16;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// How long a token can be sent back after its value was last seen: 30 days.
const MAX_AGE_HOURS: u32 = 30 * 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn token(table: &TokenTable, category: Category, value: &str) -> String {
        let mut out = String::new();
        table.write_token(category, value, true, &mut out);
        out
    }

    fn digits(token: &str) -> &str {
        token.rsplit(':').next().unwrap().trim_end_matches('»')
    }

    #[test]
    fn a_token_is_the_same_for_one_key_and_another_for_another() {
        let (one, other) = (
            TokenTable::new(&[1; 32], Clock::system()),
            TokenTable::new(&[2; 32], Clock::system()),
        );
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

    #[test]
    fn two_values_with_the_same_eight_digits_get_sixteen() {
        let table = TokenTable::new(&[1; 32], Clock::system());
        assert!(!table.remember(Category::Name, Some("Ada"), 0x3f9a_1c20_0000_0001));
        assert!(table.resolve(Category::Name, "3f9a1c20").is_ok());
        assert!(table.remember(Category::Name, Some("Bob"), 0x3f9a_1c20_0000_0002));
        assert!(table.remember(Category::Name, Some("Ada"), 0x3f9a_1c20_0000_0001));
        assert_eq!(table.resolve(Category::Name, "3f9a1c20"), Err(UnknownToken));
        let bob = table.resolve(Category::Name, "3f9a1c2000000002").unwrap();
        assert_eq!(&**bob, "Bob");
        assert_eq!(table.resolve(Category::Name, "3f9a1c2000000003"), Err(UnknownToken));
    }

    #[test]
    fn values_are_forgotten_after_thirty_days_and_when_there_are_too_many() {
        let (clock, time) = Clock::manual();
        let table = TokenTable::new(&[1; 32], clock);
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
        let entries = table.lock();
        assert!(entries.young.len() + entries.old.len() <= MAX_VALUES);
    }

    #[test]
    fn a_value_that_no_key_sends_back_is_not_remembered() {
        let table = TokenTable::new(&[1; 32], Clock::system());
        let mut out = String::new();
        table.write_token(Category::Name, "Ada", false, &mut out);
        assert_eq!(table.resolve(Category::Name, digits(&out)), Err(UnknownToken));
    }
}
