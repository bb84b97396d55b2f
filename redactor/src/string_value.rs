//! One string: what it becomes.

use memchr::memchr2;

use super::escape::{boundary, unescape, write_escaped};
use super::machine::Machine;
use super::rules::{Action, Outcome, Rules, Scope};
use super::{Error, Summary};

/// Where a string ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StringEnd {
    /// After so many bytes comes its quotation mark.
    At { length: usize, has_escape: bool },
    /// In a later piece, whose first `skip` bytes are escaped.
    Later { skip: usize, has_escape: bool },
}

/// Finds the quotation mark that ends a string; it is not among the first `skip` bytes.
pub(crate) fn find_end(text: &[u8], skip: usize) -> StringEnd {
    let (mut from, mut has_escape) = (skip, false);
    loop {
        match text.get(from) {
            Some(b'"') => return StringEnd::At { length: from, has_escape },
            Some(b'\\') => {
                has_escape = true;
                from += 2;
            }
            Some(_) => {
                let found = memchr2(b'"', b'\\', &text[from..]);
                from = found.map_or(text.len(), |found| from + found);
            }
            None => return StringEnd::Later { skip: from - text.len(), has_escape },
        }
    }
}

/// Rewrites strings; its memory serves one string after another.
#[derive(Debug)]
pub(crate) struct StringRewriter {
    /// How many texts in strings are around this one.
    level: u8,
    /// The string without its escapes.
    plain: String,
    /// The text that takes its place.
    text: String,
    spill: Option<Spill>,
    is_number_hidden: bool,
}

/// What becomes of a string that is too long to be kept whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spill {
    Keep,
    Scan,
    /// `null` was passed on in its place.
    Drop,
}

impl StringRewriter {
    pub(crate) fn new(level: u8) -> Self {
        Self {
            level,
            plain: String::new(),
            text: String::new(),
            spill: None,
            is_number_hidden: false,
        }
    }

    pub(crate) fn level(&self) -> u8 {
        self.level
    }

    /// Returns the text of [`Outcome::Text`].
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn bytes(&self) -> usize {
        self.plain.capacity() + self.text.capacity()
    }

    pub(crate) fn set_number_hidden(&mut self, is_hidden: bool) {
        self.is_number_hidden = is_hidden;
    }

    pub(crate) fn is_number_hidden(&self) -> bool {
        self.is_number_hidden
    }

    pub(crate) fn rename(&mut self, rules: &mut dyn Rules, parent: Scope, key: &str) -> bool {
        self.text.clear();
        rules.rename(parent, key, &mut self.text)
    }

    /// Decides about a whole string, as it stands between its quotation marks, without control
    /// characters.
    pub(crate) fn decide(
        &mut self,
        rules: &mut dyn Rules,
        scope: Scope,
        raw: &[u8],
        (summary, has_escape): (Summary, bool),
    ) -> Result<Outcome, Error> {
        if has_escape {
            let mut plain = std::mem::take(&mut self.plain);
            plain.clear();
            let outcome = unescape(raw, &mut plain).map(|()| {
                let summary = Summary::of(plain.as_bytes());
                self.decide_plain(rules, scope, &plain, summary)
            });
            self.plain = plain;
            return outcome;
        }
        // Most strings end here.
        if summary.is_ascii() && is_plain(rules, scope, raw, summary) {
            return Ok(Outcome::Keep);
        }
        let text = std::str::from_utf8(raw).map_err(|_| Error::Encoding)?;
        Ok(self.decide_plain(rules, scope, text, summary))
    }

    fn decide_plain(
        &mut self,
        rules: &mut dyn Rules,
        scope: Scope,
        text: &str,
        summary: Summary,
    ) -> Outcome {
        let (is_scanned, is_embedded) = match scope.action {
            Action::Keep => return Outcome::Keep,
            Action::Null => return Outcome::Null,
            Action::Replace(_) => (false, false),
            Action::Embedded(_) => (false, true),
            Action::Scan => (true, true),
        };
        if is_embedded && begins_like_json(text) {
            if let Some(outcome) = self.rewrite_embedded(rules, scope, text) {
                return outcome;
            }
            if is_scanned && is_meant_as_json(text) {
                self.text.clear();
                return rules.opaque(scope, text, &mut self.text);
            }
        }
        if is_scanned && !rules.is_suspect(scope, summary) {
            return Outcome::Keep;
        }
        self.text.clear();
        rules.string(scope, text, &mut self.text)
    }

    /// Rewrites the JSON in a string; `None`: there is none.
    fn rewrite_embedded(
        &mut self,
        rules: &mut dyn Rules,
        scope: Scope,
        text: &str,
    ) -> Option<Outcome> {
        if self.level == MAX_LEVEL {
            return None;
        }
        let inner = rules.embedded(scope);
        let (mut machine, mut out) = (Machine::new(inner, self.level + 1), Vec::new());
        let text = text.trim_start_matches('\u{feff}');
        machine.write(rules, text.as_bytes(), &mut out).ok()?;
        machine.finish(&mut out).ok()?;
        if out == text.as_bytes() {
            return Some(Outcome::Keep);
        }
        self.text = String::from_utf8(out).ok()?;
        Some(Outcome::Text)
    }

