//! `$XDG_RUNTIME_DIR`: used only where it is a directory of this user.
//!
//! After `su`, below `sudo -E` and in some cron jobs it names the directory of another user, or one
//! that is gone. Sockets there could not be made, or would be another user's to replace.

use std::ffi::OsStr;
use std::path::Path;

use super::environment::Environment;
use super::paths::Paths;

/// The variable.
pub(super) const RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";

/// Checks that the directory can hold our sockets; says why not.
#[cfg(unix)]
pub(super) fn check(directory: &OsStr) -> Result<(), &'static str> {
    use std::os::unix::fs::MetadataExt as _;

    let Ok(found) = std::fs::metadata(Path::new(directory)) else { return Err("does not exist") };
    if !found.is_dir() {
        Err("is no directory")
    } else if found.uid() != nix::unistd::geteuid().as_raw() {
        Err("belongs to another user")
    } else {
        Ok(())
    }
}

/// Elsewhere the variable has no such meaning.
#[cfg(not(unix))]
pub(super) fn check(_: &OsStr) -> Result<(), &'static str> {
    Ok(())
}

/// Says where the sockets are instead.
pub(super) fn warn_unusable(environment: &Environment, paths: &Paths) -> Option<String> {
    let named = environment.get(RUNTIME_DIR).filter(|it| Path::new(it).is_absolute())?;
    // systemd's directory comes first, whatever this variable says.
    if environment.get("RUNTIME_DIRECTORY").is_some() {
        return None;
    }
    let why = check(&named).err()?;
    let (named, runtime) = (Path::new(&named).display(), paths.runtime.display());
    Some(format!("{RUNTIME_DIR} names {named}, which {why}: the sockets are in {runtime}"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn a_directory_that_is_gone_or_another_users_is_warned_of_and_not_used() {
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join("own");
        std::fs::create_dir(&own).unwrap();
        let gone = home.path().join("gone");
        let load = |runtime: &Path| {
            let variables =
                [("HOME", home.path().to_str().unwrap()), (RUNTIME_DIR, runtime.to_str().unwrap())];
            let sources = Sources { environment: variables.into(), ..Sources::default() };
            let loaded = sources.load().unwrap();
            (loaded.paths.runtime, loaded.warnings)
        };
        let fallback = home.path().join(".local/state/nexudus-proxy/run");

        assert_eq!(load(&own), (own.join("nexudus-proxy"), vec![]));
        let (runtime, warnings) = load(&gone);
        assert_eq!(runtime, fallback);
        assert!(warnings[0].contains("does not exist: the sockets are in "), "{warnings:?}");
        // A directory that is root's, or for root one that is not.
        let foreign = if nix::unistd::geteuid().is_root() { &own } else { Path::new("/") };
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&own, Some(12345), None).unwrap();
        }
        let (runtime, warnings) = load(foreign);
        assert_eq!(runtime, fallback);
        assert!(warnings[0].contains("belongs to another user"), "{warnings:?}");
    }
}
