//! Half of a table of tokens on disk: a line in the clear, then sealed pieces, one after another.
//!
//! A piece is its length (four bytes, little endian) and its sealed bytes, which open at their place in
//! their file alone. A file only grows, and each piece is on the disk before the next one is begun: a
//! crash cuts off the last piece at most, and reading cuts the rest of it off.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::category::Category;
use super::remembered::Remembered;
use super::table_name::TableName;
use crate::credentials::TokenSealer;
use crate::secure_fs;

/// A file that grows.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    file: File,
    /// The line in the clear.
    clear: Vec<u8>,
    /// The number of the next piece.
    next: u64,
    /// The bytes that count.
    length: u64,
}

/// The line in the clear.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    profile: String,
    table: String,
    /// Of this file alone, so that no piece of another one counts here.
    id: String,
}

/// Why a file is not used. The file stays, until another takes its place.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The line in the clear, or a piece, is not as it was written.
    #[error("{} {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl TokenFile {
    /// Begins a file with these values, in the place of another.
    pub(super) fn create(
        path: &Path,
        table: &TableName,
        sealer: &TokenSealer,
        values: &[Remembered],
    ) -> io::Result<Self> {
        let mut id = [0; 16];
        rand::fill(&mut id).expect("the system gives random bytes");
        let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let header = Header { profile: sealer.profile().to_owned(), table: table.label(), id };
        let json = serde_json::to_vec(&header).expect("strings are valid JSON");
        let clear = [MAGIC, &json, b"\n"].concat();
        let mut content = clear.clone();
        let mut next = 0;
        for piece in pieces(values) {
            write_piece(&clear, next, &piece, sealer, &mut content);
            next += 1;
        }
        secure_fs::atomic_write(path, &content)?;
        let file = secure_fs::open_append(path)?;
        Ok(Self { path: path.to_owned(), file, clear, next, length: content.len() as u64 })
    }

    /// Adds values. Returns once they are on the disk.
    pub(super) fn append(&mut self, values: &[Remembered], sealer: &TokenSealer) -> io::Result<()> {
        for piece in pieces(values) {
            let mut sealed = vec![];
            write_piece(&self.clear, self.next, &piece, sealer, &mut sealed);
            let written = self.file.write_all(&sealed).and_then(|()| self.file.sync_data());
            if let Err(error) = written {
                // If that fails as well, reading cuts the piece off.
                let _ = self.file.set_len(self.length);
                return Err(error);
            }
            self.next += 1;
            self.length += sealed.len() as u64;
        }
        Ok(())
    }

    /// Takes another name.
    pub(super) fn rename(mut self, path: &Path) -> io::Result<Self> {
        std::fs::rename(&self.path, path)?;
        path.clone_into(&mut self.path);
        Ok(self)
    }

    /// Returns the table whose values are in a file, by its line in the clear; `None` for what is no
    /// such file.
    pub(super) fn table(path: &Path) -> Option<TableName> {
        let mut start = vec![];
        File::open(path).ok()?.take(MAX_HEADER as u64).read_to_end(&mut start).ok()?;
        let (_, header) = parse(&start)?;
        TableName::from_label(&header.table)
    }

    /// Reads the values of a file, and opens it to grow.
    pub(super) fn read(
        path: &Path,
        sealer: &TokenSealer,
    ) -> Result<(Self, Vec<Remembered>), ReadError> {
        let io = |source| ReadError::Io { path: path.to_owned(), source };
        let damaged = |why: String| ReadError::Damaged { path: path.to_owned(), why };
        let file = secure_fs::open_append(path).map_err(io)?;
        let mut content = vec![];
        (&file).take(MAX_FILE + 1).read_to_end(&mut content).map_err(io)?;
        let header = parse(&content).filter(|_| content.len() as u64 <= MAX_FILE);
        let (clear, header) = header.ok_or_else(|| damaged("is no file of tokens".to_owned()))?;
        if header.profile != sealer.profile() {
            let why =
                format!("was made in the profile {:?} and is used in no other", header.profile);
            return Err(damaged(why));
        }
        let (mut values, mut next, mut length) = (vec![], 0, clear.len());
        while let Some(sealed) = piece_at(&content, length) {
            let plain = match sealer.open(&place(clear, next), sealed) {
                Ok(plain) => plain,
                Err(why) if next == 0 => return Err(damaged(why)),
                // The key is right, so that the rest is what a crash or a bad disk has left.
                Err(_) => break,
            };
            let read = read_values(&plain, &mut values);
            read.ok_or_else(|| damaged("has a value that cannot be read".to_owned()))?;
            next += 1;
            length += LENGTH + sealed.len();
        }
        if length < content.len() {
            let lost = content.len() - length;
            tracing::warn!(path = %path.display(), lost, "the end of a file of tokens was damaged");
            file.set_len(length as u64).map_err(io)?;
        }
        let (path, clear, length) = (path.to_owned(), clear.to_owned(), length as u64);
        Ok((Self { path, file, clear, next, length }, values))
    }
}