    /// Says whether a long string is being passed on in parts.
    pub(crate) fn is_spilling(&self) -> bool {
        self.spill.is_some()
    }

    /// Passes on the beginning of a string that is too long to be kept whole.
    pub(crate) fn spill(
        &mut self,
        rules: &mut dyn Rules,
        scope: Scope,
        pending: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let spill = *self.spill.get_or_insert_with(|| {
            let spill = spill_kind(scope, pending);
            out.extend_from_slice(if spill == Spill::Drop { b"null" } else { b"\"" });
            spill
        });
        if spill == Spill::Drop {
            pending.clear();
            return Ok(());
        }
        let end = boundary(pending, pending.len() - SPILL_TAIL);
        let end = if spill == Spill::Scan { word_end(&pending[..end]) } else { end };
        self.write_part(rules, scope, &pending[..end], out)?;
        pending.drain(..end);
        Ok(())
    }

    /// Passes on the end of such a string.
    pub(crate) fn end_spill(
        &mut self,
        rules: &mut dyn Rules,
        scope: Scope,
        rest: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        match self.spill {
            None | Some(Spill::Drop) => {}
            Some(Spill::Keep | Spill::Scan) => {
                self.write_part(rules, scope, rest, out)?;
                out.push(b'"');
            }
        }
        self.spill = None;
        Ok(())
    }

    fn write_part(
        &mut self,
        rules: &mut dyn Rules,
        scope: Scope,
        raw: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        if Summary::of(raw).has_control() {
            return Err(Error::Syntax);
        }
        self.plain.clear();
        unescape(raw, &mut self.plain)?;
        self.text.clear();
        let is_scanned = self.spill == Some(Spill::Scan);
        let is_shown = is_scanned && rules.is_suspect(scope, Summary::of(self.plain.as_bytes()));
        let outcome =
            if is_shown { rules.string(scope, &self.plain, &mut self.text) } else { Outcome::Keep };
        match outcome {
            Outcome::Keep => out.extend_from_slice(raw),
            Outcome::Text => write_escaped(&self.text, out),
            Outcome::Null => {}
        }
        Ok(())
    }
}

/// Says whether an ASCII string stays, by its first byte and its summary alone.
fn is_plain(rules: &dyn Rules, scope: Scope, raw: &[u8], summary: Summary) -> bool {
    match scope.action {
        Action::Keep => true,
        Action::Scan => {
            let is_word = raw.first().is_none_or(u8::is_ascii_alphanumeric);
            is_word && !rules.is_suspect(scope, summary)
        }
        Action::Replace(_) | Action::Embedded(_) | Action::Null => false,
    }
}

fn spill_kind(scope: Scope, pending: &[u8]) -> Spill {
    match scope.action {
        Action::Keep => Spill::Keep,
        // A text inside a string is understood as a whole or not at all.
        Action::Scan if !is_start_of_json(pending) => Spill::Scan,
        Action::Scan | Action::Replace(_) | Action::Embedded(_) | Action::Null => Spill::Drop,
    }
}

/// Says whether a long string may hold JSON, by its first characters.
fn is_start_of_json(pending: &[u8]) -> bool {
    let mut start = String::new();
    let is_read = unescape(&pending[..boundary(pending, MAX_INDENT)], &mut start).is_ok();
    let text = start.trim_start_matches('\u{feff}').trim_ascii_start();
    !is_read || text.is_empty() || text.starts_with(['{', '[', '"'])
}

/// Returns where a long text is cut: behind a mark that stands in no address and no number, if there
/// is one near the end.
fn word_end(raw: &[u8]) -> usize {
    let from = raw.len().saturating_sub(MAX_WORD);
    let is_mark = |byte: &u8| matches!(byte, b'<' | b'>' | b',' | b';');
    let mark = raw[from..].iter().rposition(is_mark).map(|at| from + at + 1);
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic();
    let gap = || {
        let words = raw[from..]
            .windows(3)
            .rposition(|it| is_letter(&it[0]) && it[1] == b' ' && is_letter(&it[2]));
        words.map(|at| from + at + 2)
    };
    mark.or_else(gap).unwrap_or(raw.len())
}

/// Says whether a text may be JSON that holds strings.
fn begins_like_json(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}').trim_ascii();
    let quoted = |text: &str| text.len() > 1 && text.starts_with('"') && text.ends_with('"');
    text.starts_with(['{', '[']) || quoted(text)
}

/// Says whether a text that is not JSON was meant as JSON: all of it is hidden then. A word in
/// brackets is none.
fn is_meant_as_json(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}').trim_ascii_start();
    match text.strip_prefix('[') {
        Some(rest) => rest.trim_ascii_start().starts_with(['{', '[', '"']),
        None => text.starts_with('{'),
    }
}

/// How many texts in strings may be inside each other.
const MAX_LEVEL: u8 = 3;

/// How much of a long string stays for its next part: more than an address or a number has.
const SPILL_TAIL: usize = 1 << 10;

/// How much white space may stand before JSON in a long string, in bytes.
const MAX_INDENT: usize = 1 << 10;

/// How far a cut is moved to a gap between words.
const MAX_WORD: usize = 8 << 10;
