//! Files that stay on the machine when the service is removed: drop-ins, configuration, state, encrypted
//! credentials.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Error, Reporter, ServiceEvent};

/// Returns those of `paths` that exist. A link counts, wherever it leads.
pub(super) fn existing(paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    paths.into_iter().filter(|path| path.symlink_metadata().is_ok()).collect()
}

/// Returns what the system unit has used: its directories, and the credentials that it names.
pub(super) fn of_system() -> Vec<PathBuf> {
    let credentials = ["email", "password", "totp-secret", "key"];
    let credentials = credentials
        .into_iter()
        .flat_map(|name| CREDENTIAL_STORES.map(|store| format!("{store}/nexudus-{name}").into()));
    // DynamicUser= keeps the directory in `private`, and links to it.
    let directories =
        ["/etc/nexudus-proxy", "/var/lib/nexudus-proxy", "/var/lib/private/nexudus-proxy"];
    directories.map(PathBuf::from).into_iter().chain(credentials).collect()
}

/// Removes a file, a link or a whole directory. Never follows a link.
pub(super) fn remove(path: &Path, report: Reporter<'_>) -> Result<(), Error> {
    let removed = path.symlink_metadata().and_then(|found| {
        if found.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
    });
    match removed {
        Ok(()) => report(ServiceEvent::Removed(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::File { path: path.to_owned(), source }),
    }
    Ok(())
}

/// Where `LoadCredentialEncrypted=` looks for a credential without a path.
const CREDENTIAL_STORES: [&str; 2] = ["/etc/credstore.encrypted", "/etc/credstore"];

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_removed_and_not_what_it_leads_to() {
        let home = tempfile::tempdir().unwrap();
        let (kept, link) = (home.path().join("kept"), home.path().join("link"));
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "x").unwrap();
        std::os::unix::fs::symlink(&kept, &link).unwrap();
        let mut removed = vec![];

        remove(&link, &mut |event| removed.push(event)).unwrap();

        assert_eq!(removed, [ServiceEvent::Removed(link.clone())]);
        assert!(kept.join("file").exists() && link.symlink_metadata().is_err());
        remove(&kept, &mut |_| {}).unwrap();
        assert_eq!(existing([kept, link]), Vec::<PathBuf>::new());
    }
}
