//! The one reader of secrets from outside: files, systemd credentials, the output of a command,
//! variables, standard input, a terminal.
//!
//! Every source adds something around a secret: an editor a newline or a byte order mark, Windows a
//! CR, `docker --env-file` and `jq` quotes. What surely is not part of the secret is taken off. What
//! cannot be a secret is named with its source and never sent: a try that Nexudus counts must not be
//! spent on it. `tests/layout` lets only this reader, and the places where a secret is made, turn a
//! text into a [`Secret`].

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::Secret;

/// A secret as its source gave it.
pub struct SecretInput {
    source: Cow<'static, str>,
    bytes: Zeroizing<Vec<u8>>,
    /// Whether quotes around it belong to it.
    keeps_quotes: bool,
}

/// Why a source holds no usable secret. Says nothing of its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_name} {flaw}")]
pub struct UnusableSecret {
    /// The source: a variable, a credential, a command.
    pub source_name: Cow<'static, str>,
    /// The flaw.
    pub flaw: SecretFlaw,
}

/// The flaw that makes a text unusable as a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretFlaw {
    /// Nothing is there.
    #[error("is empty")]
    Empty,
    /// The first two bytes are the mark of UTF-16, which Windows writes.
    #[error("is UTF-16, not UTF-8")]
    Utf16,
    /// The bytes are no text.
    #[error("is not UTF-8 text")]
    NotUtf8,
    /// A byte or character that no one can type.
    #[error("contains the control character U+{0:04X}")]
    Control(u32),
    /// More than one line.
    #[error("has more than one line")]
    SeveralLines,
    /// A pair of quotes around it.
    #[error("is enclosed in quotes")]
    Quoted,
    /// More than [`MAX_LENGTH`].
    #[error("is longer than {MAX_LENGTH} bytes")]
    TooLong,
}

/// The material of a key: text without what surrounds it, or any bytes. Only the reader makes it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyMaterial(Zeroizing<Vec<u8>>);

impl SecretInput {
    /// Takes the bytes that `source` gave. `source` is the subject of a sentence.
    pub fn new(source: impl Into<Cow<'static, str>>, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = Zeroizing::new(bytes.into());
        Self { source: source.into(), bytes, keeps_quotes: false }
    }

    /// Takes a text that a person typed: quotes around it belong to it.
    pub fn typed(source: impl Into<Cow<'static, str>>, text: String) -> Self {
        Self { keeps_quotes: true, ..Self::new(source, text) }
    }

