//! Tests of the keychain's entries, with a store in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::store::{EntryChange, EntryName, EntryStore, StoreFuture};
use super::*;
use crate::config;
use crate::credentials::{CredentialSource, Error, Login, SecondFactor};
use crate::secret::Secret;

/// A store for tests. It is compiled into nothing else.
#[derive(Clone, Debug, Default)]
pub(in crate::credentials) struct MemoryStore {
    kept: Arc<Mutex<HashMap<(String, String), Secret>>>,
    state: Arc<Mutex<StoreState>>,
}

/// How the store behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::credentials) enum StoreState {
    #[default]
    Open,
    Locked,
    Absent,
    Forgetful,
    Stuck,
}

impl MemoryStore {
    pub(in crate::credentials) fn set(&self, state: StoreState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn state(&self) -> StoreState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self) -> Result<(), Error> {
        match self.state() {
            StoreState::Open | StoreState::Forgetful => Ok(()),
            StoreState::Locked => Err(Error::Locked),
            StoreState::Absent => Err(KeychainError::NoProvider.into()),
            StoreState::Stuck => std::future::pending().await,
        }
    }
}

impl EntryStore for MemoryStore {
    fn read<'a>(
        &'a self,
        profile: &'a str,
        names: &'a [String],
    ) -> StoreFuture<'a, Vec<Option<Secret>>> {
        Box::pin(async move {
            self.ask().await?;
            let kept = self.kept.lock().unwrap();
            Ok(names
                .iter()
                .map(|name| kept.get(&(profile.into(), name.clone())).cloned())
                .collect())
        })
    }

    fn write<'a>(&'a self, profile: &'a str, changes: Vec<EntryChange>) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.ask().await?;
            let mut kept = self.kept.lock().unwrap();
            for (name, value) in changes {
                let place = (profile.to_owned(), name);
                match value {
                    Some(value) if self.state() != StoreState::Forgetful => {
                        kept.insert(place, value);
                    }
                    Some(_) => {}
                    None => {
                        kept.remove(&place);
                    }
                }
            }
            Ok(())
        })
    }

    fn unlock(&self) -> StoreFuture<'_, bool> {
        Box::pin(async { self.ask().await.map(|()| false) })
    }
}

fn login() -> Login {
    Login {
        email: "ada@example.test".into(),
        password: Secret::new("p"),
        second_factor: Some(SecondFactor::Shared(Secret::new("JBSWY3DP"))),
    }
}

#[tokio::test]
async fn a_login_is_kept_per_profile_until_it_is_removed() {
    let store = MemoryStore::default();
    let (usual, work) =
        (Keychain::with_store(store.clone(), "default"), Keychain::with_store(store, "work"));
    assert_eq!(usual.login().await.unwrap(), None);

    usual.store_login(&login()).await.unwrap();

    assert_eq!(usual.login().await.unwrap(), Some(login()));
    assert_eq!(work.login().await.unwrap(), None);
    assert!(usual.remove_login().await.unwrap());
    assert!(!usual.remove_login().await.unwrap());
    assert_eq!(usual.login().await.unwrap(), None);
}

#[tokio::test]
async fn a_login_is_given_to_the_origin_that_accepted_it_and_to_no_other() {
    let store = MemoryStore::default();
    let usual = Keychain::with_store(store.clone(), "default");
    let other = usual.with_origin(&config::Origin::new("b.example", 8443));
    usual.store_login(&login()).await.unwrap();
    let key = usual.create_session_key().await.unwrap();

    assert_eq!(other.login().await.unwrap(), None);
    assert_eq!(other.session_key().await.unwrap(), Some(key), "the key is the profile's");
    let elsewhere = Login { email: "bob@example.test".into(), ..login() };
    other.store_login(&elsewhere).await.unwrap();

    assert_eq!(usual.login().await.unwrap(), Some(login()));
    assert_eq!(other.login().await.unwrap(), Some(elsewhere));
    let mut names: Vec<_> =
        store.kept.lock().unwrap().keys().map(|(_, name)| name.clone()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "email",
            "email@https://b.example:8443",
            "file-key",
            "password",
            "password@https://b.example:8443",
            "totp-secret",
            "totp-secret@https://b.example:8443",
        ],
        "those without an origin are Nexudus's, as they always were"
    );
    assert!(other.remove_login().await.unwrap());
    assert_eq!(usual.login().await.unwrap(), Some(login()));
}

#[tokio::test]
async fn a_login_without_a_second_factor_removes_the_old_one_and_a_code_is_never_kept() {
    let keychain = Keychain::with_store(MemoryStore::default(), "default");
    keychain.store_login(&login()).await.unwrap();

    let code = Some(SecondFactor::Code(Secret::new("123456")));
    keychain.store_login(&Login { second_factor: code, ..login() }).await.unwrap();

    assert_eq!(keychain.login().await.unwrap().unwrap().second_factor, None);
}

#[tokio::test]
async fn half_a_login_is_named_as_what_it_is() {
    let keychain = Keychain::with_store(MemoryStore::default(), "default");
    let name = Keychain::product_name();
    for (half, said) in [
        (EntryName::Email, format!("the {name} has an e-mail address but not a password")),
        (EntryName::Password, format!("the {name} has a password but not an e-mail address")),
    ] {
        keychain.write(vec![(half, Some(Secret::new("half")))]).await.unwrap();

        let error = keychain.login().await.unwrap_err();

        assert!(
            matches!(error, Error::Incomplete { origin: CredentialSource::Keychain, .. }),
            "{error:?}"
        );
        assert_eq!(error.to_string(), said);
        assert!(keychain.remove_login().await.unwrap(), "half of one is removed too");
    }
    keychain.write(vec![(EntryName::TotpSecret, Some(Secret::new("JBSWY3DP")))]).await.unwrap();
    assert_eq!(keychain.login().await.unwrap(), None, "a 2FA secret alone is no login");
}

#[tokio::test]
async fn a_canary_tells_a_store_that_forgets() {
    let store = MemoryStore::default();
    let keychain = Keychain::with_store(store.clone(), "default");
    keychain.self_test().await.unwrap();

    store.set(StoreState::Forgetful);

    let error = keychain.self_test().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(keychain.create_session_key().await.is_err());
}

#[tokio::test]
async fn a_key_is_256_random_bits_as_text() {
    let keychain = Keychain::with_store(MemoryStore::default(), "default");

    let key = keychain.create_session_key().await.unwrap();

    assert_eq!(key.expose().len(), 64);
    assert_eq!(keychain.session_key().await.unwrap(), Some(key.clone()));
    assert_ne!(keychain.create_session_key().await.unwrap(), key);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_left_after_a_while() {
    let store = MemoryStore::default();
    store.set(StoreState::Stuck);

    let error = Keychain::with_store(store, "default").login().await.unwrap_err();

    let Error::Unavailable(error) = error else { panic!("{error:?}") };
    assert!(error.to_string().starts_with("the keychain did not respond within"), "{error}");
}
