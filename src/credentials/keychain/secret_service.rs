//! Secret Service over D-Bus: GNOME Keyring, KWallet, KeePassXC.
//!
//! Each call has a connection of its own. Only the default collection is used. A provider without
//! one (WSL, a new user) makes it when a person opens the keychain, and asks for its password.

use std::time::Duration;

use oo7::Secret as StoredSecret;
use oo7::dbus::{Collection, Error as Fault, Service, ServiceError};

use super::KeychainError;
use super::store::{EntryChange, EntryStore, SERVICE, StoreFuture};
use crate::credentials::Error;
use crate::secret::Secret;

/// The Secret Service of this user's session.
#[derive(Debug)]
pub(super) struct SecretService;

impl EntryStore for SecretService {
    fn read<'a>(
        &'a self,
        profile: &'a str,
        names: &'a [String],
    ) -> StoreFuture<'a, Vec<Option<Secret>>> {
        Box::pin(async move {
            let collection = open().await?;
            let mut found = Vec::with_capacity(names.len());
            for name in names {
                found.push(read(&collection, profile, name).await?);
            }
            Ok(found)
        })
    }

    fn write<'a>(&'a self, profile: &'a str, changes: Vec<EntryChange>) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let collection = open().await?;
            for (name, value) in changes {
                match value {
                    Some(value) => write(&collection, profile, &name, &value).await?,
                    None => erase(&collection, profile, &name).await?,
                }
            }
            Ok(())
        })
    }

    fn unlock(&self) -> StoreFuture<'_, bool> {
        Box::pin(async {
            let collection = match default().await {
                Err(Error::Unavailable(error))
                    if error.downcast_ref() == Some(&KeychainError::NoCollection) =>
                {
                    create_default().await?;
                    return open().await.map(|_| true);
                }
                found => found?,
            };
            if !collection.is_locked().await.map_err(from_dbus)? {
                return Ok(false);
            }
            match collection.unlock(None).await {
                Ok(()) => wait_unlocked(&collection).await?,
                // The dialog was closed, or could not be shown; a person may have opened the
                // collection in another one.
                Err(Fault::Dismissed) => {}
                Err(error) => return Err(from_dbus(error)),
            }
            open().await.map(|_| true)
        })
    }
}

/// Waits for a collection whose dialog is over: a provider may tell of the answer before it has used
/// it. Whether the collection is open then, its next use says.
async fn wait_unlocked(collection: &Collection) -> Result<(), Error> {
    for _ in 0..UNLOCK_POLLS {
        if !collection.is_locked().await.map_err(from_dbus)? {
            break;
        }
        tokio::time::sleep(UNLOCK_POLL_INTERVAL).await;
    }
    Ok(())
}

/// Returns the default collection, unless it is locked.
async fn open() -> Result<Collection, Error> {
    let collection = default().await?;
    if collection.is_locked().await.map_err(from_dbus)? {
        return Err(Error::Locked);
    }
    Ok(collection)
}

async fn default() -> Result<Collection, Error> {
    // Without an address D-Bus would look for a display to start a bus for, or guess a socket.
    let service = Service::new().await.map_err(from_dbus)?;
    let collection = service.with_alias(Service::DEFAULT_COLLECTION).await.map_err(from_dbus)?;
    collection.ok_or_else(|| KeychainError::NoCollection.into())
}

/// Has the provider make the default collection. The person chooses its password in a dialog of the
/// provider; without one, there is still no collection.
async fn create_default() -> Result<(), Error> {
    let service = Service::new().await.map_err(from_dbus)?;
    let made = service.create_collection(COLLECTION_LABEL, Some(Service::DEFAULT_COLLECTION), None);
    match made.await {
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::debug!(error = %from_dbus(error), "no default collection was made");
            Err(KeychainError::NoCollection.into())
        }
    }
}

async fn read(collection: &Collection, profile: &str, name: &str) -> Result<Option<Secret>, Error> {
    let items = collection.search_items(&attributes(profile, name)).await.map_err(from_dbus)?;
    let Some(item) = items.first() else { return Ok(None) };
    let secret = item.secret().await.map_err(from_dbus)?;
    let text =
        std::str::from_utf8(secret.as_bytes()).map_err(|_| KeychainError::ReadBackMismatch)?;
    Ok(Some(Secret::new(text)))
}

async fn write(
    collection: &Collection,
    profile: &str,
    name: &str,
    value: &Secret,
) -> Result<(), Error> {
    let label = format!("{SERVICE} {name} ({profile})");
    let secret = StoredSecret::text(value.expose());
    let attributes = attributes(profile, name);
    collection.create_item(&label, &attributes, secret, true, None).await.map_err(from_dbus)?;
    Ok(())
}

async fn erase(collection: &Collection, profile: &str, name: &str) -> Result<(), Error> {
    for item in collection.search_items(&attributes(profile, name)).await.map_err(from_dbus)? {
        item.delete(None).await.map_err(from_dbus)?;
    }
    Ok(())
}

/// How often a collection is looked at after its dialog: for three seconds.
const UNLOCK_POLLS: u32 = 30;
const UNLOCK_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// As desktops name it.
const COLLECTION_LABEL: &str = "Login";

/// `secret-tool lookup service nexudus-proxy profile default entry password`
fn attributes<'a>(profile: &'a str, name: &'a str) -> [(&'static str, &'a str); 3] {
    [("service", SERVICE), ("profile", profile), ("entry", name)]
}

/// Converts an error into our words. Of an error of the bus, only its name is used.
fn from_dbus(fault: Fault) -> Error {
    let bus_error = match fault {
        Fault::Service(ServiceError::IsLocked(_)) => return Error::Locked,
        Fault::Service(ServiceError::ZBus(bus_error)) | Fault::ZBus(bus_error) => bus_error,
        Fault::Service(ServiceError::NoSession(_) | ServiceError::NoSuchObject(_))
        | Fault::Deleted
        | Fault::NotFound(_) => {
            return KeychainError::Other("it was restarted meanwhile".into()).into();
        }
        Fault::Dismissed => return Error::Locked,
        Fault::IO(_) => return KeychainError::NoBus.into(),
        Fault::Crypto(_) => return KeychainError::Other("the exchange of keys".into()).into(),
    };
    from_zbus(&bus_error).into()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "zbus may add errors; each is one of a bus")]
fn from_zbus(error: &oo7::zbus::Error) -> KeychainError {
    use oo7::zbus::Error as Wire;
    match error {
        Wire::Address(_) | Wire::InputOutput(_) | Wire::Handshake(_) => KeychainError::NoBus,
        Wire::MethodError(name, _, _) => from_error_name(name.as_str()),
        Wire::FDO(error) => {
            use oo7::zbus::DBusError as _;
            from_error_name(error.name().as_str())
        }
        _ => KeychainError::NoBus,
    }
}

/// Converts a D-Bus error by its name.
fn from_error_name(name: &str) -> KeychainError {
    match name.rsplit('.').next().unwrap_or_default() {
        "ServiceUnknown" | "NameHasNoOwner" | "SpawnChildExited" | "UnixProcessIdUnknown" => {
            KeychainError::NoProvider
        }
        _ if name.contains(".Spawn.") => KeychainError::NoProvider,
        _ => KeychainError::Other(name.to_owned()),
    }
}
