//! Changes of the clients: a command makes them on the files, or sends them to the daemon.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ClientPolicy, Error, Limit, LimitChange, store};
use crate::secret::Secret;

/// One change, as `POST /v1/clients` takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClientChange {
    /// Adds a client.
    Add {
        /// The name of the client.
        name: String,
        /// The limits of the client.
        #[serde(with = "store::wire")]
        limits: ClientPolicy,
        /// Whether the client is of one command on this machine, so that no fleet hears of it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        here: bool,
    },
    /// Changes the limits of a client; its key and its counts stay.
    Set {
        /// The name of the client.
        name: String,
        /// The limits to clear.
        clear: Vec<Limit>,
        /// The limits to set.
        #[serde(with = "store::wire")]
        given: ClientPolicy,
        /// Whether to deny deletions, beside the other rules.
        no_delete: bool,
    },
    /// Gives a client a new key; its limits and its counts stay.
    Rotate {
        /// The name of the client.
        name: String,
    },
    /// Makes the key before a rotation valid again, because the new one could not be shown.
    Restore {
        /// The name of the client.
        name: String,
        /// The key before the rotation.
        key: store::ReplacedKey,
    },
    /// Makes the key of a client worthless.
    Revoke {
        /// The name of the client.
        name: String,
    },
}

/// The keys of a change.
#[derive(Debug, Default)]
pub struct ChangedKeys {
    /// The new key, if there is one.
    pub new: Option<Secret>,
    /// The key that it replaces, if there is one.
    pub replaced: Option<store::ReplacedKey>,
}

impl ClientChange {
    /// Adds a client, which a fleet shares.
    pub fn add(name: &str, limits: ClientPolicy) -> Self {
        Self::Add { name: name.to_owned(), limits, here: false }
    }

    /// Changes the limits of a client.
    pub fn set(name: &str, change: LimitChange) -> Self {
        let LimitChange { clear, given, no_delete } = change;
        Self::Set { name: name.to_owned(), clear, given, no_delete }
    }

    /// Returns what is done, and the client that it is done to.
    pub fn action_and_client(&self) -> (&'static str, &str) {
        match self {
            Self::Add { name, .. } => ("add", name),
            Self::Set { name, .. } => ("set", name),
            Self::Rotate { name } => ("rotate", name),
            Self::Restore { name, .. } => ("restore", name),
            Self::Revoke { name } => ("revoke", name),
        }
    }

    /// Makes the change in the profile's file.
    ///
    /// # Errors
    ///
    /// As the functions of the file: [`super::add`], [`super::set`], [`super::rotate`],
    /// [`super::undo_rotation`] and [`super::revoke`].
    pub fn apply(self, directory: &Path) -> Result<ChangedKeys, Error> {
        match self {
            Self::Add { name, limits, here } => {
                let add = if here { store::add_here } else { store::add };
                let new = add(directory, &name, limits)?;
                Ok(ChangedKeys { new: Some(new), replaced: None })
            }
            Self::Rotate { name } => {
                let (new, replaced) = store::rotate(directory, &name)?;
                Ok(ChangedKeys { new: Some(new), replaced: Some(replaced) })
            }
            Self::Set { name, clear, given, no_delete } => {
                let change = LimitChange { clear, given, no_delete };
                store::set(directory, &name, &change).map(|_| ChangedKeys::default())
            }
            Self::Restore { name, key } => {
                store::undo_rotation(directory, &name, &key).map(|()| ChangedKeys::default())
            }
            Self::Revoke { name } => {
                store::revoke(directory, &name).map(|()| ChangedKeys::default())
            }
        }
    }
}
