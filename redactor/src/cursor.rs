//! One piece of the text, and what of it was passed on.

use super::escape::write_escaped;

/// A piece of the text on its way through.
pub(crate) struct Cursor<'a> {
    pub(crate) input: &'a [u8],
    /// The next byte to look at.
    pub(crate) at: usize,
    /// The bytes before this one were passed on, or replaced.
    copied: usize,
    pub(crate) out: &'a mut Vec<u8>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(input: &'a [u8], out: &'a mut Vec<u8>) -> Self {
        Self { input, at: 0, copied: 0, out }
    }

    /// Passes on what stands before `end`.
    pub(crate) fn flush(&mut self, end: usize) {
        self.out.extend_from_slice(&self.input[self.copied..end]);
        self.copied = end;
    }

    /// Leaves out what stands before `end`.
    pub(crate) fn skip(&mut self, end: usize) {
        self.copied = end;
    }

    /// Passes on what stands before `start`, and `value` instead of what stands before `end`.
    pub(crate) fn replace(&mut self, start: usize, end: usize, value: &[u8]) {
        self.flush(start);
        self.out.extend_from_slice(value);
        self.copied = end;
    }
}

/// Appends a JSON string of this text.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text, out);
    out.push(b'"');
}
