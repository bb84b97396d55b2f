//! Max registers: of two versions of a record, the one with the higher fence stays.
//!
//! A tombstone is stronger than any record of its name. A record that does not open changes nothing
//! that a member holds, and is not hidden either.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fence::Fence;
use crate::record::{self, Client, Record, Stray, Tombstone};
use crate::seal::{Keyring, Unopened};

/// A value as it stands in the engine: `FENCE:BYTES`, or `FENCE!BYTES` for a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The fence, as the engine has it: not authenticated until the bytes are opened.
    pub fence: Fence,
    /// Whether it says that it is a tombstone.
    pub is_tombstone: bool,
    /// The sealed record.
    pub sealed: Vec<u8>,
}

/// What a member knows of one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register<T> {
    held: Option<(Fence, T)>,
    /// What stands in the engine and does not open.
    #[serde(skip)]
    unopened: Option<Fence>,
}

/// What follows from a look at the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Both have the same.
    Same,
    /// The engine's is newer; the member has it now.
    Adopted,
    /// The member's is newer, and must be written again.
    Reassert,
    /// The engine's does not open.
    Unopened,
}

/// A named client as a member knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// It may be served.
    Live(Fence, Client),
    /// Its key was revoked.
    Revoked(Fence, Tombstone),
    /// Its record does not open: it is refused.
    Unopened(Fence),
}

impl Stored {
    /// Seals `record` as the value of `name`.
    pub fn seal<R: Record>(keys: &Keyring, name: &str, fence: Fence, record: &R) -> Self {
        let is_tombstone = R::KIND == crate::seal::Kind::Tombstone;
        Self { fence, is_tombstone, sealed: record::seal(keys, name, fence, record) }
    }

    /// Opens the value of `name`.
    ///
    /// # Errors
    ///
    /// [`Unopened`] if it is damaged, of another name, type or fence, or under another key.
    pub fn open<R: Record>(&self, keys: &Keyring, name: &str) -> Result<R, Unopened> {
        record::open(keys, name, self.fence, &self.sealed)
    }

    /// Returns the value as the engine stores it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mark = if self.is_tombstone { b'!' } else { b':' };
        let mut bytes = self.fence.to_string().into_bytes();
        bytes.push(mark);
        bytes.extend(&self.sealed);
        bytes
    }

    /// Reads a value of the engine. What has no fence has the lowest: any record replaces it.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let fence = str::from_utf8(&bytes[..digits]).ok().and_then(|text| text.parse().ok());
        match (fence, bytes.get(digits)) {
            (Some(fence), Some(mark @ (b':' | b'!'))) => {
                Self { fence, is_tombstone: *mark == b'!', sealed: bytes[digits + 1..].to_vec() }
            }
            _ => Self { fence: Fence::ZERO, is_tombstone: false, sealed: vec![] },
        }
    }
}

impl<T> Default for Register<T> {
    fn default() -> Self {
        Self { held: None, unopened: None }
    }
}

impl<T: Record + PartialEq> Register<T> {
    /// Returns the newest version that opened.
    pub fn get(&self) -> Option<(Fence, &T)> {
        self.held.as_ref().map(|(fence, value)| (*fence, value))
    }

    /// Returns the fence of that version, else the lowest.
    pub fn fence(&self) -> Fence {
        self.held.as_ref().map_or(Fence::ZERO, |(fence, _)| *fence)
    }

    /// Returns the fence of what stands in the engine and does not open.
    pub fn unopened(&self) -> Option<Fence> {
        self.unopened
    }

    /// Takes a version that this member made or loaded, if it is newer; says whether it was.
    pub fn raise(&mut self, fence: Fence, value: T) -> bool {
        let is_newer = self.held.as_ref().is_none_or(|(held, _)| *held < fence);
        if is_newer {
            self.held = Some((fence, value));
        }
        is_newer
    }

    /// Compares with what stands in the engine, which is the newest of both afterwards unless the
    /// result asks for a write.
    pub fn merge(&mut self, keys: &Keyring, name: &str, stored: Option<&Stored>) -> Merge {
        self.unopened = None;
        let Some(stored) = stored else {
            return if self.held.is_some() { Merge::Reassert } else { Merge::Same };
        };
        let Ok(value) = stored.open(keys, name) else {
            self.unopened = Some(stored.fence);
            // Only what this member knows can replace it.
            return if self.held.is_some() { Merge::Reassert } else { Merge::Unopened };
        };
        // Two records of one fence, drawn again by an engine that had forgotten the first draw: the
        // engine's is the one that all members see.
        let is_other = |(fence, held): &(Fence, T)| *fence == stored.fence && *held != value;
        if self.held.as_ref().is_some_and(is_other) {
            self.held = None;
        }
        if self.raise(stored.fence, value) {
            Merge::Adopted
        } else if self.fence() > stored.fence {
            Merge::Reassert
        } else {
            Merge::Same
        }
    }
}

/// The records of `:set`: clients and strays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSet {
    clients: BTreeMap<String, Entry>,
    strays: BTreeMap<String, (Fence, Stray)>,
}