/// Takes the line in the clear apart.
fn parse(content: &[u8]) -> Option<(&[u8], Header)> {
    let rest = content.strip_prefix(MAGIC)?;
    let end = rest.iter().take(MAX_HEADER).position(|byte| *byte == b'\n')?;
    let header = serde_json::from_slice(&rest[..end]).ok()?;
    Some((&content[..MAGIC.len() + end + 1], header))
}

/// Returns the sealed bytes of the piece at this place, if the whole of it is there. Disks fill a part
/// that was not written with zeros.
fn piece_at(content: &[u8], at: usize) -> Option<&[u8]> {
    let length = content.get(at..at + LENGTH)?.try_into().ok().map(u32::from_le_bytes)?;
    let length = usize::try_from(length).ok().filter(|length| *length > 0)?;
    content.get(at + LENGTH..)?.get(..length)
}

/// Returns what a piece is authenticated with: its file, and its number.
fn place(clear: &[u8], number: u64) -> Vec<u8> {
    [clear, &number.to_le_bytes()].concat()
}

fn write_piece(clear: &[u8], number: u64, plain: &[u8], sealer: &TokenSealer, out: &mut Vec<u8>) {
    let sealed = sealer.seal(&place(clear, number), plain);
    let length = u32::try_from(sealed.len()).expect("a piece is far below 4 GiB");
    out.extend(length.to_le_bytes());
    out.extend(sealed);
}

/// Writes values into pieces of bounded size.
fn pieces(values: &[Remembered]) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
    let mut rest = values.iter().peekable();
    std::iter::from_fn(move || {
        rest.peek()?;
        // All of it at once: a vector that grows leaves copies behind.
        let mut piece = Zeroizing::new(Vec::with_capacity(PIECE));
        while let Some(value) = rest.next_if(|it| piece.len() + FIXED + it.length() <= PIECE) {
            write_value(value, &mut piece);
        }
        Some(piece)
    })
}

/// Writes a value: digits, hour, category, length, bytes.
fn write_value(it: &Remembered, out: &mut Vec<u8>) {
    let value = it.value.as_ref().map(|value| value.as_bytes());
    let length = value.map_or(NO_VALUE, |value| u16::try_from(value.len()).unwrap_or(NO_VALUE));
    out.extend(it.digits.to_le_bytes());
    out.extend(it.seen.to_le_bytes());
    out.push(it.category.index());
    out.extend(length.to_le_bytes());
    out.extend(value.filter(|_| length != NO_VALUE).unwrap_or_default());
}

/// Reads values that [`write_value`] wrote; `None` where they are not whole.
fn read_values(mut plain: &[u8], out: &mut Vec<Remembered>) -> Option<()> {
    while !plain.is_empty() {
        let (digits, rest) = plain.split_first_chunk()?;
        let (seen, rest) = rest.split_first_chunk()?;
        let ([category], rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = u16::from_le_bytes(*length);
        let (value, rest) = match length {
            NO_VALUE => (None, rest),
            _ => {
                let (value, rest) = rest.split_at_checked(length.into())?;
                (Some(Zeroizing::new(str::from_utf8(value).ok()?.into())), rest)
            }
        };
        let (digits, seen) = (u64::from_le_bytes(*digits), u32::from_le_bytes(*seen));
        let category = Category::from_index(*category);
        out.push(Remembered { digits, value, category, seen });
        plain = rest;
    }
    Some(())
}

/// The first bytes of a file.
const MAGIC: &[u8] = b"nexudus-proxy tokens 1 ";

/// Longest line in the clear, in bytes.
const MAX_HEADER: usize = 4 << 10;

/// Bytes of the length before a piece.
const LENGTH: usize = 4;

/// Bytes of a value beside its text.
const FIXED: usize = 8 + 4 + 1 + 2;

/// The length of a value that is not to be given back.
const NO_VALUE: u16 = u16::MAX;

/// Most plain bytes of a piece.
const PIECE: usize = 1 << 20;

/// Largest file that is read: a half has 32 MiB of texts and 200,000 records at most.
const MAX_FILE: u64 = 64 << 20;
