//! The record of what clients did: a file of JSON lines, each with the hash of the line before.
//!
//! A thread of its own writes the file, so that no request waits for a disk but one that changes
//! something: its first line is written before it leaves, its second says how it ended. A read is held
//! no longer than `audit.wait` for a place in the queue; what finds none is counted, and the count is
//! recorded. No line holds a query, a body or a header; paths keep identifiers and lose names.

mod call;
mod chain_reader;
mod head;
mod masking;
mod record;
mod syslog;
mod verify;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub use self::call::{AuditedCall, CallOutcome};
pub use self::chain_reader::{files, for_each_line};
pub use self::masking::mask_path;
pub use self::record::{AuditEvent, AuditRecord};
pub use self::verify::{Verification, VerifyError, verify};
use self::writer::AuditWriter;
use crate::config::{self, AuditFile};
use crate::telemetry::PeerInfo;

/// The record of one daemon. Clones share it.
#[derive(Clone, Debug)]
pub struct Audit(Arc<AuditInner>);

#[derive(Debug)]
struct AuditInner {
    lines: mpsc::Sender<Message>,
    /// A place for each line that waits for the disk.
    places: Arc<Semaphore>,
    /// For hashes of bodies: of this process alone, so that a short body cannot be guessed from its
    /// hash.
    key: hmac::Key,
    wait: Duration,
    is_required: bool,
    /// Calls since the daemon started.
    calls: AtomicU64,
    /// Lines that found no place, since the last one that was written.
    lost: Arc<AtomicU64>,
}

enum Message {
    Line {
        record: Box<AuditRecord>,
        place: Option<OwnedSemaphorePermit>,
        /// Gets whether the line is in the file.
        written: Option<oneshot::Sender<bool>>,
    },
    Stop(mpsc::Sender<()>),
}

/// The change could not be recorded, and `audit.required` refuses it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request could not be recorded, and audit.required is set")]
pub struct Unrecorded;

impl Audit {
    /// Returns the file of this configuration, if there is one.
    pub fn path(config: &config::Audit, state: &Path) -> Option<PathBuf> {
        match &config.file {
            AuditFile::Off => None,
            AuditFile::Auto => Some(state.join("audit.jsonl")),
            AuditFile::Path(path) => Some(path.clone()),
        }
    }

    /// Opens the file and starts the thread that writes it; `None` where the audit is off.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened: a daemon that should record starts only if it can.
    pub fn start(config: &config::Audit, state: &Path) -> io::Result<Option<Self>> {
        let Some(path) = Self::path(config, state) else { return Ok(None) };
        Self::start_with_head_interval(config, &path, HEAD_INTERVAL).map(Some)
    }

    /// Adds one line to a file that no daemon writes now.
    ///
    /// # Errors
    ///
    /// When the line is not in the file.
    pub fn append(config: &config::Audit, state: &Path, record: &AuditRecord) -> io::Result<()> {
        let Some(path) = Self::path(config, state) else { return Ok(()) };
        AuditWriter::open(&path, config.size, config.required)?.append(record)
    }

    fn start_with_head_interval(
        config: &config::Audit,
        path: &Path,
        head_interval: Duration,
    ) -> io::Result<Self> {
        let writer = AuditWriter::open(path, config.size, config.required)?;
        let (lines, received) = mpsc::channel();
        let lost = Arc::<AtomicU64>::default();
        let counted = lost.clone();
        let run = move || run_writer(writer, &received, &counted, head_interval);
        std::thread::Builder::new().name("audit".to_owned()).spawn(run)?;
        let mut key = [0; 32];
        rand::fill(&mut key).expect("the system has random numbers, or TLS would not work either");
        Ok(Self(Arc::new(AuditInner {
            lines,
            places: Arc::new(Semaphore::new(QUEUE_CAPACITY)),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            wait: config.wait,
            is_required: config.required,
            calls: AtomicU64::new(0),
            lost,
        })))
    }

    /// Begins to record a call, of which nothing is written yet.
    pub fn call(&self, record: AuditRecord, peer: Arc<PeerInfo>) -> Box<AuditedCall> {
        let number = self.0.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let record = AuditRecord { call: Some(number), uid: peer.uid, ..record };
        Box::new(AuditedCall::new(self.clone(), record, peer))
    }

    /// Records an event that is no call, and waits for nothing.
    pub fn event(&self, record: AuditRecord) {
        self.send(record, None, None);
    }

    /// Ends the record, once everything in the queue is written; a disk that does not answer is waited
    /// for no longer than `STOP_TIMEOUT`.
    pub fn stop(&self) {
        let (stopped, wait) = mpsc::channel();
        // The thread has ended after an earlier stop.
        let _ = self.0.lines.send(Message::Stop(stopped));
        match wait.recv_timeout(STOP_TIMEOUT) {
            Err(RecvTimeoutError::Timeout) => {
                tracing::error!("the audit could not be written to its end");
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
        }
    }

    /// Returns the keyed hash of a body: equal bodies have equal ones while this daemon runs.
    fn body_hash(&self, body: &[u8]) -> String {
        hex(&hmac::sign(&self.0.key, body).as_ref()[..16])
    }

    fn send(
        &self,
        record: AuditRecord,
        place: Option<OwnedSemaphorePermit>,
        written: Option<oneshot::Sender<bool>>,
    ) {
        let line = Message::Line { record: Box::new(record), place, written };
        if self.0.lines.send(line).is_err() {
            self.count_lost();
        }
    }

    fn count_lost(&self) {
        self.0.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes lines until it is told to stop.
fn run_writer(
    mut writer: AuditWriter,
    received: &mpsc::Receiver<Message>,
    lost: &AtomicU64,
    head_interval: Duration,
) {
    let mut told = std::time::Instant::now();
    let stopped = loop {
        match received.recv_timeout(head_interval.saturating_sub(told.elapsed())) {
            Ok(Message::Line { record, place, written }) => {
                let more = lost.swap(0, Ordering::Relaxed);
                let is_written = writer.write(&record, more);
                if !is_written {
                    lost.fetch_add(more, Ordering::Relaxed);
                }
                drop(place);
                // A request that was given up waits no longer.
                written.map(|written| written.send(is_written).ok());
            }
            Ok(Message::Stop(stopped)) => break Some(stopped),
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if told.elapsed() >= head_interval {
            writer.tell_head();
            told = std::time::Instant::now();
        }
    };
    writer.tell_head();
    // Before the end is told, so that the file is closed then.
    drop(writer);
    stopped.map(|stopped| stopped.send(()).ok());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Most lines that wait for the disk: as many as there are connections by default, twice.
const QUEUE_CAPACITY: usize = 8_192;

/// Longest wait for the disk at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the head of the chain is told where this user cannot change it.
const HEAD_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
