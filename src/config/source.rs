//! The source of a value.

use std::fmt;
use std::path::PathBuf;

/// The source of a value, as it is shown to a person; weaker sources and earlier lines are less.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValueSource {
    /// No source has set the key.
    Default,
    /// A line of the file; both numbers count from 1, columns in characters.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// An environment variable of this name.
    Environment(String),
    /// A flag, with its dashes.
    Flag(String),
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}
