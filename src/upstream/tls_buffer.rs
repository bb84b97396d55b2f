//! Encrypted bytes on their way to the socket.

use std::io;

/// Bytes to be sent. The buffer only grows while it is used, so that it is cleared once.
#[derive(Default)]
pub(super) struct RecordBuffer {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl RecordBuffer {
    /// Returns whether bytes wait and none of them has been sent.
    pub(super) fn is_untouched(&self) -> bool {
        self.start == 0 && self.end > 0
    }

    /// Returns the bytes that wait.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Removes so many bytes, which have been sent.
    pub(super) fn advance(&mut self, count: usize) {
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > KEPT_CAPACITY {
                self.buffer = vec![];
            }
        }
    }

    /// Appends what `write` puts into the room that is left. If `write` returns how much room it
    /// lacks instead, it is called again with that much.
    pub(super) fn fill(
        &mut self,
        mut write: impl FnMut(&mut [u8]) -> io::Result<Result<usize, usize>>,
    ) -> io::Result<()> {
        loop {
            match write(&mut self.buffer[self.end..])? {
                Ok(written) => {
                    self.end += written;
                    return Ok(());
                }
                Err(needed) => self.buffer.resize(self.end + needed, 0),
            }
        }
    }
}

/// Largest buffer that an idle connection retains, in bytes: enough for a small request.
const KEPT_CAPACITY: usize = 8 << 10;
