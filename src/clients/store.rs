//! The file of the clients: `clients.json` in the profile's state directory.
//!
//! Commands replace the file as a whole, under a lock. The daemon reads the file whenever it was
//! replaced. A file that cannot be read is an error, and is never overwritten: it might still hold
//! clients that a person wants back.

mod entry;
mod sharing;
pub mod wire;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub(super) use self::entry::Sharing;
use self::entry::{ClientEntry, ClientsFile, RevokedEntry, VERSION};
pub use self::sharing::{FleetRecord, FleetRecords, Offer, Reconciled, SharingNote, reconcile};
use super::key::{self, KeyHash};
use super::{ClientPolicy, Error, LimitChange, to_unix_millis};
use crate::secret::Secret;
use crate::secure_fs;

/// A client as the file has it.
#[derive(Clone, Debug)]
pub struct StoredClient {
    /// Unique, also among clients of the same name: requests are counted under this identifier.
    pub(super) id: String,
    /// The client's name.
    pub name: String,
    pub(super) hash: KeyHash,
    /// When the client was added.
    pub created: SystemTime,
    /// The requests that the client may send.
    pub limits: ClientPolicy,
    /// When the key and the limits were last changed, in milliseconds since 1970: of two versions in a
    /// fleet, the newer key and the newer limits stay.
    pub(super) key_changed: u64,
    pub(super) limits_changed: u64,
    pub(super) sharing: Sharing,
}

/// The content of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub(super) clients: Vec<StoredClient>,
    /// Revocations that the fleet does not know of yet.
    revoked: Vec<RevokedEntry>,
}

/// A key that a rotation has replaced: its hash, which tells nothing about the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedKey {
    /// The client that had it, also among clients of the same name.
    id: String,
    /// The hash, as the file has it.
    key_sha256: String,
    /// The hash of the key that took its place: only that one is taken back.
    issued_sha256: String,
}

/// Returns the clients; none if there is no file.
///
/// # Errors
///
/// [`Error::Unreadable`] or [`Error::Damaged`].
pub fn list(directory: &Path) -> Result<Vec<StoredClient>, Error> {
    read(directory).map(|contents| contents.clients)
}

fn read(directory: &Path) -> Result<Contents, Error> {
    let path = directory.join(FILE_NAME);
    let text = match read_private_file(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::default()),
        Err(source) => return Err(Error::Unreadable { path, source }),
    };
    let damaged = |what: String| Error::Damaged { path: path.clone(), what };
    let written: ClientsFile =
        serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    if written.version != VERSION {
        return Err(damaged(format!("the file has version {}, not {VERSION}", written.version)));
    }
    let clients = written.clients.into_iter().map(|record| {
        let name = record.name.clone();
        record.into_client().ok_or_else(|| damaged(format!("the entry of `{name}` is not valid")))
    });
    Ok(Contents { clients: clients.collect::<Result<_, _>>()?, revoked: written.revoked })
}

/// Adds a client and returns its key, which is stored nowhere.
///
/// # Errors
///
/// [`Error::Name`], [`Error::Exists`], and those of reading and writing the file.
pub fn add(directory: &Path, name: &str, limits: ClientPolicy) -> Result<Secret, Error> {
    add_with(directory, name, limits, Sharing::NotYet)
}

/// Adds a client that no other machine hears of, and returns its key.
pub(super) fn add_here(
    directory: &Path,
    name: &str,
    limits: ClientPolicy,
) -> Result<Secret, Error> {
    add_with(directory, name, limits, Sharing::Never)
}

