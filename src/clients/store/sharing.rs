//! The clients of a fleet: brings the file of this machine and the records of the fleet together.
//!
//! A client has one identifier everywhere. Of two versions, the key that was changed later stays, and
//! the limits that were changed later, so that all members come to the same whatever order they see
//! versions in. A revocation ends a client for good: no version brings it back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use super::entry::{ClientEntry, Sharing};
use super::{Contents, StoredClient, is_valid_name, update};
use crate::clients::Error;

/// A client as the fleet has it.
#[derive(Clone, PartialEq, Eq)]
pub enum FleetRecord {
    /// The client is there.
    Live {
        /// Orders the records of the fleet.
        fence: u64,
        /// The client, as [`Offer::payload`] has it.
        payload: String,
    },
    /// Its key was revoked.
    Revoked,
    /// Its record does not open.
    Unopened,
}

impl fmt::Debug for FleetRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live { fence, .. } => write!(f, "Live({fence})"),
            Self::Revoked => f.write_str("Revoked"),
            Self::Unopened => f.write_str("Unopened"),
        }
    }
}

/// The clients of the fleet, by identifier.
pub type FleetRecords = BTreeMap<String, FleetRecord>;

/// A client that the fleet has to take, new or changed.
#[derive(Clone, PartialEq, Eq)]
pub struct Offer {
    /// The identifier.
    pub id: String,
    /// The client: its name, the hash of its key, its limits.
    pub payload: String,
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The work that is left after a look at both.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// The clients that the fleet lacks, or has in another version.
    pub offers: Vec<Offer>,
    /// The clients that were revoked here, by identifier.
    pub revocations: Vec<String>,
    /// The clients of the fleet that this machine cannot read, by identifier.
    pub unreadable: BTreeSet<String>,
    /// The changes in the file.
    pub notes: Vec<SharingNote>,
}

/// A change in the file, by the name of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharingNote {
    /// Another member has added it.
    Added(String),
    /// Another member has changed it.
    Changed(String),
    /// Another member has revoked it.
    Revoked(String),
    /// Two clients had one name; the newer one has another from now on.
    Renamed {
        /// The name of both.
        from: String,
        /// The new name of the newer one.
        to: String,
    },
}

/// Takes over what the fleet knows, and finds what it does not know. `is_known` says that `records` are
/// all that there are: only then are clients offered.
///
/// # Errors
///
/// Those of reading and writing the file.
pub fn reconcile(
    directory: &Path,
    records: &FleetRecords,
    is_known: bool,
    now: SystemTime,
) -> Result<Reconciled, Error> {
    update(directory, |contents| Ok(contents.reconcile(records, is_known, now)))
}

impl Contents {
    fn reconcile(&mut self, records: &FleetRecords, is_known: bool, now: SystemTime) -> Reconciled {
        let mut result = Reconciled::default();
        self.settle_revocations(records, &mut result);
        self.take_over(records, now, &mut result);
        self.separate_names(records, now, &mut result);
        self.offer(records, is_known, now, &mut result);
        result
    }

    /// Keeps a revocation until the fleet has it.
    fn settle_revocations(&mut self, records: &FleetRecords, result: &mut Reconciled) {
        self.revoked.retain(|one| records.get(&one.id) != Some(&FleetRecord::Revoked));
        result.revocations = self.revoked.iter().map(|one| one.id.clone()).collect();
        self.clients.retain(|client| {
            let is_revoked = records.get(&client.id) == Some(&FleetRecord::Revoked);
            if is_revoked {
                result.notes.push(SharingNote::Revoked(client.name.clone()));
            }
            !is_revoked
        });
    }

    fn take_over(&mut self, records: &FleetRecords, now: SystemTime, result: &mut Reconciled) {
        for (id, record) in records {
            let FleetRecord::Live { payload, .. } = record else {
                if *record == FleetRecord::Unopened {
                    result.unreadable.insert(id.clone());
                }
                continue;
            };
            if self.revoked.iter().any(|one| one.id == *id) {
                continue;
            }
            let Some(theirs) = opened(id, payload) else {
                result.unreadable.insert(id.clone());
                continue;
            };
            match self.clients.iter_mut().find(|client| client.id == *id) {
                Some(ours) => {
                    let merged = merge(ours, &theirs);
                    if contents(&merged) != contents(ours) {
                        result.notes.push(SharingNote::Changed(merged.name.clone()));
                    }
                    *ours = StoredClient { sharing: Sharing::Shared, ..merged };
                }
                // An expired client has made room for another one of its name.
                None if theirs.limits.is_expired(now) => {}
                None => {
                    result.notes.push(SharingNote::Added(theirs.name.clone()));
                    self.clients.push(StoredClient { sharing: Sharing::Shared, ..theirs });
                }
            }
        }
    }

