//! The clients at rest: `clients.json` in the profile's state directory.
//!
//! Written by commands, under a lock and replaced whole; read by the daemon whenever the file is
//! another than before. A file that cannot be read is an error, and stays as it is: nothing is
//! written over what might still be somebody's clients.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::key::{self, KeyHash};
use super::{ClientPolicy, Error};
use crate::config::{Rule, format_rate, parse_rate};
use crate::secret::Secret;
use crate::secure_fs;

/// A client as it is kept.
#[derive(Clone, Debug)]
pub struct StoredClient {
    /// Another for each client, also of the same name: its use is counted under it.
    pub(super) id: String,
    /// Its name.
    pub name: String,
    pub(super) hash: KeyHash,
    /// When it was made.
    pub created: SystemTime,
    /// How far it may go.
    pub limits: ClientPolicy,
}

/// Returns the clients; none when there is no file.
///
/// # Errors
///
/// [`Error::Unreadable`] or [`Error::Damaged`].
pub fn list(directory: &Path) -> Result<Vec<StoredClient>, Error> {
    let path = directory.join(FILE_NAME);
    let text = match read_private_file(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => return Err(Error::Unreadable { path, source }),
    };
    let damaged = |what: String| Error::Damaged { path: path.clone(), what };
    let written: ClientsFile =
        serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    if written.version != VERSION {
        return Err(damaged(format!("it is of version {}, not {VERSION}", written.version)));
    }
    let kept = written.clients.into_iter().map(|record| {
        let name = record.name.clone();
        record
            .into_client()
            .ok_or_else(|| damaged(format!("its entry for `{name}` makes no sense")))
    });
    kept.collect()
}

/// Adds a client and returns its key, which is nowhere else.
///
/// # Errors
///
/// [`Error::EntryName`], [`Error::Exists`], and whatever keeps the file from being read or written.
pub fn add(directory: &Path, name: &str, limits: ClientPolicy) -> Result<Secret, Error> {
    if !is_valid_name(name) {
        return Err(Error::Name { name: name.to_owned() });
    }
    let key = key::generate();
    let hash = KeyHash::from_key(key.expose().as_bytes())
        .expect("a key that was just made is well-formed");
    update(directory, |clients| {
        let now = SystemTime::now();
        // One that has expired only stands in the way of its own successor.
        clients.retain(|client| client.name != name || !client.limits.is_expired(now));
        if clients.iter().any(|client| client.name == name) {
            return Err(Error::Exists { name: name.to_owned() });
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        clients.push(StoredClient { id, name: name.to_owned(), hash, created: now, limits });
        Ok(())
    })?;
    Ok(key)
}

/// Removes a client. Its key is refused from the next request on.
///
/// # Errors
///
/// [`Error::Missing`], and whatever keeps the file from being read or written.
pub fn revoke(directory: &Path, name: &str) -> Result<(), Error> {
    update(directory, |clients| {
        let before = clients.len();
        clients.retain(|client| client.name != name);
        match clients.len() < before {
            true => Ok(()),
            false => Err(Error::Missing { name: name.to_owned() }),
        }
    })
}

fn update(
    directory: &Path,
    change: impl FnOnce(&mut Vec<StoredClient>) -> Result<(), Error>,
) -> Result<(), Error> {
    let path = directory.join(FILE_NAME);
    let failed = |source| Error::Write { path: path.clone(), source };
    secure_fs::create_dir(directory).map_err(failed)?;
    let lock = secure_fs::open_lock_file(&directory.join("clients.lock")).map_err(failed)?;
    // Held for a few milliseconds by whoever else changes the clients now; closing releases it.
    lock.lock().map_err(failed)?;
    let mut clients = list(directory)?;
    change(&mut clients)?;
    let written = ClientsFile {
        version: VERSION,
        clients: clients.iter().map(ClientEntry::from_client).collect(),
    };
    let text = serde_json::to_string_pretty(&written).expect("strings and numbers become JSON");
    secure_fs::atomic_write(&path, format!("{text}\n").as_bytes()).map_err(failed)
}

/// Reads a file that only its owner may read or write.
pub(super) fn read_private_file(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions());
        if mode & 0o022 != 0 {
            let what = "others can write it: chmod 600 it";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Names are written into log lines and on command lines.
fn is_valid_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('-')
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ClientsFile {
    version: u32,
    clients: Vec<ClientEntry>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ClientEntry {
    id: String,
    name: String,
    key_sha256: String,
    /// Seconds since 1970, like every time here.
    created: u64,
    read_only: bool,
    allow: Vec<String>,
    deny: Vec<String>,
    expires: Option<u64>,
    rate: Option<String>,
    max_requests: Option<u64>,
}

impl ClientEntry {
    fn from_client(kept: &StoredClient) -> Self {
        let texts = |rules: &[Rule]| rules.iter().map(|rule| rule.as_str().to_owned()).collect();
        let ClientPolicy { read_only, allow, deny, expires, rate, max_requests } = &kept.limits;
        Self {
            id: kept.id.clone(),
            name: kept.name.clone(),
            key_sha256: kept.hash.to_hex(),
            created: to_unix_seconds(kept.created),
            read_only: *read_only,
            allow: texts(allow),
            deny: texts(deny),
            expires: expires.map(to_unix_seconds),
            rate: rate.map(format_rate),
            max_requests: *max_requests,
        }
    }

    fn into_client(self) -> Option<StoredClient> {
        let rules = |texts: Vec<String>| {
            texts.iter().map(|text| Rule::parse(text).ok()).collect::<Option<Vec<_>>>()
        };
        let limits = ClientPolicy {
            read_only: self.read_only,
            allow: rules(self.allow)?,
            deny: rules(self.deny)?,
            expires: self.expires.map(from_unix_seconds).transpose_some()?,
            rate: self.rate.map(|text| parse_rate(&text)).transpose_some()?,
            max_requests: self.max_requests,
        };
        let hash = KeyHash::from_hex(&self.key_sha256)?;
        Some(StoredClient {
            id: self.id,
            name: self.name,
            hash,
            created: from_unix_seconds(self.created)?,
            limits,
        })
    }
}

/// `Option<Option<T>>`, where the inner `None` is a failure.
trait TransposeSome<T> {
    fn transpose_some(self) -> Option<Option<T>>;
}

impl<T> TransposeSome<T> for Option<Option<T>> {
    fn transpose_some(self) -> Option<Option<T>> {
        match self {
            None => Some(None),
            Some(None) => None,
            Some(some) => Some(some),
        }
    }
}

fn to_unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn from_unix_seconds(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Where the clients of a profile are.
pub(super) fn store_path(directory: &Path) -> PathBuf {
    directory.join(FILE_NAME)
}

const FILE_NAME: &str = "clients.json";

const VERSION: u32 = 1;

/// Largest file read, in bytes: room for ten thousand clients.
const MAX_FILE_BYTES: u64 = 4 << 20;
