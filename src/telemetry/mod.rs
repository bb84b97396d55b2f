//! What is told of what happens. Counts, decides nothing.
//!
//! One vocabulary of log fields: `request_id method path status elapsed_ms peer generation attempt
//! retry_in address origin error`. `path` is without its query.

mod access;
mod logs;

pub use self::access::{Access, TARGET as ACCESS};
pub use self::logs::{Error, Shape, start};
