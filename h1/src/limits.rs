//! The bounds on what a server may send, and on what one read or write carries.

/// Most bytes of a response's head, with the interim responses before it; nginx takes 4 to 32 KiB.
pub(crate) const MAX_HEAD_LENGTH: usize = 64 << 10;

/// Most header lines of a response: as many as hyper takes.
pub(crate) const MAX_HEADERS: usize = 100;

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
