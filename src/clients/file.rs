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

use super::key::{self, Hash};
use super::{Error, Limits};
use crate::config::{Rule, read_pace, write_pace};
use crate::private;
use crate::secret::Secret;

/// A client as it is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Another for each client, also of the same name: its use is counted under it.
    pub(super) id: String,
    /// Its name.
    pub name: String,
    pub(super) hash: Hash,
    /// When it was made.
    pub created: SystemTime,
    /// How far it may go.
    pub limits: Limits,
}

/// Returns the clients; none when there is no file.
///
/// # Errors
///
/// [`Error::Unreadable`] or [`Error::Damaged`].
pub fn list(directory: &Path) -> Result<Vec<Kept>, Error> {
    let path = directory.join(NAME);
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => return Err(Error::Unreadable { path, source }),
    };
    let damaged = |what: String| Error::Damaged { path: path.clone(), what };
    let written: Written =
        serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    if written.version != VERSION {
        return Err(damaged(format!("it is of version {}, not {VERSION}", written.version)));
    }
    let kept = written.clients.into_iter().map(|record| {
        let name = record.name.clone();
        record.read().ok_or_else(|| damaged(format!("its entry for `{name}` makes no sense")))
    });
    kept.collect()
}

/// Adds a client and returns its key, which is nowhere else.
///
/// # Errors
///
/// [`Error::Name`], [`Error::Exists`], and whatever keeps the file from being read or written.
pub fn add(directory: &Path, name: &str, limits: Limits) -> Result<Secret, Error> {
    if !is_name(name) {
        return Err(Error::Name { name: name.to_owned() });
    }
    let key = key::generate();
    let hash = Hash::of(key.expose().as_bytes()).expect("a key that was just made is well-formed");
    change(directory, |clients| {
        let now = SystemTime::now();
        // One that has expired only stands in the way of its own successor.
        clients.retain(|client| client.name != name || !client.limits.is_over(now));
        if clients.iter().any(|client| client.name == name) {
            return Err(Error::Exists { name: name.to_owned() });
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        clients.push(Kept { id, name: name.to_owned(), hash, created: now, limits });
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
    change(directory, |clients| {
        let before = clients.len();
        clients.retain(|client| client.name != name);
        match clients.len() < before {
            true => Ok(()),
            false => Err(Error::Missing { name: name.to_owned() }),
        }
    })
}

fn change(
    directory: &Path,
    change: impl FnOnce(&mut Vec<Kept>) -> Result<(), Error>,
) -> Result<(), Error> {
    let path = directory.join(NAME);
    let failed = |source| Error::Write { path: path.clone(), source };
    private::directory(directory).map_err(failed)?;
    let lock = private::open(&directory.join("clients.lock")).map_err(failed)?;
    // Held for a few milliseconds by whoever else changes the clients now; closing releases it.
    lock.lock().map_err(failed)?;
    let mut clients = list(directory)?;
    change(&mut clients)?;
    let written =
        Written { version: VERSION, clients: clients.iter().map(Record::write).collect() };
    let text = serde_json::to_string_pretty(&written).expect("strings and numbers become JSON");
    private::replace(&path, format!("{text}\n").as_bytes()).map_err(failed)
}

/// Reads a file that only its owner may read or write.
pub(super) fn read(path: &Path) -> io::Result<String> {
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
    file.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// Names are written into log lines and on command lines.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('-')
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    clients: Vec<Record>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Record {
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

impl Record {
    fn write(kept: &Kept) -> Self {
        let texts = |rules: &[Rule]| rules.iter().map(|rule| rule.text().to_owned()).collect();
        let Limits { read_only, allow, deny, expires, rate, max_requests } = &kept.limits;
        Self {
            id: kept.id.clone(),
            name: kept.name.clone(),
            key_sha256: kept.hash.write(),
            created: seconds(kept.created),
            read_only: *read_only,
            allow: texts(allow),
            deny: texts(deny),
            expires: expires.map(seconds),
            rate: rate.map(write_pace),
            max_requests: *max_requests,
        }
    }

    fn read(self) -> Option<Kept> {
        let rules = |texts: Vec<String>| {
            texts.iter().map(|text| Rule::read(text).ok()).collect::<Option<Vec<_>>>()
        };
        let limits = Limits {
            read_only: self.read_only,
            allow: rules(self.allow)?,
            deny: rules(self.deny)?,
            expires: self.expires.map(time).transpose_some()?,
            rate: self.rate.map(|text| read_pace(&text)).transpose_some()?,
            max_requests: self.max_requests,
        };
        let hash = Hash::read(&self.key_sha256)?;
        Some(Kept { id: self.id, name: self.name, hash, created: time(self.created)?, limits })
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

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn time(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Where the clients of a profile are.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

const NAME: &str = "clients.json";

const VERSION: u32 = 1;

/// Largest file read, in bytes: room for ten thousand clients.
const LARGEST: u64 = 4 << 20;
