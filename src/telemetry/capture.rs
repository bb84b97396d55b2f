//! The content of requests, kept for a while for readers that ask for it: headers by name, queries
//! and bodies.
//!
//! The content is kept as it came, in this process alone: a face that shows it redacts it first. All
//! of it together takes at most [`CAPACITY`] bytes; the oldest goes first. Without a reader nothing is
//! kept, and the end of the last reader wipes the rest. The allocator of the program wipes what is
//! freed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, Uri};

/// The content that a reader asks for, beside the headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureScope {
    /// The queries.
    pub queries: bool,
    /// The bodies.
    pub bodies: bool,
}

/// The captured content of all requests. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Captures(Arc<CaptureStore>);

#[derive(Debug, Default)]
struct CaptureStore {
    readers: AtomicUsize,
    query_readers: AtomicUsize,
    body_readers: AtomicUsize,
    /// Bytes of all captures, those of requests in flight included.
    used: AtomicUsize,
    /// Grows with each wipe: what began before is not kept.
    epoch: AtomicU64,
    /// The numbers of requests that have ended, the oldest first.
    kept: Mutex<VecDeque<(u64, Arc<Capture>)>>,
}

/// A reader. Its end wipes everything, if there is no other.
#[derive(Debug)]
pub struct CaptureReader {
    store: Arc<CaptureStore>,
    scope: CaptureScope,
}

