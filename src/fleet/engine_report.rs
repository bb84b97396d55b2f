//! What an examination of the engine says.

/// The outcome of an examination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineReport {
    /// What the engine is, and what was found, in one line.
    pub finding: String,
    /// Whether a fleet does not work on it, or not safely.
    pub is_wrong: bool,
    /// Whether a crash or a burst would hurt.
    pub is_risky: bool,
    /// What a person can do about the worst finding.
    pub fix: Option<String>,
}
