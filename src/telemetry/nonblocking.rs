//! Writes log lines without waiting for a slow terminal, a full pipe or a busy journal.
//!
//! A thread writes; its queue is bounded, and a line that finds the queue full is counted and lost.
//!
//! tracing-appender 0.2.5 has such a writer too. With standard error and standard output on one
//! full pipe, its guard never returns: it reports the full queue with `println!`. Ours gives up
//! after [`FLUSH_TIMEOUT`]. Theirs also makes a system call per line, ours one per burst; panics if
//! no thread can be started; and brings eight crates (`time` among them) for these 60 lines.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// The queue to the thread. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct NonBlockingWriter {
    sender: SyncSender<LogMessage>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum LogMessage {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Where the lines go.
pub(super) trait LogSink: Send + 'static {
    /// Writes lines. A failure to log cannot be logged.
    fn write_lines(&mut self, lines: &[Vec<u8>]);
}

/// Writes the lines of a burst at once: a system call per burst, not per line.
pub(super) struct StreamSink<W>(pub(super) W);

impl<W: Write + Send + 'static> LogSink for StreamSink<W> {
    fn write_lines(&mut self, lines: &[Vec<u8>]) {
        // If standard error is closed, the failure cannot be reported.
        let _ = self.0.write_all(&lines.concat()).and_then(|()| self.0.flush());
    }
}

impl NonBlockingWriter {
    /// Starts the thread that writes to `sink`.
    pub(super) fn start(sink: impl LogSink) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE_CAPACITY);
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || write(&receiver, sink))?;
        Ok(Self { sender, dropped: Arc::default() })
    }

    /// Returns how many lines have been lost.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines so far are written, at most [`FLUSH_TIMEOUT`].
    pub(super) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        // A stuck log cannot report that it is stuck.
        if self.sender.try_send(LogMessage::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

impl Write for &NonBlockingWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sender.try_send(LogMessage::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for NonBlockingWriter {
    type Writer = &'a NonBlockingWriter;

    fn make_writer(&'a self) -> &'a NonBlockingWriter {
        self
    }
}

/// Writes all lines that are there at once.
fn write(receiver: &Receiver<LogMessage>, mut sink: impl LogSink) {
    let mut burst = vec![];
    while let Ok(message) = receiver.recv() {
        let mut flushed = vec![];
        let more = std::iter::from_fn(|| receiver.try_recv().ok());
        for message in std::iter::once(message).chain(more.take(QUEUE_CAPACITY)) {
            match message {
                LogMessage::Line(line) => burst.push(line),
                LogMessage::Flush(done) => flushed.push(done),
            }
        }
        if !burst.is_empty() {
            sink.write_lines(&burst);
        }
        burst.clear();
        for done in flushed {
            let _ = done.send(());
        }
    }
}

/// Most lines in the queue: a second of debug lines under load.
const QUEUE_CAPACITY: usize = 8192;

/// Longest wait for the last lines at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn lines_are_written_in_order_and_flushed() {
        let out = Shared::default();
        let writer = NonBlockingWriter::start(StreamSink(out.clone())).unwrap();

        (&writer).write_all(b"one\n").unwrap();
        (&writer).write_all(b"two\n").unwrap();
        writer.flush();

        assert_eq!(*out.0.lock().unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn a_stuck_terminal_loses_lines_and_blocks_no_logger() {
        let out = Shared::default();
        let stuck = out.0.lock().unwrap();
        let writer = NonBlockingWriter::start(StreamSink(out.clone())).unwrap();

        for _ in 0..3 * QUEUE_CAPACITY {
            (&writer).write_all(b"line\n").unwrap();
        }
        drop(stuck);

        let dropped = writer.dropped();
        assert!(dropped >= QUEUE_CAPACITY as u64 - 1, "{dropped}");
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
