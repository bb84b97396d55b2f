//! Changes of the clients: a command makes them on the files, or sends them to the daemon.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ClientPolicy, Error, store};
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
    },
    /// Makes the key of a client worthless.
    Revoke {
        /// The name of the client.
        name: String,
    },
}

impl ClientChange {
    /// Makes the change in the profile's file. Returns the new key, if there is one.
    ///
    /// # Errors
    ///
    /// As [`super::add`] and [`super::revoke`].
    pub fn apply(self, directory: &Path) -> Result<Option<Secret>, Error> {
        match self {
            Self::Add { name, limits } => store::add(directory, &name, limits).map(Some),
            Self::Revoke { name } => store::revoke(directory, &name).map(|()| None),
        }
    }
}
