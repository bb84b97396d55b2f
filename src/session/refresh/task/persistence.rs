//! The token pair on disk: written, erased, and dropped from memory when the session is locked.

use tracing::{info, warn};

use super::{SessionTask, notify};
use crate::session::refresh::context::FetchStep;
use crate::session::refresh::endpoint::Issuer;
use crate::session::spawn::spawn_blocking;
use crate::session::state::event::Event;
use crate::session::store::sealed_file;
use crate::session::store::write_queue::{WriteJob, WriteResult};

impl<I: Issuer> SessionTask<I> {
    pub(crate) fn write_session(&mut self) {
        let file = self.store.as_ref().and_then(|store| store.file.clone());
        (self.context.on_step)(FetchStep::Published);
        let (now, context) = (self.context.clock.now().boot, self.context.clone());
        let write = file.zip(self.record.clone()).map(|(file, record)| -> WriteJob {
            Box::new(move || {
                (context.on_step)(FetchStep::Writing);
                context.epochs.ensure_file().map_err(|error| error.to_string())?;
                file.write(&record).map_err(|error| error.to_string())
            })
        });
        self.session_writes.push(write, now);
    }

    pub(crate) fn finish_write(&mut self, written: WriteResult) {
        match written {
            WriteResult::Durable => {
                (self.context.on_step)(FetchStep::Stored);
                // The directory works again.
                if self.store.as_ref().is_some_and(|store| store.file.is_some()) {
                    self.set_problem(None);
                }
                self.step(Event::Stored);
                self.drop_if_locked();
            }
            WriteResult::Failed => {
                let reason = self.session_writes.last_error().unwrap_or_default();
                warn!(error = reason, "could not save the session; serving on");
                self.step(Event::StoreFailed);
            }
        }
    }

    /// Removes the file wherever the pair is stored now: an earlier key may have sealed one. The
    /// epoch is raised first: a file that a crash leaves behind is then not used.
    pub(crate) fn erase(&mut self) {
        let context = self.context.clone();
        self.record = None;
        self.erasing = Some(spawn_blocking(move || {
            let ended = context
                .epochs
                .record_logout(Some(&context.binding.origin), context.clock.now().wall);
            let directory = context.directory.as_deref();
            let erased =
                directory.map_or(Ok(()), |path| sealed_file::erase(path, &context.binding));
            let unsaved = |error| format!("that the session has ended could not be saved: {error}");
            erased.err().map(|error| error.to_string()).or(ended.err().map(unsaved))
        }));
    }

    pub(crate) fn finish_erase(&mut self, problem: Option<String>) {
        self.set_problem(problem);
        self.step(Event::Erased);
        // Another logout meanwhile has started another erasure.
        if self.erasing.is_none() {
            self.waiters.erased.drain(..).for_each(notify);
        }
    }

    /// Locks or unlocks at once, whatever the disk does: only the caller of the command waits for it.
    pub(super) fn set_locked(&mut self, locked: bool, everywhere: bool) {
        self.locked_here = locked;
        self.write_lock_flag(locked);
        if everywhere {
            self.lock_fleet(locked);
        }
        // The lock of the fleet ends when the fleet says so.
        let is_locked = locked || self.is_fleet_locked();
        self.step(if is_locked { Event::Locked } else { Event::Unlocked });
        self.drop_if_locked();
        info!(locked, "{}", if locked { "session locked" } else { "session unlocked" });
    }

    pub(crate) fn write_lock_flag(&mut self, locked: bool) {
        let context = self.context.clone();
        let write: WriteJob = Box::new(move || {
            (context.on_step)(FetchStep::Writing);
            let flag = context.attempts.set_locked(locked);
            let epoch = if locked { context.epochs.increment() } else { Ok(()) };
            flag.and(epoch).map_err(|error| error.to_string())
        });
        self.lock_writes.push(Some(write), self.context.clock.now().boot);
    }

    /// The newest lock flag is on disk, or could not be written.
    pub(crate) fn finish_lock_flag(&mut self) {
        let word = if self.state.is_locked() { "locked" } else { "unlocked" };
        self.set_problem(self.lock_writes.last_error().map(|error| {
            format!(
                "that the session is {word} could not be saved and is lost by a restart: {error}"
            )
        }));
        self.publish();
        self.waiters.lock_saved.drain(..).for_each(notify);
        self.reply_flushed();
    }

    /// Drops the tokens of a locked session from memory, once they are on disk.
    pub(crate) fn drop_if_locked(&mut self) {
        if !self.state.is_locked() || !self.state.is_settled() || !self.state.is_durable() {
            return;
        }
        let is_in_memory = self.store.as_ref().is_some_and(|store| store.file.is_none());
        if is_in_memory {
            if let Some(held) = &mut self.record {
                held.pair = None;
            }
        } else {
            self.record = None;
        }
    }
}
