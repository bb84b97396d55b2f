//! Why a request got no response, or a response no end.

use std::io;

use crate::limits::MAX_CONNECTION_OPTIONS;

/// The end of an exchange on a connection. `E` is the error of the request's body.
#[derive(Debug, thiserror::Error)]
pub enum Error<E> {
    /// The server closed the connection before a response came.
    #[error("the connection was closed before a response came")]
    Closed,
    /// The server closed the connection in the middle of a response.
    #[error("the response ended early")]
    Truncated,
    /// For as long as the caller allows, no part of the request went out and no response came.
    #[error("no response came in time")]
    TimedOut,
    /// The transport failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server sent bytes that are not an HTTP/1.1 response.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The request's body is longer or shorter than its request said.
    #[error("the request body does not have the announced length")]
    BodyLength,
    /// The request's body failed.
    #[error(transparent)]
    Body(E),
}

/// A request that got no response.
#[derive(Debug, thiserror::Error)]
#[error("the request got no response")]
pub struct SendError<E: std::error::Error + 'static> {
    /// The end of the exchange.
    #[source]
    pub error: Error<E>,
    /// Whether it is certain that no byte of the request was sent. Its body was not taken then, and
    /// the request can be sent on another connection.
    pub is_unsent: bool,
}

impl<E: std::error::Error + 'static> SendError<E> {
    /// Reports a failure after which the server may have seen the request.
    pub(crate) fn after_sending(error: Error<E>) -> Self {
        Self { error, is_unsent: false }
    }
}

/// Why bytes are not an HTTP/1.1 response that can be trusted.
///
/// Where RFC 9112 lets a recipient choose, a message whose end two readers could see in two places
/// is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The head is not one of HTTP/1.
    #[error("{0}")]
    Head(httparse::Error),
    /// The head does not end.
    #[error("the head is longer than {0} bytes")]
    HeadTooLong(usize),
    /// The head gives two lengths, or one that is no number.
    #[error("the Content-Length is contradictory or not a number")]
    ContentLength,
    /// The body has transfer codings other than `chunked`, which no request asked for.
    #[error("the Transfer-Encoding is not chunked alone")]
    TransferEncoding,
    /// The chunked coding of the body is broken.
    #[error("the chunked coding is malformed")]
    Chunk,
    /// The `Connection` header names more options than any server has reason to.
    #[error("the Connection header names more than {MAX_CONNECTION_OPTIONS} options")]
    ConnectionOptions,
    /// The server switches to a protocol that the request did not ask for. [`Connection`] hands
    /// every 101 over, since only its user knows what was asked for.
    ///
    /// [`Connection`]: crate::Connection
    #[error("the response switches protocols unasked")]
    UnexpectedUpgrade,
}
