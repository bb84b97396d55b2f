//! The session's state machine without the program around it: `session::state` is a copy of
//! `src/session/state`, made by `scripts/check-mutants.sh`.

pub mod session {
    //! The modules that the state machine names.

    pub mod error;
    pub mod state;
}

pub mod credentials {
    //! Stands in for `src/credentials`.

    /// Where a login was found.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum CredentialSource {
        /// The keychain.
        Keychain,
    }
}
