//! Where the token pair is stored: in a sealed file if there is a key for it, else in memory; and
//! why.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sealed_file::SealedFile;
use crate::config::{self, SessionStore};
use crate::credentials::sealing::binding::Binding;
use crate::credentials::sealing::crypto::{self, Purpose, SealingKey};
use crate::credentials::{self, Credentials, KeySource, SessionKey};
use crate::problem::Problem as _;
use crate::session::error::{Cause, Error};

/// Where the token pair is stored.
#[derive(Clone, Debug)]
pub(crate) struct TokenStore {
    /// The sealed file; `None` keeps the pair in this process alone.
    pub(crate) file: Option<Arc<SealedFile>>,
    /// The part that the user sees.
    pub(crate) info: StoreInfo,
}

/// Where the token pair is stored, and why there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreInfo {
    /// `file` or `memory`; `unknown` until the first attempt.
    #[serde(rename = "store")]
    pub kind: Cow<'static, str>,
    /// The reason, as a sentence.
    #[serde(rename = "store_reason")]
    pub reason: String,
    /// Whether the pair is gone after a reboot.
    #[serde(skip)]
    pub is_volatile: bool,
}

impl StoreInfo {
    /// Returns the info before the first attempt, when the store is not known yet.
    pub(crate) fn unknown() -> Self {
        Self { kind: "unknown".into(), reason: "still starting".into(), is_volatile: true }
    }

    /// Returns the info after a logout: the next login opens a store, maybe with another key.
    pub(crate) fn logged_out() -> Self {
        Self { kind: "none".into(), reason: "logged out".into(), is_volatile: true }
    }
}

impl TokenStore {
    /// Opens the store that the configuration asks for. The store is that of `binding`, in
    /// `directory`, the profile's state directory. `systemd` is systemd's `$CREDENTIALS_DIRECTORY`.
    ///
    /// Under `session.store = "auto"` a key that cannot be read means memory for now: the next call
    /// finds the file untouched. The reason is part of what `status` shows.
    ///
    /// # Errors
    ///
    /// Why there is no key, where the configuration asks for a file.
    pub(crate) async fn open(
        config: &config::Session,
        directory: Option<&Path>,
        binding: &Binding,
        credentials: &Credentials,
        systemd: Option<PathBuf>,
    ) -> Result<Self, Error> {
        if config.store == SessionStore::Memory {
            return Ok(Self::memory("session.store is memory".into()));
        }
        match Self::open_file(config, directory, binding, credentials, systemd).await {
            Err(error) if config.store == SessionStore::Auto => {
                let why = std::error::Error::source(&error).map(ToString::to_string);
                let why = why.unwrap_or_else(|| error.to_string());
                Ok(Self::memory(format!("no file: {why}")))
            }
            opened => opened,
        }
    }

    async fn open_file(
        config: &config::Session,
        directory: Option<&Path>,
        binding: &Binding,
        credentials: &Credentials,
        systemd: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let directory =
            directory.ok_or_else(|| unavailable(Cause::new("there is no state directory")))?;
        let key = credentials.session_key(config, systemd).await.map_err(key_error)?;
        let member_key = SealingKey::derive(key.material.as_bytes(), Purpose::Member);
        let (key, source) = derive_key(key)?;
        let info = StoreInfo {
            kind: "file".into(),
            reason: format!("its key comes from {source}"),
            is_volatile: source.is_volatile(),
        };
        let file = SealedFile::new(directory.to_owned(), key, binding.clone());
        let file = file.with_member_key(member_key);
        Ok(Self { file: Some(Arc::new(file)), info })
    }

    /// Keeps the pair in this process alone, for this reason.
    pub(crate) fn memory(reason: String) -> Self {
        Self { file: None, info: StoreInfo { kind: "memory".into(), reason, is_volatile: true } }
    }
}

