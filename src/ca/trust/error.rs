//! Why a trust store was not changed.

use std::io;
use std::path::PathBuf;

use super::place::TrustStore;
use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// Why a store was not changed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The system has no store that we know.
    #[error("this system has no trust store that nexudus-proxy knows")]
    NoStore,
    /// A program is missing.
    #[error("could not run `{program}`")]
    Program {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("`{line}` failed: {why}")]
    Failed {
        /// The command.
        line: String,
        /// The last words of the command.
        why: String,
    },
    /// The certificate is not in the store, although the program that adds it succeeded.
    #[error("{0} does not hold the certificate that was added")]
    NotAdded(TrustStore),
    /// Another certificate has the name under which ours was added.
    #[error("another certificate named `{name}` is in {store}")]
    Other {
        /// The store.
        store: TrustStore,
        /// The name.
        name: String,
    },
    /// A file cannot be used.
    #[error("could not use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Problem for TrustError {
    fn details(&self) -> ProblemDetails {
        let failed = |hint| ProblemKind::CommandFailed.with_hint(hint);
        match self {
            Self::NoStore => {
                failed("Give the program the file of `nexudus-proxy ca export localhost`.")
            }
            Self::Program { program: CERTUTIL, .. } => failed(
                "Install it (Debian: libnss3-tools, Fedora: nss-tools), and run the command again.",
            ),
            Self::Program { .. } => failed("Install it, and run the command again."),
            Self::Other { .. } => {
                failed("Look at it with `certutil -L`, and remove it by hand if it should go.")
            }
            Self::File { .. } | Self::Failed { .. } | Self::NotAdded(_) => {
                ProblemKind::CommandFailed.into()
            }
        }
    }
}

/// The program that changes the databases of NSS.
pub(super) const CERTUTIL: &str = "certutil";
