//! Every script and every way to an engine, against redis-server and valkey-server.

mod calls;
mod conformance;
mod counts;
mod deployed;
mod durability;
mod examined;
mod faults;
mod fleet;
mod links;
mod lost_writes;
mod members;
mod rate;
mod server;
mod ways;
