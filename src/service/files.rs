//! The files of a service: written where their content changes, each change reported.

use std::fs;
use std::io;
use std::path::Path;

use super::{Error, Reporter, ServiceEvent};
use crate::secure_fs;

/// Writes a file unless it has that content already; returns whether it had another content before.
pub(super) fn write_file(
    path: &Path,
    content: impl AsRef<[u8]>,
    report: Reporter<'_>,
) -> Result<bool, Error> {
    let wrong = |source| Error::File { path: path.to_owned(), source };
    let before = match fs::read(path) {
        Ok(before) => Some(before),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(wrong(error)),
    };
    if before.as_deref() == Some(content.as_ref()) {
        report(ServiceEvent::Kept(path.to_owned()));
        return Ok(false);
    }
    if let Some(directory) = path.parent() {
        secure_fs::create_dir(directory).map_err(wrong)?;
    }
    fs::write(path, content).map_err(wrong)?;
    report(ServiceEvent::Wrote(path.to_owned()));
    Ok(before.is_some())
}

/// Removes a file, if there is one.
pub(super) fn remove_file(path: &Path, report: Reporter<'_>) -> Result<(), Error> {
    match fs::remove_file(path) {
        Ok(()) => report(ServiceEvent::Removed(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::File { path: path.to_owned(), source }),
    }
    Ok(())
}
