//! A faithful local Nexudus: tokens, lists, throttling, and every way an API can misbehave.
//!
//! It runs inside a test ([`Simulator`]) or on its own (`nexudus-simulator --help`). Everything
//! about it can be turned while it runs ([`Settings`]), misbehaviour is given as [`Fault`]s, and all
//! it has seen can be read back ([`Simulator::requests`]) or waited for ([`Simulator::wait_until`]).
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
//! Where to read on, in the order a request takes: `server.rs` accepts, `http1.rs` (HTTP/1.1) and
//! `http2.rs` read, `exchange.rs` logs, holds, throttles and spoils, `routes.rs` answers, with
//! `token_endpoint.rs` for tokens and `entities.rs` for records.

mod account;
mod apply_fault;
mod builder;
mod clock;
mod control;
mod crc32;
mod data;
pub mod duration_serde;
mod entities;
mod exchange;
mod fault;
mod http1;
mod http2;
mod merge;
mod path;
mod recorder;
mod reference;
mod request;
mod response;
mod rng;
mod routes;
mod server;
mod settings;
mod simulator;
mod state;
mod throttle;
mod tls;
mod token_endpoint;
mod tokens;
mod totp;

pub use account::{Account, DEMO_EMAIL, DEMO_PASSWORD};
pub use builder::{Builder, StartError};
pub use fault::{Fault, FaultAction};
pub use recorder::{ConnectionCounts, ExecutedWrite, RecordedRequest, Recording, TokenCall};
pub use response::pattern_byte;
pub use routes::PORTAL_TOKEN_MARK;
pub use settings::{
    AcceptMode, AccessSettings, ErrorBody, ErrorCase, ErrorPlacement, ExpiresIn, Settings,
    TokenSettings, TransportSettings, UnauthorizedStyle, WrongTotp,
};
pub use simulator::{HoldGuard, Simulator};
pub use state::Route;
pub use throttle::{CounterKey, RetryAfter, Scope, ThrottleSettings, Window};
pub use tls::{Alpn, Certificate, TlsError};
pub use totp::code as totp_code;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whatever a panicking test left behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