    /// Reads a file; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When the file exists and cannot be read.
    pub fn from_file(
        source: impl Into<Cow<'static, str>>,
        path: &Path,
    ) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Self::from_reader(source, file).map(Some)
    }

    /// Reads to the end, or to one byte more than any secret has.
    ///
    /// # Errors
    ///
    /// When the reader fails.
    pub fn from_reader(
        source: impl Into<Cow<'static, str>>,
        reader: impl Read,
    ) -> io::Result<Self> {
        // The buffer has room from the start: a growing one is copied.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LENGTH + 1));
        reader.take(MAX_LENGTH as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Self { source: source.into(), bytes, keeps_quotes: false })
    }

    /// Takes the value of a variable; `None` when it is unset or empty.
    pub fn from_variable(name: &'static str, value: Option<OsString>) -> Option<Self> {
        let value = value?.into_encoded_bytes();
        (!value.is_empty()).then(|| Self::new(name, value))
    }

    /// Returns the secret, which is all of the input: one line.
    ///
    /// # Errors
    ///
    /// [`UnusableSecret`] names the source.
    pub fn line(self) -> Result<Secret, UnusableSecret> {
        let text = self.text()?;
        let line = text.trim_end_matches(['\r', '\n']);
        self.check(line)
    }

    /// Returns the secret, which is the first line of the input: below it, password managers print
    /// notes.
    ///
    /// # Errors
    ///
    /// As [`SecretInput::line`].
    pub fn first_line(self) -> Result<Secret, UnusableSecret> {
        self.nth_line(0)
    }

    /// Returns the secret on one of the lines, counted from 0.
    ///
    /// # Errors
    ///
    /// As [`SecretInput::line`].
    pub fn nth_line(&self, number: usize) -> Result<Secret, UnusableSecret> {
        let line = self.text()?.split('\n').nth(number).unwrap_or_default();
        self.check(line.trim_end_matches('\r'))
    }

    /// Parses the whole input, a JSON document with secrets in it; `None` when it is another
    /// document.
    ///
    /// # Errors
    ///
    /// As [`SecretInput::line`].
    pub fn json<T: DeserializeOwned>(self) -> Result<Option<T>, UnusableSecret> {
        Ok(serde_json::from_str(self.text()?).ok())
    }

    /// Returns the material of a key: text, or any bytes.
    ///
    /// # Errors
    ///
    /// [`UnusableSecret`] when nothing is there.
    pub fn key(self) -> Result<KeyMaterial, UnusableSecret> {
        let bytes = match self.text() {
            Ok(text) => text.trim_ascii_end().as_bytes(),
            // Random bytes may begin with what would be a mark in a text.
            Err(_) => &self.bytes,
        };
        let flaw = match bytes.len() {
            0 => SecretFlaw::Empty,
            length if length > MAX_LENGTH => SecretFlaw::TooLong,
            _ => return Ok(KeyMaterial(Zeroizing::new(bytes.to_vec()))),
        };
        Err(self.unusable(flaw))
    }

    /// Returns the material of a key on the first line of a text, or all bytes.
    ///
    /// # Errors
    ///
    /// As [`SecretInput::key`].
    pub fn key_of_first_line(mut self) -> Result<KeyMaterial, UnusableSecret> {
        if let Ok(text) = std::str::from_utf8(&self.bytes)
            && let Some(length) = text.find('\n')
        {
            self.bytes.truncate(length);
        }
        self.key()
    }

    /// Returns the text without a byte order mark.
    fn text(&self) -> Result<&str, UnusableSecret> {
        if self.bytes.len() > MAX_LENGTH {
            return Err(self.unusable(SecretFlaw::TooLong));
        }
        if self.bytes.starts_with(&[0xFF, 0xFE]) || self.bytes.starts_with(&[0xFE, 0xFF]) {
            return Err(self.unusable(SecretFlaw::Utf16));
        }
        let text = std::str::from_utf8(&self.bytes);
        let text = text.map_err(|_| self.unusable(SecretFlaw::NotUtf8))?;
        Ok(text.trim_start_matches('\u{feff}'))
    }

    fn check(&self, line: &str) -> Result<Secret, UnusableSecret> {
        let control = line.chars().find(|letter| letter.is_control());
        let quoted = |quote| line.len() > 1 && line.starts_with(quote) && line.ends_with(quote);
        let flaw = match control {
            Some('\r' | '\n') => SecretFlaw::SeveralLines,
            Some(control) => SecretFlaw::Control(control.into()),
            None if line.trim().is_empty() => SecretFlaw::Empty,
            None if !self.keeps_quotes && (quoted('"') || quoted('\'')) => SecretFlaw::Quoted,
            None => return Ok(Secret::new(line)),
        };
        Err(self.unusable(flaw))
    }

    fn unusable(&self, flaw: SecretFlaw) -> UnusableSecret {
        UnusableSecret { source_name: self.source.clone(), flaw }
    }
}

impl std::fmt::Debug for SecretInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretInput({}, ..)", self.source)
    }
}

impl UnusableSecret {
    /// Returns what to do.
    pub fn hint(&self) -> &'static str {
        match self.flaw {
            SecretFlaw::Empty => "Put the value there, on one line.",
            SecretFlaw::Utf16 | SecretFlaw::NotUtf8 => "Save it as UTF-8 text.",
            SecretFlaw::Control(_) | SecretFlaw::SeveralLines | SecretFlaw::TooLong => {
                "Give the value on one line, and nothing else."
            }
            SecretFlaw::Quoted => {
                "Leave the quotes out: `docker --env-file` and `jq` without -r leave them in. If they \
                 belong to the password, type it at the prompt of `nexudus-proxy login`."
            }
        }
    }
}

impl KeyMaterial {
    /// Takes a key that this program made.
    pub fn from_secret(secret: &Secret) -> Self {
        Self(Zeroizing::new(secret.expose().as_bytes().to_vec()))
    }

