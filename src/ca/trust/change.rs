//! Adding to a store and removing from it, each by its own program.

use std::path::Path;
use std::process::{Command, Output};

use constrained_ca::ConstrainedRoot;

use super::error::TrustError;
use super::place::{Removal, TrustStore, is_of_system};
use super::program::{output, temporary};
use super::record::TrustEntry;
use super::{anchors, nss};

impl TrustStore {
    /// Returns the stores of the person whose home directory this is.
    pub fn of_person(home: &Path) -> Vec<Self> {
        if cfg!(windows) {
            return vec![Self::Windows];
        }
        if cfg!(target_os = "macos") {
            return vec![Self::Keychain(home.join("Library/Keychains/login.keychain-db"))];
        }
        nss::databases(home).into_iter().map(Self::Nss).collect()
    }

    /// Returns the store of the whole system.
    ///
    /// # Errors
    ///
    /// [`TrustError::NoStore`].
    pub fn of_system() -> Result<Self, TrustError> {
        if cfg!(target_os = "macos") {
            return Ok(Self::Keychain("/Library/Keychains/System.keychain".into()));
        }
        anchors::directory().map(|path| Self::Anchors(path.into())).ok_or(TrustError::NoStore)
    }

    /// Adds a root, under its common name. A root that is there already stays.
    ///
    /// # Errors
    ///
    /// [`TrustError`] when it is not there afterwards.
    pub fn add(&self, root: &ConstrainedRoot) -> Result<(), TrustError> {
        match self {
            Self::Nss(database) => nss::add(database, root),
            Self::Anchors(directory) => anchors::add(directory, root),
            Self::Keychain(keychain) => {
                let certificate = temporary(root)?;
                let mut command = Command::new("security");
                command.args(["add-trusted-cert", "-r", "trustRoot", "-p", "ssl", "-k"]);
                command.arg(keychain);
                if is_of_system(keychain) {
                    command.arg("-d");
                }
                output("security", command.arg(&certificate.0), None).map(drop)
            }
            Self::Windows => {
                let certificate = temporary(root)?;
                let mut command = Command::new("certutil.exe");
                command.args(["-user", "-addstore", "Root"]).arg(&certificate.0);
                output("certutil.exe", &mut command, None).map(drop)
            }
        }
    }

    /// Removes the root of this entry, and no other certificate.
    ///
    /// # Errors
    ///
    /// [`TrustError`] when it is still there, or another certificate has its name.
    pub fn remove(&self, entry: &TrustEntry) -> Result<Removal, TrustError> {
        match self {
            Self::Nss(database) => nss::remove(database, entry),
            Self::Anchors(directory) => anchors::remove(directory, &entry.sha256),
            Self::Keychain(keychain) => {
                let mut command = Command::new("security");
                command.args(["delete-certificate", "-t", "-Z", &entry.sha1]).arg(keychain);
                removed(output("security", &mut command, None))
            }
            Self::Windows => {
                let mut command = Command::new("certutil.exe");
                command.args(["-user", "-delstore", "Root", &entry.sha1]);
                removed(output("certutil.exe", &mut command, None))
            }
        }
    }

    /// Returns the fingerprints of our roots in this store, where the store itself is the record of
    /// what was added to it.
    ///
    /// # Errors
    ///
    /// [`TrustError::File`] when the directory cannot be read.
    pub fn own_entries(&self) -> Result<Vec<TrustEntry>, TrustError> {
        match self {
            Self::Anchors(directory) => anchors::entries(directory),
            Self::Nss(_) | Self::Keychain(_) | Self::Windows => Ok(vec![]),
        }
    }
}

/// A certificate that is not there cannot be told from other failures by the exit code alone.
fn removed(outcome: Result<Output, TrustError>) -> Result<Removal, TrustError> {
    match outcome {
        Ok(_) => Ok(Removal::Removed),
        Err(TrustError::Failed { why, .. }) if NOT_FOUND.iter().any(|it| why.contains(it)) => {
            Ok(Removal::Absent)
        }
        Err(error) => Err(error),
    }
}

/// How `security` and Windows' `certutil` say that a certificate is not there.
const NOT_FOUND: [&str; 3] = ["could not be found", "CRYPT_E_NOT_FOUND", "0x80092004"];
