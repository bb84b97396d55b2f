//! The OS keychain: Secret Service on Linux, Keychain on macOS, Credential Manager on Windows.
//!
//! macOS and Windows go through the keyring project's current interface (`keyring-core` and its
//! native stores). Linux goes through `oo7`, for three reasons that were measured against a real
//! GNOME Keyring:
//!
//! - *locked*: the keyring project's store opens a dialog on every read, and blocks its thread
//!   while the dialog is open; `oo7` says `is_locked` and opens a dialog only on request;
//! - *late*: without D-Bus the keyring project's store remembers the failure for the life of the
//!   process; here every call connects anew;
//! - *restarted*: a store that is held across a restart of the provider fails for ever in both,
//!   which a connection for each call avoids.
//!
//! A login belongs to the origin that accepted it, so its entries carry the origin in their names
//! (`password@https://…`), in the same way in every store. The entries of the default origin have
//! no origin in their names, as before origins were recorded: an earlier program finds that login
//! only.
//!
//! Calls run one at a time, because many connections at once have stalled GNOME Keyring, and each
//! has a timeout. There is no fallback: no mock store, no plain text.

mod entries;
#[cfg(any(target_os = "macos", windows))]
mod native;
#[cfg(target_os = "linux")]
mod secret_service;
mod store;

use std::time::Duration;

pub use self::entries::Keychain;
pub(super) use self::entries::random_key;

/// Returns the name that people know the system's keychain by.
pub(super) fn product_name() -> &'static str {
    if cfg!(target_os = "macos") {
        "macOS Keychain"
    } else if cfg!(windows) {
        "Windows Credential Manager"
    } else {
        "Secret Service"
    }
}

/// Why a keychain cannot be used, in our own words, because the messages of a store are unbounded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeychainError {
    /// The session has no D-Bus.
    #[error("there is no D-Bus session bus")]
    NoBus,
    /// No program provides the service.
    #[error("no Secret Service runs: install and start gnome-keyring, KWallet or KeePassXC")]
    NoProvider,
    /// The provider has no place for new entries.
    #[error("the Secret Service has no default collection")]
    NoCollection,
    /// This system has no keychain that we know.
    #[error("this system has no supported keychain")]
    NoStore,
    /// The keychain did not respond.
    #[error("the keychain did not respond within {} s", .0.as_secs())]
    Timeout(Duration),
    /// An entry is too large.
    #[error("the keychain takes at most {0} bytes per entry")]
    TooLong(u32),
    /// A read returned another value than was written.
    #[error("the keychain returned another value than was written")]
    ReadBackMismatch,
    /// The person closed the dialog.
    #[error("the dialog to unlock it was closed")]
    Dismissed,
    /// Anything else.
    #[error("the keychain failed: {0}")]
    Other(String),
}

impl KeychainError {
    /// Says whether there is no keychain at all, rather than one that fails.
    pub(super) fn is_absent(&self) -> bool {
        match self {
            Self::NoBus | Self::NoProvider | Self::NoCollection | Self::NoStore => true,
            Self::Timeout(_)
            | Self::TooLong(_)
            | Self::ReadBackMismatch
            | Self::Dismissed
            | Self::Other(_) => false,
        }
    }

    /// Says whether a key in a file may take the place of the keychain: this machine has none. A
    /// provider without a collection is a keychain that a person can complete.
    pub fn allows_key_file(&self) -> bool {
        self.is_absent() && *self != Self::NoCollection
    }
}

#[cfg(test)]
pub(super) mod tests;