    /// Returns the bytes. Only for the derivation of a key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyMaterial(..)")
    }
}

/// Longest input, in bytes: no secret has so many, and a wrong file must not fill the memory.
pub const MAX_LENGTH: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> Result<String, SecretFlaw> {
        let secret = SecretInput::new("the file", bytes).line();
        secret.map(|secret| secret.expose().to_owned()).map_err(|error| error.flaw)
    }

    #[test]
    fn what_a_source_adds_is_taken_off() {
        for given in [
            "hunter2",
            "hunter2\n",
            "hunter2\r\n",
            "hunter2\r",
            "hunter2\n\n",
            "\u{feff}hunter2\r\n",
        ] {
            assert_eq!(line(given.as_bytes()).as_deref(), Ok("hunter2"), "{given:?}");
        }
        assert_eq!(line(b" p \n").as_deref(), Ok(" p "), "blanks belong to a password");
        assert_eq!(line("pä\"ss\n".as_bytes()).as_deref(), Ok("pä\"ss"));
        assert_eq!(line(b"\"").as_deref(), Ok("\""));
    }

    #[test]
    fn what_cannot_be_a_secret_is_named_with_its_source() {
        for (given, flaw) in [
            (b"".as_slice(), SecretFlaw::Empty),
            (b"\r\n", SecretFlaw::Empty),
            (b"\xEF\xBB\xBF\n", SecretFlaw::Empty),
            (b"  \n", SecretFlaw::Empty),
            (b"\xFF\xFEp\0w\0", SecretFlaw::Utf16),
            (b"p\0w\0", SecretFlaw::Control(0)),
            (b"p\x1b[Aw", SecretFlaw::Control(0x1b)),
            (b"p\tw", SecretFlaw::Control(9)),
            (b"p\xFFw", SecretFlaw::NotUtf8),
            (b"one\ntwo\n", SecretFlaw::SeveralLines),
            (b"one\rtwo", SecretFlaw::SeveralLines),
            (b"\"hunter2\"", SecretFlaw::Quoted),
            (b"'hunter2'\r\n", SecretFlaw::Quoted),
            (&[b'a'; MAX_LENGTH + 1], SecretFlaw::TooLong),
        ] {
            assert_eq!(line(given), Err(flaw), "{:?}", given.get(..12.min(given.len())));
        }
        let error = SecretInput::new("NEXUDUS_PASSWORD", "'p'").line().unwrap_err();
        assert_eq!(error.to_string(), "NEXUDUS_PASSWORD is enclosed in quotes");
        assert!(!format!("{error:?}{:?}", SecretInput::new("x", "hunter2")).contains("hunter2"));
    }

    #[test]
    fn a_typed_text_keeps_its_quotes_and_nothing_that_cannot_be_typed() {
        let typed = |text: &str| SecretInput::typed("the password", text.to_owned()).line();
        assert_eq!(typed("'p'").unwrap().expose(), "'p'");
        assert_eq!(typed("p\u{16}").unwrap_err().flaw, SecretFlaw::Control(0x16));
    }

    #[test]
    fn lines_are_read_one_by_one() {
        let lines = SecretInput::new("standard input", "\u{feff}one\r\ntwo\n");
        assert_eq!(lines.nth_line(0).unwrap().expose(), "one");
        assert_eq!(lines.nth_line(1).unwrap().expose(), "two");
        assert_eq!(lines.nth_line(2).unwrap_err().flaw, SecretFlaw::Empty);
    }

    #[test]
    fn a_key_is_any_bytes_or_text_without_its_end() {
        let key = |bytes: &[u8]| SecretInput::new("the key", bytes).key();
        assert_eq!(key(b"\xEF\xBB\xBFkey \r\n").unwrap().as_bytes(), b"key");
        assert_eq!(key(b"a\nb\n").unwrap().as_bytes(), b"a\nb");
        assert_eq!(key(b"\xFF\xFE\x00\n").unwrap().as_bytes(), b"\xFF\xFE\x00\n");
        assert_eq!(key(b"\n").unwrap_err().flaw, SecretFlaw::Empty);
        let printed = SecretInput::new("the key", "key\r\nnotes\n").key_of_first_line();
        assert_eq!(printed.unwrap().as_bytes(), b"key");
    }
}
