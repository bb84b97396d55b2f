//! The face of the crate: pieces of a text in, pieces of another text out.

use super::Error;
use super::machine::Machine;
use super::rules::Rules;
use super::transcoder::Transcoder;

/// Rewrites one text.
#[derive(Debug)]
pub struct Rewriter<R> {
    rules: R,
    transcoder: Transcoder,
    machine: Machine,
    /// A piece of the text in UTF-8, where it came otherwise.
    converted: Vec<u8>,
    failed: Option<Error>,
}

impl<R: Rules> Rewriter<R> {
    /// Begins a text.
    pub fn new(rules: R) -> Self {
        let machine = Machine::new(rules.root(), 0);
        Self { rules, transcoder: Transcoder::new(), machine, converted: Vec::new(), failed: None }
    }

    /// Reads a piece of the text, and appends what may be passed on.
    ///
    /// # Errors
    ///
    /// Why the text is not understood. What was appended to `out` is understood all the same; the
    /// text must end here, and every later call fails too.
    pub fn write(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let written = input.chunks(STEP).try_for_each(|piece| self.write_piece(piece, false, out));
        self.failed = written.err();
        written
    }

    /// Ends the text. A text without any value is complete, as an empty response is.
    ///
    /// # Errors
    ///
    /// [`Error::Incomplete`], or the error of the last piece.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let last = self.write_piece(b"", true, out);
        let finished = last.and_then(|()| self.machine.finish(out));
        self.failed = finished.err();
        finished
    }

    /// Returns the rules.
    pub fn rules(&self) -> &R {
        &self.rules
    }

    /// Returns how much memory the state takes, without that of the rules.
    pub fn state_bytes(&self) -> usize {
        self.machine.bytes() + self.transcoder.bytes() + self.converted.capacity()
    }

    fn write_piece(&mut self, piece: &[u8], is_last: bool, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.transcoder.is_utf8() {
            return self.machine.write(&mut self.rules, piece, out);
        }
        self.converted.clear();
        let converted = self.transcoder.convert(piece, is_last, &mut self.converted);
        // What stands before an error counts first, in pieces of any size.
        self.machine.write(&mut self.rules, &self.converted, out)?;
        converted
    }
}

/// How much is read at a time, in bytes: it bounds what waits besides the longest string.
const STEP: usize = 16 << 10;
