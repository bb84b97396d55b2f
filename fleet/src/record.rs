//! What members keep in the engine: the plain text of each record.
//!
//! Times are milliseconds since 1970 by the engine's clock, which all members see. The generation of
//! a session, and the fence of every other record, stand beside the record and are not in it.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::rand;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::fence::Fence;
use crate::seal::{Binding, Keyring, Kind, Unopened};
use crate::secret::Secret;

/// A record with a type of its own.
pub trait Record: Serialize + DeserializeOwned {
    /// The type that the record is sealed as.
    const KIND: Kind;
}

/// The client id, the account and its newest token pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The client id that the refresh token is bound to.
    pub client_id: String,
    /// The account.
    pub account: String,
    /// The access token.
    pub access: Secret,
    /// The single-use token for the next pair, if the issuer gave one.
    pub refresh: Option<Secret>,
    /// When the pair was asked for.
    pub issued: u64,
    /// How long the access token works, in milliseconds.
    pub lifetime: u64,
    /// Whether a password brought the pair, and not a refresh token.
    pub by_password: bool,
    /// The generation of the pair that this chain began with: that pair is spent if this one is another.
    #[serde(default)]
    pub root: Fence,
}

/// A login or a logout of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Epoch {
    /// This account logged in, and the issuer accepted it.
    Login {
        /// The account.
        account: String,
    },
    /// The fleet logged out.
    Logout,
}

/// Whether the fleet is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Whether it is.
    pub locked: bool,
}

/// How often the password was tried, and which generation was refused.
///
/// A try counts as spent from before it is made. A session of this record's fence or newer says that
/// the try succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// The epoch that the tries belong to.
    pub epoch: Fence,
    /// Tries in a row without a pair.
    pub tries: u32,
    /// Whether the issuer refused the password.
    pub refused: bool,
    /// The newest generation whose refresh token the issuer refused.
    pub dead: Fence,
}

/// A named client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// What the program keeps about the client.
    pub payload: String,
}

/// A client whose key was revoked. It stays for good: an engine that was restored may have a version of the
/// client whose key ends later than that of any version which is known, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {}

/// A chain that a member opened while it was cut off, to be revoked at the issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stray {
    /// The client id of the chain.
    pub client_id: String,
    /// Its account.
    pub account: String,
    /// Whether it has ended at the issuer since.
    #[serde(default)]
    pub ended: bool,
}

/// What a member is about to spend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// What it is.
    pub spends: Spend,
    /// The member.
    pub by: Incarnation,
    /// Since when.
    pub since: u64,
}

/// A thing that an issuer takes once, or counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spend {
    /// The refresh token of this generation: the record's, or a spare's.
    Refresh(Fence),
    /// A try of the password.
    Password,
}

/// A pair that lost its commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spare {
    /// The pair, with its client id.
    pub session: Session,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberInfo {
    /// Its name, for people.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// One run of a member: a random name that no other run has.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(String);

impl Incarnation {
    /// Makes a new one.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).expect("the system has randomness");
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Takes a name, as the engine gives it.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Session {
    /// Returns how much of the access token's life is left at `now`, in milliseconds by the engine's
    /// clock; `None` if that clock was set back since the pair was asked for.
    pub fn left(&self, now: u64) -> Option<Duration> {
        let age = now.checked_sub(self.issued)?;
        Some(Duration::from_millis(self.lifetime.saturating_sub(age)))
    }
}

/// Seals `record` under `name` and `fence`.
pub fn seal<R: Record>(keys: &Keyring, name: &str, fence: Fence, record: &R) -> Vec<u8> {
    let plain =
        Zeroizing::new(serde_json::to_vec(record).expect("numbers and strings are valid JSON"));
    keys.seal(Binding { kind: R::KIND, name, fence }, &plain)
}

/// Opens a record that [`seal`] made for the same name and fence.
///
/// # Errors
///
/// [`Unopened`] for everything else.
pub fn open<R: Record>(
    keys: &Keyring,
    name: &str,
    fence: Fence,
    sealed: &[u8],
) -> Result<R, Unopened> {
    let plain = keys.open(Binding { kind: R::KIND, name, fence }, sealed)?;
    serde_json::from_slice(&plain).map_err(|_another_version| Unopened)
}

macro_rules! kinds {
    ($($record:ident),* $(,)?) => {
        $(impl Record for $record {
            const KIND: Kind = Kind::$record;
        })*
    };
}

impl Record for MemberInfo {
    const KIND: Kind = Kind::Member;
}

kinds!(Session, Epoch, Lock, Attempts, Client, Tombstone, Stray, Intent, Spare);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_in_the_debug_text_of_a_record() {
        let session = Session {
            client_id: "client".to_owned(),
            account: "a@example.test".to_owned(),
            access: Secret::new("marker-access"),
            refresh: Some(Secret::new("marker-refresh")),
            issued: 1,
            lifetime: 2,
            by_password: false,
            root: Fence::ZERO,
        };
        let text = format!("{:?}", Spare { session });
        assert!(!text.contains("marker"), "{text}");
    }

    #[test]
    fn a_sealed_record_holds_no_plain_text() {
        let keys = Keyring::new("default", &[&[3; 32]]).unwrap();
        let stray = Stray {
            client_id: "marker-id".to_owned(),
            account: "marker-name".to_owned(),
            ended: false,
        };
        let sealed = seal(&keys, "x", Fence::ZERO, &stray);
        assert!(!sealed.windows(6).any(|part| part == b"marker"));
        assert_eq!(open(&keys, "x", Fence::ZERO, &sealed), Ok(stray));
        assert_eq!(open::<Client>(&keys, "x", Fence::ZERO, &sealed), Err(Unopened));
    }

    #[test]
    fn the_life_left_is_unknown_after_a_clock_was_set_back() {
        let session = Session {
            client_id: String::new(),
            account: String::new(),
            access: Secret::new(""),
            refresh: None,
            issued: 1_000,
            lifetime: 500,
            by_password: false,
            root: Fence::ZERO,
        };
        assert_eq!(session.left(1_200), Some(Duration::from_millis(300)));
        assert_eq!(session.left(9_000), Some(Duration::ZERO));
        assert_eq!(session.left(999), None);
    }
}
