//! `[redact]`, and the degrees of redaction.

use serde::{Deserialize, Serialize};

/// `policy.anonymous_redact`, and `--redact` of a client; what hides more is greater
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedactMode {
    /// Nothing is hidden.
    #[default]
    Off,
    /// Personal fields, and personal values in other texts.
    Table,
    /// Every text but those that the configuration keeps.
    All,
}

/// `[redact]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redact {
    /// Fields that are hidden beside those of the table.
    pub fields: Vec<String>,
    /// Fields that stay where all texts are hidden.
    pub keep: Vec<String>,
}
