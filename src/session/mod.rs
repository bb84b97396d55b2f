//! The bearer token: who holds it, when it is renewed.
//!
//! [`Session`] (`handle.rs`) is what requests use. One task (`refresh/task.rs`) owns the session:
//! the state machine in `state/` decides, `refresh/` gets tokens from Nexudus, `store/` keeps them
//! on disk.

mod cause;
mod client_id;
mod current_user;
mod error;
mod fleet_leave;
mod handle;
mod offline_session;
mod own_requests;
mod refresh;
mod spawn;
mod state;
mod status;
mod store;
mod token;

pub use self::current_user::{CurrentUser, CurrentUserError};
pub use self::error::{Cause, Error, MissingLogin};
pub use self::handle::{BodyKind, Session, UnauthorizedCause};
pub use self::offline_session::{
    LoginRejection, OfflineSession, client_ids, origins_with_login, remove_all, self_test_keychain,
    set_locked,
};
#[doc(hidden)]
pub use self::refresh::context::FetchStep;
pub use self::refresh::endpoint::{self, Issuer};
pub use self::refresh::loop_detection::PLACEHOLDER;
pub use self::refresh::me::MeError;
pub use self::refresh::revocation::RevocationError;
pub use self::refresh::task::SessionTask;
pub use self::status::{LastError, SessionState, SessionStatus};
pub use self::store::token_store::StoreInfo;
pub use self::token::Bearer;
