//! The part of a client's policy that is about responses.

use serde::{Deserialize, Serialize};

use crate::config::RedactMode;

/// The redaction of a client's responses, and the group that shares its tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedactionPolicy {
    /// The values that are hidden.
    pub mode: RedactMode,
    /// Whether requests may carry tokens, which are put back.
    #[serde(default)]
    pub resolve: bool,
    /// The clients of this group have the same tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_tokens: Option<String>,
}

impl RedactionPolicy {
    /// Says whether nothing is hidden, and no other wish given.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Says whether anything is hidden.
    pub fn is_active(&self) -> bool {
        self.mode != RedactMode::Off
    }

    /// Returns what is in force once the parts of `given` that say something have taken their places.
    pub(super) fn changed(&self, given: &Self) -> Self {
        Self {
            mode: if given.is_active() { given.mode } else { self.mode },
            resolve: given.resolve || self.resolve,
            share_tokens: given.share_tokens.clone().or_else(|| self.share_tokens.clone()),
        }
    }

    /// Returns the policy in a few words, if it says anything.
    pub(super) fn words(&self) -> Option<&'static str> {
        match (self.mode, self.resolve) {
            (RedactMode::Off, _) => None,
            (RedactMode::Table, false) => Some("redacted"),
            (RedactMode::Table, true) => Some("redacted, sends tokens"),
            (RedactMode::All, false) => Some("all texts redacted"),
            (RedactMode::All, true) => Some("all texts redacted, sends tokens"),
        }
    }
}
