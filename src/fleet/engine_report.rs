//! The outcome of an examination of the engine, for a person.

/// The outcome of an examination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineReport {
    /// The engine and the findings, in one line.
    pub finding: String,
    /// Whether a fleet does not work on it, or not safely.
    pub is_wrong: bool,
    /// Whether a crash or a burst would hurt.
    pub is_risky: bool,
    /// The way out of the worst finding.
    pub fix: Option<String>,
}
