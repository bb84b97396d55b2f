//! The configuration file as TOML, with the position of every key.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::error::{Diagnostic, ParserMessage};
use super::source::ValueSource;

/// A configuration file.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: PathBuf,
    text: String,
    /// The content.
    pub(super) table: toml::Table,
    offsets: BTreeMap<Vec<String>, usize>,
}

/// Largest file that is read. The commented example has 10 KiB; a file a hundred times as large is
/// another one.
const MAX_FILE_BYTES: u64 = 1 << 20;

impl ConfigFile {
    /// Reads the file; `None` if there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Diagnostic> {
        let unreadable = |source| Diagnostic::Unreadable { path: path.to_owned(), source };
        let mut bytes = vec![];
        match fs::File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
            Ok(_) if bytes.len() as u64 > MAX_FILE_BYTES => {
                return Err(unreadable(io::Error::other("it is larger than 1 MiB")));
            }
            Ok(_) => {}
        }
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(path, text).map(Some),
            Err(error) => {
                let end = error.utf8_error().valid_up_to();
                let valid = String::from_utf8_lossy(&error.as_bytes()[..end]).into_owned();
                Err(Diagnostic::Encoding { place: place(path, &valid, end) })
            }
        }
    }

    /// Reads the text of a file.
    pub(super) fn parse(path: &Path, text: String) -> Result<Self, Diagnostic> {
        // Some editors write a byte order mark.
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        // Only the message is used: the parser's own rendering quotes the line, which may hold a
        // secret.
        let syntax = |error: toml::de::Error| Diagnostic::Syntax {
            place: place(path, &text, error.span().map_or(text.len(), |span| span.start)),
            source: ParserMessage(error.message().lines().collect::<Vec<_>>().join(", ")),
        };
        let table = text.parse::<toml::Table>().map_err(syntax)?;
        let mut offsets = BTreeMap::new();
        collect(DeTable::parse(&text).map_err(syntax)?.get_ref(), &[], &mut offsets);
        Ok(Self { path: path.to_owned(), text, table, offsets })
    }

    /// Returns the directory that relative paths in this file start from.
    pub(super) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Returns where a key is written; its nearest table where the key itself has no position.
    pub(super) fn place(&self, keys: &[&str]) -> ValueSource {
        let offset = (1..=keys.len()).rev().find_map(|length| {
            let path: Vec<String> = keys[..length].iter().map(|&key| key.to_owned()).collect();
            self.offsets.get(&path).copied()
        });
        place(&self.path, &self.text, offset.unwrap_or_default())
    }
}

fn collect(table: &DeTable<'_>, above: &[String], offsets: &mut BTreeMap<Vec<String>, usize>) {
    for (key, value) in table {
        let mut path = above.to_vec();
        path.push(key.get_ref().clone().into_owned());
        if let DeValue::Table(table) = value.get_ref() {
            collect(table, &path, offsets);
        }
        offsets.insert(path, key.span().start);
    }
}

/// Returns the line and column of a byte.
fn place(path: &Path, text: &str, offset: usize) -> ValueSource {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    ValueSource::File {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, Diagnostic> {
        ConfigFile::parse(Path::new("/c.toml"), text.to_owned())
    }

    #[test]
    fn every_key_has_its_line_and_column() {
        let file =
            parse("# é\n[listen]\n tcp = []\n\n[profile.work.log]\nlevel = 'info'\n").unwrap();

        assert_eq!(file.place(&["listen", "tcp"]).to_string(), "/c.toml:3:2");
        assert_eq!(file.place(&["profile", "work", "log", "level"]).to_string(), "/c.toml:6:1");
        assert_eq!(file.place(&["host", "origin"]).to_string(), "/c.toml:1:1");
    }

    #[test]
    fn a_truncated_file_says_where_it_ends() {
        for (text, at) in [
            ("[log]\nlevel = ", "/c.toml:2:9"),
            ("[log]\nlevel = \"in", "/c.toml:2:12"),
            ("[lo", "/c.toml:1:4"),
            ("[listen]\ntcp = [\"127.0.0.1:1\",", "/c.toml:2:22"),
        ] {
            let problem = parse(text).unwrap_err();

            assert_eq!(problem.to_string(), format!("{at}: not valid TOML"), "{text}");
        }
    }

    #[test]
    fn an_error_does_not_repeat_the_line_it_is_about() {
        let problem = parse("[upstream]\nproxy = \"http://me:hunter2@proxy\n").unwrap_err();

        assert!(!format!("{problem:?}").contains("hunter2"));
    }

    #[test]
    fn a_byte_order_mark_is_ignored() {
        assert!(parse("\u{feff}[log]\n").unwrap().table.contains_key("log"));
    }
}
