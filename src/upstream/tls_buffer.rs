//! Encrypted bytes on their way to the socket.

use std::io;

use super::tls_stream::MIN_READ;

/// Bytes to be sent. Its buffer only grows while it is used, so that it is cleared once.
#[derive(Default)]
pub(super) struct RecordBuffer {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl RecordBuffer {
    /// Says whether something waits and not a byte of it has gone.
    pub(super) fn is_untouched(&self) -> bool {
        self.start == 0 && self.end > 0
    }

    pub(super) fn unsent(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(super) fn advance(&mut self, count: usize) {
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > MIN_READ {
                self.buffer = vec![];
            }
        }
    }

    /// Appends what `write` puts into the room that it is given, or asks for.
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
