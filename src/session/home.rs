//! Where the pair is kept: a sealed file if its key can be had, else memory; and why.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Cause;
use super::saved::Saved;
use super::seal::{self, Key};
use super::view::Keeping;
use crate::config::{self, Store};
use crate::credentials;

/// Where the pair is kept.
#[derive(Clone, Debug)]
pub(super) enum Home {
    /// A sealed file.
    File(Arc<Saved>),
    /// This process alone.
    Memory,
}

/// Finds the home that the configuration asks for. `directory` is the profile's state directory,
/// `handed` is systemd's `$CREDENTIALS_DIRECTORY`.
///
/// # Errors
///
/// Why there is no key, where a file was asked for. Never a silent downgrade: under `auto` the
/// reason becomes part of what `status` shows.
pub(super) async fn find(
    config: &config::Session,
    directory: Option<&Path>,
    handed: Option<PathBuf>,
) -> Result<(Home, Keeping), Cause> {
    let memory = |why: String| Ok((Home::Memory, Keeping { kind: "memory", why }));
    if config.store == Store::Memory {
        return memory("session.store is memory".into());
    }
    let found = match directory {
        Some(directory) => key(config, handed).await.map(|(key, why)| (directory, key, why)),
        None => Err(Cause::new("there is no state directory")),
    };
    match found {
        Ok((directory, key, why)) => {
            let saved = Arc::new(Saved::new(directory.to_owned(), key));
            Ok((
                Home::File(saved),
                Keeping { kind: "file", why: format!("its key comes from {why}") },
            ))
        }
        Err(cause) if config.store == Store::Auto => memory(format!("no file: {cause}")),
        Err(cause) => Err(cause),
    }
}

async fn key(
    config: &config::Session,
    handed: Option<PathBuf>,
) -> Result<(Key, &'static str), Cause> {
    let asked = |home| config.key == config::Key::Auto || config.key == home;
    if asked(config::Key::Systemd)
        && let Some(path) = handed.map(|directory| directory.join("nexudus-key"))
        && path.exists()
    {
        let material = std::fs::read(&path)
            .map(zeroize::Zeroizing::new)
            .map_err(|_| Cause::new("the systemd credential `nexudus-key` cannot be read"))?;
        return Ok((derive(&material, "nexudus-key")?, "systemd"));
    }
    if asked(config::Key::Command) && !config.key_command.is_empty() {
        let material = credentials::printed_by(&config.key_command).await.map_err(|error| {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            Cause::new(format!("no key from session.key_command: {}", why.unwrap_or_default()))
        })?;
        return Ok((derive(material.expose().as_bytes(), "session.key_command")?, "a command"));
    }
    Err(Cause::new(
        "there is no key for it; give the systemd credential `nexudus-key` or session.key_command",
    ))
}

fn derive(material: &[u8], origin: &str) -> Result<Key, Cause> {
    Key::derive(material.trim_ascii_end()).ok_or_else(|| {
        let least = seal::SHORTEST;
        Cause::new(format!("the key from {origin} is shorter than {least} bytes"))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_systemd_credential_seals_a_file() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("nexudus-key"), "sixteen bytes ok\n").unwrap();

        let (home, keeping) = found(&config(Store::Auto, &[]), &directory).await.unwrap();

        assert!(matches!(home, Home::File(_)));
        assert_eq!((keeping.kind, keeping.why.as_str()), ("file", "its key comes from systemd"));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_command_prints_the_key() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(Store::File, &["printf", "sixteen bytes ok\\n"]);

        let (home, keeping) = found(&config, &directory).await.unwrap();

        assert!(matches!(home, Home::File(_)));
        assert_eq!(keeping.why, "its key comes from a command");
    }

    #[tokio::test]
    async fn without_a_key_auto_says_why_it_is_memory_and_file_fails() {
        let directory = tempfile::tempdir().unwrap();

        let (home, keeping) = found(&config(Store::Auto, &[]), &directory).await.unwrap();
        assert!(matches!(home, Home::Memory));
        assert!(keeping.why.starts_with("no file: there is no key for it"), "{}", keeping.why);
        let cause = found(&config(Store::File, &[]), &directory).await.unwrap_err();
        assert!(cause.sentence().contains("nexudus-key"), "{cause}");
    }

    #[tokio::test]
    async fn a_short_key_is_named() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("nexudus-key"), "fifteen bytes..").unwrap();

        let cause = found(&config(Store::File, &[]), &directory).await.unwrap_err();

        assert_eq!(cause.sentence(), "the key from nexudus-key is shorter than 16 bytes");
    }

    async fn found(
        config: &config::Session,
        directory: &tempfile::TempDir,
    ) -> Result<(Home, Keeping), Cause> {
        find(config, Some(directory.path()), Some(directory.path().to_owned())).await
    }

    fn config(store: Store, key_command: &[&str]) -> config::Session {
        config::Session {
            store,
            key: config::Key::Auto,
            key_command: key_command.iter().map(|word| (*word).to_owned()).collect(),
            client_id: None,
            wait: Duration::from_secs(10),
        }
    }
}
