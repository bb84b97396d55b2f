//! The parser: one token after another, in pieces of any size, without recursion.
//!
//! A token that ends in a later piece is kept in `pending`, and nothing of it is passed on before
//! its end. Strings that are too long for that are spilled (`string_value.rs`).

use super::cursor::{Cursor, write_string};
use super::key_cache::KeyCache;
use super::rules::{Action, Outcome, Rules, Scope};
use super::scalar::{self, Scalar};
use super::string_value::{StringEnd, StringRewriter, find_end};
use super::summary::Summary;
use super::{Error, escape};

/// The state of a text on its way through.
#[derive(Debug)]
pub(crate) struct Machine {
    state: State,
    frames: Vec<Frame>,
    /// The scope of the value that comes next, or that is being read.
    scope: Scope,
    keys: KeyCache,
    partial: Partial,
    /// What was read of a token that is not complete.
    pending: Vec<u8>,
    strings: StringRewriter,
}

/// An array or object that is open.
#[derive(Clone, Copy, Debug)]
struct Frame {
    scope: Scope,
    is_object: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Value,
    /// A value, or the end of the array.
    FirstElement,
    Key,
    /// A key, or the end of the object.
    FirstKey,
    Colon,
    AfterValue,
    /// The value of the whole text is complete.
    Done,
}

/// A token that has begun in an earlier piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partial {
    None,
    /// The next `skip` bytes are escaped.
    String {
        is_key: bool,
        skip: usize,
        has_escape: bool,
    },
    Scalar,
}

impl Machine {
    /// Begins a text of this scope; `level` texts are around it.
    pub(crate) fn new(scope: Scope, level: u8) -> Self {
        Self {
            state: State::Value,
            frames: Vec::new(),
            scope,
            keys: KeyCache::new(),
            partial: Partial::None,
            pending: Vec::new(),
            strings: StringRewriter::new(level),
        }
    }

