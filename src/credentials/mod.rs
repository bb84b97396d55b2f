//! The login as stored, and where it was found.
//!
//! Each source is one file. [`Credentials::load`] asks the configured sources in order, the most
//! explicit first, and says which one answered. It is asked before every password login, so a
//! changed source is seen without a restart.

mod command;
mod environment;
#[cfg(target_os = "linux")]
mod kernel;
mod key;
mod keychain;
mod systemd;

use std::fmt;

pub use self::key::{FileKey, KeyOrigin, is_key_elsewhere};
pub use self::keychain::{Keychain, Trouble};
use crate::config::{self, Source};
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
pub struct Found {
    /// The login.
    pub login: Login,
    /// Which source had it.
    pub origin: Origin,
}

/// Environment variables that may hold a secret: no child inherits them.
pub const SECRET_VARIABLES: [&str; 2] = ["NEXUDUS_PASSWORD", "NEXUDUS_TOTP"];

/// The place a login came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
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

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Systemd => "systemd credentials",
            Self::Command => "command",
            Self::Environment => "environment",
            Self::Keychain => Keychain::name(),
            Self::Memory => "memory",
        })
    }
}

/// Returns the verb that agrees with the name of a source: the systemd credentials are several.
pub fn verb<'a>(source: &str, one: &'a str, several: &'a str) -> &'a str {
    if source == Origin::Systemd.to_string() { several } else { one }
}

