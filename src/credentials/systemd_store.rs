//! The login as credentials of the system service: encrypted to this machine by `systemd-creds`, and
//! put where `LoadCredentialEncrypted=` of the unit looks for them.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{Login, SecondFactor};
use crate::children::OwnChild;
use crate::secure_fs;

/// Why the login is not with systemd. What was there before is still there.
#[derive(Debug, thiserror::Error)]
pub enum SystemdStoreError {
    /// The command could not be started.
    #[error("could not start `{ENCRYPT}`")]
    Start(#[source] io::Error),
    /// The command failed.
    #[error("`{ENCRYPT}` failed ({status}): {said}")]
    Failed {
        /// The exit status.
        status: ExitStatus,
        /// The last line of its error messages. It reads the secret from standard input, and repeats
        /// none of it.
        said: String,
    },
    /// A credential could not be put in its place.
    #[error("could not write {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Encrypts a text that is no secret, and keeps nothing: proves that a login can be stored.
///
/// # Errors
///
/// As [`store_for_service`].
pub async fn test_store_for_service() -> Result<(), SystemdStoreError> {
    encrypt("nexudus-test", b"test", "-").await
}

/// Stores the login for the system service, which reads it at its next start. Returns the files.
///
/// # Errors
///
/// [`SystemdStoreError`]: the files are replaced once all of them are written.
pub async fn store_for_service(login: &Login) -> Result<Vec<PathBuf>, SystemdStoreError> {
    let directory = Path::new(DIRECTORY);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SystemdStoreError::File { path, source }
    };
    secure_fs::create_dir(directory).map_err(failed(directory))?;
    let secret = match &login.second_factor {
        Some(SecondFactor::Shared(secret)) => Some(secret.expose().as_bytes()),
        // A code that was typed is of no use to a service.
        Some(SecondFactor::Code(_)) | None => None,
    };
    let parts = [
        ("nexudus-email", Some(login.email.as_bytes())),
        ("nexudus-password", Some(login.password.expose().as_bytes())),
        (TOTP_SECRET, secret),
    ];
    let parts: Vec<_> = parts.into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
    let new = |name: &str| directory.join(format!(".{name}.new"));
    for (name, text) in &parts {
        if let Err(error) = encrypt(name, text, &new(name).display().to_string()).await {
            parts.iter().for_each(|(name, _)| drop(std::fs::remove_file(new(name))));
            return Err(error);
        }
    }
    for (name, _) in &parts {
        let path = directory.join(name);
        std::fs::rename(new(name), &path).map_err(failed(&path))?;
    }
    let old = directory.join(TOTP_SECRET);
    if secret.is_none() && old.exists() {
        // It belongs to the login that was there before: each of its codes would be a wrong one.
        std::fs::remove_file(&old).map_err(failed(&old))?;
    }
    Ok(parts.into_iter().map(|(name, _)| directory.join(name)).collect())
}

async fn encrypt(name: &str, text: &[u8], target: &str) -> Result<(), SystemdStoreError> {
    let mut command = Command::new("systemd-creds");
    super::PRIVATE_ENV_VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    command.args(["encrypt", &format!("--name={name}"), "-", target]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut process = command.spawn().map_err(SystemdStoreError::Start)?;
    let _own = OwnChild::new(process.id());
    if let Some(mut input) = process.stdin.take() {
        // The command fails by itself if it does not get all of the text.
        let _ = input.write_all(text).await;
        let _ = input.shutdown().await;
    }
    let output = process.wait_with_output().await.map_err(SystemdStoreError::Start)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next_back().unwrap_or_default().trim().to_owned();
    Err(SystemdStoreError::Failed { status: output.status, said })
}

/// Where systemd looks for the encrypted credentials of a unit.
const DIRECTORY: &str = "/etc/credstore.encrypted";

const TOTP_SECRET: &str = "nexudus-totp-secret";

/// The command, as errors name it.
const ENCRYPT: &str = "systemd-creds encrypt";
