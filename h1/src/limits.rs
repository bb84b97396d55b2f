//! The bounds on what a server may send, and on what one read or write carries.

/// The bounds on the head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Most bytes, with the interim responses before it.
    pub bytes: usize,
    /// Most header lines.
    pub headers: usize,
}

impl Default for HeadLimits {
    /// 64 KiB, of which nginx takes 4 to 32, and 500 lines, of which hyper and HAProxy take 100.
    fn default() -> Self {
        Self { bytes: 64 << 10, headers: 500 }
    }
}

/// How many header lines there is always room for: more take memory of their own.
pub(crate) const USUAL_HEADERS: usize = 100;

/// Most options in the `Connection` header of a message: clients and servers send three at most.
pub const MAX_CONNECTION_OPTIONS: usize = 32;

/// Longest line between two chunks, extensions included, and longest trailer section, in bytes.
pub(crate) const MAX_CHUNK_LINE: usize = 16 << 10;

/// Largest request body, in bytes, that goes out in one write together with its head.
pub(crate) const MAX_INLINE_BODY: usize = 16 << 10;

/// Room for one read, in bytes: enough for a small response.
pub(crate) const MIN_READ: usize = 8 << 10;

/// Most room for one read, in bytes: a connection in the middle of a download uses so much.
pub(crate) const MAX_READ: usize = 64 << 10;
