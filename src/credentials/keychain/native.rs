//! macOS Keychain and Windows Credential Manager, through the keyring project's native stores.
//!
//! Calls block, so each runs on a thread of its own, and the next call waits for it: a dialog that
//! stays open holds up one thread, not one for each attempt.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use keyring_core::Entry;
use keyring_core::api::CredentialStoreApi;

use super::KeychainError;
use super::store::{EntryChange, EntryName, EntryStore, SERVICE, StoreFuture};
use crate::credentials::Error;
use crate::secret::Secret;

/// The system's keychain.
#[derive(Clone, Debug, Default)]
pub(super) struct Native(Arc<Mutex<()>>);

impl EntryStore for Native {
    fn read<'a>(
        &'a self,
        profile: &'a str,
        names: &'a [String],
    ) -> StoreFuture<'a, Vec<Option<Secret>>> {
        let (profile, names) = (profile.to_owned(), names.to_owned());
        self.blocking(false, move || names.iter().map(|name| read(&profile, name)).collect())
    }

    fn write<'a>(&'a self, profile: &'a str, changes: Vec<EntryChange>) -> StoreFuture<'a, ()> {
        let profile = profile.to_owned();
        self.blocking(false, move || {
            changes.iter().try_for_each(|(name, value)| change(&profile, name, value.as_ref()))
        })
    }

    fn unlock(&self) -> StoreFuture<'_, bool> {
        // There is nothing to open: a read that may prompt is enough to make the system prompt.
        self.blocking(true, || read("default", EntryName::Canary.as_str()).map(|_| false))
    }
}

impl Native {
    fn blocking<'a, T: Send + 'static>(
        &self,
        may_ask: bool,
        call: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> StoreFuture<'a, T> {
        let one_at_a_time = self.0.clone();
        Box::pin(async move {
            let call = move || {
                let _guard = one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
                let _quiet = quiet(may_ask);
                call()
            };
            let joined = tokio::task::spawn_blocking(call).await;
            joined.unwrap_or_else(|_| Err(KeychainError::Other("its thread ended".into()).into()))
        })
    }
}

/// Turns the system's dialogs into errors until it is dropped.
#[cfg(target_os = "macos")]
fn quiet(may_ask: bool) -> Option<impl Drop> {
    use security_framework::os::macos::keychain::SecKeychain;
    (!may_ask).then(|| SecKeychain::disable_user_interaction().ok()).flatten()
}

/// Windows never prompts.
#[cfg(windows)]
fn quiet(_may_ask: bool) {}

fn read(profile: &str, name: &str) -> Result<Option<Secret>, Error> {
    match entry(profile, name)?.get_password() {
        Ok(text) => Ok(Some(Secret::new(text))),
        Err(keyring_core::Error::NoEntry) => Ok(None),
        Err(error) => Err(from_keyring(error)),
    }
}

fn change(profile: &str, name: &str, value: Option<&Secret>) -> Result<(), Error> {
    let entry = entry(profile, name)?;
    match value {
        Some(value) => entry.set_password(value.expose()).map_err(from_keyring),
        None => match entry.delete_credential() {
            Ok(()) | Err(keyring_core::Error::NoEntry) => Ok(()),
            Err(error) => Err(from_keyring(error)),
        },
    }
}

fn entry(profile: &str, name: &str) -> Result<Entry, Error> {
    #[cfg(target_os = "macos")]
    let (store, modifiers) =
        (apple_native_keyring_store::keychain::Store::new().map_err(from_keyring)?, None);
    // The default would roam with the Windows profile to other machines.
    #[cfg(windows)]
    let (store, modifiers) = (
        windows_native_keyring_store::Store::new().map_err(from_keyring)?,
        Some(HashMap::from([("persistence", "Local")])),
    );
    let modifiers: Option<HashMap<&str, &str>> = modifiers;
    let user = format!("{profile}/{name}");
    store.build(SERVICE, &user, modifiers.as_ref()).map_err(from_keyring)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is non-exhaustive")]
fn from_keyring(error: keyring_core::Error) -> Error {
    use keyring_core::Error as Fault;
    match error {
        Fault::NoStorageAccess(_) => Error::Locked,
        Fault::TooLong(_, most) => KeychainError::TooLong(most).into(),
        Fault::BadEncoding(_) | Fault::BadDataFormat(_, _) => {
            KeychainError::ReadBackMismatch.into()
        }
        Fault::NoDefaultStore => KeychainError::NoStore.into(),
        _ => KeychainError::Other("the system's call".into()).into(),
    }
}
