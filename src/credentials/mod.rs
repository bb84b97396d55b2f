//! The login as stored, and where it was found.
//!
//! Each source is one file. [`Credentials::load`] asks the configured sources in order, the most
//! explicit first, and says which one answered. It is asked before every password login, so a
//! changed source is seen without a restart.

mod command;
mod environment;
mod key;
mod keychain;
#[cfg(target_os = "linux")]
mod keyutils;
mod systemd;

use std::fmt;

pub use self::key::{KeySource, SessionKey, is_key_outside_keychain};
pub use self::keychain::{Keychain, KeychainError};
use crate::config::{self, LoginSource};
use crate::secret::Secret;

/// What a password grant needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The e-mail address of the account.
    pub email: String,
    /// Its password.
    pub password: Secret,
    /// The second factor, where the account has one.
    pub second_factor: Option<SecondFactor>,
}

/// What answers a request for a 2FA code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecondFactor {
    /// A code that was typed: 6 to 8 digits, good for one attempt.
    Code(Secret),
    /// The shared secret of RFC 6238, base32: makes a code whenever one is needed.
    Shared(Secret),
}

/// A login and the place it came from.
#[derive(Clone, Debug)]
pub struct ResolvedLogin {
    /// The login.
    pub login: Login,
    /// Which source had it.
    pub source: CredentialSource,
}

/// Environment variables that may hold a secret: no child inherits them.
pub const SECRET_ENV_VARIABLES: [&str; 2] = ["NEXUDUS_PASSWORD", "NEXUDUS_TOTP"];

/// The place a login came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// systemd's credentials directory.
    Systemd,
    /// What `credentials.command` printed.
    Command,
    /// `NEXUDUS_EMAIL`, `NEXUDUS_PASSWORD` and their variants.
    Environment,
    /// The OS keychain.
    Keychain,
    /// Handed over inside this process.
    Memory,
}

impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Systemd => "systemd credentials",
            Self::Command => "command",
            Self::Environment => "environment",
            Self::Keychain => Keychain::product_name(),
            Self::Memory => "memory",
        })
    }
}

/// Returns the verb that agrees with the name of a source: the systemd credentials are several.
pub fn verb<'a>(source: &str, one: &'a str, several: &'a str) -> &'a str {
    if source == CredentialSource::Systemd.to_string() { several } else { one }
}

