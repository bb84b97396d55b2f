//! The keeper's pair at rest: written, erased, and dropped from memory when locked.

use tracing::warn;

use super::tasks::apart_blocking;
use super::{Keeper, Step, done};
use crate::session::event::Event;
use crate::session::home::Home;
use crate::session::issuer::Issuer;
use crate::session::saved;
use crate::session::state::Store;
use crate::session::writer::{Write, Wrote};

impl<I: Issuer> Keeper<I> {
    pub(super) fn store(&mut self) {
        let file = match &self.home {
            Some((Home::File(saved), _)) => Some(saved.clone()),
            Some((Home::Memory, _)) | None => None,
        };
        (self.desk.seen)(Step::Published);
        let (now, desk) = (self.desk.clock.now().boot, self.desk.clone());
        let write = file.zip(self.held.clone()).map(|(file, record)| -> Write {
            Box::new(move || {
                (desk.seen)(Step::Writing);
                desk.epochs.prepare().map_err(|error| error.to_string())?;
                file.write(&record).map_err(|error| error.to_string())
            })
        });
        self.writer.write(write, now);
    }

    pub(super) fn wrote(&mut self, wrote: Wrote) {
        match wrote {
            Wrote::Durable => {
                (self.desk.seen)(Step::Stored);
                // What was wrong with the directory is not any more.
                if matches!(self.home, Some((Home::File(_), _))) {
                    self.note_problem(None);
                }
                self.step(Event::Stored);
                self.drop_if_locked();
            }
            Wrote::Failed => {
                let reason = self.writer.trouble().unwrap_or_default();
                warn!(error = reason, "the session could not be saved; serving on");
                self.step(Event::NotStored);
                self.refuse_refresh();
            }
        }
    }

    /// Removes the file wherever the pair is kept now: an earlier key may have sealed it. The epoch
    /// is first: what a crash leaves of the file is then not used.
    pub(super) fn erase(&mut self) {
        let desk = self.desk.clone();
        self.held = None;
        self.erasing = Some(apart_blocking(move || {
            let ended = desk.epochs.end(Some(&desk.binding.origin), desk.clock.now().wall);
            let directory = desk.directory.as_deref();
            let erased = directory.map_or(Ok(()), |path| saved::erase(path, &desk.binding));
            let unkept = |error| format!("that the session has ended could not be saved: {error}");
            erased.err().map(|error| error.to_string()).or(ended.err().map(unkept))
        }));
    }

    pub(super) fn erased(&mut self, problem: Option<String>) {
        self.note_problem(problem);
        self.step(Event::Erased);
        self.waiting.erased.drain(..).for_each(done);
    }

    pub(super) fn keep_lock_flag(&mut self, locked: bool) {
        let desk = self.desk.clone();
        let write: Write = Box::new(move || {
            (desk.seen)(Step::Writing);
            let kept = desk.attempts.set_locked(locked);
            let raised = if locked { desk.epochs.raise() } else { Ok(()) };
            kept.and(raised).map_err(|error| error.to_string())
        });
        self.flag.write(Some(write), self.desk.clock.now().boot);
    }

    /// The last word on whether the session is locked is at rest, or will not be for now.
    pub(super) fn flag_kept(&mut self) {
        let word = if self.state.is_locked() { "locked" } else { "unlocked" };
        self.note_problem(self.flag.trouble().map(|error| {
            format!(
                "that the session is {word} could not be saved and is lost by a restart: {error}"
            )
        }));
        self.publish();
        self.waiting.flagged.drain(..).for_each(done);
        self.answer_settled();
    }

    /// Locked means that no token is in memory, as soon as none is lost by that.
    pub(super) fn drop_if_locked(&mut self) {
        if !self.state.is_locked()
            || !self.state.is_settled()
            || self.state.store() != Store::Durable
        {
            return;
        }
        match &self.home {
            Some((Home::Memory, _)) => {
                if let Some(held) = &mut self.held {
                    held.pair = None;
                }
            }
            Some((Home::File(_), _)) | None => self.held = None,
        }
    }
}
