//! Every script and every way to an engine, against redis-server and valkey-server.

mod calls;
mod durability;
mod server;
mod ways;
