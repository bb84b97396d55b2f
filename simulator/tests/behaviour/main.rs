//! What the simulator promises, over real TLS.

mod client;
mod tokens;
