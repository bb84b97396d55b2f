//! Changes by the fleet: tokens that others renewed, their lock, their logout.

use tokio::sync::{oneshot, watch};
use tracing::info;

use super::{SessionTask, notify};
use crate::fleet::{Fleet, View};
use crate::session::refresh::endpoint::Issuer;
use crate::session::refresh::fleet_source::{FleetSource, shared_record};
use crate::session::refresh::outcome::FetchResult;
use crate::session::spawn::spawn;
use crate::session::state::event::Event;

/// The link of the session task to the member of this machine. The member ends with it.
#[derive(Debug)]
pub(super) struct FleetLink {
    fleet: Fleet,
    views: watch::Receiver<View>,
    is_locked: bool,
    is_logged_out: bool,
    has_left: bool,
    /// Whether a lock of the whole fleet was asked for here, which this machine keeps by itself until
    /// the fleet has it.
    lock_sent: bool,
}

impl FleetLink {
    pub(super) fn new(fleet: Fleet) -> Self {
        Self {
            views: fleet.subscribe(),
            fleet,
            is_locked: false,
            is_logged_out: false,
            has_left: false,
            lock_sent: false,
        }
    }
}

impl Drop for FleetLink {
    fn drop(&mut self) {
        self.fleet.stop();
    }
}

/// Waits for the next view; for ever where this machine is alone.
pub(super) async fn next_view(link: &mut Option<FleetLink>) {
    if let Some(link) = link
        && link.views.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

impl<I: Issuer> SessionTask<I> {
    /// Shares the session with the other members of a fleet.
    pub(crate) fn with_fleet(mut self, fleet: Option<Fleet>) -> Self {
        if let (Some(fleet), Some(context)) = (fleet, std::sync::Arc::get_mut(&mut self.context)) {
            self.fleet = Some(FleetLink::new(fleet.clone()));
            let (directory, binding) = (context.directory.clone(), context.binding.clone());
            context.fleet = Some(FleetSource::new(fleet, directory, binding));
        }
        self
    }

    /// Takes over what has changed in the fleet.
    pub(super) fn follow_fleet(&mut self) {
        let Some(link) = &mut self.fleet else { return };
        let view = link.views.borrow_and_update().clone();
        let was = (link.is_locked, link.is_logged_out, link.has_left);
        (link.is_locked, link.is_logged_out, link.has_left) =
            (view.is_locked, view.is_logged_out, view.has_left);
        let keeps_lock = view.is_locked && std::mem::take(&mut link.lock_sent);
        if was.0 != view.is_locked {
            self.follow_lock(view.is_locked, keeps_lock);
        }
        if (view.is_logged_out, view.has_left) != (was.1, was.2) {
            self.follow_logout(&view);
        }
        self.follow_token(&view);
        self.reply_flushed();
    }

    fn follow_lock(&mut self, locked: bool, was_sent_here: bool) {
        if was_sent_here {
            // The fleet has the lock now, and any member may end it.
            self.locked_here = false;
            self.write_lock_flag(false);
        }
        info!(locked, "the fleet was {}", if locked { "locked" } else { "unlocked" });
        if locked {
            self.step(Event::Locked);
            self.drop_if_locked();
        } else if !self.locked_here {
            self.step(Event::Unlocked);
        }
    }

    fn follow_logout(&mut self, view: &View) {
        let is_out = view.is_logged_out || view.has_left;
        if is_out && !self.state.is_logged_out() {
            self.record = None;
            self.shared.clear_permissions();
            self.step(Event::LoggedOut);
            info!("the fleet has logged out");
        } else if !is_out && self.state.is_logged_out() {
            self.step(Event::LogoutEnded);
        }
    }

    fn follow_token(&mut self, view: &View) {
        // An attempt in flight returns the newest token itself.
        if self.fetch.is_some() || self.state.is_logged_out() || self.state.is_locked() {
            return;
        }
        let now = self.context.clock.now();
        let held = self.state.token();
        match view.token.as_ref().filter(|token| now.boot < token.expiry) {
            Some(token) => {
                let record = shared_record(token, now);
                let is_known = held.is_some_and(|held| {
                    held.generation == token.generation
                        && held.expires_at().abs_diff(token.expiry) < super::MIN_SUSPEND
                });
                let Some(token) = record.token(now).filter(|_| !is_known) else { return };
                self.record = Some(record);
                self.shared.record_confirmed_login();
                self.log_issued(FetchResult::Resumed, &token);
                self.step(Event::Issued { token, is_new: false });
            }
            None if held.is_some() => {
                // Of an older login than the newest that is known, or ended.
                self.record = None;
                self.perform(Event::AccountChanged);
                self.step(Event::RefreshRequested);
            }
            None => {}
        }
    }

    /// Tells the fleet that Nexudus has rejected this token, unless it is kept.
    pub(super) fn reject_in_fleet(&self, generation: u64) {
        let is_kept = self.state.token().is_some_and(|token| token.generation == generation);
        if let Some(link) = self.fleet.as_ref().filter(|_| !is_kept) {
            link.fleet.reject(generation);
        }
    }

    /// Ends the session of every member.
    pub(super) fn log_out_fleet(&self) {
        if let Some(link) = &self.fleet {
            link.fleet.log_out();
        }
    }

    /// Locks or unlocks every member.
    pub(super) fn lock_fleet(&mut self, locked: bool) {
        if let Some(link) = &mut self.fleet {
            link.lock_sent = locked && !link.is_locked;
            link.fleet.set_locked(locked);
        }
    }

    /// Says whether the fleet is locked, whatever was asked for here.
    pub(super) fn is_fleet_locked(&self) -> bool {
        self.fleet.as_ref().is_some_and(|link| link.is_locked)
    }

    /// Takes this machine off the list of members, for good; replies when that is done.
    pub(super) fn leave_fleet(&self, reply: oneshot::Sender<()>) {
        let context = self.context.clone();
        // The session follows the view, which changes at the end.
        drop(spawn(async move {
            if let Some(source) = &context.fleet {
                source.fleet.leave().await;
                source.disk.erase().await;
            }
            notify(reply);
        }));
    }

    /// Says whether a stop would lose nothing of the member.
    pub(super) fn is_fleet_settled(&self) -> bool {
        self.fleet.as_ref().is_none_or(|link| !link.views.borrow().is_busy)
    }

    /// Takes this run off the list of members.
    pub(super) async fn end_fleet(&mut self) {
        if let Some(link) = self.fleet.take() {
            link.fleet.end().await;
        }
    }
}
