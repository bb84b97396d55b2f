//! Where `login --system` keeps what it has: credentials of systemd, and a directory for the time of the
//! proof.

use std::path::{Path, PathBuf};

use crate::cli::Printer;
use crate::credentials::{self, Login, SecondFactor, SystemdStoreError};
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::secure_fs;

/// Why no login can be stored for the system service.
#[derive(Debug, thiserror::Error)]
pub(super) enum SystemLoginError {
    /// Only root may write the credentials of the system service.
    #[error("the login of the system service is stored by root")]
    NotRoot,
    /// The system service gets its login from systemd, and no session.
    #[error(
        "the system service reads a login from systemd's credentials, and takes over no session"
    )]
    NoSession,
    /// `credentials.source` of the system service names another place.
    #[error(
        "a login in systemd's credentials would be ignored: credentials.source in {} selects another \
         source",
        file.display()
    )]
    NotRead {
        /// The service's configuration.
        file: PathBuf,
    },
    /// The credentials of the system service cannot be written.
    #[error("could not store the login in systemd's credentials")]
    Store(#[source] SystemdStoreError),
    /// There is no directory for the time of the proof.
    #[error("could not create a temporary directory")]
    Scratch(#[source] std::io::Error),
}

impl Problem for SystemLoginError {
    fn details(&self) -> ProblemDetails {
        let usage = |hint| ProblemKind::CommandUsage.with_hint(hint);
        match self {
            Self::NotRoot => usage("Run `nexudus-proxy login` as root."),
            Self::NoSession => usage("Log in without --import-stdin."),
            Self::NotRead { .. } => ProblemKind::ConfigInvalid.with_hint(
                "Set credentials.source to \"auto\" or \"systemd\" there, or give the login to the \
                 source that it names.",
            ),
            Self::Store(_) => ProblemKind::CredentialsUnavailable.with_hint(
                "systemd-creds comes with systemd 250 and newer; what was stored before is still \
                 there.",
            ),
            Self::Scratch(_) => ProblemKind::CommandFailed
                .with_hint("Set TMPDIR to a directory that this user may write."),
        }
    }
}

/// The state directory of one proof, removed with this value.
#[derive(Debug)]
pub(super) struct ScratchDirectory(PathBuf);

impl ScratchDirectory {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn create() -> Result<Self, SystemLoginError> {
        let name = format!("nexudus-proxy-login-{}", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        secure_fs::create_dir(&path).map_err(SystemLoginError::Scratch)?;
        Ok(Self(path))
    }
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        // It holds no secret: a client id, and that an attempt was made.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Stores the login, and says where.
pub(super) async fn store(login: &Login, print: Printer) -> Result<(), SystemLoginError> {
    let stored = credentials::store_for_service(login).await;
    for path in stored.map_err(SystemLoginError::Store)? {
        print.note(&format!("wrote {}", path.display()));
    }
    if matches!(login.second_factor, Some(SecondFactor::Code(_))) {
        print.warning(
            "the service needs 2FA codes of its own: store the 2FA secret with --totp-secret-stdin",
        );
    }
    Ok(())
}

#[cfg(unix)]
pub(super) fn require_root() -> Result<(), SystemLoginError> {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err(SystemLoginError::NotRoot) }
}

/// Elsewhere no service belongs to the whole machine.
#[cfg(not(unix))]
pub(super) fn require_root() -> Result<(), SystemLoginError> {
    Err(SystemLoginError::NotRoot)
}