    /// Reads a piece of the text and appends what may be passed on.
    pub(crate) fn write(
        &mut self,
        rules: &mut dyn Rules,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let mut cursor = Cursor::new(input, out);
        self.resume(rules, &mut cursor)?;
        while let Some(byte) = cursor.input.get(cursor.at).copied() {
            if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                cursor.at += 1;
            } else {
                self.step(rules, &mut cursor, byte)?;
            }
        }
        cursor.flush(cursor.input.len());
        Ok(())
    }

    /// Ends the text. An empty one is complete.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.partial == Partial::Scalar {
            self.finish_pending_scalar(out)?;
        }
        let is_empty = self.state == State::Value && self.frames.is_empty();
        let is_whole = self.partial == Partial::None && (is_empty || self.state == State::Done);
        if is_whole { Ok(()) } else { Err(Error::Incomplete) }
    }

    /// Returns how much memory the state takes.
    pub(crate) fn bytes(&self) -> usize {
        self.frames.capacity() * size_of::<Frame>()
            + self.keys.bytes()
            + self.pending.capacity()
            + self.strings.bytes()
    }

    fn step(
        &mut self,
        rules: &mut dyn Rules,
        cursor: &mut Cursor<'_>,
        byte: u8,
    ) -> Result<(), Error> {
        match (self.state, byte) {
            (State::Key | State::FirstKey, b'"') => return self.string(rules, cursor, true),
            (State::Value | State::FirstElement, b'"') => return self.string(rules, cursor, false),
            (State::Colon, b':') => self.state = State::Value,
            (State::FirstKey, b'}') | (State::FirstElement, b']') => self.close(),
            (State::AfterValue, _) => self.after_value(byte)?,
            (State::Value | State::FirstElement, b'{') => self.open(true)?,
            (State::Value | State::FirstElement, b'[') => self.open(false)?,
            (State::Value | State::FirstElement, _) => return self.scalar(rules, cursor),
            (State::Key | State::FirstKey | State::Colon | State::Done, _) => {
                return Err(Error::Syntax);
            }
        }
        cursor.at += 1;
        Ok(())
    }

    fn open(&mut self, is_object: bool) -> Result<(), Error> {
        if self.frames.len() == Error::MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        self.frames.push(Frame { scope: self.scope, is_object });
        self.state = if is_object { State::FirstKey } else { State::FirstElement };
        Ok(())
    }

    fn close(&mut self) {
        self.frames.pop();
        self.end_value();
    }

    fn end_value(&mut self) {
        self.state = if self.frames.is_empty() { State::Done } else { State::AfterValue };
    }

    fn after_value(&mut self, byte: u8) -> Result<(), Error> {
        let frame = *self.frames.last().ok_or(Error::Syntax)?;
        match (byte, frame.is_object) {
            (b',', true) => self.state = State::Key,
            (b',', false) => {
                self.scope = frame.scope;
                self.state = State::Value;
            }
            (b'}', true) | (b']', false) => self.close(),
            _ => return Err(Error::Syntax),
        }
        Ok(())
    }

    /// Reads the string at the cursor as far as it is there.
    fn string(
        &mut self,
        rules: &mut dyn Rules,
        cursor: &mut Cursor<'_>,
        is_key: bool,
    ) -> Result<(), Error> {
        let (input, start) = (cursor.input, cursor.at);
        let text = &input[start + 1..];
        if is_key
            && let Some(frame) = self.frames.last()
            && let Some((scope, length)) = self.keys.next(frame.scope, text)
        {
            (self.scope, self.state) = (scope, State::Colon);
            pass_key(self, cursor, start + length + 2);
            return Ok(());
        }
        let (summary, mark) = Summary::of_start(text);
        let (length, has_escape) = match find_end(text, mark) {
            StringEnd::At { length, has_escape } => (length, has_escape),
            StringEnd::Later { skip, has_escape } => {
                cursor.flush(start);
                cursor.skip(input.len());
                cursor.at = input.len();
                self.pending.extend_from_slice(text);
                self.partial = Partial::String { is_key, skip, has_escape };
                return Ok(());
            }
        };
        let (raw, end) = (&text[..length], start + length + 2);
        let summary = if has_escape { Summary::of(raw) } else { summary };
        let outcome = self.decide(rules, raw, (summary, has_escape), is_key)?;
        match outcome {
            Outcome::Keep => {}
            Outcome::Text => {
                cursor.replace(start, end, b"");
                write_string(self.strings.text(), cursor.out);
            }
            Outcome::Null => cursor.replace(start, end, b"null"),
        }
        cursor.at = end;
        if is_key {
            pass_key(self, cursor, end);
        }
        Ok(())
    }

    /// Decides about a whole string, and goes on to the next state.
    fn decide(
        &mut self,
        rules: &mut dyn Rules,
        raw: &[u8],
        (summary, has_escape): (Summary, bool),
        is_key: bool,
    ) -> Result<Outcome, Error> {
        if summary.has_control() {
            return Err(Error::Syntax);
        }
        if is_key {
            self.state = State::Colon;
            return self.key(rules, raw, has_escape);
        }
        let outcome = self.strings.decide(rules, self.scope, raw, (summary, has_escape))?;
        self.end_value();
        Ok(outcome)
    }

    fn key(
        &mut self,
        rules: &mut dyn Rules,
        raw: &[u8],
        has_escape: bool,
    ) -> Result<Outcome, Error> {
        let parent = self.frames.last().ok_or(Error::Syntax)?.scope;
        if let Some(scope) = self.keys.get(parent, raw).filter(|_| !has_escape) {
            self.scope = scope;
            return Ok(Outcome::Keep);
        }
        let mut key = String::new();
        escape::unescape(raw, &mut key)?;
        self.scope = rules.member(parent, &key);
        if self.strings.rename(rules, parent, &key) {
            return Ok(Outcome::Text);
        }
        // A text inside a string is short: it is read before a cache is of use.
        if !has_escape && self.strings.level() == 0 {
            self.keys.put(parent, raw, self.scope);
        }
        Ok(Outcome::Keep)
    }

    /// Reads the number or name at the cursor as far as it is there.
    fn scalar(&mut self, rules: &dyn Rules, cursor: &mut Cursor<'_>) -> Result<(), Error> {
        let (input, start) = (cursor.input, cursor.at);
        let length = scalar::length(&input[start..]);
        let end = start + length;
        cursor.at = end;
        if length == 0 {
            return Err(Error::Syntax);
        }
        if end == input.len() {
            cursor.flush(start);
            cursor.skip(end);
            self.pending.extend_from_slice(&input[start..]);
            self.partial = Partial::Scalar;
            return self.check_scalar_length(rules);
        }
        if self.finish_scalar(rules, &input[start..end])? {
            cursor.replace(start, end, b"0");
        }
        Ok(())
    }

    /// Says whether a whole scalar becomes 0, and goes on to the next state.
    fn finish_scalar(&mut self, rules: &dyn Rules, raw: &[u8]) -> Result<bool, Error> {
        let kind = scalar::parse(raw).ok_or(Error::Syntax)?;
        self.end_value();
        Ok(kind == Scalar::Number && is_number_hidden(rules, self.scope))
    }

    fn check_scalar_length(&mut self, rules: &dyn Rules) -> Result<(), Error> {
        if self.pending.len() > MAX_SCALAR {
            return Err(Error::TooLong);
        }
        // Only a whole text can end with a scalar: what becomes of it is known already.
        self.strings.set_number_hidden(is_number_hidden(rules, self.scope));
        Ok(())
    }

    fn finish_pending_scalar(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let kind = scalar::parse(&self.pending).ok_or(Error::Syntax)?;
        let is_hidden = kind == Scalar::Number && self.strings.is_number_hidden();
        out.extend_from_slice(if is_hidden { b"0" } else { &self.pending });
        self.pending.clear();
        self.partial = Partial::None;
        self.end_value();
        Ok(())
    }

    /// Goes on with a token that has begun in an earlier piece.
    fn resume(&mut self, rules: &mut dyn Rules, cursor: &mut Cursor<'_>) -> Result<(), Error> {
        match self.partial {
            Partial::None => Ok(()),
            Partial::Scalar => {
                let rest = scalar::length(cursor.input);
                self.pending.extend_from_slice(&cursor.input[..rest]);
                cursor.at = rest;
                cursor.skip(rest);
                self.check_scalar_length(rules)?;
                if rest < cursor.input.len() {
                    self.finish_pending_scalar(cursor.out)
                } else {
                    Ok(())
                }
            }
            Partial::String { is_key, skip, has_escape } => {
                self.resume_string(rules, cursor, (is_key, skip, has_escape))
            }
        }
    }

    fn resume_string(
        &mut self,
        rules: &mut dyn Rules,
        cursor: &mut Cursor<'_>,
        (is_key, skip, has_escape): (bool, usize, bool),
    ) -> Result<(), Error> {
        let (length, end, has_escape) = match find_end(cursor.input, skip) {
            StringEnd::At { length, has_escape: more } => (length, length + 1, has_escape || more),
            StringEnd::Later { skip, has_escape: more } => {
                let has_escape = has_escape || more;
                self.pending.extend_from_slice(cursor.input);
                cursor.at = cursor.input.len();
                cursor.skip(cursor.at);
                self.partial = Partial::String { is_key, skip, has_escape };
                if self.pending.len() > MAX_STRING {
                    if is_key {
                        return Err(Error::TooLong);
                    }
                    self.strings.spill(rules, self.scope, &mut self.pending, cursor.out)?;
                }
                return Ok(());
            }
        };
        self.pending.extend_from_slice(&cursor.input[..length]);
        cursor.at = end;
        cursor.skip(end);
        self.partial = Partial::None;
        let mut raw = std::mem::take(&mut self.pending);
        if self.strings.is_spilling() {
            self.strings.end_spill(rules, self.scope, &raw, cursor.out)?;
            self.end_value();
        } else {
            match self.decide(rules, &raw, (Summary::of(&raw), has_escape), is_key)? {
                Outcome::Keep => {
                    cursor.out.push(b'"');
                    cursor.out.extend_from_slice(&raw);
                    cursor.out.push(b'"');
                }
                Outcome::Text => write_string(self.strings.text(), cursor.out),
                Outcome::Null => cursor.out.extend_from_slice(b"null"),
            }
        }
        raw.clear();
        self.pending = raw;
        Ok(())
    }
}

/// Goes on behind a key, and behind its colon: most texts have no white space there.
fn pass_key(machine: &mut Machine, cursor: &mut Cursor<'_>, end: usize) {
    cursor.at = end;
    if cursor.input.get(end) == Some(&b':') {
        machine.state = State::Value;
        cursor.at = end + 1;
    }
}

fn is_number_hidden(rules: &dyn Rules, scope: Scope) -> bool {
    match scope.action {
        Action::Keep | Action::Scan => false,
        Action::Replace(_) | Action::Embedded(_) => !rules.keeps_number(scope),
        Action::Null => true,
    }
}

/// Longest number that is read, in bytes.
const MAX_SCALAR: usize = 1 << 10;

/// Longest string that is kept whole, in bytes as it is written.
const MAX_STRING: usize = 128 << 10;
