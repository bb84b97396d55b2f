//! `[log]`: what is logged, and how.

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives such as `info,nexudus_proxy::session=debug`.
    pub level: String,
    /// The shape of a line.
    pub format: LogFormat,
    /// Add a `Server-Timing` header to responses.
    pub server_timing: bool,
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `human` on a terminal, `journald` under systemd, else `json`.
    Auto,
    /// For eyes.
    Human,
    /// For programs.
    Json,
    /// For the journal: a priority prefix, no time.
    Journald,
}
