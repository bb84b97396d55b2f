//! The program of a system service: a place that its unit can see.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Error, Reporter, ServiceEvent};

/// Where a program stands that the whole machine runs.
pub const SYSTEM_PROGRAM: &str = "/usr/local/bin/nexudus-proxy";

/// Says whether the system unit cannot see a program: its sandbox hides home directories and
/// temporary ones.
pub fn is_hidden_from_system(program: &Path) -> bool {
    HIDDEN.iter().any(|hidden| program.starts_with(hidden))
}

/// Copies the program to `target`, for everybody to run. A running one keeps its old file.
///
/// # Errors
///
/// [`Error::File`] when it cannot be read or written.
pub fn copy_program(program: &Path, target: &Path, report: Reporter<'_>) -> Result<(), Error> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { path, source }
    };
    let content = fs::read(program).map_err(wrong(program))?;
    if fs::read(target).is_ok_and(|there| there == content) {
        report(ServiceEvent::Kept(target.to_owned()));
        return Ok(());
    }
    let directory = target.parent().unwrap_or(Path::new("/"));
    let staged: PathBuf = directory.join(format!(".nexudus-proxy.{}", std::process::id()));
    let written = (|| {
        fs::write(&staged, &content)?;
        fs::set_permissions(&staged, fs::Permissions::from_mode(0o755))?;
        fs::rename(&staged, target)
    })();
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&staged);
    }
    written.map_err(wrong(target))?;
    report(ServiceEvent::Wrote(target.to_owned()));
    Ok(())
}

/// `ProtectHome=` and `PrivateTmp=` of the unit.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_can_be_run_by_everybody_and_again_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let (program, target) = (home.path().join("cargo"), home.path().join("bin"));
        fs::write(&program, "new").unwrap();
        fs::write(&target, "old").unwrap();
        let copied = || {
            let mut events = vec![];
            copy_program(&program, &target, &mut |event| events.push(event)).unwrap();
            events
        };

        assert_eq!(copied(), [ServiceEvent::Wrote(target.clone())]);
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(copied(), [ServiceEvent::Kept(target.clone())]);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "nothing staged is left");
    }
}
