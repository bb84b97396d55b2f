//! Where a login is stored: the first place that works, proved before anything is asked.
//!
//! The keychain comes first. Only where there is none, and where the configuration leaves the choice
//! open, the login goes into a sealed file, and its key into a file beside it, said aloud. A place
//! that is named and does not work ends the command: nothing else takes its place.

use super::error::LoginError;
use super::{LoginFlow, not_lasting, system_store};
use crate::cli::daemon_client::DaemonClient;
use crate::cli::waiting::{DAEMON, say_waiting};
use crate::clock::Clock;
use crate::config::{KeyStore, LoginSource, SessionStore};
use crate::credentials::{Error, FilePlace, Keychain, KeychainError, Login};
use crate::session;

/// Where the login goes.
#[derive(Debug)]
pub(super) enum Place {
    Keychain,
    File(FilePlace),
    /// Credentials of the system service, unless the login is only proved.
    System {
        keeps: bool,
    },
}

impl LoginFlow {
    /// Proves that the login can be stored, and says where; `None` where only the session is.
    pub(super) async fn prepare(&self) -> Result<Option<Place>, LoginError> {
        let own = &self.config.upstream.origin;
        let running = DaemonClient::new(&self.config, &self.paths);
        // A daemon that answers nothing would not learn of the login, and the person would be asked for
        // it all the same.
        let other = running.other_origin(own, &self.paths);
        if let Some(other) = say_waiting(self.print, DAEMON, other).await? {
            return Err(LoginError::OtherUpstream { other, own: own.clone() });
        }
        if self.session_only() && self.is_basic() {
            return Err(LoginError::NoSession);
        }
        if self.session_only() {
            if self.config.session.store == SessionStore::Memory {
                return Err(not_lasting("session.store is memory"));
            }
            self.prepare_session_key().await?;
            return Ok(None);
        }
        match self.config.credentials.source {
            LoginSource::Auto | LoginSource::Keychain => {}
            LoginSource::File => return self.prepare_file().await.map(Some),
            LoginSource::Systemd | LoginSource::Command | LoginSource::Env => {
                let auth = self.config.upstream.auth;
                return Err(LoginError::SourceNotRead { auth });
            }
        }
        match self.open_keychain().await {
            Ok(()) => {}
            Err(error)
                if self.config.credentials.source == LoginSource::Auto
                    && error.keychain_absence().is_some_and(|why| why.allows_key_file()) =>
            {
                return self.prepare_file().await.map(Some);
            }
            Err(error) => return Err(LoginError::Store(error)),
        }
        if self.config.session.key == KeyStore::File {
            self.make_key(None).await?;
        }
        let directory = self.paths.profile_state();
        let proved =
            session::self_test_keychain(self.keychain(), &directory, &Clock::system()).await;
        proved.map_err(LoginError::Store)?;
        Ok(Some(Place::Keychain))
    }

    /// Sees to a key for a session that is stored without a password.
    async fn prepare_session_key(&self) -> Result<(), LoginError> {
        let absence = match self.open_keychain().await {
            Ok(()) => None,
            Err(error @ Error::Unavailable(_)) => error.keychain_absence(),
            Err(error) => return Err(LoginError::Store(error)),
        };
        self.make_key(absence.as_ref()).await
    }

    async fn prepare_file(&self) -> Result<Place, LoginError> {
        let session = &self.config.session;
        let absence = if self.credentials.is_key_outside_keychain(session) {
            None
        } else {
            // Which may open a dialog: the key is there, or nowhere.
            match self.open_keychain().await {
                Ok(()) => None,
                Err(error) => match error.keychain_absence() {
                    Some(absence) => Some(absence),
                    None => return Err(LoginError::Store(error)),
                },
            }
        };
        self.make_key(absence.as_ref()).await?;
        let place = self.credentials.test_file(session).await.map_err(LoginError::StoreInFile)?;
        if place.key.is_volatile() {
            return Err(not_lasting(&format!("its key comes from {}", place.key)));
        }
        Ok(Place::File(place))
    }

    /// Makes a key file where one is wanted, and says so.
    async fn make_key(&self, absence: Option<&KeychainError>) -> Result<(), LoginError> {
        let session = &self.config.session;
        let made = self.credentials.prepare_key(session, absence).await;
        if let Some(path) = made.map_err(LoginError::StoreInFile)? {
            let why = if absence.is_some() { "no keychain here; " } else { "" };
            self.print.note(&format!("{why}the key is in {} (0600)", path.display()));
        }
        Ok(())
    }

    /// Stores the login, and removes one that an earlier command has stored elsewhere.
    pub(super) async fn store_login(&self, place: &Place, login: &Login) -> Result<(), LoginError> {
        match place {
            Place::Keychain => {
                self.keychain().store_login(login).await.map_err(LoginError::Store)?;
                self.credentials.remove_file().map_err(LoginError::StoreInFile)?;
            }
            Place::File(_) => {
                let stored = self.credentials.store_in_file(&self.config.session, login).await;
                stored.map_err(LoginError::StoreInFile)?;
            }
            Place::System { keeps } => {
                if *keeps {
                    system_store::store(login, self.print).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes an earlier login, which would be used again once the session ends.
    pub(super) async fn drop_password(&self) -> Result<(), LoginError> {
        self.credentials.remove_file().map_err(LoginError::StoreInFile)?;
        match self.keychain().remove_login().await {
            Ok(_) | Err(Error::Unavailable(_)) => Ok(()),
            Err(error) => Err(LoginError::Store(error)),
        }
    }

    /// Opens the keychain. A person has just typed this command, so a dialog may appear.
    async fn open_keychain(&self) -> Result<(), Error> {
        self.keychain().unlock().await.map(drop)
    }

    fn keychain(&self) -> &Keychain {
        self.credentials.keychain().expect("a configured login has a keychain")
    }
}