impl RecordSet {
    /// Returns what is known of the client with this id.
    pub fn client(&self, id: &str) -> Option<&Entry> {
        self.clients.get(id)
    }

    /// Returns all clients, revoked and unopened ones too.
    pub fn clients(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.clients.iter().map(|(id, entry)| (id.as_str(), entry))
    }

    /// Returns the chains to revoke at the issuer.
    pub fn strays(&self) -> impl Iterator<Item = &Stray> {
        self.strays.values().map(|(_, stray)| stray).filter(|stray| !stray.ended)
    }

    /// Returns the fence of the stray of this name, ended or not.
    pub fn stray_fence(&self, name: &str) -> Fence {
        self.strays.get(name).map_or(Fence::ZERO, |(fence, _)| *fence)
    }

    /// Takes an entry; the stronger of both stays. Says whether it was the new one.
    pub fn raise(&mut self, id: &str, entry: Entry) -> bool {
        let is_stronger = self.clients.get(id).is_none_or(|held| entry.outranks(held));
        if is_stronger {
            self.clients.insert(id.to_owned(), entry);
        }
        is_stronger
    }

    /// Takes a stray.
    pub fn raise_stray(&mut self, name: &str, fence: Fence, stray: Stray) {
        if self.strays.get(name).is_none_or(|(held, _)| *held < fence) {
            self.strays.insert(name.to_owned(), (fence, stray));
        }
    }

    /// Compares with all of the engine's set; returns what must be written again.
    pub fn merge(&mut self, keys: &Keyring, engine: &[(String, Stored)]) -> Vec<(String, Stored)> {
        for (name, stored) in engine {
            if let Some(id) = name.strip_prefix(CLIENT) {
                self.raise(id, Entry::open(keys, name, stored));
            } else if let (Some(id), Ok(stray)) =
                (name.strip_prefix(STRAY), stored.open(keys, name))
            {
                self.raise_stray(id, stored.fence, stray);
            }
        }
        let stands: BTreeMap<&str, &Stored> =
            engine.iter().map(|(name, stored)| (name.as_str(), stored)).collect();
        self.clients.retain(|id, entry| match entry {
            // Nothing is known of what was removed again.
            Entry::Unopened(_) => stands.contains_key(format!("{CLIENT}{id}").as_str()),
            Entry::Live(..) | Entry::Revoked(..) => true,
        });
        self.missing(keys, &stands)
    }

    fn missing(&self, keys: &Keyring, stands: &BTreeMap<&str, &Stored>) -> Vec<(String, Stored)> {
        let mut missing = vec![];
        for (id, entry) in &self.clients {
            let name = format!("{CLIENT}{id}");
            let stands = stands.get(name.as_str()).map(|stored| Entry::open(keys, &name, stored));
            if stands.is_some_and(|stands| !entry.outranks(&stands)) {
                continue;
            }
            missing.extend(entry.to_stored(keys, &name).map(|stored| (name, stored)));
        }
        for (id, (fence, stray)) in &self.strays {
            let name = format!("{STRAY}{id}");
            if stands.get(name.as_str()).is_none_or(|stored| stored.fence < *fence) {
                let stored = Stored::seal(keys, &name, *fence, stray);
                missing.push((name, stored));
            }
        }
        missing
    }
}

impl Entry {
    fn open(keys: &Keyring, name: &str, stored: &Stored) -> Self {
        if stored.is_tombstone {
            return stored.open(keys, name).map_or(Self::Unopened(stored.fence), |tombstone| {
                Self::Revoked(stored.fence, tombstone)
            });
        }
        stored
            .open(keys, name)
            .map_or(Self::Unopened(stored.fence), |client| Self::Live(stored.fence, client))
    }

    /// Says whether this one takes the place of another of its name: a tombstone of any other entry,
    /// else the newer one. What does not open may be the revocation of what a member holds, if it is
    /// newer; and whatever opens tells more than it.
    fn outranks(&self, held: &Self) -> bool {
        match (self, held) {
            (Self::Revoked(fence, _), Self::Revoked(held, _)) => fence > held,
            (Self::Revoked(..), Self::Live(..) | Self::Unopened(_)) => true,
            (Self::Live(..) | Self::Unopened(_), Self::Revoked(..)) => false,
            (Self::Live(fence, _), Self::Live(held, _))
            | (Self::Unopened(fence), Self::Live(held, _) | Self::Unopened(held)) => fence > held,
            (Self::Live(..), Self::Unopened(_)) => true,
        }
    }

    fn to_stored(&self, keys: &Keyring, name: &str) -> Option<Stored> {
        match self {
            Self::Live(fence, client) => Some(Stored::seal(keys, name, *fence, client)),
            Self::Revoked(fence, tombstone) => Some(Stored::seal(keys, name, *fence, tombstone)),
            Self::Unopened(_) => None,
        }
    }
}

/// Before the id of a client, in `:set`.
pub const CLIENT: &str = "client/";

/// Before the id of a stray, in `:set`.
pub const STRAY: &str = "stray/";

#[cfg(test)]
mod tests;
