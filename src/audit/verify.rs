//! Checks the chain: every line has the hash of the one before, and the next number.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::chain_reader::{files, first_of_full, for_each_line};
use super::head::{self, ChainHead};
use super::hex;
use super::writer::{line_hash, parse};
use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// A chain that holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The files, the oldest first.
    pub files: Vec<PathBuf>,
    /// The lines in them.
    pub lines: u64,
    /// The number of the first line: greater than 1 where older files were removed.
    pub first: u64,
    /// The number of the last line.
    pub last: u64,
    /// The time of the last line.
    pub time: String,
    /// The hash of the last line: to be compared with what the system's log has.
    pub head: String,
    /// Lines that a crash has damaged, as the line after each says.
    pub damaged: u64,
    /// Calls that could not be recorded, as later lines say.
    pub lost: u64,
    /// Whether the head beside the files tells that no line is missing at their end.
    pub is_end_known: bool,
}

/// Why a chain does not hold.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file cannot be read.
    #[error("could not read the audit")]
    Read(#[from] io::Error),
    /// None is configured.
    #[error("the audit is off")]
    Off,
    /// There is no file.
    #[error("there is no audit at {}", .0.display())]
    Missing(PathBuf),
    /// A line is none of ours.
    #[error("line {line} of {} is damaged, and no later line says so", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The line.
        line: u64,
    },
    /// Lines were written, and are in no file.
    #[error("{lines} of the audit {} missing", if *is_one { "is" } else { "are" })]
    Gone {
        /// Their numbers, in words.
        lines: String,
        /// Whether one line is missing.
        is_one: bool,
    },
    /// A line does not follow the one before.
    #[error("line {line} of {} does not follow the line before: {what}", file.display())]
    Broken {
        /// The file.
        file: PathBuf,
        /// The line.
        line: u64,
        /// The difference, in words.
        what: &'static str,
    },
}

impl VerifyError {
    fn gone(from: u64, to: u64) -> Self {
        let is_one = from == to;
        let lines = if is_one { format!("line {from}") } else { format!("lines {from} to {to}") };
        Self::Gone { lines, is_one }
    }
}

impl Problem for VerifyError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Read(_) => ProblemKind::CommandFailed
                .with_hint("Ask the user who runs the daemon: only that one may read the file."),
            Self::Off | Self::Missing(_) => ProblemKind::CommandFailed.with_hint(
                "Set audit.file = \"auto\" and restart the daemon: it then records what clients do.",
            ),
            Self::Gone { .. } => ProblemKind::CommandFailed.with_hint(
                "A file was cut off or removed. To begin anew, keep the files of the audit elsewhere, \
                 also the one that ends in .head.",
            ),
            Self::Damaged { .. } | Self::Broken { .. } => ProblemKind::CommandFailed.with_hint(
                "The lines before are as they were written. Compare the last good hash with what the \
                 system's log has: `journalctl -t nexudus-proxy | grep 'audit head'`.",
            ),
        }
    }
}

/// Checks all files of the audit at `path`.
///
/// # Errors
///
/// [`VerifyError::Damaged`], [`VerifyError::Broken`] and [`VerifyError::Gone`] for the first line that
/// is wrong or missing.
pub fn verify(path: &Path) -> Result<Verification, VerifyError> {
    // Before the files: a daemon may write on meanwhile, and they have at least this line then.
    let head = head::read(path);
    let found = Verification { files: files(path)?, ..Verification::default() };
    let mut walk = Walk { path, head, found, before: Previous::default(), damaged_at: None };
    for file in walk.found.files.clone() {
        for_each_line(&file, |number, line| walk.check(&file, number, line))?;
    }
    walk.end()
}

/// The line before, as far as it is known.
#[derive(Default)]
struct Previous {
    hash: Option<String>,
    seq: u64,
    is_damaged: bool,
}

/// A walk through the lines, the oldest first.
struct Walk<'a> {
    path: &'a Path,
    head: Option<ChainHead>,
    found: Verification,
    before: Previous,
    /// The last line that is none of ours.
    damaged_at: Option<(PathBuf, u64)>,
}

impl Walk<'_> {
    /// Checks a line.
    fn check(&mut self, file: &Path, number: u64, line: &[u8]) -> Result<(), VerifyError> {
        self.found.lines += 1;
        let hash = line_hash(line);
        let Some(place) = parse(line) else { return self.skip_damaged(file, number, hash) };
        if place.missing > 0 {
            return Err(VerifyError::gone(place.seq - place.missing, place.seq - 1));
        }
        let broken = |what| VerifyError::Broken { file: file.to_owned(), line: number, what };
        let is_told = |head: &ChainHead| head.seq == place.seq && head.sha256 != hash;
        match &self.before.hash {
            None if (place.seq == 1) != (place.prev == hex(&[0; 32])) => {
                return Err(broken("no chain begins so"));
            }
            None => self.found.first = place.seq,
            Some(hash) if *hash != place.prev => {
                return Err(broken("it has another hash of that line"));
            }
            Some(_) if place.seq != self.before.seq + 1 => {
                return Err(broken("it has another number"));
            }
            Some(_) if self.before.is_damaged && place.event != "damaged" => {
                return Err(VerifyError::Damaged { file: file.to_owned(), line: number - 1 });
            }
            Some(_) => {}
        }
        if self.head.as_ref().is_some_and(is_told) {
            return Err(broken("it was written with another hash, as the head tells"));
        }
        let named = first_of_full(self.path, file).filter(|_| number == 1);
        if named.is_some_and(|first| first != place.seq) {
            return Err(broken("the file has another number in its name"));
        }
        self.found.damaged += u64::from(self.before.is_damaged);
        self.found.lost += place.lost;
        (self.found.last, self.found.time) = (place.seq, place.time);
        self.found.head.clone_from(&hash);
        self.before = Previous { hash: Some(hash), seq: place.seq, is_damaged: false };
        Ok(())
    }

    fn skip_damaged(&mut self, file: &Path, line: u64, hash: String) -> Result<(), VerifyError> {
        if self.before.is_damaged {
            return Err(VerifyError::Damaged { file: file.to_owned(), line });
        }
        self.damaged_at = Some((file.to_owned(), line));
        // Its own hash stands in the next line, and its number is left out.
        let seq = self.before.seq + 1;
        self.before = Previous { hash: Some(hash), seq, is_damaged: true };
        Ok(())
    }

    /// Judges the end, and what the head tells of it.
    fn end(self) -> Result<Verification, VerifyError> {
        let Self { path, head, mut found, before, damaged_at } = self;
        match damaged_at {
            // A daemon that runs says so with its next start.
            Some((file, line)) if before.is_damaged => {
                return Err(VerifyError::Damaged { file, line });
            }
            Some(_) | None => {}
        }
        let Some(head) = head else {
            let is_empty = found.lines == 0;
            return if is_empty { Err(VerifyError::Missing(path.to_owned())) } else { Ok(found) };
        };
        if head.seq > found.last {
            return Err(VerifyError::gone(found.last + 1, head.seq));
        }
        if head.first < found.first {
            return Err(VerifyError::gone(head.first, found.first - 1));
        }
        found.is_end_known = true;
        Ok(found)
    }
}