    /// Gives one of two clients of one name another name: the one that the fleet knows longer keeps it.
    fn separate_names(&mut self, records: &FleetRecords, now: SystemTime, result: &mut Reconciled) {
        let fence = |id: &str| match records.get(id) {
            Some(FleetRecord::Live { fence, .. }) => *fence,
            Some(FleetRecord::Revoked | FleetRecord::Unopened) | None => u64::MAX,
        };
        let mut keepers: BTreeMap<String, (u64, String)> = BTreeMap::new();
        for client in self.clients.iter().filter(|client| !client.limits.is_expired(now)) {
            let rank = (fence(&client.id), client.id.clone());
            let keeper = keepers.entry(client.name.clone()).or_insert_with(|| rank.clone());
            *keeper = rank.min(keeper.clone());
        }
        let keeps = |client: &StoredClient| {
            keepers.get(&client.name).is_none_or(|(_, keeper)| *keeper == client.id)
        };
        self.clients.retain(|client| keeps(client) || !client.limits.is_expired(now));
        for client in self.clients.iter_mut().filter(|client| !keeps(client)) {
            let to = second_name(&client.name, &client.id);
            let from = std::mem::replace(&mut client.name, to);
            result.notes.push(SharingNote::Renamed { from, to: client.name.clone() });
        }
    }

    fn offer(
        &mut self,
        records: &FleetRecords,
        is_known: bool,
        now: SystemTime,
        result: &mut Reconciled,
    ) {
        for client in &mut self.clients {
            let is_wanted = match records.get(&client.id) {
                Some(FleetRecord::Live { payload, .. }) => {
                    !result.unreadable.contains(&client.id) && *payload != contents(client)
                }
                // A revocation may be what does not open.
                Some(FleetRecord::Revoked | FleetRecord::Unopened) => false,
                None => client.sharing != Sharing::Never && !client.limits.is_expired(now),
            };
            if is_known && is_wanted {
                // Before it leaves: from now on a revocation has to follow it.
                client.sharing = Sharing::Shared;
                result.offers.push(Offer { id: client.id.clone(), payload: contents(client) });
            }
        }
    }
}

/// Returns the client as the fleet keeps it: the same on every machine.
fn contents(client: &StoredClient) -> String {
    let client = StoredClient { sharing: Sharing::default(), ..client.clone() };
    serde_json::to_string(&ClientEntry::from_client(&client))
        .expect("strings and numbers become JSON")
}

/// Reads what [`contents`] has written for this identifier.
fn opened(id: &str, payload: &str) -> Option<StoredClient> {
    let entry: ClientEntry = serde_json::from_str(payload).ok()?;
    entry.into_client().filter(|client| client.id == id && is_valid_name(&client.name))
}

/// Returns what both versions come to, whichever is given first.
fn merge(one: &StoredClient, other: &StoredClient) -> StoredClient {
    let key = |client: &StoredClient| (client.key_changed, client.hash.to_hex());
    let limits = |client: &StoredClient| {
        let entry = ClientEntry::from_client(client).limits_alone();
        (client.limits_changed, serde_json::to_string(&entry).unwrap_or_default())
    };
    let with_key = if key(one) >= key(other) { one } else { other };
    let with_limits = if limits(one) >= limits(other) { one } else { other };
    // A second name is never taken back.
    let name = |client: &StoredClient| (is_second_name(client), client.name.clone());
    StoredClient {
        id: one.id.clone(),
        name: name(one).max(name(other)).1,
        hash: with_key.hash.clone(),
        key_changed: with_key.key_changed,
        created: one.created.min(other.created),
        limits: with_limits.limits.clone(),
        limits_changed: with_limits.limits_changed,
        sharing: one.sharing,
    }
}

/// Returns another name, which every member would give to this client.
fn second_name(name: &str, id: &str) -> String {
    let name: String = name.chars().take(LONGEST_FIRST_PART).collect();
    format!("{name}-{}", short(id))
}

fn is_second_name(client: &StoredClient) -> bool {
    client.name.strip_suffix(short(&client.id)).is_some_and(|rest| rest.ends_with('-'))
}

fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

/// Part of an identifier in a second name.
const SHORT_ID: usize = 6;

/// A name has at most 64 characters.
const LONGEST_FIRST_PART: usize = 64 - SHORT_ID - 1;

#[cfg(test)]
mod tests;
