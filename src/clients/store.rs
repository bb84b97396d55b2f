//! The file of the clients: `clients.json` in the profile's state directory.
//!
//! Commands replace the file as a whole, under a lock. The daemon reads the file whenever it was
//! replaced. A file that cannot be read is an error, and is never overwritten: it might still hold
//! clients that a person wants back.

pub mod wire;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::budget::{Budget, Budgets};
use super::key::{self, KeyHash};
use super::{ClientPolicy, Error, LimitChange, RedactionPolicy, WebOrigin};
use crate::config::{Rule, RuleSet, format_rate, parse_rate};
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
        return Err(damaged(format!("the file has version {}, not {VERSION}", written.version)));
    }
    let clients = written.clients.into_iter().map(|record| {
        let name = record.name.clone();
        record.into_client().ok_or_else(|| damaged(format!("the entry of `{name}` is not valid")))
    });
    clients.collect()
}

/// Adds a client and returns its key, which is stored nowhere.
///
/// # Errors
///
/// [`Error::Name`], [`Error::Exists`], and those of reading and writing the file.
pub fn add(directory: &Path, name: &str, limits: ClientPolicy) -> Result<Secret, Error> {
    if !is_valid_name(name) {
        return Err(Error::Name { name: name.to_owned() });
    }
    let (key, hash) = new_key();
    update(directory, |clients| {
        let now = SystemTime::now();
        // An expired client makes room for a new one of its name.
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
/// [`Error::Missing`], and those of reading and writing the file.
pub fn revoke(directory: &Path, name: &str) -> Result<(), Error> {
    update(directory, |clients| {
        let before = clients.len();
        clients.retain(|client| client.name != name);
        if clients.len() == before {
            return Err(Error::Missing { name: name.to_owned() });
        }
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
    let replaced = update(directory, |clients| {
        let client = find_mut(clients, name)?;
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
    update(directory, |clients| {
        let is_taken = clients.iter().any(|client| client.hash.to_hex() == replaced.key_sha256);
        let client = find_mut(clients, name)?;
        let is_current =
            client.id == replaced.id && client.hash.to_hex() == replaced.issued_sha256 && !is_taken;
        let hash = KeyHash::from_hex(&replaced.key_sha256).filter(|_| is_current);
        client.hash = hash.ok_or_else(|| Error::Changed { name: name.to_owned() })?;
        Ok(())
    })
}

/// Changes the limits of a client, and returns them; its key and counts stay.
///
/// # Errors
///
/// [`Error::Missing`], and those of reading and writing the file.
pub fn set(directory: &Path, name: &str, change: &LimitChange) -> Result<ClientPolicy, Error> {
    update(directory, |clients| {
        let client = find_mut(clients, name)?;
        client.limits = change.apply(&client.limits);
        Ok(client.limits.clone())
    })
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
    change: impl FnOnce(&mut Vec<StoredClient>) -> Result<T, Error>,
) -> Result<T, Error> {
    let path = directory.join(FILE_NAME);
    let failed = |source| Error::Write { path: path.clone(), source };
    secure_fs::create_dir(directory).map_err(failed)?;
    let lock = secure_fs::open_lock_file(&directory.join("clients.lock")).map_err(failed)?;
    // Another command holds the lock for a few milliseconds; closing the file releases it.
    lock.lock().map_err(failed)?;
    let mut clients = list(directory)?;
    let changed = change(&mut clients)?;
    let written = ClientsFile {
        version: VERSION,
        clients: clients.iter().map(ClientEntry::from_client).collect(),
    };
    let text = serde_json::to_string_pretty(&written).expect("strings and numbers become JSON");
    let text = format!("{text}\n");
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::Full { max: MAX_FILE_BYTES });
    }
    secure_fs::atomic_write(&path, text.as_bytes()).map_err(failed)?;
    Ok(changed)
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
    /// These four are left out where they say nothing, for earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ask: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_writes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_deletes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_bytes: Option<String>,
    expires: Option<u64>,
    rate: Option<String>,
    max_requests: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<WebOrigin>,
    #[serde(default, skip_serializing_if = "RedactionPolicy::is_default")]
    redaction: RedactionPolicy,
}

impl ClientEntry {
    fn from_client(client: &StoredClient) -> Self {
        let texts = |rules: &[Rule]| rules.iter().map(|rule| rule.as_str().to_owned()).collect();
        let ClientPolicy { read_only, allow, deny, ask, budgets, .. } = &client.limits;
        let ClientPolicy { expires, rate, max_requests, origin, redaction, .. } = &client.limits;
        Self {
            id: client.id.clone(),
            name: client.name.clone(),
            key_sha256: client.hash.to_hex(),
            created: to_unix_seconds(client.created),
            read_only: *read_only,
            allow: texts(allow),
            deny: texts(deny),
            ask: texts(ask),
            max_writes: budgets.writes.as_ref().map(Budget::format_count),
            max_deletes: budgets.deletes.as_ref().map(Budget::format_count),
            max_bytes: budgets.bytes.as_ref().map(Budget::format_bytes),
            expires: expires.map(to_unix_seconds),
            rate: rate.map(format_rate),
            max_requests: *max_requests,
            origin: origin.clone(),
            redaction: redaction.clone(),
        }
    }

    fn into_client(self) -> Option<StoredClient> {
        let rules = |texts: Vec<String>| {
            texts.iter().map(|text| Rule::parse(text).ok()).collect::<Option<RuleSet>>()
        };
        let limits = ClientPolicy {
            read_only: self.read_only,
            allow: rules(self.allow)?,
            deny: rules(self.deny)?,
            ask: rules(self.ask)?,
            budgets: Budgets {
                writes: parse_budget(self.max_writes, Budget::parse_count)?,
                deletes: parse_budget(self.max_deletes, Budget::parse_count)?,
                bytes: parse_budget(self.max_bytes, Budget::parse_bytes)?,
            },
            expires: match self.expires {
                Some(seconds) => Some(from_unix_seconds(seconds)?),
                None => None,
            },
            rate: match self.rate {
                Some(text) => Some(parse_rate(&text)?),
                None => None,
            },
            max_requests: self.max_requests,
            origin: self.origin,
            redaction: self.redaction,
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

/// Reads a budget, if there is one; `None` for what is none.
#[expect(clippy::option_option, reason = "no budget is not a budget that cannot be read")]
fn parse_budget(
    text: Option<String>,
    parse: impl Fn(&str) -> Option<Budget>,
) -> Option<Option<Budget>> {
    match text {
        Some(text) => parse(&text).map(Some),
        None => Some(None),
    }
}

fn to_unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn from_unix_seconds(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Returns the path of the file.
pub(super) fn store_path(directory: &Path) -> PathBuf {
    directory.join(FILE_NAME)
}

const FILE_NAME: &str = "clients.json";

const VERSION: u32 = 1;

/// Longest file that is read, in bytes: room for ten thousand clients with twenty rules each.
const MAX_FILE_BYTES: u64 = 16 << 20;
