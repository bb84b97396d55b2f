//! The system's own anchors on Linux: a directory of certificates, and a command that reads it.
//!
//! The directory is the record of what was added: each file of ours carries the fingerprint of its
//! certificate in its name. A record elsewhere could be changed by another user, and lead root to
//! remove another file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use constrained_ca::ConstrainedRoot;

use super::error::TrustError;
use super::place::{Removal, TrustStore};
use super::program::output;
use super::record::TrustEntry;
use crate::ca::kind::localhost_root;
use crate::secure_fs;

/// A directory, and how the system learns of a change.
struct Anchors {
    directory: &'static str,
    program: &'static str,
    added: &'static [&'static str],
    removed: &'static [&'static str],
}

const KNOWN: [Anchors; 4] = [
    // Debian, Ubuntu, Alpine. What was removed stays in the bundle of some versions without --fresh.
    Anchors {
        directory: "/usr/local/share/ca-certificates",
        program: "update-ca-certificates",
        added: &[],
        removed: &["--fresh"],
    },
    // Fedora, Red Hat.
    Anchors {
        directory: "/etc/pki/ca-trust/source/anchors",
        program: "update-ca-trust",
        added: &["extract"],
        removed: &["extract"],
    },
    // openSUSE.
    Anchors {
        directory: "/etc/pki/trust/anchors",
        program: "update-ca-certificates",
        added: &[],
        removed: &[],
    },
    // Arch.
    Anchors {
        directory: "/etc/ca-certificates/trust-source/anchors",
        program: "update-ca-trust",
        added: &["extract"],
        removed: &["extract"],
    },
];

/// Returns the directory of this system.
pub(super) fn directory() -> Option<&'static str> {
    KNOWN.iter().map(|it| it.directory).find(|directory| Path::new(directory).is_dir())
}

/// Adds a root, and has the system read it.
pub(super) fn add(directory: &Path, root: &ConstrainedRoot) -> Result<(), TrustError> {
    let path = directory.join(file_name(&root.sha256()));
    let failed = |source| TrustError::File { path: path.clone(), source };
    secure_fs::atomic_write(&path, root.pem().as_bytes()).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // Every program reads it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).map_err(failed)?;
    }
    update(directory, |known| known.added)
}

/// Removes the root with this fingerprint, and has the system forget it.
pub(super) fn remove(directory: &Path, sha256: &str) -> Result<Removal, TrustError> {
    let is_there = entries(directory)?.iter().any(|entry| entry.sha256 == sha256);
    if !is_there {
        return Ok(Removal::Absent);
    }
    let path = directory.join(file_name(sha256));
    fs::remove_file(&path).map_err(|source| TrustError::File { path, source })?;
    update(directory, |known| known.removed)?;
    Ok(Removal::Removed)
}

/// Returns the roots of ours: a file counts whose name belongs to the certificate in it.
pub(super) fn entries(directory: &Path) -> Result<Vec<TrustEntry>, TrustError> {
    let failed = |source| TrustError::File { path: directory.to_owned(), source };
    let mut paths: Vec<PathBuf> = vec![];
    for entry in fs::read_dir(directory).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort_unstable();
    let is_ours = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        let text = fs::read_to_string(path).ok().filter(|_| name.starts_with(PREFIX))?;
        let root = localhost_root(&text).ok()?;
        (name == file_name(&root.sha256())).then_some(root)
    };
    let roots = paths.iter().filter_map(|path| is_ours(path));
    Ok(roots.map(|root| TrustEntry::new(TrustStore::Anchors(directory.into()), &root)).collect())
}

fn update(
    directory: &Path,
    words: impl Fn(&Anchors) -> &'static [&'static str],
) -> Result<(), TrustError> {
    let known = KNOWN.iter().find(|known| Path::new(known.directory) == directory);
    let Some(known) = known else { return Ok(()) };
    let mut command = Command::new(known.program);
    output(known.program, command.args(words(known)), None).map(drop)
}

/// The system's commands read files that end in `.crt`.
fn file_name(sha256: &str) -> String {
    let short: String = sha256.split(':').take(FINGERPRINT_BYTES).collect();
    format!("{PREFIX}{}.crt", short.to_ascii_lowercase())
}

const PREFIX: &str = "nexudus-proxy-localhost-";

/// How many bytes of the fingerprint a file's name carries.
const FINGERPRINT_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::ca::AuthorityKind;
    use crate::config::Config;

    #[test]
    fn only_files_that_hold_what_their_name_says_are_ours() {
        let folder = tempfile::tempdir().unwrap();
        let make =
            |kind: AuthorityKind| kind.create(&Config::default(), SystemTime::now()).unwrap();
        let pem = make(AuthorityKind::Localhost).root_pem();
        let root = localhost_root(&pem).unwrap();
        let at = |name: &str| folder.path().join(name);
        let intercept = make(AuthorityKind::Intercept);
        let misnamed = file_name(&intercept.root_fingerprint());
        fs::write(at(&misnamed), intercept.root_pem()).unwrap();
        fs::write(at("nexudus-proxy-localhost-0123.crt"), &pem).unwrap();
        fs::write(at("other.crt"), &pem).unwrap();

        add(folder.path(), &root).unwrap();

        let found = entries(folder.path()).unwrap();
        assert_eq!(found, [TrustEntry::new(TrustStore::Anchors(folder.path().into()), &root)]);
        assert_eq!(remove(folder.path(), &root.sha256()).unwrap(), Removal::Removed);
        assert_eq!(remove(folder.path(), &root.sha256()).unwrap(), Removal::Absent);
        let other = intercept.root_fingerprint();
        assert_eq!(remove(folder.path(), &other).unwrap(), Removal::Absent);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
