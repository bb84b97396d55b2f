//! Sealing of records: AES-256-GCM under a key of the profile, bound to what the record is.
//!
//! Type, profile, name and fence are authenticated with each record. Whoever can write the engine
//! can therefore bring back an old record, but cannot move one to another name or make it newer.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::fence::Fence;

/// What a sealed record is: authenticated, not encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The type of the record.
    pub kind: Kind,
    /// The name among records of its type; empty where there is one.
    pub name: &'a str,
    /// The fence that the record stands under.
    pub fence: Fence,
}

/// The types of sealed records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Client id, account and token pair.
    Session,
    /// Login or logout.
    Epoch,
    /// Lock or unlock.
    Lock,
    /// How often the password was tried.
    Attempts,
    /// A named client.
    Client,
    /// A client that was revoked.
    Tombstone,
    /// A chain that a member opened while it was cut off.
    Stray,
    /// What a member is about to spend.
    Intent,
    /// A pair that lost its commit.
    Spare,
    /// Name and version of a member.
    Member,
}

/// The keys of a profile: one to seal with, more to open with while keys change.
pub struct Keyring {
    profile: String,
    keys: Vec<ProfileKey>,
}

/// Why there is no keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No key was given.
    #[error("no key of the fleet was given")]
    Missing,
    /// A key has another length.
    #[error("a key of the fleet has {0} bytes, not 32")]
    Length(usize),
    /// More than two keys.
    #[error("{0} keys of the fleet were given, more than two")]
    TooMany(usize),
}

/// A record that does not open: damaged, moved, or sealed under another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record cannot be opened: it is damaged, or was sealed with another key")]
pub struct Unopened;

struct ProfileKey {
    id: [u8; KEY_ID_LEN],
    key: LessSafeKey,
}

impl Keyring {
    /// Derives the keys of `profile` from those of the fleet. The first one seals.
    ///
    /// # Errors
    ///
    /// A [`KeyError`] unless there are one or two keys of 32 bytes.
    pub fn new(profile: &str, keys: &[&[u8]]) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::Missing);
        }
        if keys.len() > 2 {
            return Err(KeyError::TooMany(keys.len()));
        }
        let keys =
            keys.iter().map(|key| ProfileKey::derive(profile, key)).collect::<Result<_, _>>()?;
        Ok(Self { profile: profile.to_owned(), keys })
    }

    /// Seals `plain` as what `binding` says.
    pub fn seal(&self, binding: Binding<'_>, plain: &[u8]) -> Vec<u8> {
        let newest = &self.keys[0];
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).expect("the system has randomness");
        let mut sealed = Vec::with_capacity(HEADER_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.push(VERSION);
        sealed.extend(newest.id);
        sealed.extend(nonce);
        let mut text = Zeroizing::new(plain.to_vec());
        let tag = newest
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(self.associated(binding)),
                &mut text,
            )
            .expect("a record is shorter than 64 GiB");
        sealed.extend_from_slice(&text);
        sealed.extend(tag.as_ref());
        sealed
    }

    /// Opens what [`Keyring::seal`] made under one of the keys for the same binding.
    ///
    /// # Errors
    ///
    /// [`Unopened`] for everything else.
    pub fn open(
        &self,
        binding: Binding<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let (header, text) = sealed.split_at_checked(HEADER_LEN).ok_or(Unopened)?;
        let (version, rest) = header.split_first().ok_or(Unopened)?;
        let (id, nonce) = rest.split_at(KEY_ID_LEN);
        if *version != VERSION {
            return Err(Unopened);
        }
        let key = self.keys.iter().find(|key| key.id == *id).ok_or(Unopened)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_length| Unopened)?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = key
            .key
            .open_in_place(nonce, Aad::from(self.associated(binding)), &mut text)
            .map_err(|_unspecified| Unopened)?
            .len();
        text.truncate(length);
        Ok(text)
    }

    /// Each part with its length before it, so that no two bindings have the same bytes.
    fn associated(&self, binding: Binding<'_>) -> Vec<u8> {
        let mut bytes = b"shared-session/1".to_vec();
        for part in [binding.kind.label(), &self.profile, binding.name] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        bytes.extend(binding.fence.number().to_be_bytes());
        bytes
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Epoch => "epoch",
            Self::Lock => "lock",
            Self::Attempts => "attempts",
            Self::Client => "client",
            Self::Tombstone => "tombstone",
            Self::Stray => "stray",
            Self::Intent => "intent",
            Self::Spare => "spare",
            Self::Member => "member",
        }
    }
}

impl ProfileKey {
    fn derive(profile: &str, key: &[u8]) -> Result<Self, KeyError> {
        if key.len() != KEY_LEN {
            return Err(KeyError::Length(key.len()));
        }
        let extracted = Salt::new(HKDF_SHA256, b"shared-session/1").extract(key);
        let expand = |label: &[u8], output: &mut [u8]| {
            extracted
                .expand(&[label, profile.as_bytes()], OutputLen(output.len()))
                .and_then(|okm| okm.fill(output))
                .expect("HKDF gives up to 8,160 bytes");
        };
        let mut material = Zeroizing::new([0; KEY_LEN]);
        expand(b"seal ", material.as_mut());
        let mut id = [0; KEY_ID_LEN];
        expand(b"id ", &mut id);
        let key = UnboundKey::new(&AES_256_GCM, material.as_ref()).expect("the key has 32 bytes");
        Ok(Self { id, key: LessSafeKey::new(key) })
    }
}

struct OutputLen(usize);

impl aws_lc_rs::hkdf::KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}

const KEY_LEN: usize = 32;

/// Which key sealed a record, so that a wrong key is not tried.
const KEY_ID_LEN: usize = 4;

const VERSION: u8 = 1;

const HEADER_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;

#[cfg(test)]
mod tests;
