//! Every script and every way to an engine, against redis-server and valkey-server.

mod calls;
mod conformance;
mod durability;
mod lost_writes;
mod members;
mod rate;
mod server;
mod ways;
