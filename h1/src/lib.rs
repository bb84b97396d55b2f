//! An HTTP/1.1 client connection that its user's own task drives.
//!
#![doc = include_str!("../README.md")]

mod body_codec;
mod connection;
mod error;
mod framing;
mod head;
mod limits;
mod request;
mod request_writer;
mod transport;

pub use self::connection::Connection;
pub use self::error::{Error, Malformed, SendError};
pub use self::framing::normalize_content_length;
pub use self::head::ReasonPhrase;
pub use self::limits::{HeadLimits, MAX_CONNECTION_OPTIONS};
pub use self::request::Request;
pub use self::transport::Transport;
