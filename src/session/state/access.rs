//! Whether the user lets the session be used.

use super::event::Event;

/// The access that the user allows. A lock outlives a logout, and a logout outlives an unlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The session is in use.
    Open,
    /// The user has locked the session.
    Locked,
    /// The user has logged out.
    LoggedOut,
    /// The user has logged out of a locked session, or locked one after a logout.
    LockedAndLoggedOut,
}

impl Access {
    pub(super) fn is_open(self) -> bool {
        self == Self::Open
    }

    pub(super) fn is_locked(self) -> bool {
        matches!(self, Self::Locked | Self::LockedAndLoggedOut)
    }

    pub(super) fn is_logged_out(self) -> bool {
        matches!(self, Self::LoggedOut | Self::LockedAndLoggedOut)
    }

    /// Ends a logout where another member of the fleet has logged in.
    pub(super) fn after(self, event: &Event) -> Self {
        if *event == Event::LogoutEnded { self.with_logout(false) } else { self }
    }

    /// Locks or unlocks; a logout stays.
    pub(super) fn with_lock(self, locked: bool) -> Self {
        Self::new(locked, self.is_logged_out())
    }

    /// Logs out or ends a logout; a lock stays.
    pub(super) fn with_logout(self, logged_out: bool) -> Self {
        Self::new(self.is_locked(), logged_out)
    }

    fn new(locked: bool, logged_out: bool) -> Self {
        match (locked, logged_out) {
            (false, false) => Self::Open,
            (true, false) => Self::Locked,
            (false, true) => Self::LoggedOut,
            (true, true) => Self::LockedAndLoggedOut,
        }
    }
}
