//! The stores of trusted roots that there are.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A store of trusted roots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "store", content = "place", rename_all = "lowercase")]
pub enum TrustStore {
    /// A database of NSS: that of Chromium, or a profile of Firefox.
    Nss(PathBuf),
    /// The directory of the system's own anchors (Linux).
    Anchors(PathBuf),
    /// A keychain of macOS.
    Keychain(PathBuf),
    /// The roots of this user (Windows).
    Windows,
}

/// The result of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The certificate was there, and is gone.
    Removed,
    /// The certificate was gone already.
    Absent,
}

/// Says whether a keychain is that of the whole system.
pub(super) fn is_of_system(keychain: &Path) -> bool {
    keychain.starts_with("/Library")
}

impl fmt::Display for TrustStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nss(path) if path.ends_with(".pki/nssdb") => {
                write!(f, "the NSS database of Chromium and Chrome ({})", path.display())
            }
            Self::Nss(path) => write!(f, "the Firefox profile {}", path.display()),
            Self::Anchors(path) => write!(f, "the system's trust store ({})", path.display()),
            Self::Keychain(path) if is_of_system(path) => f.write_str("the System keychain"),
            Self::Keychain(_) => f.write_str("the login keychain"),
            Self::Windows => f.write_str("this user's trusted roots"),
        }
    }
}
