//! A faithful local Nexudus: tokens, lists, throttling, and every way an API can misbehave.
//!
//! The simulator runs inside a test ([`Simulator`]) or on its own (`nexudus-simulator --help`). Every
//! setting can change while it runs ([`Settings`]), misbehaviour is given as [`Fault`]s, and all
//! it has seen can be read back ([`Simulator::requests`]) or waited for ([`Simulator::wait_until`]).
//!
//! ```
//! use nexudus_simulator::{Account, FaultAction, Fault, Simulator};
//!
//! let simulator = Simulator::builder()
//!     .account(Account::new("ada@example.test", "secret"))
//!     .set(|settings| settings.token.access_life = std::time::Duration::from_secs(20))
//!     .start()?;
//! simulator.fault(Fault::on("/api/spaces", FaultAction::Reset).times(1));
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
mod data;
pub mod duration_serde;
mod entities;
mod exchange;
mod failed_logins;
mod fault;
mod http1;
mod http2;
mod path;
mod recorder;
mod request;
mod resettable_stream;
mod response;
mod rng;
mod routes;
mod server;
mod settings;
mod settings_patch;
mod settings_reference;
mod simulator;
mod state;
mod throttle;
mod tls;
mod token_endpoint;
mod tokens;
mod totp;
mod user_object;

pub use account::{Account, DEMO_EMAIL, DEMO_PASSWORD};
pub use builder::{Builder, StartError};
pub use fault::{Fault, FaultAction};
pub use recorder::{ConnectionCounts, ExecutedWrite, RecordedRequest, Recording, TokenCall};
pub use response::pattern_byte;
pub use settings::{
    AcceptMode, AccessSettings, ErrorBody, ErrorCase, ErrorPlacement, ExpiresIn, Settings,
    TokenSettings, TransportSettings, UnauthorizedStyle, WrongTotp,
};
pub use simulator::{HoldGuard, Simulator};
pub use state::Route;
pub use throttle::{CounterKey, RetryAfter, Scope, ThrottleSettings, Window};
pub use tls::{Alpn, Certificate, TlsError};
pub use totp::code as totp_code;
pub use user_object::PORTAL_TOKEN_MARK;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whatever a panicking test left behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
