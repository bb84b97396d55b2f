//! The messages between the state machine (`machine.rs`) and the session task around it: events,
//! and the next actions.

use std::time::Duration;

use super::schedule::Token;
use crate::session::error::Error;

/// An event in the life of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The daemon has started.
    Started {
        /// Whether the user had locked the session.
        locked: bool,
    },
    /// An attempt ended with a token pair.
    Issued {
        /// The access token.
        token: Token,
        /// Whether the pair is new and must be stored; otherwise it was read from the store.
        is_new: bool,
    },
    /// An attempt found that the login is of another account than the token held.
    AccountChanged,
    /// An attempt found that the changed login is of the account whose token is held.
    Unchanged,
    /// An attempt ended without a token pair.
    Failed {
        /// Why. An error with a retry time passes by itself.
        error: Error,
        /// Shortest time until the next attempt, where it is known.
        wait: Option<Duration>,
    },
    /// The attempt that has failed could not read a login that has changed.
    CredentialsUnreadable,
    /// The newest pair is on disk.
    Stored,
    /// The newest pair could not be written.
    StoreFailed,
    /// The saved session was removed.
    Erased,
    /// The probe says that this token is dead.
    TokenRejected {
        /// Generation of the token.
        generation: u64,
        /// Whether the API ever gave a request with this token another status than 401.
        proven: bool,
    },
    /// The probe says that this token is alive.
    TokenConfirmed {
        /// Generation of the token.
        generation: u64,
    },
    /// The time of [`Action::WakeAt`] has come, or a request found no valid token.
    Tick,
    /// The machine was suspended since the last event.
    Resumed,
    /// A request whose body cannot be sent twice waits, and this token is about to expire.
    RenewalRequested {
        /// Generation of the token.
        generation: u64,
    },
    /// The user wants a new token now.
    RefreshRequested,
    /// The stored login has changed.
    CredentialsChanged,
    /// The user has logged out.
    LoggedOut,
    /// Another member of the fleet has logged in.
    LogoutEnded,
    /// The user has locked the session.
    Locked,
    /// The user has unlocked the session.
    Unlocked,
    /// The daemon is about to stop.
    Stopping,
}

/// An action that the session task performs after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Find a token pair: read it, renew it or log in.
    Fetch(FetchRequest),
    /// Write the newest pair.
    Store,
    /// Remove the saved session.
    Erase,
    /// Send [`Event::Tick`] at this reading of the boot clock.
    WakeAt(Duration),
}

/// The purpose and the conditions of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FetchRequest {
    /// A saved token of this generation or an older one is not good enough.
    pub(crate) newer_than: Option<u64>,
    /// Why the attempt is made.
    pub(crate) trigger: Trigger,
    /// How many attempts have failed in a row.
    pub(crate) failures: u32,
    /// Whether a valid token is held meanwhile.
    pub(crate) has_valid_token: bool,
}

/// Why an attempt is made, weakest reason first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trigger {
    /// The session needs a token.
    #[default]
    Schedule,
    /// The user unlocked the session while an attempt was in flight.
    Unlock,
    /// The user requested it: an error that only the user can repair is tried once more.
    User,
    /// The stored login has changed, and must be read.
    CredentialsChanged,
}

impl FetchRequest {
    /// Says whether the user requested this attempt, in whatever way.
    pub(crate) fn is_user_request(&self) -> bool {
        self.trigger >= Trigger::User
    }

    /// Says whether the stored login has changed.
    pub(crate) fn has_changed_login(&self) -> bool {
        self.trigger == Trigger::CredentialsChanged
    }
}
