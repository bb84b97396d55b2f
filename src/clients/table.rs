//! The clients of the file as it was last read, found by the hash of their keys.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::ClientContext;
use super::client::Client;
use super::key::KeyHash;
use super::shared_counts;
use super::store::{self, StoredClient};
use super::usage::Usage;

/// The clients as they were last read, and how they are read again.
#[derive(Debug)]
pub(super) struct TableCell {
    directory: PathBuf,
    shared: Arc<ClientContext>,
    current: ArcSwap<ClientTable>,
    /// Held while the file is read: one reading is enough for all who wait for it. The use of each
    /// client, by its identifier, outlives the tables.
    usage: Mutex<BTreeMap<String, Arc<Usage>>>,
    /// Counts the readings.
    revision: watch::Sender<u64>,
}

/// The clients of one version of the file.
#[derive(Debug, Default)]
pub(super) struct ClientTable {
    /// `None`: nothing was read yet.
    version: Option<FileVersion>,
    /// In the order in which they were added.
    clients: Vec<Arc<Client>>,
    by_hash: HashMap<KeyHash, Arc<Client>>,
    /// The origins of web pages that clients name.
    origins: BTreeSet<String>,
    pub(super) is_readable: bool,
}

impl TableCell {
    pub(super) fn new(directory: &Path, shared: Arc<ClientContext>) -> Self {
        let current = ArcSwap::default();
        let (directory, usage) = (directory.to_owned(), Mutex::default());
        Self { directory, shared, current, usage, revision: watch::Sender::new(0) }
    }

    /// Returns the directory of the clients' file.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    pub(super) fn load_full(&self) -> Arc<ClientTable> {
        self.current.load_full()
    }

    pub(super) fn load(&self) -> Guard<Arc<ClientTable>> {
        self.current.load()
    }

    /// Reads the file if it was replaced.
    pub(super) fn reload_if_changed(&self) {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        if self.load().is_current() {
            return;
        }
        // Before the content: what is written meanwhile makes another version.
        let version = Some(FileVersion::open(&store::store_path(&self.directory)));
        let table = match store::list(&self.directory) {
            Ok(stored) => {
                let before = std::mem::take(&mut *usage);
                let client = |stored: StoredClient| {
                    let used = before.get(&stored.id).cloned().unwrap_or_default();
                    usage.insert(stored.id.clone(), used.clone());
                    let (name, shared) = (stored.name.as_str().into(), self.shared.clone());
                    Arc::new(Client { name, stored, usage: used, shared })
                };
                let clients: Vec<_> = stored.into_iter().map(client).collect();
                if let Some(shared) = self.shared.counts.get() {
                    let gone = before.keys().filter(|id| !usage.contains_key(*id));
                    gone.for_each(|id| shared_counts::remove_client(&**shared, id));
                }
                let by_hash = clients.iter().map(|it| (it.stored.hash.clone(), it.clone()));
                let by_hash = by_hash.collect();
                let origins = clients.iter().filter_map(|it| it.policy().origin.as_ref());
                let origins = origins.map(|origin| origin.as_str().to_owned()).collect();
                ClientTable { version, clients, by_hash, origins, is_readable: true }
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "all client keys are refused: could not read the clients");
                ClientTable { version, ..ClientTable::default() }
            }
        };
        self.current.store(Arc::new(table));
        self.revision.send_modify(|revision| *revision += 1);
    }
}

impl ClientTable {
    /// Says whether the file is still the one that was read.
    pub(super) fn is_current(&self) -> bool {
        self.version.as_ref().is_some_and(FileVersion::is_current)
    }

    /// Returns the client with this key, valid or not.
    pub(super) fn find(&self, presented: &[u8]) -> Option<&Arc<Client>> {
        self.get(&KeyHash::of(presented))
    }

    pub(super) fn get(&self, hash: &KeyHash) -> Option<&Arc<Client>> {
        self.by_hash.get(hash)
    }

    pub(super) fn clients(&self) -> &[Arc<Client>] {
        &self.clients
    }

    pub(super) fn names_origin(&self, origin: &str) -> bool {
        self.origins.contains(origin)
    }

    pub(super) fn has_id(&self, id: &str) -> bool {
        self.clients.iter().any(|client| client.stored.id == id)
    }
}

/// One version of the file: the open file, and what the system said of it.
#[derive(Debug)]
struct FileVersion {
    path: PathBuf,
    file: Option<File>,
    stamp: Option<FileStamp>,
}

/// Device, inode, links, time of change, size: a file that was replaced has lost its link, and one
/// that was written to or renamed has another time of change.
#[cfg(unix)]
type FileStamp = (u64, u64, u64, i64, i64, u64);

/// Time of change and size.
#[cfg(not(unix))]
type FileStamp = (Option<std::time::SystemTime>, u64);

impl FileVersion {
    fn open(path: &Path) -> Self {
        let file = if cfg!(unix) { File::open(path).ok() } else { None };
        let stamp = Self::stamp(file.as_ref(), path);
        Self { path: path.to_owned(), file, stamp }
    }

    fn is_current(&self) -> bool {
        Self::stamp(self.file.as_ref(), &self.path) == self.stamp
    }

    /// An open file is asked itself, which costs a third of finding it by its path.
    #[cfg(unix)]
    fn stamp(file: Option<&File>, path: &Path) -> Option<FileStamp> {
        use std::os::unix::fs::MetadataExt as _;
        let found = match file {
            Some(file) => file.metadata(),
            None => std::fs::metadata(path),
        };
        let it = found.ok()?;
        Some((it.dev(), it.ino(), it.nlink(), it.ctime(), it.ctime_nsec(), it.size()))
    }

    #[cfg(not(unix))]
    fn stamp(_: Option<&File>, path: &Path) -> Option<FileStamp> {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok(), found.len()))
    }
}
