//! The sources that a person configures: systemd credentials, a command, the environment.
//!
//! Where `login` stores a login (the keychain, a sealed file) is read by `resolver.rs`.

use super::pending_command::PendingCommand;
use super::{CredentialSource, Error, Login, command, environment, systemd};
use crate::config::{self, LoginSource};

/// The sources beside the keychain, the most explicit first.
const SOURCES: [CredentialSource; 3] =
    [CredentialSource::Systemd, CredentialSource::Command, CredentialSource::Environment];

/// Returns the sources beside the keychain that are read, the most explicit first.
pub(super) fn enabled(
    config: &config::Credentials,
) -> impl Iterator<Item = CredentialSource> + use<> {
    let only = only_source(config);
    SOURCES.into_iter().filter(move |source| only.is_none_or(|only| only == *source))
}

/// Returns the one source that is read, unless all are.
pub(super) fn only_source(config: &config::Credentials) -> Option<CredentialSource> {
    match config.source {
        LoginSource::Auto => None,
        LoginSource::Systemd => Some(CredentialSource::Systemd),
        LoginSource::Command => Some(CredentialSource::Command),
        LoginSource::Env => Some(CredentialSource::Environment),
        LoginSource::Keychain => Some(CredentialSource::Keychain),
        LoginSource::File => Some(CredentialSource::File),
    }
}

/// Reads the login from a source beside the keychain.
///
/// # Errors
///
/// [`Error::Incomplete`] when a part is missing, else why the source cannot be read.
pub(super) async fn read(
    config: &config::Credentials,
    source: CredentialSource,
    pending: &PendingCommand,
) -> Result<Option<Login>, Error> {
    if source != CredentialSource::Command || config.command.is_empty() {
        return read_at_once(config, source);
    }
    let email = config.email.clone().ok_or_else(missing_email)?;
    let _pending = pending.begin("credentials.command", &config.command);
    let password = command::password(&config.command).await;
    let password = password.map_err(|error| Error::Command(Box::new(error)))?;
    Ok(Some(Login { email, password, second_factor: None }))
}

/// Returns the address of the account that a source would log in. A command is not run for this.
///
/// # Errors
///
/// As [`read`].
pub(super) fn account(
    config: &config::Credentials,
    source: CredentialSource,
) -> Result<Option<String>, Error> {
    if source == CredentialSource::Command && !config.command.is_empty() {
        return config.email.clone().map(Some).ok_or_else(missing_email);
    }
    Ok(read_at_once(config, source)?.map(|login| login.email))
}

fn read_at_once(
    config: &config::Credentials,
    source: CredentialSource,
) -> Result<Option<Login>, Error> {
    let email = config.email.as_deref();
    match source {
        CredentialSource::Systemd => match systemd::credentials_directory() {
            Some(directory) => systemd::read(&directory, email),
            None => Ok(None),
        },
        CredentialSource::Environment => environment::read(email, |name| std::env::var_os(name)),
        CredentialSource::Command
        | CredentialSource::Keychain
        | CredentialSource::File
        | CredentialSource::Memory => Ok(None),
    }
}

fn missing_email() -> Error {
    let absent = "an address: set credentials.email";
    Error::Incomplete { origin: CredentialSource::Command, present: "a password", absent }
}
