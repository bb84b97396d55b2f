//! Reads the login from the configured sources, and removes it where it is stored.

use std::path::Path;

use super::authority_key::AuthorityKeyWatch;
use super::key_file::KeyFile;
#[cfg(target_os = "linux")]
use super::keyutils;
use super::pending_command::PendingCommand;
use super::sealed_login::SealedLogin;
use super::{CredentialSource, Error, Keychain, Login, ResolvedLogin, sources};
use crate::config::{self, Config};

/// The configured sources of the login. Clones share them.
#[derive(Clone, Debug)]
pub struct Credentials(pub(super) Backend, pub(super) AuthorityKeyWatch);

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a process has one or two of them")]
pub(super) enum Backend {
    Configured(Configured),
    Memory(Option<Login>),
}

/// The places that the configuration leads to.
#[derive(Clone, Debug)]
pub(super) struct Configured {
    pub(super) config: config::Credentials,
    pub(super) session: config::Session,
    pub(super) origin: config::Origin,
    pub(super) keychain: Keychain,
    pub(super) key_file: KeyFile,
    pub(super) sealed: SealedLogin,
    pub(super) pending: PendingCommand,
}

impl From<Backend> for Credentials {
    fn from(backend: Backend) -> Self {
        Self(backend, AuthorityKeyWatch::default())
    }
}

impl Configured {
    pub(super) fn new(
        config: &config::Credentials,
        session: &config::Session,
        origin: &config::Origin,
        keychain: Keychain,
    ) -> Self {
        let nowhere = Path::new("/nonexistent");
        Self {
            config: config.clone(),
            session: session.clone(),
            origin: origin.clone(),
            key_file: KeyFile::new(nowhere),
            sealed: SealedLogin::new(nowhere, origin, keychain.profile()),
            pending: PendingCommand::default(),
            keychain,
        }
    }

    /// Keeps files in the profile's state directory.
    pub(super) fn in_directory(self, directory: &Path) -> Self {
        let sealed = SealedLogin::new(directory, &self.origin, self.keychain.profile());
        Self { key_file: KeyFile::new(directory), sealed, ..self }
    }
}

impl Credentials {
    /// Reads from the configured sources; from the keychain the login of `profile` that `origin`
    /// has accepted. The other sources (systemd credentials, a command, the environment) are meant
    /// for the origin that is configured with them.
    ///
    /// `directory` is the profile's state directory.
    pub fn from_config(config: &Config, directory: &Path, profile: &str) -> Self {
        let origin = &config.upstream.origin;
        let keychain = Keychain::system(profile, origin);
        let places = Configured::new(&config.credentials, &config.session, origin, keychain);
        Backend::Configured(places.in_directory(directory)).into()
    }

    /// Holds a login of this process; with `None` there is no login.
    pub fn in_memory(login: Option<Login>) -> Self {
        Backend::Memory(login).into()
    }

    /// Returns the keychain, where one is used.
    pub fn keychain(&self) -> Option<&Keychain> {
        match &self.0 {
            Backend::Configured(Configured { keychain, .. }) => Some(keychain),
            Backend::Memory(_) => None,
        }
    }

    /// Returns the command that is waited for now: its key and its program.
    pub fn pending_command(&self) -> Option<String> {
        match &self.0 {
            Backend::Configured(places) => places.pending.current(),
            Backend::Memory(_) => None,
        }
    }

    /// Returns the profile of the login.
    pub fn profile(&self) -> &str {
        self.keychain().map_or("default", Keychain::profile)
    }

    /// Returns the address of the account, where it is known without running a command.
    ///
    /// A saved session of another account must not be resumed just because that session exists.
    pub fn account(&self) -> Option<String> {
        let config = match &self.0 {
            Backend::Memory(login) => return login.as_ref().map(|login| login.email.clone()),
            Backend::Configured(Configured { config, .. }) => config,
        };
        sources::enabled(config).find_map(|source| sources::account(config, source).ok().flatten())
    }

