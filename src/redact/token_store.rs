//! The tables of tokens on disk: two files for each, as a table has two halves.
//!
//! The young half grows with each value that is new. When it is full it becomes the old one by taking
//! its name, so that nothing is written twice and the disk holds what memory holds.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::remembered::{Change, Halves, Remembered, Unsaved};
use super::table_name::TableName;
use super::token_file::TokenFile;
use crate::credentials::TokenSealer;
use crate::credentials::sealing::binding::name_for_origin;
use crate::secure_fs;

/// The files of one profile.
#[derive(Debug)]
pub(super) struct TableStore {
    directory: PathBuf,
    sealer: Arc<TokenSealer>,
    /// The young halves.
    young: HashMap<TableName, TokenFile>,
}

impl TableStore {
    /// Keeps tables below the profile's state directory.
    pub(super) fn new(state: &Path, sealer: Arc<TokenSealer>) -> Self {
        Self { directory: directory(state), sealer, young: HashMap::new() }
    }

    /// Returns the key.
    pub(super) fn sealer(&self) -> &Arc<TokenSealer> {
        &self.sealer
    }

    /// Reads all tables; values that were last seen before the hour `oldest` do not count. A file that
    /// cannot be used is told and left out.
    pub(super) fn read(&mut self, oldest: u32) -> HashMap<TableName, Halves> {
        let mut tables = HashMap::<TableName, Halves>::new();
        for path in files(&self.directory) {
            let Some(name) = TokenFile::table(&path) else {
                if path.extension().is_some_and(|end| end == YOUNG || end == OLD) {
                    tracing::warn!(path = %path.display(), "a file of tokens is damaged: {FORGOTTEN}");
                }
                continue;
            };
            let is_young = path == self.path(&name, YOUNG);
            if !is_young && path != self.path(&name, OLD) {
                continue;
            }
            match TokenFile::read(&path, &self.sealer) {
                Ok((file, mut values)) => {
                    values.retain(|it| it.seen >= oldest);
                    let halves = tables.entry(name.clone()).or_default();
                    if is_young {
                        halves.young = values;
                        self.young.insert(name, file);
                    } else {
                        halves.old = values;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a file of tokens cannot be used: {FORGOTTEN}");
                }
            }
        }
        tables
    }

    /// Writes what is new in a table.
    pub(super) fn write(&mut self, name: &TableName, unsaved: Unsaved) -> io::Result<()> {
        secure_fs::create_dir(&self.directory)?;
        match unsaved {
            Unsaved::Whole(halves) => {
                self.young.remove(name);
                TokenFile::create(&self.path(name, OLD), name, &self.sealer, &halves.old)?;
                self.begin(name, &halves.young)
            }
            Unsaved::Changes(changes) => {
                let mut seen = vec![];
                for change in changes {
                    match change {
                        Change::Seen(value) => seen.push(value),
                        Change::Rotated => {
                            self.append(name, &seen)?;
                            seen.clear();
                            self.rotate(name)?;
                        }
                    }
                }
                self.append(name, &seen)
            }
        }
    }

    /// Adds to the young half, which is begun if there is none.
    fn append(&mut self, name: &TableName, values: &[Remembered]) -> io::Result<()> {
        match self.young.get_mut(name) {
            Some(file) => file.append(values, &self.sealer),
            None => self.begin(name, values),
        }
    }

    /// Makes the young half the old one.
    fn rotate(&mut self, name: &TableName) -> io::Result<()> {
        let path = self.path(name, OLD);
        match self.young.remove(name) {
            Some(file) => file.rename(&path).map(drop),
            None => Ok(()),
        }
    }

    fn begin(&mut self, name: &TableName, values: &[Remembered]) -> io::Result<()> {
        let file = TokenFile::create(&self.path(name, YOUNG), name, &self.sealer, values)?;
        self.young.insert(name.clone(), file);
        Ok(())
    }

    /// Removes every file.
    pub(super) fn erase(&mut self) -> io::Result<()> {
        self.young.clear();
        erase_below(&self.directory, |_| true)
    }

    /// Removes the files of tables that are not in use.
    pub(super) fn retain(&mut self, is_used: impl Fn(&TableName) -> bool) -> io::Result<()> {
        self.young.retain(|name, _| is_used(name));
        erase_below(&self.directory, |path| is_unused(path, &is_used))
    }

    fn path(&self, name: &TableName, half: &str) -> PathBuf {
        let stem = name_for_origin("table", &name.label());
        self.directory.join(format!("{stem}.{half}"))
    }
}

/// Removes the tables of a profile from the disk, if there are any. Needs no key.
///
/// # Errors
///
/// When a file is still there.
pub fn erase(state: &Path) -> io::Result<()> {
    erase_below(&directory(state), |_| true)
}

/// Removes the tables of a profile that are not in use. Needs no key: whose a file is stands in the
/// clear.
///
/// # Errors
///
/// When a file is still there.
pub fn erase_unused(state: &Path, is_used: impl Fn(&TableName) -> bool) -> io::Result<()> {
    erase_below(&directory(state), |path| is_unused(path, &is_used))
}

fn is_unused(path: &Path, is_used: &impl Fn(&TableName) -> bool) -> bool {
    TokenFile::table(path).is_some_and(|name| !is_used(&name))
}

fn erase_below(directory: &Path, is_meant: impl Fn(&Path) -> bool) -> io::Result<()> {
    let mut is_changed = false;
    for path in files(directory).filter(|path| is_meant(path)) {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => is_changed = true,
        }
    }
    if is_changed { secure_fs::fsync_dir(directory) } else { Ok(()) }
}

fn files(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

fn directory(state: &Path) -> PathBuf {
    state.join("tokens")
}

/// How the name of the half that grows ends.
const YOUNG: &str = "young";

/// How the name of the other half ends.
const OLD: &str = "old";

const FORGOTTEN: &str = "what its tokens stand for is forgotten";

#[cfg(unix)]
#[cfg(test)]
#[path = "token_store/tests.rs"]
mod tests;
