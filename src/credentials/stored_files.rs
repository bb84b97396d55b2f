//! Where there is no keychain: the key file and the sealed login, as `login` makes them and `logout`
//! removes them.

use std::path::PathBuf;

use super::resolver::{Backend, Configured, Credentials};
use super::session_key::KeySource;
use super::{Error, FileError, KeychainError, Login};
use crate::config::{self, KeyStore};

/// Where a login is stored in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlace {
    /// The sealed login.
    pub path: PathBuf,
    /// Where its key comes from.
    pub key: KeySource,
}

/// The effect of a logout on the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClearedFiles {
    /// Whether there was a login.
    pub had_login: bool,
    /// The key file that stays.
    pub kept_key: Option<PathBuf>,
}

impl Credentials {
    /// Makes the key file if the configuration asks for one, or if nothing else has a key and
    /// `absence` says that there is no keychain. Returns the path of a file that it has made. Only a
    /// command that says so aloud may call this, never the daemon.
    ///
    /// # Errors
    ///
    /// Why there is no key.
    pub async fn prepare_key(
        &self,
        session: &config::Session,
        absence: Option<&KeychainError>,
    ) -> Result<Option<PathBuf>, Error> {
        let Some(Configured { key_file, .. }) = self.configured() else { return Ok(None) };
        let existed = key_file.exists();
        let is_needed = match session.key {
            KeyStore::File => true,
            KeyStore::Auto => {
                absence.is_some_and(KeychainError::allows_key_file)
                    && self
                        .session_key(session, super::systemd::credentials_directory())
                        .await
                        .is_err_and(|error| {
                            matches!(error, Error::File(FileError::Missing(_)))
                                || error.keychain_absence().is_some_and(|why| why.allows_key_file())
                        })
            }
            KeyStore::Keychain | KeyStore::Systemd | KeyStore::Command | KeyStore::Kernel => false,
        };
        if is_needed {
            key_file.create()?;
        }
        Ok((is_needed && !existed).then(|| key_file.path()))
    }

    /// Proves that a login could be stored in a sealed file, and returns where.
    ///
    /// # Errors
    ///
    /// Why it could not.
    pub async fn test_file(&self, session: &config::Session) -> Result<FilePlace, Error> {
        let Some(Configured { sealed, .. }) = self.configured() else {
            return Err(Error::Missing(None));
        };
        let key = self.session_key(session, super::systemd::credentials_directory()).await?;
        sealed.self_test(&key.material)?;
        Ok(FilePlace { path: sealed.path(), key: key.source })
    }

    /// Stores the login in a sealed file, in place of the old one.
    ///
    /// # Errors
    ///
    /// Why it could not be stored; the old one is still there.
    pub async fn store_in_file(
        &self,
        session: &config::Session,
        login: &Login,
    ) -> Result<(), Error> {
        let Some(Configured { sealed, .. }) = self.configured() else {
            return Err(Error::Missing(None));
        };
        let key = self.session_key(session, super::systemd::credentials_directory()).await?;
        Ok(sealed.write(&key.material, login)?)
    }

    /// Removes the sealed login of the configured origin, and says whether there was one.
    ///
    /// # Errors
    ///
    /// When it is still there.
    pub fn remove_file(&self) -> Result<bool, Error> {
        Ok(self.configured().map_or(Ok(false), |it| it.sealed.remove())?)
    }

    /// Removes the sealed logins of every origin, and the key file, which then opens nothing; a key
    /// file that the configuration names stays for the next session.
    ///
    /// # Errors
    ///
    /// When a file is still there.
    pub fn clear_files(&self) -> Result<ClearedFiles, Error> {
        let Some(Configured { sealed, key_file, session, .. }) = self.configured() else {
            return Ok(ClearedFiles::default());
        };
        let had_login = sealed.remove_all()?;
        if session.key == KeyStore::File {
            let kept_key = key_file.exists().then(|| key_file.path());
            return Ok(ClearedFiles { had_login, kept_key });
        }
        key_file.remove()?;
        Ok(ClearedFiles { had_login, kept_key: None })
    }

    /// Reads the login from the sealed file; `None` when there is none.
    ///
    /// # Errors
    ///
    /// Why a file that is there cannot be read.
    pub(super) async fn login_in_file(&self) -> Result<Option<Login>, Error> {
        let Some(Configured { sealed, session, .. }) = self.configured() else { return Ok(None) };
        if !sealed.exists() {
            return Ok(None);
        }
        let key = self.session_key(session, super::systemd::credentials_directory()).await?;
        Ok(sealed.read(&key.material)?)
    }

    /// Says whether a sealed login of the configured origin is there.
    pub fn has_file(&self) -> bool {
        self.configured().is_some_and(|it| it.sealed.exists())
    }

    fn configured(&self) -> Option<&Configured> {
        match &self.0 {
            Backend::Configured(configured) => Some(configured),
            Backend::Memory(_) => None,
        }
    }
}
