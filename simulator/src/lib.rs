//! A faithful local Nexudus: tokens, lists, throttling, and every way an API can misbehave.
//!
//! It runs inside a test ([`Simulator`]) or on its own (`nexudus-simulator --help`). Everything
//! about it can be turned while it runs ([`Knobs`]), misbehaviour is given as [`Fault`]s, and all
//! it has seen can be read back ([`Simulator::seen`]) or waited for ([`Simulator::wait_until`]).
//!
//! ```
//! use nexudus_simulator::{Account, Deed, Fault, Simulator};
//!
//! let simulator = Simulator::builder()
//!     .account(Account::new("ada@example.test", "secret"))
//!     .set(|knobs| knobs.token.access_life = std::time::Duration::from_secs(20))
//!     .start()?;
//! simulator.fault(Fault::on("/api/spaces", Deed::Reset).times(1));
//! # Ok::<(), nexudus_simulator::StartError>(())
//! ```
//!
//! Where to read on, in the order a request takes: `server.rs` accepts, `wire.rs` (HTTP/1.1) and
//! `http2.rs` read, `exchange.rs` logs, holds, throttles and spoils, `routes.rs` answers, with
//! `issue.rs` for tokens and `entities.rs` for records.

mod account;
mod answer;
mod builder;
mod checksum;
mod clock;
mod control;
mod data;
mod dice;
mod entities;
mod exchange;
mod fault;
mod http2;
mod issue;
mod knobs;
mod log;
mod merge;
mod misbehave;
mod path;
mod reference;
mod request;
mod routes;
mod server;
mod simulator;
pub mod span;
mod state;
mod throttle;
mod tls;
mod tokens;
mod totp;
mod wire;

pub use account::{Account, DEMO_EMAIL, DEMO_PASSWORD};
pub use answer::pattern_byte;
pub use builder::{Builder, StartError};
pub use fault::{Deed, Fault};
pub use knobs::{
    Accept, AccessKnobs, Case, ErrorBody, ExpiresIn, Knobs, Placement, Refusal, TokenKnobs,
    TransportKnobs, WrongTotp,
};
pub use log::{Connections, Seen, TokenCall, View, Write};
pub use routes::PORTAL_TOKEN_MARK;
pub use simulator::{HoldGuard, Simulator};
pub use state::Route;
pub use throttle::{Key, RetryAfter, Scope, ThrottleKnobs, Window};
pub use tls::{Alpn, Certificate, TlsError};
pub use totp::code as totp_code;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whatever a panicking test left behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