fn add_with(
    directory: &Path,
    name: &str,
    limits: ClientPolicy,
    sharing: Sharing,
) -> Result<Secret, Error> {
    if !is_valid_name(name) {
        return Err(Error::Name { name: name.to_owned() });
    }
    let (key, hash) = new_key();
    update(directory, |Contents { clients, .. }| {
        let now = SystemTime::now();
        // An expired client makes room for a new one of its name.
        clients.retain(|client| client.name != name || !client.limits.is_expired(now));
        if clients.iter().any(|client| client.name == name) {
            return Err(Error::Exists { name: name.to_owned() });
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        let (key_changed, limits_changed) = (0, 0);
        let name = name.to_owned();
        clients.push(StoredClient {
            id,
            name,
            hash,
            created: now,
            limits,
            key_changed,
            limits_changed,
            sharing,
        });
        Ok(())
    })?;
    Ok(key)
}

/// Removes a client. Its key is refused from the next request on.
///
/// # Errors
///
/// [`Error::Missing`], and those of reading and writing the file.
pub fn revoke(directory: &Path, name: &str) -> Result<(), Error> {
    update(directory, |Contents { clients, revoked }| {
        let (ended, left): (Vec<_>, _) =
            std::mem::take(clients).into_iter().partition(|client| client.name == name);
        *clients = left;
        if ended.is_empty() {
            return Err(Error::Missing { name: name.to_owned() });
        }
        let is_shared = |client: &&StoredClient| client.sharing == Sharing::Shared;
        revoked.extend(ended.iter().filter(is_shared).map(RevokedEntry::from_client));
        Ok(())
    })
}

/// Gives a client a new key and returns it; its limits and counts stay. The old key is refused from
/// the next request on. The old key comes too, for [`undo_rotation`].
///
/// # Errors
///
/// [`Error::Missing`], and those of reading and writing the file.
pub fn rotate(directory: &Path, name: &str) -> Result<(Secret, ReplacedKey), Error> {
    let (key, hash) = new_key();
    let replaced = update(directory, |Contents { clients, .. }| {
        let client = find_mut(clients, name)?;
        client.key_changed = next_version(client.key_changed);
        let issued_sha256 = hash.to_hex();
        let replaced = std::mem::replace(&mut client.hash, hash);
        Ok(ReplacedKey { id: client.id.clone(), key_sha256: replaced.to_hex(), issued_sha256 })
    })?;
    Ok((key, replaced))
}

/// Makes the key that a client had before a rotation valid again, because the new one could not be
/// shown.
///
/// # Errors
///
/// [`Error::Missing`], [`Error::Changed`] if it has another key by now, and those of reading and
/// writing the file.
pub fn undo_rotation(directory: &Path, name: &str, replaced: &ReplacedKey) -> Result<(), Error> {
    update(directory, |Contents { clients, .. }| {
        let is_taken = clients.iter().any(|client| client.hash.to_hex() == replaced.key_sha256);
        let client = find_mut(clients, name)?;
        let is_current =
            client.id == replaced.id && client.hash.to_hex() == replaced.issued_sha256 && !is_taken;
        let hash = KeyHash::from_hex(&replaced.key_sha256).filter(|_| is_current);
        client.hash = hash.ok_or_else(|| Error::Changed { name: name.to_owned() })?;
        client.key_changed = next_version(client.key_changed);
        Ok(())
    })
}

/// Changes the limits of a client, and returns them; its key and counts stay.
///
/// # Errors
///
/// [`Error::Missing`], and those of reading and writing the file.
pub fn set(directory: &Path, name: &str, change: &LimitChange) -> Result<ClientPolicy, Error> {
    update(directory, |Contents { clients, .. }| {
        let client = find_mut(clients, name)?;
        client.limits_changed = next_version(client.limits_changed);
        client.limits = change.apply(&client.limits);
        Ok(client.limits.clone())
    })
}

/// Numbers a change: later ones are higher, also by a clock that was set back.
fn next_version(before: u64) -> u64 {
    to_unix_millis(SystemTime::now()).max(before.saturating_add(1))
}

fn find_mut<'a>(
    clients: &'a mut [StoredClient],
    name: &str,
) -> Result<&'a mut StoredClient, Error> {
    let found = clients.iter_mut().find(|client| client.name == name);
    found.ok_or_else(|| Error::Missing { name: name.to_owned() })
}

pub(super) fn new_key() -> (Secret, KeyHash) {
    let key = key::generate();
    let hash = KeyHash::of(key.expose().as_bytes());
    (key, hash)
}

pub(super) fn update<T>(
    directory: &Path,
    change: impl FnOnce(&mut Contents) -> Result<T, Error>,
) -> Result<T, Error> {
    let path = directory.join(FILE_NAME);
    let failed = |source| Error::Write { path: path.clone(), source };
    secure_fs::create_dir(directory).map_err(failed)?;
    let lock = secure_fs::open_lock_file(&directory.join("clients.lock")).map_err(failed)?;
    // Another command holds the lock for a few milliseconds; closing the file releases it.
    lock.lock().map_err(failed)?;
    let mut contents = read(directory)?;
    let before = written(&contents);
    let changed = change(&mut contents)?;
    let text = written(&contents);
    if text == before {
        return Ok(changed);
    }
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::Full { max: MAX_FILE_BYTES });
    }
    secure_fs::atomic_write(&path, text.as_bytes()).map_err(failed)?;
    Ok(changed)
}

fn written(contents: &Contents) -> String {
    let file = ClientsFile {
        version: VERSION,
        clients: contents.clients.iter().map(ClientEntry::from_client).collect(),
        revoked: contents.revoked.clone(),
    };
    let text = serde_json::to_string_pretty(&file).expect("strings and numbers become JSON");
    format!("{text}\n")
}

/// Reads a file that only its owner may write.
pub(super) fn read_private_file(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions());
        if mode & 0o022 != 0 {
            let what = "other users can write the file: chmod 600 it";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Says whether a name can stand in log lines and on command lines.
fn is_valid_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    let is_key = super::contains_key(name.as_bytes());
    (1..=64).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('-') && !is_key
}

/// Returns the path of the file.
pub(super) fn store_path(directory: &Path) -> PathBuf {
    directory.join(FILE_NAME)
}

const FILE_NAME: &str = "clients.json";

/// Longest file that is read, in bytes: room for ten thousand clients with twenty rules each.
const MAX_FILE_BYTES: u64 = 16 << 20;
