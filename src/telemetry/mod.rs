//! What is told of what happens. Counts, decides nothing.
//!
//! One vocabulary of log fields: `request_id method path status elapsed_ms bytes peer uid pid program
//! client code trace_id generation attempt retry_in address origin signal in_flight error cause
//! failed count limit`. `path` is without its query.

mod access;
mod feed;
mod human;
mod logs;
mod outage;
mod repeats;
mod spent;
mod tally;
mod trace;
mod truncate;
mod writer;

pub use self::access::{Access, Noted, Process, Record, TARGET as ACCESS, Who};
pub use self::feed::{Feed, Listener, News, Request};
pub use self::logs::{Error, Level, Log, Shape, dropped, set_level, start};
pub use self::outage::Outage;
pub use self::repeats::Repeats;
pub use self::spent::{PARTS, Part, Spent};
pub use self::tally::{BOUNDS, CLASSES, KINDS, Open, Tally, Took};
pub use self::truncate::{escape_truncated, truncate};
