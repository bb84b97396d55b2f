//! The destination of decrypted text: a reader as far as it has room, and a buffer for the rest.

use bytes::{Bytes, BytesMut};
use hyper::rt::ReadBufCursor;

/// The destination that a reader has for plain text.
pub(super) trait PlainText {
    /// Returns how many bytes it still takes.
    fn room(&self) -> usize;

    /// Makes room for so many bytes, if it can.
    fn make_room(&mut self, count: usize);

    /// Takes what it has room for, and returns how much that was.
    fn put(&mut self, plain: &[u8]) -> usize;
}

impl PlainText for BytesMut {
    fn room(&self) -> usize {
        usize::MAX
    }

    fn make_room(&mut self, count: usize) {
        self.reserve(count);
    }

    fn put(&mut self, plain: &[u8]) -> usize {
        self.extend_from_slice(plain);
        plain.len()
    }
}

impl PlainText for ReadBufCursor<'_> {
    fn room(&self) -> usize {
        self.remaining()
    }

    fn make_room(&mut self, _: usize) {}

    fn put(&mut self, plain: &[u8]) -> usize {
        let taken = plain.len().min(self.remaining());
        self.put_slice(&plain[..taken]);
        taken
    }
}

/// Hands plain text to a reader, and buffers the bytes that the reader does not take.
pub(super) fn deliver(plain: &[u8], reader: impl FnOnce(&[u8]) -> usize, unread: &mut Bytes) {
    let rest = &plain[reader(plain)..];
    if !rest.is_empty() {
        *unread = if unread.is_empty() {
            Bytes::copy_from_slice(rest)
        } else {
            [&unread[..], rest].concat().into()
        };
    }
}

/// A reader that takes nothing now.
pub(super) fn take_nothing(_: &[u8]) -> usize {
    0
}