fn key_error(error: credentials::Error) -> Error {
    match error {
        credentials::Error::Missing(_) => unavailable(Cause::new(
            "there is no key for it; give the systemd credential `nexudus-key` or \
             session.key_command, or run `nexudus-proxy login`",
        )),
        credentials::Error::Locked => Error::CredentialsLocked { retry_after: Duration::ZERO },
        credentials::Error::Unavailable(source) => {
            unavailable(Cause::new(format!("its key cannot be read: {source}")))
        }
        credentials::Error::File(_) | credentials::Error::Unusable(_) => {
            let hint = error.details().hint.unwrap_or_default();
            unavailable(Cause::new(format!("its key cannot be read: {error}")).with_hint(hint))
        }
        credentials::Error::Incomplete { .. } | credentials::Error::Command(_) => {
            unavailable(Cause::new(error.to_string()))
        }
    }
}

fn unavailable(cause: Cause) -> Error {
    Error::CredentialsUnavailable { retry_after: Duration::ZERO, cause: Some(cause) }
}

/// Returns the sentence for a state directory that cannot be written.
pub(crate) fn format_write_error(directory: Option<&Path>, error: &std::io::Error) -> String {
    let directory = directory.unwrap_or(Path::new("the state directory"));
    format!("{} cannot be written: {error}", directory.display())
}

fn derive_key(found: SessionKey) -> Result<(SealingKey, KeySource), Error> {
    let key = SealingKey::derive(found.material.as_bytes(), Purpose::Session).ok_or_else(|| {
        let (origin, least) = (found.source, crypto::MIN_KEY_LENGTH);
        unavailable(Cause::new(format!("the key from {origin} is shorter than {least} bytes")))
    })?;
    Ok((key, found.source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::store::record::StoredSession;

    #[tokio::test]
    async fn the_systemd_credential_seals_a_file() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("nexudus-key"), "sixteen bytes ok\n").unwrap();

        let store = opened(&config(SessionStore::Auto, &[]), &directory).await.unwrap();

        assert!(store.file.is_some());
        assert_eq!(store.info.kind, "file");
        assert_eq!(store.info.reason, "its key comes from the systemd credential `nexudus-key`");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_command_prints_the_key() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(SessionStore::File, &["printf", "sixteen bytes ok\\n"]);

        let store = opened(&config, &directory).await.unwrap();

        assert!(store.file.is_some());
        assert_eq!(store.info.reason, "its key comes from session.key_command");
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
            let file = opened(&printed, &directory).await.unwrap().file.unwrap();
            if opens {
                file.write(&record()).unwrap();
            }
            assert_eq!(file.read().is_ok(), opens);
        }
    }

    fn record() -> StoredSession {
        let client_id = "id".to_owned();
        StoredSession { epoch: 1, generation: 1, client_id, account: None, pair: None }
    }

    #[tokio::test]
    async fn without_a_key_auto_says_why_it_is_memory_and_file_fails() {
        let directory = tempfile::tempdir().unwrap();

        let TokenStore { file, info } =
            opened(&config(SessionStore::Auto, &[]), &directory).await.unwrap();
        assert!(file.is_none());
        assert!(info.reason.starts_with("no file: there is no key for it"), "{}", info.reason);
        let error = opened(&config(SessionStore::File, &[]), &directory).await.unwrap_err();
        assert!(cause(&error).contains("nexudus-key"), "{error}");
    }

    #[tokio::test]
    async fn a_short_key_is_named() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("nexudus-key"), "fifteen bytes..").unwrap();

        let error = opened(&config(SessionStore::File, &[]), &directory).await.unwrap_err();

        assert_eq!(
            cause(&error),
            "the key from the systemd credential `nexudus-key` is shorter than 16 bytes"
        );
    }

    fn cause(error: &Error) -> String {
        std::error::Error::source(error).unwrap().to_string()
    }

    async fn opened(
        config: &config::Session,
        directory: &tempfile::TempDir,
    ) -> Result<TokenStore, Error> {
        let no_login = Credentials::in_memory(None);
        let systemd = Some(directory.path().to_owned());
        let binding = Binding::new("https://a.example", "default");
        TokenStore::open(config, Some(directory.path()), &binding, &no_login, systemd).await
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