/// Why no login could be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No source has a login; there is no keychain either, if that is why.
    #[error("no credentials are stored")]
    Missing(#[source] Option<Trouble>),
    /// A source has one part of a login, but not the other.
    #[error("the {origin} {} {present} but not {absent}", verb(&origin.to_string(), "has", "have"))]
    Incomplete {
        /// The source.
        origin: Origin,
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
    pub fn absence(&self) -> Option<Trouble> {
        match self {
            Self::Missing(trouble) => trouble.clone(),
            Self::Unavailable(trouble) => trouble.downcast_ref().cloned(),
            Self::Incomplete { .. } | Self::Command(_) | Self::Locked => None,
        }
        .filter(Trouble::is_absence)
    }
}

/// The configured sources of the login. Clones share them.
#[derive(Clone, Debug)]
pub struct Credentials(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Configured(config::Credentials, Keychain),
    Memory(Option<Login>),
}

impl Credentials {
    /// Reads from where the configuration says; from the keychain the login of `profile` that
    /// `origin` has accepted. What a person configures (systemd credentials, a command, the
    /// environment) is meant for the origin that is configured with it.
    pub fn configured(
        config: &config::Credentials,
        origin: &config::Origin,
        profile: &str,
    ) -> Self {
        Self(Kind::Configured(config.clone(), Keychain::of_system(profile, origin)))
    }

    /// Returns the keychain, where one is used.
    pub fn keychain(&self) -> Option<&Keychain> {
        match &self.0 {
            Kind::Configured(_, keychain) => Some(keychain),
            Kind::Memory(_) => None,
        }
    }

    /// Returns whose they are.
    pub fn profile(&self) -> &str {
        match &self.0 {
            Kind::Configured(_, keychain) => keychain.profile(),
            Kind::Memory(_) => "default",
        }
    }

    /// Holds a login of this process, or none: nobody has logged in.
    pub fn memory(login: Option<Login>) -> Self {
        Self(Kind::Memory(login))
    }

    /// Returns the address of the account, where it can be known without asking a command.
    ///
    /// A saved session of another account must not be resumed just because it is there.
    pub fn account(&self) -> Option<String> {
        let config = match &self.0 {
            Kind::Memory(login) => return login.as_ref().map(|login| login.email.clone()),
            Kind::Configured(config, _) => config,
        };
        let asked = |source| matches!(config.source, Source::Auto) || config.source == source;
        let email = |login: Option<Login>| login.map(|login| login.email);
        let from_systemd =
            asked(Source::Systemd).then(|| from_systemd(config).ok().flatten()).and_then(email);
        let by_command =
            asked(Source::Command) && !config.command.is_empty() && config.email.is_some();
        from_systemd.or_else(|| match by_command {
            true => config.email.clone(),
            false if asked(Source::Env) => email(from_environment(config).ok().flatten()),
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
    pub async fn load(&self) -> Result<Found, Error> {
        let (config, keychain) = match &self.0 {
            Kind::Memory(Some(login)) => {
                return Ok(Found { login: login.clone(), origin: Origin::Memory });
            }
            Kind::Memory(None) => return Err(Error::Missing(None)),
            Kind::Configured(config, keychain) => (config, keychain),
        };
        let asked = |source| matches!(config.source, Source::Auto) || config.source == source;
        let mut half = None;
        if asked(Source::Systemd)
            && let Some(login) = whole(from_systemd(config), &mut half)?
        {
            return Ok(Found { login, origin: Origin::Systemd });
        }
        if asked(Source::Command)
            && let Some(login) = whole(from_command(config).await, &mut half)?
        {
            return Ok(Found { login, origin: Origin::Command });
        }
        if asked(Source::Env)
            && let Some(login) = whole(from_environment(config), &mut half)?
        {
            return Ok(Found { login, origin: Origin::Environment });
        }
        if !asked(Source::Keychain) {
            return Err(half.unwrap_or(Error::Missing(None)));
        }
        match keychain.login().await {
            Ok(Some(login)) => Ok(Found { login, origin: Origin::Keychain }),
            Ok(None) => Err(half.unwrap_or(Error::Missing(None))),
            // Nobody has asked for one: a machine without a keychain has no login there.
            Err(error) => Err(match error.absence() {
                Some(trouble) if config.source == Source::Auto => {
                    half.unwrap_or(Error::Missing(Some(trouble)))
                }
                Some(_) | None => error,
            }),
        }
    }

    /// Returns the sources that would log in again after the keychain was cleared. A command
    /// counts when it is configured: it is not run for this.
    pub fn beside_keychain(&self) -> Vec<Origin> {
        let Kind::Configured(config, _) = &self.0 else { return vec![] };
        let asked = |source| matches!(config.source, Source::Auto) || config.source == source;
        let has = |login: Result<Option<Login>, Error>| {
            !matches!(login, Ok(None) | Err(Error::Incomplete { .. }))
        };
        [
            (Origin::Systemd, asked(Source::Systemd) && has(from_systemd(config))),
            (
                Origin::Command,
                asked(Source::Command) && !config.command.is_empty() && config.email.is_some(),
            ),
            (Origin::Environment, asked(Source::Env) && has(from_environment(config))),
        ]
        .into_iter()
        .filter_map(|(origin, holds)| holds.then_some(origin))
        .collect()
    }

    /// Returns what each source lacks that has half a login, and is passed over for that.
    pub fn halves(&self) -> Vec<Error> {
        let Kind::Configured(config, _) = &self.0 else { return vec![] };
        let asked = |source| matches!(config.source, Source::Auto) || config.source == source;
        let by_command = !config.command.is_empty() && config.email.is_none();
        [
            asked(Source::Systemd).then(|| from_systemd(config)),
            (asked(Source::Command) && by_command).then(|| Err(no_address())),
            asked(Source::Env).then(|| from_environment(config)),
        ]
        .into_iter()
        .flatten()
        .filter_map(Result::err)
        .filter(|error| matches!(error, Error::Incomplete { .. }))
        .collect()
    }

    /// Returns the source that a login would be read from now. A command counts when it is
    /// configured: it is not run for this.
    pub async fn standing(&self) -> Option<Origin> {
        let keychain = match &self.0 {
            Kind::Memory(login) => return login.as_ref().map(|_| Origin::Memory),
            Kind::Configured(_, keychain) => keychain,
        };
        match self.beside_keychain().first() {
            Some(origin) => Some(*origin),
            None if self.uses_keychain() => {
                let login = keychain.login().await.ok().flatten();
                login.map(|_| Origin::Keychain)
            }
            None => None,
        }
    }

    /// Returns the one source that is asked, where `login` could store nothing that is read.
    pub fn only(&self) -> Option<Origin> {
        let Kind::Configured(config, _) = &self.0 else { return None };
        match config.source {
            Source::Auto | Source::Keychain => None,
            Source::Systemd => Some(Origin::Systemd),
            Source::Command => Some(Origin::Command),
            Source::Env => Some(Origin::Environment),
        }
    }

    /// Says whether a login in the keychain is looked at.
    pub fn uses_keychain(&self) -> bool {
        match &self.0 {
            Kind::Configured(config, _) => {
                matches!(config.source, Source::Auto | Source::Keychain)
            }
            Kind::Memory(_) => false,
        }
    }

    /// Returns the default origin if the keychain holds a login for it, and this is another: it may
    /// be from before origins were noted.
    pub async fn login_without_origin(&self) -> Option<String> {
        let keychain = self.keychain().filter(|it| self.uses_keychain() && !it.is_usual())?;
        let usual = config::Origin::nexudus();
        keychain.at(&usual).login().await.ok().flatten().map(|_| usual.to_string())
    }

    /// Removes what this profile has in the keychain and in the kernel's keyring: the login at the
    /// configured origin, at the default one and at each of `others`, and the key of the session file,
    /// which opens nothing any more once that is gone. Returns whether there was a login.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] and [`Error::Unavailable`] when the keychain cannot be changed.
    pub async fn clear(&self, others: &[config::Origin]) -> Result<bool, Error> {
        let Kind::Configured(_, keychain) = &self.0 else { return Ok(false) };
        #[cfg(target_os = "linux")]
        if let Err(error) = kernel::remove(keychain.profile()) {
            tracing::debug!(%error, "no key removed from the kernel keyring");
        }
        let mut had_login = keychain.remove_login().await?;
        for origin in others.iter().chain([&config::Origin::nexudus()]) {
            had_login |= keychain.at(origin).remove_login().await?;
        }
        keychain.remove_file_key().await?;
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
    let email = config.email.clone().ok_or_else(no_address)?;
    let password = command::first_line(&config.command)
        .await
        .map_err(|error| Error::Command(Box::new(error)))?;
    Ok(Some(Login { email, password, second_factor: None }))
}

fn no_address() -> Error {
    let absent = "an address: set credentials.email";
    Error::Incomplete { origin: Origin::Command, present: "a password", absent }
}

/// Keeps the first half aside: another source may have a whole login.
fn whole(
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
    use super::keychain::tests::Memory;
    use super::*;

    /// A command prints a password alone: without credentials.email that is half a login.
    #[tokio::test]
    async fn a_source_with_half_a_login_hides_no_whole_one_and_is_named() {
        let keychain = Keychain::of(Memory::default(), "default");
        let command = vec!["printf".to_owned(), "p".to_owned()];
        let config = config::Credentials { source: Source::Auto, email: None, command };
        let credentials = Credentials(Kind::Configured(config, keychain));

        let error = credentials.load().await.unwrap_err();
        assert!(matches!(error, Error::Incomplete { origin: Origin::Command, .. }), "{error}");
        assert_eq!(credentials.standing().await, None);

        let login =
            Login { email: "a@b.c".into(), password: Secret::new("p"), second_factor: None };
        credentials.keychain().unwrap().keep_login(&login).await.unwrap();
        assert_eq!(credentials.load().await.unwrap().origin, Origin::Keychain);
        assert_eq!(credentials.standing().await, Some(Origin::Keychain));
        assert_eq!(credentials.beside_keychain(), []);
        assert_eq!(
            credentials.halves()[0].to_string(),
            "the command has a password but not an address: set credentials.email"
        );
    }

    /// What an earlier version has stored has no origin.
    #[tokio::test]
    async fn a_login_without_an_origin_is_known_elsewhere_and_given_to_nexudus_alone() {
        let usual = Keychain::of(Memory::default(), "default");
        let login =
            Login { email: "a@b.c".into(), password: Secret::new("p"), second_factor: None };
        usual.keep_login(&login).await.unwrap();
        let config = config::Credentials { source: Source::Auto, email: None, command: Vec::new() };
        let at = |origin| Credentials(Kind::Configured(config.clone(), usual.at(&origin)));
        let (nexudus, b) =
            (at(config::Origin::nexudus()), at(config::Origin::new("b.example", 443)));

        assert_eq!(nexudus.load().await.unwrap().login, login);
        assert_eq!(nexudus.login_without_origin().await, None);
        assert!(matches!(b.load().await, Err(Error::Missing(None))));
        let known = b.login_without_origin().await;
        assert_eq!(known.as_deref(), Some("https://spaces.nexudus.com"));

        assert!(b.clear(&[]).await.unwrap(), "a logout leaves none");
        assert!(matches!(nexudus.load().await, Err(Error::Missing(None))));
    }
}