/// Why no login could be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No source has a login; there is no keychain either, if that is why.
    #[error("no credentials are stored")]
    Missing(#[source] Option<KeychainError>),
    /// A source has one part of a login, but not the other.
    #[error("the {origin} {} {present} but not {absent}", verb(&origin.to_string(), "has", "have"))]
    Incomplete {
        /// The source.
        origin: CredentialSource,
        /// What it has.
        present: &'static str,
        /// What it lacks.
        absent: &'static str,
    },
    /// The store is locked; a person has to open it.
    #[error("the credential store is locked")]
    Locked,
    /// The command failed. No other source is asked then: it may be another account's.
    #[error("credentials.command gave no password, and no other source is asked")]
    Command(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store cannot be reached.
    #[error("the credential store cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Returns why there is no keychain at all, if that is what it says: one that fails, or is
    /// locked, is another matter.
    pub fn keychain_absence(&self) -> Option<KeychainError> {
        match self {
            Self::Missing(trouble) => trouble.clone(),
            Self::Unavailable(trouble) => trouble.downcast_ref().cloned(),
            Self::Incomplete { .. } | Self::Command(_) | Self::Locked => None,
        }
        .filter(KeychainError::is_absent)
    }
}

/// The configured sources of the login. Clones share them.
#[derive(Clone, Debug)]
pub struct Credentials(Backend);

#[derive(Clone, Debug)]
enum Backend {
    Configured(config::Credentials, Keychain),
    Memory(Option<Login>),
}

impl Credentials {
    /// Reads from where the configuration says; from the keychain the login of `profile` that
    /// `source` has accepted. What a person configures (systemd credentials, a command, the
    /// environment) is meant for the origin that is configured with it.
    pub fn from_config(
        config: &config::Credentials,
        origin: &config::Origin,
        profile: &str,
    ) -> Self {
        Self(Backend::Configured(config.clone(), Keychain::system(profile, origin)))
    }

    /// Returns the keychain, where one is used.
    pub fn keychain(&self) -> Option<&Keychain> {
        match &self.0 {
            Backend::Configured(_, keychain) => Some(keychain),
            Backend::Memory(_) => None,
        }
    }

    /// Returns whose they are.
    pub fn profile(&self) -> &str {
        match &self.0 {
            Backend::Configured(_, keychain) => keychain.profile(),
            Backend::Memory(_) => "default",
        }
    }

    /// Holds a login of this process, or none: nobody has logged in.
    pub fn in_memory(login: Option<Login>) -> Self {
        Self(Backend::Memory(login))
    }

    /// Returns the address of the account, where it can be known without asking a command.
    ///
    /// A saved session of another account must not be resumed just because it is there.
    pub fn account(&self) -> Option<String> {
        let config = match &self.0 {
            Backend::Memory(login) => return login.as_ref().map(|login| login.email.clone()),
            Backend::Configured(config, _) => config,
        };
        let asked = |source| matches!(config.source, LoginSource::Auto) || config.source == source;
        let email = |login: Option<Login>| login.map(|login| login.email);
        let from_systemd = asked(LoginSource::Systemd)
            .then(|| from_systemd(config).ok().flatten())
            .and_then(email);
        let by_command =
            asked(LoginSource::Command) && !config.command.is_empty() && config.email.is_some();
        from_systemd.or_else(|| match by_command {
            true => config.email.clone(),
            false if asked(LoginSource::Env) => email(from_environment(config).ok().flatten()),
            false => None,
        })
    }

    /// Reads the login from the first source that has one: a source with half a login has none.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when no source has a login, [`Error::Incomplete`] when one has half of
    /// it and none a whole one, [`Error::Command`], [`Error::Locked`] and [`Error::Unavailable`] when
    /// a source that may hold it cannot be read.
    pub async fn load(&self) -> Result<ResolvedLogin, Error> {
        let (config, keychain) = match &self.0 {
            Backend::Memory(Some(login)) => {
                return Ok(ResolvedLogin {
                    login: login.clone(),
                    source: CredentialSource::Memory,
                });
            }
            Backend::Memory(None) => return Err(Error::Missing(None)),
            Backend::Configured(config, keychain) => (config, keychain),
        };
        let asked = |source| matches!(config.source, LoginSource::Auto) || config.source == source;
        let mut half = None;
        if asked(LoginSource::Systemd)
            && let Some(login) = skip_incomplete(from_systemd(config), &mut half)?
        {
            return Ok(ResolvedLogin { login, source: CredentialSource::Systemd });
        }
        if asked(LoginSource::Command)
            && let Some(login) = skip_incomplete(from_command(config).await, &mut half)?
        {
            return Ok(ResolvedLogin { login, source: CredentialSource::Command });
        }
        if asked(LoginSource::Env)
            && let Some(login) = skip_incomplete(from_environment(config), &mut half)?
        {
            return Ok(ResolvedLogin { login, source: CredentialSource::Environment });
        }
        if !asked(LoginSource::Keychain) {
            return Err(half.unwrap_or(Error::Missing(None)));
        }
        match keychain.login().await {
            Ok(Some(login)) => Ok(ResolvedLogin { login, source: CredentialSource::Keychain }),
            Ok(None) => Err(half.unwrap_or(Error::Missing(None))),
            // Nobody has asked for one: a machine without a keychain has no login there.
            Err(error) => Err(match error.keychain_absence() {
                Some(trouble) if config.source == LoginSource::Auto => {
                    half.unwrap_or(Error::Missing(Some(trouble)))
                }
                Some(_) | None => error,
            }),
        }
    }

    /// Returns the sources that would log in again after the keychain was cleared. A command
    /// counts when it is configured: it is not run for this.
    pub fn sources_beside_keychain(&self) -> Vec<CredentialSource> {
        let Backend::Configured(config, _) = &self.0 else { return vec![] };
        let asked = |source| matches!(config.source, LoginSource::Auto) || config.source == source;
        let has = |login: Result<Option<Login>, Error>| {
            !matches!(login, Ok(None) | Err(Error::Incomplete { .. }))
        };
        [
            (CredentialSource::Systemd, asked(LoginSource::Systemd) && has(from_systemd(config))),
            (
                CredentialSource::Command,
                asked(LoginSource::Command) && !config.command.is_empty() && config.email.is_some(),
            ),
            (
                CredentialSource::Environment,
                asked(LoginSource::Env) && has(from_environment(config)),
            ),
        ]
        .into_iter()
        .filter_map(|(origin, holds)| holds.then_some(origin))
        .collect()
    }

    /// Returns what each source lacks that has half a login, and is passed over for that.
    pub fn incomplete_sources(&self) -> Vec<Error> {
        let Backend::Configured(config, _) = &self.0 else { return vec![] };
        let asked = |source| matches!(config.source, LoginSource::Auto) || config.source == source;
        let by_command = !config.command.is_empty() && config.email.is_none();
        [
            asked(LoginSource::Systemd).then(|| from_systemd(config)),
            (asked(LoginSource::Command) && by_command).then(|| Err(missing_email())),
            asked(LoginSource::Env).then(|| from_environment(config)),
        ]
        .into_iter()
        .flatten()
        .filter_map(Result::err)
        .filter(|error| matches!(error, Error::Incomplete { .. }))
        .collect()
    }

    /// Returns the source that a login would be read from now. A command counts when it is
    /// configured: it is not run for this.
    pub async fn active_source(&self) -> Option<CredentialSource> {
        let keychain = match &self.0 {
            Backend::Memory(login) => return login.as_ref().map(|_| CredentialSource::Memory),
            Backend::Configured(_, keychain) => keychain,
        };
        match self.sources_beside_keychain().first() {
            Some(origin) => Some(*origin),
            None if self.uses_keychain() => {
                let login = keychain.login().await.ok().flatten();
                login.map(|_| CredentialSource::Keychain)
            }
            None => None,
        }
    }

    /// Returns the one source that is asked, where `login` could store nothing that is read.
    pub fn exclusive_source(&self) -> Option<CredentialSource> {
        let Backend::Configured(config, _) = &self.0 else { return None };
        match config.source {
            LoginSource::Auto | LoginSource::Keychain => None,
            LoginSource::Systemd => Some(CredentialSource::Systemd),
            LoginSource::Command => Some(CredentialSource::Command),
            LoginSource::Env => Some(CredentialSource::Environment),
        }
    }

    /// Says whether a login in the keychain is looked at.
    pub fn uses_keychain(&self) -> bool {
        match &self.0 {
            Backend::Configured(config, _) => {
                matches!(config.source, LoginSource::Auto | LoginSource::Keychain)
            }
            Backend::Memory(_) => false,
        }
    }

    /// Returns the default origin if the keychain holds a login for it, and this is another: it may
    /// be from before origins were noted.
    pub async fn default_origin_login(&self) -> Option<String> {
        let keychain =
            self.keychain().filter(|it| self.uses_keychain() && !it.is_default_origin())?;
        let usual = config::Origin::nexudus();
        keychain.with_origin(&usual).login().await.ok().flatten().map(|_| usual.to_string())
    }

    /// Removes what this profile has in the keychain and in the kernel's keyring: the login at the
    /// configured origin, at the default one and at each of `others`, and the key of the session file,
    /// which opens nothing any more once that is gone. Returns whether there was a login.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] and [`Error::Unavailable`] when the keychain cannot be changed.
    pub async fn clear(&self, others: &[config::Origin]) -> Result<bool, Error> {
        let Backend::Configured(_, keychain) = &self.0 else { return Ok(false) };
        #[cfg(target_os = "linux")]
        if let Err(error) = keyutils::remove(keychain.profile()) {
            tracing::debug!(%error, "no key removed from the kernel keyring");
        }
        let mut had_login = keychain.remove_login().await?;
        for origin in others.iter().chain([&config::Origin::nexudus()]) {
            had_login |= keychain.with_origin(origin).remove_login().await?;
        }
        keychain.remove_session_key().await?;
        Ok(had_login)
    }
}

fn from_systemd(config: &config::Credentials) -> Result<Option<Login>, Error> {
    match systemd::directory(|name| std::env::var_os(name)) {
        Some(directory) => systemd::read(&directory, config.email.as_deref()),
        None => Ok(None),
    }
}

async fn from_command(config: &config::Credentials) -> Result<Option<Login>, Error> {
    if config.command.is_empty() {
        return Ok(None);
    }
    let email = config.email.clone().ok_or_else(missing_email)?;
    let password = command::first_line(&config.command)
        .await
        .map_err(|error| Error::Command(Box::new(error)))?;
    Ok(Some(Login { email, password, second_factor: None }))
}

fn missing_email() -> Error {
    let absent = "an address: set credentials.email";
    Error::Incomplete { origin: CredentialSource::Command, present: "a password", absent }
}

/// Keeps the first half aside: another source may have a whole login.
fn skip_incomplete(
    read: Result<Option<Login>, Error>,
    half: &mut Option<Error>,
) -> Result<Option<Login>, Error> {
    match read {
        Err(error @ Error::Incomplete { .. }) => {
            half.get_or_insert(error);
            Ok(None)
        }
        read => read,
    }
}

fn from_environment(config: &config::Credentials) -> Result<Option<Login>, Error> {
    environment::read(config.email.as_deref(), |name| std::env::var(name).ok())
}

#[cfg(test)]
mod tests {
    use super::keychain::tests::MemoryStore;
    use super::*;

    /// A command prints a password alone: without credentials.email that is half a login.
    #[tokio::test]
    async fn a_source_with_half_a_login_hides_no_whole_one_and_is_named() {
        let keychain = Keychain::with_store(MemoryStore::default(), "default");
        let command = vec!["printf".to_owned(), "p".to_owned()];
        let config = config::Credentials { source: LoginSource::Auto, email: None, command };
        let credentials = Credentials(Backend::Configured(config, keychain));

        let error = credentials.load().await.unwrap_err();
        assert!(
            matches!(error, Error::Incomplete { origin: CredentialSource::Command, .. }),
            "{error}"
        );
        assert_eq!(credentials.active_source().await, None);

        let login =
            Login { email: "a@b.c".into(), password: Secret::new("p"), second_factor: None };
        credentials.keychain().unwrap().store_login(&login).await.unwrap();
        assert_eq!(credentials.load().await.unwrap().source, CredentialSource::Keychain);
        assert_eq!(credentials.active_source().await, Some(CredentialSource::Keychain));
        assert_eq!(credentials.sources_beside_keychain(), []);
        assert_eq!(
            credentials.incomplete_sources()[0].to_string(),
            "the command has a password but not an address: set credentials.email"
        );
    }

    /// What an earlier version has stored has no origin.
    #[tokio::test]
    async fn a_login_without_an_origin_is_known_elsewhere_and_given_to_nexudus_alone() {
        let usual = Keychain::with_store(MemoryStore::default(), "default");
        let login =
            Login { email: "a@b.c".into(), password: Secret::new("p"), second_factor: None };
        usual.store_login(&login).await.unwrap();
        let config =
            config::Credentials { source: LoginSource::Auto, email: None, command: Vec::new() };
        let at =
            |origin| Credentials(Backend::Configured(config.clone(), usual.with_origin(&origin)));
        let (nexudus, b) =
            (at(config::Origin::nexudus()), at(config::Origin::new("b.example", 443)));

        assert_eq!(nexudus.load().await.unwrap().login, login);
        assert_eq!(nexudus.default_origin_login().await, None);
        assert!(matches!(b.load().await, Err(Error::Missing(None))));
        let known = b.default_origin_login().await;
        assert_eq!(known.as_deref(), Some("https://spaces.nexudus.com"));

        assert!(b.clear(&[]).await.unwrap(), "a logout leaves none");
        assert!(matches!(nexudus.load().await, Err(Error::Missing(None))));
    }
}
