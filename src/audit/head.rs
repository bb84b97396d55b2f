//! The end of the chain, kept in a file beside it: lines that are cut off leave no trace in the chain
//! itself.
//!
//! Written after each line, in place, and never waited for: after a power cut it may be older than the
//! chain or, where the disk has lost lines, newer. Whoever can write the files can write this one too;
//! the system's log has the head where another user keeps it.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::secure_fs;

/// The last line, as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChainHead {
    pub(super) seq: u64,
    /// The hash of the line, in hexadecimal.
    pub(super) sha256: String,
    /// The number of the first line of its file.
    pub(super) first: u64,
}

/// The file that has the head.
#[derive(Debug)]
pub(super) struct HeadFile(File);

impl HeadFile {
    /// Opens the file of the audit at `path`, and returns what stands in it.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<ChainHead>)> {
        let known = read(path);
        Ok((Self(secure_fs::open_lock_file(&file_of(path))?), known))
    }

    /// Takes down the head.
    pub(super) fn write(&mut self, head: &ChainHead) -> io::Result<()> {
        let text = serde_json::to_string(head)?;
        // As long each time, so that nothing of an older head is left behind it.
        let text = format!("{text:LENGTH$}\n");
        self.0.seek(SeekFrom::Start(0))?;
        self.0.write_all(text.as_bytes())
    }
}

/// Reads the head of the audit at `path`; `None` where none was kept.
pub(super) fn read(path: &Path) -> Option<ChainHead> {
    serde_json::from_str(&fs::read_to_string(file_of(path)).ok()?).ok()
}

/// Returns the file beside the audit at `path` that has its head.
fn file_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".head");
    name.into()
}

/// Longer than every head: two numbers of 20 digits and a hash of 64.
const LENGTH: usize = 160;
