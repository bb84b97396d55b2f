//! The engine: where it is, its connections, and how durable it makes a write.

mod address;
mod client;
mod connection;
mod durability;
mod sentinel;

pub use self::address::{Address, AddressError, Server};
pub use self::client::{Engine, EngineInfo, Hint, Options};
pub use self::connection::ConnectError;
pub use self::durability::{Durability, Reached};
