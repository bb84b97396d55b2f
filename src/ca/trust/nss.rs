//! The databases of NSS, which Chromium, Chrome and Firefox read on Linux: changed by `certutil`.

use std::path::{Path, PathBuf};
use std::process::Command;

use constrained_ca::ConstrainedRoot;

use super::error::{CERTUTIL, TrustError};
use super::place::{Removal, TrustStore};
use super::program::output;
use super::record::TrustEntry;
use crate::ca::kind::localhost_root;
use crate::secure_fs;

/// Returns a person's databases: the shared one, whether it is there or not, and each other that is.
pub(super) fn databases(home: &Path) -> Vec<PathBuf> {
    let shared = home.join(".pki/nssdb");
    let snap = home.join("snap/chromium/current/.pki/nssdb");
    let mut found: Vec<_> = [snap].into_iter().filter(|path| is_database(path)).collect();
    for profiles in FIREFOX {
        let profiles = std::fs::read_dir(home.join(profiles)).into_iter().flatten();
        found.extend(profiles.flatten().map(|entry| entry.path()).filter(|path| is_database(path)));
    }
    found.sort_unstable();
    std::iter::once(shared).chain(found).collect()
}

/// Where Firefox keeps its profiles: its own packages, snap, flatpak.
const FIREFOX: [&str; 3] = [
    ".mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox",
];

fn is_database(directory: &Path) -> bool {
    directory.join("cert9.db").exists()
}

/// Adds a root as one that vouches for servers. A database that is not there is made, as Chromium
/// would make it: without a password.
pub(super) fn add(database: &Path, root: &ConstrainedRoot) -> Result<(), TrustError> {
    if !is_database(database) {
        secure_fs::create_dir(database)
            .map_err(|source| TrustError::File { path: database.to_owned(), source })?;
        certutil(database, &["-N", "--empty-password"], None)?;
    }
    let store = || TrustStore::Nss(database.to_owned());
    match find(database, root.name())? {
        Some(pem) if is_same(&pem, &root.pem()) => {}
        Some(_) => return Err(TrustError::Other { store: store(), name: root.name().to_owned() }),
        None => {}
    }
    // C: vouches for servers; not for e-mail, not for code.
    certutil(database, &["-A", "-n", root.name(), "-t", "C,,", "-a"], Some(&root.pem()))?;
    match find(database, root.name())? {
        Some(pem) if is_same(&pem, &root.pem()) => Ok(()),
        Some(_) | None => Err(TrustError::NotAdded(store())),
    }
}

/// Removes the root of this entry. Its name alone would not do: another certificate may have it.
pub(super) fn remove(database: &Path, entry: &TrustEntry) -> Result<Removal, TrustError> {
    if !is_database(database) {
        return Ok(Removal::Absent);
    }
    let Some(pem) = find(database, &entry.name)? else { return Ok(Removal::Absent) };
    let found = localhost_root(&pem);
    if !found.is_ok_and(|root| root.sha256() == entry.sha256) {
        let store = TrustStore::Nss(database.to_owned());
        return Err(TrustError::Other { store, name: entry.name.clone() });
    }
    certutil(database, &["-D", "-n", &entry.name], None)?;
    Ok(Removal::Removed)
}

/// Returns the certificate of this name, in PEM.
fn find(database: &Path, name: &str) -> Result<Option<String>, TrustError> {
    match certutil(database, &["-L", "-n", name, "-a"], None) {
        Ok(pem) => Ok(Some(pem)),
        Err(TrustError::Failed { why, .. }) if why.contains("Could not find cert") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Compares certificates: `certutil` ends its lines as Windows does.
fn is_same(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<String>();
    plain(one) == plain(other)
}

fn certutil(database: &Path, words: &[&str], input: Option<&str>) -> Result<String, TrustError> {
    let mut command = Command::new(CERTUTIL);
    command.arg("-d").arg(format!("sql:{}", database.display())).args(words);
    let output = output(CERTUTIL, &mut command, input)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