    /// Reads the login from the first source that has a whole one.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when no source has a login, [`Error::Incomplete`] when a source has half
    /// a login and none a whole one, [`Error::Command`], [`Error::Unusable`], [`Error::File`],
    /// [`Error::Locked`] and [`Error::Unavailable`] when a source that may have the login cannot be
    /// read.
    pub async fn load(&self) -> Result<ResolvedLogin, Error> {
        let (config, keychain, pending) = match &self.0 {
            Backend::Memory(login) => {
                let login = login.clone().ok_or(Error::Missing(None))?;
                return Ok(ResolvedLogin { login, source: CredentialSource::Memory });
            }
            Backend::Configured(Configured { config, keychain, pending, .. }) => {
                (config, keychain, pending)
            }
        };
        let mut incomplete = None;
        for source in sources::enabled(config) {
            match sources::read(config, source, pending).await {
                Ok(Some(login)) => return Ok(ResolvedLogin { login, source }),
                Ok(None) => {}
                // A later source may have a whole login.
                Err(error @ Error::Incomplete { .. }) => {
                    incomplete.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        let missing = |absence| incomplete.unwrap_or(Error::Missing(absence));
        // Before the keychain: `login` removes the file when it stores there.
        if self.uses_file()
            && let Some(login) = self.login_in_file().await?
        {
            return Ok(ResolvedLogin { login, source: CredentialSource::File });
        }
        if !self.uses_keychain() {
            return Err(missing(None));
        }
        match keychain.login().await {
            Ok(Some(login)) => Ok(ResolvedLogin { login, source: CredentialSource::Keychain }),
            Ok(None) => Err(missing(None)),
            Err(error) => Err(match error.keychain_absence() {
                // A keychain that was not chosen explicitly may be absent: then it holds no login.
                Some(absence) if sources::only_source(config).is_none() => missing(Some(absence)),
                Some(_) | None => error,
            }),
        }
    }

    /// Returns the sources that would log in again after the keychain was cleared. A configured
    /// command counts without being run.
    pub fn sources_beside_keychain(&self) -> Vec<CredentialSource> {
        let Backend::Configured(Configured { config, .. }) = &self.0 else { return vec![] };
        let has_login = |source: &CredentialSource| {
            !matches!(sources::account(config, *source), Ok(None) | Err(Error::Incomplete { .. }))
        };
        sources::enabled(config).filter(has_login).collect()
    }

    /// Returns an error for each source that has half a login, and is skipped for that.
    pub fn incomplete_sources(&self) -> Vec<Error> {
        let Backend::Configured(Configured { config, .. }) = &self.0 else { return vec![] };
        sources::enabled(config)
            .filter_map(|source| sources::account(config, source).err())
            .filter(|error| matches!(error, Error::Incomplete { .. }))
            .collect()
    }

    /// Returns the source that a login would be read from now. A configured command counts without
    /// being run.
    pub async fn active_source(&self) -> Option<CredentialSource> {
        let keychain = match &self.0 {
            Backend::Memory(login) => return login.as_ref().map(|_| CredentialSource::Memory),
            Backend::Configured(Configured { keychain, .. }) => keychain,
        };
        match self.sources_beside_keychain().first() {
            Some(source) => Some(*source),
            None if self.uses_file() && self.has_file() => Some(CredentialSource::File),
            None if self.uses_keychain() => {
                let login = keychain.login().await.ok().flatten();
                login.map(|_| CredentialSource::Keychain)
            }
            None => None,
        }
    }

    /// Returns the one source that is read, where a login that `login` stores would be ignored.
    pub fn exclusive_source(&self) -> Option<CredentialSource> {
        let Backend::Configured(Configured { config, .. }) = &self.0 else { return None };
        sources::only_source(config).filter(|source| *source != CredentialSource::Keychain)
    }

    /// Says whether a login in a sealed file is read.
    pub fn uses_file(&self) -> bool {
        let Backend::Configured(Configured { config, .. }) = &self.0 else { return false };
        sources::only_source(config).is_none_or(|only| only == CredentialSource::File)
    }

    /// Says whether a login in the keychain is read.
    pub fn uses_keychain(&self) -> bool {
        matches!(self.0, Backend::Configured(..)) && self.exclusive_source().is_none()
    }

    /// Returns the default origin if the keychain holds a login for it, and another origin is
    /// configured: the login may be from before origins were recorded.
    pub async fn default_origin_login(&self) -> Option<String> {
        let keychain =
            self.keychain().filter(|it| self.uses_keychain() && !it.is_default_origin())?;
        let default = config::Origin::nexudus();
        keychain.with_origin(&default).login().await.ok().flatten().map(|_| default.to_string())
    }

    /// Removes the entries of this profile from the keychain and the kernel's keyring: the login at
    /// the configured origin, at the default one and at each of `others`, and the key of the
    /// session file, which opens nothing once that file is gone. Returns whether there was a login.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] and [`Error::Unavailable`] when the keychain cannot be changed.
    pub async fn clear(&self, others: &[config::Origin]) -> Result<bool, Error> {
        let Backend::Configured(Configured { keychain, .. }) = &self.0 else { return Ok(false) };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoginSource;
    use crate::credentials::keychain::tests::MemoryStore;
    use crate::secret::Secret;

    /// A command prints only a password: without credentials.email that is half a login.
    #[tokio::test]
    async fn a_source_with_half_a_login_hides_no_whole_one_and_is_named() {
        let keychain = Keychain::with_store(MemoryStore::default(), "default");
        let command = vec!["printf".to_owned(), "p".to_owned()];
        let config = config::Credentials { source: LoginSource::Auto, email: None, command };
        let credentials = with(&config, keychain);

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

    /// An earlier version has stored its login without an origin.
    #[tokio::test]
    async fn a_login_without_an_origin_is_known_elsewhere_and_given_to_nexudus_alone() {
        let usual = Keychain::with_store(MemoryStore::default(), "default");
        let login =
            Login { email: "a@b.c".into(), password: Secret::new("p"), second_factor: None };
        usual.store_login(&login).await.unwrap();
        let config =
            config::Credentials { source: LoginSource::Auto, email: None, command: Vec::new() };
        let at = |origin| with(&config, usual.with_origin(&origin));
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

    fn with(config: &config::Credentials, keychain: Keychain) -> Credentials {
        let (session, origin) = (config::Session::default(), config::Origin::nexudus());
        Backend::Configured(Configured::new(config, &session, &origin, keychain)).into()
    }
}
