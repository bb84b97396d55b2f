//! The keeper's pair at rest: written, erased, and dropped from memory when locked.

use tracing::warn;

use super::spawn::spawn_blocking;
use super::{FetchStep, SessionTask, notify};
use crate::session::endpoint::Issuer;
use crate::session::event::Event;
use crate::session::sealed_file;
use crate::session::state::Durability;
use crate::session::token_store::TokenStore;
use crate::session::write_queue::{WriteJob, WriteResult};

impl<I: Issuer> SessionTask<I> {
    pub(super) fn write_session(&mut self) {
        let file = match &self.store {
            Some((TokenStore::File(saved), _)) => Some(saved.clone()),
            Some((TokenStore::Memory, _)) | None => None,
        };
        (self.context.on_step)(FetchStep::Published);
        let (now, desk) = (self.context.clock.now().boot, self.context.clone());
        let write = file.zip(self.record.clone()).map(|(file, record)| -> WriteJob {
            Box::new(move || {
                (desk.on_step)(FetchStep::Writing);
                desk.epochs.ensure_file().map_err(|error| error.to_string())?;
                file.write(&record).map_err(|error| error.to_string())
            })
        });
        self.session_writes.push(write, now);
    }

    pub(super) fn finish_write(&mut self, wrote: WriteResult) {
        match wrote {
            WriteResult::Durable => {
                (self.context.on_step)(FetchStep::Stored);
                // What was wrong with the directory is not any more.
                if matches!(self.store, Some((TokenStore::File(_), _))) {
                    self.set_problem(None);
                }
                self.step(Event::Stored);
                self.drop_if_locked();
            }
            WriteResult::Failed => {
                let reason = self.session_writes.last_error().unwrap_or_default();
                warn!(error = reason, "the session could not be saved; serving on");
                self.step(Event::StoreFailed);
                self.reply_if_refused();
            }
        }
    }

    /// Removes the file wherever the pair is kept now: an earlier key may have sealed it. The epoch
    /// is first: what a crash leaves of the file is then not used.
    pub(super) fn erase(&mut self) {
        let desk = self.context.clone();
        self.record = None;
        self.erasing = Some(spawn_blocking(move || {
            let ended =
                desk.epochs.record_logout(Some(&desk.binding.origin), desk.clock.now().wall);
            let directory = desk.directory.as_deref();
            let erased = directory.map_or(Ok(()), |path| sealed_file::erase(path, &desk.binding));
            let unkept = |error| format!("that the session has ended could not be saved: {error}");
            erased.err().map(|error| error.to_string()).or(ended.err().map(unkept))
        }));
    }

    pub(super) fn finish_erase(&mut self, problem: Option<String>) {
        self.set_problem(problem);
        self.step(Event::Erased);
        self.waiters.erased.drain(..).for_each(notify);
    }

    pub(super) fn write_lock_flag(&mut self, locked: bool) {
        let desk = self.context.clone();
        let write: WriteJob = Box::new(move || {
            (desk.on_step)(FetchStep::Writing);
            let kept = desk.attempts.set_locked(locked);
            let raised = if locked { desk.epochs.increment() } else { Ok(()) };
            kept.and(raised).map_err(|error| error.to_string())
        });
        self.lock_writes.push(Some(write), self.context.clock.now().boot);
    }

    /// The last word on whether the session is locked is at rest, or will not be for now.
    pub(super) fn finish_lock_flag(&mut self) {
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

    /// Locked means that no token is in memory, as soon as none is lost by that.
    pub(super) fn drop_if_locked(&mut self) {
        if !self.state.is_locked()
            || !self.state.is_settled()
            || self.state.store() != Durability::Durable
        {
            return;
        }
        match &self.store {
            Some((TokenStore::Memory, _)) => {
                if let Some(held) = &mut self.record {
                    held.pair = None;
                }
            }
            Some((TokenStore::File(_), _)) | None => self.record = None,
        }
    }
}
