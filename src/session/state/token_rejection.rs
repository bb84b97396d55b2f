//! Tokens that the API rejects: one that was revoked, or an account without access.

/// The API's verdict on the newest token and on the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenRejection {
    /// Neither of them was rejected.
    None,
    /// The newest token was rejected and withdrawn.
    Withdrawn,
    /// The newest token has replaced a rejected one.
    Replaced,
    /// The newest token was rejected from birth, as the one before was: the account lacks access.
    NoAccess,
}

impl TokenRejection {
    /// Returns what is known once another token has come.
    pub(super) fn after_new_token(self) -> Self {
        match self {
            Self::Withdrawn => Self::Replaced,
            Self::None | Self::Replaced | Self::NoAccess => Self::None,
        }
    }
}
