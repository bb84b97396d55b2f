//! Writes the lines of the audit: numbered, chained by hash, in files of bounded size.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::head::{ChainHead, HeadFile};
use super::record::{AuditEvent, AuditRecord};
use super::{chain_reader, hex, syslog};
use crate::secure_fs;

/// The end of the chain, and the file that it grows in.
#[derive(Debug)]
pub(super) struct AuditWriter {
    path: PathBuf,
    file: File,
    /// Bytes in the file.
    length: u64,
    /// The number of its first line.
    first: u64,
    /// The size at which a new file is begun.
    size: u64,
    /// Whether a line must be on the disk before it counts as written.
    is_durable: bool,
    /// The number of the next line.
    next: u64,
    /// The hash of the last line, in hexadecimal.
    head: String,
    /// The number that was told last.
    told: u64,
    /// Whether the last line could not be written: told once.
    is_failing: bool,
    /// Where the head is kept beside the files, if it can be.
    head_file: Option<HeadFile>,
    /// Lines that could not be written since the last one that was.
    unwritten: u64,
}

/// A line as it stands in the file.
#[derive(Serialize)]
struct ChainedLine<'a> {
    seq: u64,
    time: String,
    prev: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    lost: u64,
    #[serde(flatten)]
    record: &'a AuditRecord,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The place of a line in the chain.
#[derive(Deserialize)]
pub(super) struct LinePlace {
    pub(super) seq: u64,
    pub(super) prev: String,
    #[serde(default)]
    pub(super) lost: u64,
    #[serde(default)]
    pub(super) missing: u64,
    pub(super) time: String,
    pub(super) event: String,
}

impl AuditWriter {
    /// Opens the file, and finds the end of the chain in it or in the last full one. A last line that
    /// is damaged, as a crash leaves it, stays; the next line says so. It also says how many lines are
    /// missing that the head tells of: the chain goes on behind them.
    pub(super) fn open(path: &Path, size: u64, is_durable: bool) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            secure_fs::create_dir(directory)?;
        }
        let mut file = secure_fs::open_append(path)?;
        let tail = match read_tail(&mut file)? {
            None => last_full(path)?,
            tail => tail,
        };
        let length = file.metadata()?.len();
        let (head_file, known) = open_head(path);
        let end = ChainEnd::new(tail.as_ref(), known);
        let mut writer = Self {
            first: if length > 0 { first_number(path)?.unwrap_or(0) } else { end.next },
            path: path.to_owned(),
            file,
            length,
            size,
            is_durable,
            next: end.next,
            head: end.head,
            head_file,
            told: 0,
            is_failing: false,
            unwritten: 0,
        };
        if tail.as_ref().is_some_and(|tail| !tail.is_ended) {
            writer.file.write_all(b"\n")?;
            writer.length += 1;
        }
        if end.missing.is_some() || tail.is_some_and(|tail| tail.is_damaged) {
            let (event, missing) = (AuditEvent::Damaged, end.missing);
            writer.write(&AuditRecord { event, missing, ..<_>::default() }, 0);
        }
        Ok(writer)
    }

    /// Writes a line; `lost` calls before it were not recorded. Returns whether it is written.
    pub(super) fn write(&mut self, record: &AuditRecord, lost: u64) -> bool {
        match self.try_write(record, lost + self.unwritten) {
            Ok(()) => {
                if self.is_failing {
                    tracing::info!("the audit is written again");
                }
                (self.is_failing, self.unwritten) = (false, 0);
                true
            }
            Err(error) => {
                if !self.is_failing {
                    tracing::error!(%error, "could not write the audit");
                }
                self.is_failing = true;
                self.unwritten += 1;
                // Half a line would be taken for a damaged one.
                if self.file.set_len(self.length).is_err() {
                    tracing::error!("a damaged line stays in the audit");
                }
                false
            }
        }
    }

    /// Writes a line, or says why it is not written.
    pub(super) fn append(&mut self, record: &AuditRecord) -> io::Result<()> {
        self.try_write(record, 0).inspect_err(|_| {
            // Half a line would be taken for a damaged one.
            let _ = self.file.set_len(self.length);
        })
    }

    fn try_write(&mut self, record: &AuditRecord, lost: u64) -> io::Result<()> {
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let line = ChainedLine { seq: self.next, time, prev: &self.head, lost, record };
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        if self.length > 0 && self.length + line.len() as u64 > self.size {
            self.begin_file()?;
        }
        self.file.write_all(&line)?;
        if self.is_durable {
            self.file.sync_data()?;
        }
        self.length += line.len() as u64;
        self.next += 1;
        self.head = line_hash(&line);
        self.keep_head();
        Ok(())
    }

    /// Keeps the head beside the files, for as long as that works: the line itself is written.
    fn keep_head(&mut self) {
        let Some(file) = &mut self.head_file else { return };
        let (seq, sha256, first) = (self.next - 1, self.head.clone(), self.first);
        if let Err(error) = file.write(&ChainHead { seq, sha256, first }) {
            tracing::warn!(%error, "could not keep the head of the audit");
            self.head_file = None;
        }
    }

    /// Puts the full file aside. The first line of the next one has the hash of its last.
    fn begin_file(&mut self) -> io::Result<()> {
        let full = chain_reader::full_name(&self.path, self.first);
        fs::rename(&self.path, &full)?;
        self.file = secure_fs::open_append(&self.path)?;
        (self.length, self.first) = (0, self.next);
        Ok(())
    }

    /// Tells the end of the chain to the system's log, once for each end. Whoever changes the files
    /// afterwards cannot change that.
    pub(super) fn tell_head(&mut self) {
        let last = self.next - 1;
        if last == self.told {
            return;
        }
        self.told = last;
        let text =
            format!("audit head seq={last} sha256={} file={}", self.head, self.path.display());
        if !syslog::send(&text) {
            tracing::info!(seq = last, sha256 = self.head, "audit head");
        }
    }
}

