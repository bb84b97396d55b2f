//! The load of each data thread: read where connections are dealt out, and by the metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The load of one data thread.
#[derive(Debug, Default)]
pub struct ThreadLoad {
    open: AtomicUsize,
    requests: AtomicU64,
    is_retired: AtomicBool,
}

impl ThreadLoad {
    /// Returns how many connections the thread has.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Returns how many requests the thread has begun.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Says whether the thread is to have no connections any more.
    pub fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Relaxed)
    }

    /// Takes the thread out of service, or back into it.
    pub fn set_retired(&self, is_retired: bool) {
        self.is_retired.store(is_retired, Ordering::Relaxed);
    }

    /// Counts a connection of the thread.
    pub fn add_connection(self: &Arc<Self>) -> ThreadConnection {
        self.open.fetch_add(1, Ordering::Relaxed);
        ThreadConnection(self.clone())
    }
}

/// A connection of a data thread, counted until this is dropped.
#[derive(Debug)]
pub struct ThreadConnection(Arc<ThreadLoad>);

impl ThreadConnection {
    /// Counts a request. Only the thread itself calls this, so a plain store is enough: an atomic
    /// addition would lock the bus for each request.
    pub fn count_request(&self) {
        let requests = &self.0.requests;
        requests.store(requests.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Says whether the connection should end after its next response.
    pub fn is_retired(&self) -> bool {
        self.0.is_retired()
    }
}

impl Drop for ThreadConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The loads of all data threads, in the order of their numbers.
#[derive(Debug, Default)]
pub struct DataThreads(Mutex<Vec<Arc<ThreadLoad>>>);

impl DataThreads {
    /// Adds a thread that has started.
    pub fn add(&self, load: Arc<ThreadLoad>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(load);
    }

    /// Returns the load of each thread.
    pub fn loads(&self) -> Vec<Arc<ThreadLoad>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
