//! The interface of a store of secrets, and the names of the entries in it.

use std::fmt;
use std::pin::Pin;

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
use super::KeychainError;
use crate::credentials::Error;
use crate::secret::Secret;

/// The entries, one for each secret: Windows bounds an entry at 2,560 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryName {
    Email,
    Password,
    TotpSecret,
    SessionKey,
    Canary,
}

/// One change: the name of an entry, and a value to store, or `None` to remove it.
pub(in crate::credentials) type EntryChange = (String, Option<Secret>);

/// The result of a call; boxed, since the store is chosen at run time.
pub(in crate::credentials) type StoreFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A store of secrets.
pub(in crate::credentials) trait EntryStore:
    fmt::Debug + Send + Sync
{
    /// Reads entries; a missing one is `None`. Never opens a dialog.
    fn read<'a>(
        &'a self,
        profile: &'a str,
        names: &'a [String],
    ) -> StoreFuture<'a, Vec<Option<Secret>>>;

    /// Makes changes. Never opens a dialog, as far as the store knows beforehand.
    fn write<'a>(&'a self, profile: &'a str, changes: Vec<EntryChange>) -> StoreFuture<'a, ()>;

    /// Prompts the person to open the store, if it is locked, and says whether it was.
    fn unlock(&self) -> StoreFuture<'_, bool>;
}

impl EntryName {
    /// Returns the beginning of its full name.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Password => "password",
            Self::TotpSecret => "totp-secret",
            Self::SessionKey => "file-key",
            Self::Canary => "canary",
        }
    }
}

/// The service name of every entry.
pub(super) const SERVICE: &str = "nexudus-proxy";

/// A system whose keychain is not known.
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
#[derive(Debug)]
pub(super) struct NoKeychain;

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
impl EntryStore for NoKeychain {
    fn read<'a>(&'a self, _: &'a str, _: &'a [String]) -> StoreFuture<'a, Vec<Option<Secret>>> {
        Box::pin(async { Err(KeychainError::NoStore.into()) })
    }

    fn write<'a>(&'a self, _: &'a str, _: Vec<EntryChange>) -> StoreFuture<'a, ()> {
        Box::pin(async { Err(KeychainError::NoStore.into()) })
    }

    fn unlock(&self) -> StoreFuture<'_, bool> {
        Box::pin(async { Err(KeychainError::NoStore.into()) })
    }
}
