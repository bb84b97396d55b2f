//! The keeper's pair at rest: written, erased, and dropped from memory when locked.

use tracing::warn;

use super::tasks::{apart_blocking, blocking};
use super::{Keeper, Step};
use crate::session::error::Error;
use crate::session::event::Event;
use crate::session::home::Home;
use crate::session::issuer::Issuer;
use crate::session::saved;
use crate::session::state::Store;
use crate::session::writer::Wrote;

impl<I: Issuer> Keeper<I> {
    pub(super) fn store(&mut self) {
        let file = match &self.home {
            Some((Home::File(saved), _)) => Some(saved.clone()),
            Some((Home::Memory, _)) | None => None,
        };
        (self.desk.seen)(Step::Published);
        let now = self.desk.clock.now().boot;
        self.writer.write(file.zip(self.held.clone()), self.desk.seen, now);
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

    /// Removes the file wherever the pair is kept now: an earlier key may have sealed it.
    pub(super) fn erase(&mut self) {
        let directory = self.desk.directory.clone();
        self.held = None;
        self.erasing = Some(apart_blocking(move || {
            let erased = directory.map_or(Ok(()), |directory| saved::erase(&directory));
            erased.err().map(|error| error.to_string())
        }));
    }

    pub(super) fn erased(&mut self, problem: Option<String>) {
        self.note_problem(problem);
        self.step(Event::Erased);
        for reply in self.waiting.erased.drain(..) {
            let _ = reply.send(());
        }
    }

    pub(super) async fn keep_lock_flag(&mut self, locked: bool) {
        let desk = self.desk.clone();
        let kept = blocking(move || {
            (desk.seen)(Step::Writing);
            desk.attempts.set_locked(locked)
        });
        let word = if locked { "locked" } else { "unlocked" };
        self.note_problem(kept.await.err().map(|error| {
            format!(
                "that the session is {word} could not be saved and is lost by a restart: {error}"
            )
        }));
        self.publish();
    }

    /// Locked means that no token is in memory, as soon as none is lost by that.
    pub(super) fn drop_if_locked(&mut self) {
        let is_locked = matches!(self.state.error(), Some(Error::Locked));
        if !is_locked || !self.state.is_settled() || self.state.store() != Store::Durable {
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
