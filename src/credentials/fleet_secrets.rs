//! The secrets of a member of a fleet: the engine's password, and the key that all members have.
//!
//! Each is read once, at the start: the one that the configuration names, else a systemd credential,
//! and for the password a variable last. An engine may want no password; without a key there is no
//! fleet.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::command;
use crate::config;
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::secret::{Secret, SecretInput, UnusableSecret};

/// The secrets of a member.
#[derive(Clone)]
pub struct FleetSecrets {
    /// The password of the engine's user.
    pub password: Option<Secret>,
    /// The members' keys; the first one seals.
    pub keys: Vec<FleetKey>,
}

/// A key of the fleet.
pub type FleetKey = Zeroizing<[u8; 32]>;

/// Why a secret of the fleet cannot be used. Says nothing of its content.
#[derive(Debug, thiserror::Error)]
pub enum FleetSecretError {
    /// No source has the key.
    #[error("fleet.engine is set, and there is no key of the fleet")]
    MissingKey,
    /// The key is none.
    #[error("{source_name} is no key of a fleet: {flaw}")]
    Key {
        /// The source.
        source_name: String,
        /// Why.
        flaw: &'static str,
    },
    /// The text is none.
    #[error(transparent)]
    Unusable(#[from] UnusableSecret),
    /// A program or a file gave nothing.
    #[error("could not read {0}")]
    Unreadable(&'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Problem for FleetSecretError {
    fn details(&self) -> ProblemDetails {
        ProblemKind::ConfigInvalid.with_hint(match self {
            Self::MissingKey | Self::Key { .. } => {
                "Make a key with `openssl rand -hex 32`, and give every member the same one: the \
                 systemd credential `nexudus-fleet-key`, or fleet.key_command."
            }
            Self::Unusable(error) => error.hint(),
            Self::Unreadable(..) => {
                "Let the daemon's user run the program or read the file, or name another."
            }
        })
    }
}

impl FleetSecrets {
    /// Reads the secrets. `directory` is systemd's `$CREDENTIALS_DIRECTORY`; `var` looks up
    /// variables.
    ///
    /// # Errors
    ///
    /// A [`FleetSecretError`].
    pub async fn read(
        config: &config::FleetConfig,
        directory: Option<PathBuf>,
        var: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, FleetSecretError> {
        let password = match &config.password_command[..] {
            [] => {
                let handed = directory.as_deref().map(|path| credential(path, PASSWORD));
                let handed = handed.transpose()?.flatten();
                let given =
                    || SecretInput::from_variable(PASSWORD_VARIABLE, var(PASSWORD_VARIABLE));
                handed.or_else(given).map(SecretInput::line).transpose()?
            }
            argv => {
                let printed = command::password(argv).await;
                Some(printed.map_err(|error| unreadable("fleet.password_command", error))?)
            }
        };
        let (name, input) = match &config.key_command[..] {
            [] => {
                let handed = directory.as_deref().map(|path| credential(path, KEY)).transpose()?;
                ("the systemd credential `nexudus-fleet-key`", handed.flatten())
            }
            argv => {
                let printed = command::output(argv).await;
                let printed = printed.map_err(|error| unreadable("fleet.key_command", error))?;
                ("the output of fleet.key_command", Some(printed))
            }
        };
        let input = input.ok_or(FleetSecretError::MissingKey)?;
        Ok(Self { password, keys: keys(name, &input)? })
    }
}

fn credential(
    directory: &Path,
    name: &'static str,
) -> Result<Option<SecretInput>, FleetSecretError> {
    let source = format!("the systemd credential `{name}`");
    SecretInput::from_file(source, &directory.join(name)).map_err(|error| unreadable(name, error))
}

fn unreadable(
    what: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> FleetSecretError {
    FleetSecretError::Unreadable(what, Box::new(error))
}

/// Reads one or two keys, each on a line of its own.
fn keys(name: &str, input: &SecretInput) -> Result<Vec<FleetKey>, FleetSecretError> {
    let flawed = |flaw| FleetSecretError::Key { source_name: name.to_owned(), flaw };
    let mut keys = vec![parse_key(&input.nth_line(0)?).map_err(flawed)?];
    for number in [1, 2] {
        match input.nth_line(number) {
            Ok(_) if number == 2 => return Err(flawed("more than two lines")),
            Ok(line) => keys.push(parse_key(&line).map_err(flawed)?),
            Err(empty) if empty.flaw == crate::secret::SecretFlaw::Empty => break,
            Err(unusable) => return Err(unusable.into()),
        }
    }
    Ok(keys)
}

fn parse_key(line: &Secret) -> Result<FleetKey, &'static str> {
    let text = line.expose().trim().as_bytes();
    let mut key = FleetKey::new([0; 32]);
    if text.len() != 2 * key.len() {
        return Err("a key is 64 hex digits on a line of its own");
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for (byte, pair) in key.iter_mut().zip(text.chunks_exact(2)) {
        let high = digit(pair[0]).ok_or("it holds something else than hex digits")?;
        let low = digit(pair[1]).ok_or("it holds something else than hex digits")?;
        *byte = high << 4 | low;
    }
    Ok(key)
}

impl std::fmt::Debug for FleetSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FleetSecrets({} keys, ..)", self.keys.len())
    }
}

const KEY: &str = "nexudus-fleet-key";

const PASSWORD: &str = "nexudus-fleet-password";

const PASSWORD_VARIABLE: &str = "NEXUDUS_FLEET_PASSWORD";

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_most_explicit_source_of_each_secret_counts() {
        let handed = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(handed.path().join(name), text).unwrap();
        };
        write(KEY, &format!("{}\n{}\n", "0a".repeat(32), "ff".repeat(32)));
        let directory = || Some(handed.path().to_owned());
        let variable = |name: &str| (name == PASSWORD_VARIABLE).then(|| "of-variable".into());

        let plain = config::FleetConfig::default();
        let of_variable = FleetSecrets::read(&plain, directory(), variable).await.unwrap();
        write(PASSWORD, "of-systemd\n");
        let of_systemd = FleetSecrets::read(&plain, directory(), variable).await.unwrap();
        let named = config::FleetConfig {
            password_command: argv(&["printf", "of-command"]),
            key_command: argv(&["printf", &"0B".repeat(32)]),
            ..plain
        };
        let of_command = FleetSecrets::read(&named, directory(), variable).await.unwrap();

        let password = |secrets: &FleetSecrets| secrets.password.clone().unwrap();
        assert_eq!(password(&of_variable).expose(), "of-variable");
        assert_eq!(password(&of_systemd).expose(), "of-systemd");
        assert_eq!(password(&of_command).expose(), "of-command");
        assert_eq!(of_systemd.keys, [FleetKey::new([10; 32]), FleetKey::new([255; 32])]);
        assert_eq!(of_command.keys, [FleetKey::new([11; 32])]);
        assert_eq!(format!("{of_systemd:?}"), "FleetSecrets(2 keys, ..)");
    }

    #[tokio::test]
    async fn a_key_that_is_none_is_named_and_not_repeated() {
        let marker = "5ec2e7".repeat(10);
        for (text, told) in [
            (format!("{marker}zzzz"), "something else than hex digits"),
            (marker.clone(), "64 hex digits"),
            ([marker.as_str(), "0000\n"].concat().repeat(3), "more than two lines"),
            (String::new(), "is empty"),
        ] {
            let config = config::FleetConfig {
                key_command: argv(&["printf", "%s", &text]),
                ..config::FleetConfig::default()
            };
            let error = FleetSecrets::read(&config, None, |_| None).await.unwrap_err();
            let chain = format!("{error} {error:?} {:?}", error.details().hint);
            assert!(chain.contains(told), "{chain}");
            assert!(!chain.contains("5ec2e7"), "{chain}");
        }
        let missing = FleetSecrets::read(&config::FleetConfig::default(), None, |_| None).await;
        assert!(matches!(missing, Err(FleetSecretError::MissingKey)));
    }

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}
