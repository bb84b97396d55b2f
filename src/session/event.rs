//! What can happen to a session, and what follows from it: the words that the pure decision
//! (`state.rs`) and the task around it (`task.rs`) exchange.

use std::time::Duration;

use super::error::Error;
use super::schedule::Token;

/// What can happen to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The daemon has started.
    Started {
        /// Whether the user had locked the session.
        locked: bool,
    },
    /// An attempt ended with a pair.
    Issued {
        /// The token.
        token: Token,
        /// Whether the pair is new, so that it must be stored; else it was read.
        store: bool,
    },
    /// An attempt found that the login is another account's than what is held.
    AccountChanged,
    /// An attempt found that the changed login belongs to the account whose token is held.
    Unchanged,
    /// An attempt ended without a pair.
    Failed {
        /// Why. One that says when to come back passes by itself.
        error: Error,
        /// Shortest time until the next attempt, where it is known.
        wait: Option<Duration>,
    },
    /// That attempt could not read a login that has changed.
    CredentialsUnreadable,
    /// The newest pair is durable.
    Stored,
    /// The newest pair could not be written.
    StoreFailed,
    /// The saved session is gone, as asked.
    Erased,
    /// The probe says that this token is dead.
    TokenRejected {
        /// Whose.
        generation: u64,
        /// Whether the API ever answered to it with something else than 401.
        proven: bool,
    },
    /// The probe says that this token is alive.
    TokenConfirmed {
        /// Whose.
        generation: u64,
    },
    /// A time asked for has come, or a request found no valid token.
    Tick,
    /// The machine was suspended since the last event.
    Resumed,
    /// A body that cannot be sent twice waits, and this token is about to expire.
    RenewalRequested {
        /// Whose.
        generation: u64,
    },
    /// A person wants a new token now.
    RefreshRequested,
    /// The stored login has changed.
    CredentialsChanged,
    /// A person has logged out.
    LoggedOut,
    /// A person has locked the session.
    Locked,
    /// A person has unlocked the session.
    Unlocked,
    /// The daemon is about to stop.
    Stopping,
}

/// What the keeper must do after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Find a pair: read it, renew it or log in.
    Fetch(FetchRequest),
    /// Write the newest pair.
    Store,
    /// Remove the saved session.
    Erase,
    /// Send [`Event::Tick`] at this reading of the boot clock.
    WakeAt(Duration),
}

/// What an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// A saved token of this generation or an older one is not good enough.
    pub newer_than: Option<u64>,
    /// Whether a person asked, so that what only a person can repair is tried once more.
    pub user_requested: bool,
    /// Whether the stored login has changed.
    pub credentials_changed: bool,
    /// How many attempts have failed in a row.
    pub failures: u32,
    /// Whether a valid token is held meanwhile.
    pub has_valid_token: bool,
}
