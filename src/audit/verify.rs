//! Checks the chain: every line has the hash of the one before, and the next number.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::chain_reader::{files, for_each_line};
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

impl Problem for VerifyError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Read(_) => ProblemKind::CommandFailed
                .with_hint("Ask the user who runs the daemon: only that one may read the file."),
            Self::Off | Self::Missing(_) => ProblemKind::CommandFailed.with_hint(
                "Set audit.file = \"auto\" and restart the daemon: it then records what clients do.",
            ),
            Self::Damaged { .. } | Self::Broken { .. } => ProblemKind::CommandFailed.with_hint(
                "The lines before are as they were written. Compare the last good hash with what the \
                 system's log has: `journalctl -t nexudus-proxy | grep 'audit head'`.",
            ),
        }
    }
}

/// The line before, as far as it is known.
#[derive(Default)]
struct Previous {
    hash: Option<String>,
    seq: u64,
    is_damaged: bool,
}

/// Checks all files of the audit at `path`.
///
/// # Errors
///
/// [`VerifyError::Damaged`] and [`VerifyError::Broken`] for the first line that is wrong.
pub fn verify(path: &Path) -> Result<Verification, VerifyError> {
    let mut found = Verification { files: files(path)?, ..Verification::default() };
    let mut before = Previous::default();
    let mut damaged_at = None;
    for file in found.files.clone() {
        for_each_line(&file, |number, line| {
            found.lines += 1;
            let hash = line_hash(line);
            let Some(place) = parse(line) else {
                if before.is_damaged {
                    return Err(VerifyError::Damaged { file: file.clone(), line: number });
                }
                damaged_at = Some((file.clone(), number));
                // Its own hash stands in the next line, and its number is left out.
                before = Previous { hash: Some(hash), seq: before.seq + 1, is_damaged: true };
                return Ok(());
            };
            let broken = |what| VerifyError::Broken { file: file.clone(), line: number, what };
            match &before.hash {
                None => found.first = place.seq,
                Some(hash) if *hash != place.prev => {
                    return Err(broken("it has another hash of that line"));
                }
                Some(_) if place.seq != before.seq + 1 => {
                    return Err(broken("it has another number"));
                }
                Some(_) if before.is_damaged && place.event != "damaged" => {
                    return Err(VerifyError::Damaged { file: file.clone(), line: number - 1 });
                }
                Some(_) => {}
            }
            found.damaged += u64::from(before.is_damaged);
            found.lost += place.lost;
            (found.last, found.time) = (place.seq, place.time);
            found.head.clone_from(&hash);
            before = Previous { hash: Some(hash), seq: place.seq, is_damaged: false };
            Ok(())
        })?;
    }
    match damaged_at {
        // A daemon that runs says so with its next start.
        Some((file, line)) if before.is_damaged => Err(VerifyError::Damaged { file, line }),
        _ if found.lines == 0 => Err(VerifyError::Missing(path.to_owned())),
        Some(_) | None => Ok(found),
    }
}