/// Opens the file of the head, and returns what it tells. A directory in which no file can be made has
/// none.
fn open_head(path: &Path) -> (Option<HeadFile>, Option<ChainHead>) {
    match HeadFile::open(path) {
        Ok((file, known)) => (Some(file), known),
        Err(error) => {
            tracing::warn!(%error, "could not keep the head of the audit");
            (None, None)
        }
    }
}

/// The end of the chain.
struct ChainEnd {
    next: u64,
    head: String,
    /// Lines that the head tells of, and no file has.
    missing: Option<u64>,
}

impl ChainEnd {
    /// Finds the end by the last line and the head; the later of them holds.
    fn new(tail: Option<&Tail>, known: Option<ChainHead>) -> Self {
        let next = tail.map_or(1, |tail| tail.next);
        match known {
            Some(known) if known.seq >= next => {
                let missing = Some(known.seq + 1 - next);
                Self { next: known.seq + 1, head: known.sha256, missing }
            }
            Some(_) | None => {
                let head = tail.map_or_else(|| hex(&[0; 32]), |tail| tail.head.clone());
                Self { next, head, missing: None }
            }
        }
    }
}

/// The end of a file.
struct Tail {
    next: u64,
    head: String,
    is_damaged: bool,
    is_ended: bool,
}

/// Reads the last line of a file, and the one before where the last is damaged; `None` for an empty
/// file.
fn read_tail(file: &mut File) -> io::Result<Option<Tail>> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_TAIL)))?;
    let mut tail = vec![];
    file.read_to_end(&mut tail)?;
    let is_ended = tail.ends_with(b"\n");
    let mut lines: Vec<&[u8]> = tail.split_inclusive(|byte| *byte == b'\n').collect();
    let last = lines.pop().unwrap_or_default();
    let mut last = last.to_vec();
    if !is_ended {
        last.push(b'\n');
    }
    let head = line_hash(&last);
    if let Some(place) = parse(&last) {
        return Ok(Some(Tail { next: place.seq + 1, head, is_damaged: false, is_ended }));
    }
    // The damaged line counts as one, so that a gap in the numbers shows where it stood.
    let before = lines.iter().rev().find_map(|line| parse(line));
    let next = before.map_or(1, |place| place.seq + 2).max(2);
    Ok(Some(Tail { next, head, is_damaged: true, is_ended }))
}

/// Reads the end of the last full file.
fn last_full(path: &Path) -> io::Result<Option<Tail>> {
    let full = chain_reader::files(path)?.into_iter().rfind(|file| file != path);
    let Some(full) = full else { return Ok(None) };
    read_tail(&mut File::open(full)?)
}

/// Returns the number of the first line of a file.
fn first_number(path: &Path) -> io::Result<Option<u64>> {
    let mut first = None;
    let read = chain_reader::for_each_line(path, |_, line| {
        first = parse(line).map(|place| place.seq);
        Err(io::Error::from(io::ErrorKind::Interrupted))
    });
    match read {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        Ok(()) | Err(_) => Ok(first),
    }
}

/// Reads the place of a line; `None` for what is no line of ours.
pub(super) fn parse(line: &[u8]) -> Option<LinePlace> {
    serde_json::from_slice(line.strip_suffix(b"\n")?).ok()
}

/// Returns the SHA-256 of a line, its newline included: what `sha256sum` says of it.
pub(super) fn line_hash(line: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, line).as_ref())
}

/// Longest end of a file that is read: a line has a few hundred bytes, and its path a few thousand.
const MAX_TAIL: u64 = 1 << 20;
