//! The engine: where it is, its connections, and how durable it makes a write.

mod address;
mod client;
mod connection;
mod durability;
mod examine;
mod finding;
mod sentinel;

pub use self::address::{Address, AddressError, Server};
pub use self::client::{Engine, EngineInfo, Hint, Options};
pub use self::connection::ConnectError;
pub use self::durability::{Durability, Reached};
pub use self::examine::{Examination, Persistence, Transport, acl, examine};
pub use self::finding::{Finding, Level};