/// The captured content of one request.
pub struct Capture {
    /// The path of the request.
    pub path: String,
    /// The query; `None` where no reader wants it.
    pub query: Option<String>,
    /// The headers of the request that are in `REQUEST_HEADERS`.
    pub request_headers: Vec<(&'static str, String)>,
    /// The headers of the response that are in `RESPONSE_HEADERS`.
    pub response_headers: Vec<(&'static str, String)>,
    /// The body of the request, where it was captured.
    pub request: Option<CapturedBody>,
    /// The body of the response, where it was captured.
    pub response: Option<CapturedBody>,
    /// Whether `response` is complete.
    is_whole: bool,
    epoch: u64,
    memory: MemoryShare,
}

/// The beginning of a body.
#[derive(Default)]
pub struct CapturedBody {
    pieces: Vec<Box<[u8]>>,
    kept: usize,
    is_cut: bool,
}

/// The bytes that one capture takes, given back when it ends.
#[derive(Debug)]
struct MemoryShare {
    store: Arc<CaptureStore>,
    bytes: usize,
}

impl Captures {
    /// Begins to read.
    pub fn subscribe(&self, scope: CaptureScope) -> CaptureReader {
        let store = self.0.clone();
        store.counters(scope).for_each(|count| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        CaptureReader { store, scope }
    }

    /// Says whether a reader asks for bodies.
    pub fn wants_bodies(&self) -> bool {
        self.0.body_readers.load(Ordering::Relaxed) > 0
    }

    /// Returns the content of a request that has ended, as long as it is kept.
    pub fn get(&self, request_id: u64) -> Option<Arc<Capture>> {
        let kept = self.0.kept();
        // A reader mostly asks for one of the latest.
        let found = kept.iter().rev().find(|(id, _)| *id == request_id);
        found.map(|(_, capture)| capture.clone())
    }

    /// Forgets everything; of the requests in flight too.
    pub fn wipe(&self) {
        self.0.wipe();
    }

    /// Begins to capture a request, if a reader asks for it. `clean` takes keys out of a text.
    pub(super) fn begin(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        clean: impl Fn(&str) -> &str,
    ) -> Option<Box<Capture>> {
        let store = &self.0;
        if store.readers.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let wants_query = store.query_readers.load(Ordering::Relaxed) > 0;
        let query = wants_query.then(|| clean(uri.query().unwrap_or_default()).to_owned());
        let mut capture = Capture {
            path: uri.path().to_owned(),
            query,
            request_headers: chosen(headers, REQUEST_HEADERS, clean),
            response_headers: vec![],
            request: None,
            response: None,
            is_whole: false,
            epoch: store.epoch.load(Ordering::Relaxed),
            memory: MemoryShare { store: store.clone(), bytes: 0 },
        };
        let texts = capture.request_headers.iter().map(|(_, value)| value.len()).sum::<usize>();
        let query = capture.query.as_ref().map_or(0, String::len);
        let size = ENTRY_BYTES + capture.path.len() + query + texts;
        capture.memory.grow(size).then(|| Box::new(capture))
    }

    /// Keeps the content of a request that has ended.
    pub(super) fn keep(&self, request_id: u64, capture: Box<Capture>) {
        let mut kept = self.0.kept();
        let is_current = capture.epoch == self.0.epoch.load(Ordering::Relaxed);
        if is_current && self.0.readers.load(Ordering::Relaxed) > 0 {
            kept.push_back((request_id, Arc::from(capture)));
        }
    }
}

impl CaptureStore {
    /// Returns the numbers of readers in which one with this scope is counted.
    fn counters(&self, scope: CaptureScope) -> impl Iterator<Item = &AtomicUsize> {
        let queries = scope.queries.then_some(&self.query_readers);
        let bodies = scope.bodies.then_some(&self.body_readers);
        [Some(&self.readers), queries, bodies].into_iter().flatten()
    }

    fn wipe(&self) {
        let mut kept = self.kept();
        self.epoch.fetch_add(1, Ordering::Relaxed);
        let wiped = std::mem::take(&mut *kept);
        drop(kept);
        drop(wiped);
    }

    /// Makes room by forgetting the oldest. Returns whether there was anything to forget.
    fn forget_oldest(&self) -> bool {
        let oldest = self.kept().pop_front();
        oldest.is_some()
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(u64, Arc<Capture>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CaptureReader {
    fn drop(&mut self) {
        self.store.counters(self.scope).for_each(|count| {
            count.fetch_sub(1, Ordering::Relaxed);
        });
        if self.store.readers.load(Ordering::Relaxed) == 0 {
            self.store.wipe();
        }
    }
}

impl Capture {
    /// Takes down the headers of the response.
    pub(super) fn set_response_headers(&mut self, headers: &HeaderMap) {
        self.response_headers = chosen(headers, RESPONSE_HEADERS, |value| value);
        let bytes = self.response_headers.iter().map(|(_, value)| value.len()).sum();
        if !self.memory.grow(bytes) {
            self.response_headers.clear();
        }
    }

    /// Begins to capture the bodies; `request`: that of the request, where it is known as a whole.
    pub(super) fn begin_bodies(&mut self, request: Option<&[u8]>) {
        self.response = Some(CapturedBody::default());
        if let Some(bytes) = request {
            let mut body = CapturedBody::default();
            body.append(bytes, &mut self.memory);
            self.request = Some(body);
        }
    }

    /// Captures a response of our own, which repeats nothing of the client's.
    pub(super) fn set_problem(&mut self, text: &[u8]) {
        let mut body = CapturedBody::default();
        body.append(text, &mut self.memory);
        self.response = Some(body);
        self.is_whole = true;
    }

    /// Adds a piece of the response's body, where that is captured.
    pub(super) fn append_response(&mut self, piece: &[u8]) {
        if self.epoch != self.memory.store.epoch.load(Ordering::Relaxed) {
            self.response = None;
            self.request = None;
        }
        if let Some(body) = self.response.as_mut().filter(|_| !self.is_whole) {
            body.append(piece, &mut self.memory);
        }
    }
}

impl CapturedBody {
    /// Makes a body of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { pieces: vec![bytes.into()], kept: bytes.len(), is_cut: false }
    }

    /// Returns the bytes that were kept.
    pub fn bytes(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    /// Says whether there was more.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    fn append(&mut self, piece: &[u8], memory: &mut MemoryShare) {
        let room = MAX_BODY.saturating_sub(self.kept);
        let taken = &piece[..piece.len().min(room)];
        // Where a piece is missing, none may follow.
        if !self.is_cut && !taken.is_empty() && memory.grow(taken.len() + PIECE_BYTES) {
            self.pieces.push(taken.into());
            self.kept += taken.len();
            self.is_cut = taken.len() < piece.len();
        } else {
            self.is_cut |= !piece.is_empty();
        }
    }
}

// Captured content stands in no log line and no message of a panic.
impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Capture(..)")
    }
}

impl fmt::Debug for CapturedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CapturedBody(..)")
    }
}

impl MemoryShare {
    /// Takes `bytes` more; the oldest captures make room. Returns whether there is any.
    fn grow(&mut self, bytes: usize) -> bool {
        let used = &self.store.used;
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= CAPACITY);
        while used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            if !self.store.forget_oldest() {
                return false;
            }
        }
        self.bytes += bytes;
        true
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.store.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Returns the headers with these names. A value that is no short, visible ASCII is left out.
fn chosen(
    headers: &HeaderMap,
    names: &[&'static str],
    clean: impl Fn(&str) -> &str,
) -> Vec<(&'static str, String)> {
    let values = names.iter().flat_map(|name| {
        let values = headers.get_all(*name).iter().filter_map(|value| value.to_str().ok());
        values.filter(|value| value.len() <= MAX_VALUE).map(|value| (*name, value))
    });
    values.map(|(name, value)| (name, clean(value).to_owned())).collect()
}

/// The headers of requests that are captured: never `Authorization`, `Cookie` or one of a name that
/// is not here.
const REQUEST_HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    "content-encoding",
    "content-length",
    "content-type",
    "prefer",
    "range",
    "user-agent",
];

/// The headers of responses that are captured.
const RESPONSE_HEADERS: &[&str] = &[
    "allow",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "proxy-status",
    "retry-after",
    "server-timing",
    "vary",
];

/// Longest value of a header, in bytes: a browser's `User-Agent` has 150.
const MAX_VALUE: usize = 512;

/// Most bytes of all captures together.
const CAPACITY: usize = 16 << 20;

/// Most bytes of one body.
const MAX_BODY: usize = 512 << 10;

/// The memory of a capture beside its texts, in bytes.
const ENTRY_BYTES: usize = 1 << 10;

/// The memory of a piece of a body beside its bytes: the allocator's part, in bytes.
const PIECE_BYTES: usize = 64;

#[cfg(test)]
mod tests;
