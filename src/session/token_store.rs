//! Where the pair is kept: a sealed file if its key can be had, else memory; and why.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::binding::Binding;
use super::crypto::{self, SealingKey};
use super::error::{Cause, Error};
use super::sealed_file::SealedFile;
use super::status::StoreInfo;
use crate::config::{self, SessionStore};
use crate::credentials::{self, Credentials, KeySource, SessionKey};

/// Where the pair is kept.
#[derive(Clone, Debug)]
pub(super) enum TokenStore {
    /// A sealed file.
    File(Arc<SealedFile>),
    /// This process alone.
    Memory,
}

/// Finds the home that the configuration asks for: of `binding`, in `directory`. That is the profile's
/// state directory, `handed` is systemd's `$CREDENTIALS_DIRECTORY`.
///
/// Under `auto` a key that cannot be read now means memory for now: whoever asks again later finds
/// the file, which nobody has touched meanwhile. Never silently: the reason is part of what
/// `status` shows.
///
/// # Errors
///
/// Why there is no key, where a file was asked for.
pub(super) async fn open(
    config: &config::Session,
    directory: Option<&Path>,
    binding: &Binding,
    credentials: &Credentials,
    handed: Option<PathBuf>,
) -> Result<(TokenStore, StoreInfo), Error> {
    let memory = |why: String| {
        Ok((TokenStore::Memory, StoreInfo { kind: "memory", reason: why, is_volatile: true }))
    };
    if config.store == SessionStore::Memory {
        return memory("session.store is memory".into());
    }
    let found = match directory {
        Some(directory) => {
            let found = credentials.session_key(config, handed).await.map_err(key_error);
            found.and_then(derive_key).map(|(key, origin)| (directory, key, origin))
        }
        None => Err(unavailable(Cause::new("there is no state directory"))),
    };
    match found {
        Ok((directory, key, origin)) => {
            let saved = Arc::new(SealedFile::new(directory.to_owned(), key, binding.clone()));
            let (why, volatile) = (format!("its key comes from {origin}"), origin.is_volatile());
            Ok((
                TokenStore::File(saved),
                StoreInfo { kind: "file", reason: why, is_volatile: volatile },
            ))
        }
        Err(error) if config.store == SessionStore::Auto => {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            memory(format!("no file: {}", why.unwrap_or_else(|| error.to_string())))
        }
        Err(error) => Err(error),
    }
}

fn key_error(error: credentials::Error) -> Error {
    match error {
        credentials::Error::Missing(_) => unavailable(Cause::new(
            "there is no key for it; give the systemd credential `nexudus-key` or \
             session.key_command",
        )),
        credentials::Error::Locked => Error::CredentialsLocked { retry_after: Duration::ZERO },
        credentials::Error::Unavailable(source) => {
            unavailable(Cause::new(format!("its key cannot be read: {source}")))
        }
        credentials::Error::Incomplete { .. } | credentials::Error::Command(_) => {
            unavailable(Cause::new(error.to_string()))
        }
    }
}

fn unavailable(cause: Cause) -> Error {
    Error::CredentialsUnavailable { retry_after: Duration::ZERO, cause: Some(cause) }
}

/// Says that nothing can be kept in the state directory.
pub(super) fn format_write_error(directory: Option<&Path>, error: &std::io::Error) -> String {
    let directory = directory.unwrap_or(Path::new("the state directory"));
    format!("{} cannot be written: {error}", directory.display())
}

fn derive_key(found: SessionKey) -> Result<(SealingKey, KeySource), Error> {
    let key = SealingKey::derive(found.as_bytes()).ok_or_else(|| {
        let (origin, least) = (found.source, crypto::MIN_KEY_LENGTH);
        unavailable(Cause::new(format!("the key from {origin} is shorter than {least} bytes")))
    })?;
    Ok((key, found.source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::record::StoredSession;

    #[tokio::test]
    async fn the_systemd_credential_seals_a_file() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("nexudus-key"), "sixteen bytes ok\n").unwrap();

        let (home, keeping) = found(&config(SessionStore::Auto, &[]), &directory).await.unwrap();

        assert!(matches!(home, TokenStore::File(_)));
        assert_eq!(
            (keeping.kind, keeping.reason.as_str()),
            ("file", "its key comes from the systemd credential `nexudus-key`")
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_command_prints_the_key() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(SessionStore::File, &["printf", "sixteen bytes ok\\n"]);

        let (home, keeping) = found(&config, &directory).await.unwrap();

        assert!(matches!(home, TokenStore::File(_)));
        assert_eq!(keeping.reason, "its key comes from session.key_command");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_key_is_any_bytes_and_all_of_them_count() {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        let printed = config(SessionStore::File, &["cat", key.to_str().unwrap()]);
        let bytes: Vec<u8> = (0..=15).map(|byte| byte ^ 0xF5).collect();

        for (last, opens) in [(b'\n', true), (b'\n', true), (0, false)] {
            std::fs::write(&key, [bytes.as_slice(), &[last]].concat()).unwrap();
            let (TokenStore::File(saved), _) = found(&printed, &directory).await.unwrap() else {
                panic!("no file");
            };
            if opens {
                saved.write(&record()).unwrap();
            }
            assert_eq!(saved.read().is_ok(), opens);
        }
    }

    fn record() -> StoredSession {
        let client_id = "id".to_owned();
        StoredSession { epoch: 1, generation: 1, client_id, account: None, pair: None }
    }

    #[tokio::test]
    async fn without_a_key_auto_says_why_it_is_memory_and_file_fails() {
        let directory = tempfile::tempdir().unwrap();

        let (home, keeping) = found(&config(SessionStore::Auto, &[]), &directory).await.unwrap();
        assert!(matches!(home, TokenStore::Memory));
        assert!(
            keeping.reason.starts_with("no file: there is no key for it"),
            "{}",
            keeping.reason
        );
        let error = found(&config(SessionStore::File, &[]), &directory).await.unwrap_err();
        assert!(cause(&error).contains("nexudus-key"), "{error}");
    }

    #[tokio::test]
    async fn a_short_key_is_named() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("nexudus-key"), "fifteen bytes..").unwrap();

        let error = found(&config(SessionStore::File, &[]), &directory).await.unwrap_err();

        assert_eq!(
            cause(&error),
            "the key from the systemd credential `nexudus-key` is shorter than 16 bytes"
        );
    }

    fn cause(error: &Error) -> String {
        std::error::Error::source(error).unwrap().to_string()
    }

    async fn found(
        config: &config::Session,
        directory: &tempfile::TempDir,
    ) -> Result<(TokenStore, StoreInfo), Error> {
        let nobody = Credentials::in_memory(None);
        let handed = Some(directory.path().to_owned());
        let binding = Binding::new("https://a.example", "default");
        open(config, Some(directory.path()), &binding, &nobody, handed).await
    }

    fn config(store: SessionStore, key_command: &[&str]) -> config::Session {
        config::Session {
            store,
            key: config::KeyStore::Auto,
            key_command: key_command.iter().map(|word| (*word).to_owned()).collect(),
            client_id: None,
            wait: Duration::from_secs(10),
        }
    }
}
