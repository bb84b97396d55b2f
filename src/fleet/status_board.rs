//! The figures of `fleet status`, gathered as they change.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared_session::call::{CallError, Snapshot};
use shared_session::engine::Reached;
use shared_session::member::Member;
use shared_session::record::{Incarnation, MemberInfo};
use shared_session::register::Entry;
use shared_session::seal::Keyring;

use super::{FleetMember, FleetRole, FleetStatus, View};

/// The figures of `fleet status`.
#[derive(Debug, Default)]
pub(super) struct StatusBoard(Mutex<Board>);

#[derive(Debug, Default)]
struct Board {
    status: FleetStatus,
    /// When the engine last answered, on the boot clock.
    contact: Option<Duration>,
    /// When the list of members was read.
    listed: Duration,
    /// Until when callers with keys are served.
    serves_keys_until: Option<Duration>,
    /// Records that open and cannot be read.
    unreadable: u64,
}

impl StatusBoard {
    pub(super) fn new(info: &MemberInfo, clients_shared: bool) -> Self {
        let name = info.name.clone();
        let status =
            FleetStatus { configured: true, name, clients_shared, ..FleetStatus::default() };
        Self(Mutex::new(Board { status, ..Board::default() }))
    }

    /// Notes how a call went.
    pub(super) fn engine_answered(
        &self,
        error: Option<CallError>,
        round_trip: Option<Duration>,
        reached: Option<Reached>,
        server: impl FnOnce() -> Option<String>,
    ) {
        let mut board = self.board();
        let status = &mut board.status;
        status.connected = error.is_none();
        status.trouble = error.map(|error| error.to_string());
        if error.is_none() {
            status.engine = server();
            status.round_trip_ms = round_trip.map(super::convert::millis).or(status.round_trip_ms);
            status.durability = reached.map(durability).or(status.durability.take());
        }
    }

    /// Notes what a poll has brought.
    pub(super) fn polled(
        &self,
        snapshot: &Snapshot,
        keys: &Keyring,
        me: &Incarnation,
        now: Duration,
    ) {
        let mut members: Vec<_> = snapshot
            .members
            .iter()
            .map(|(id, (seen, stored))| {
                let info = stored.open::<MemberInfo>(keys, id.as_str()).ok();
                FleetMember {
                    name: info.as_ref().map(|info| info.name.clone()),
                    version: info.map(|info| info.version),
                    seen_s: seen.as_secs(),
                    here: id == me,
                    holds_lease: snapshot.lease.as_ref() == Some(id),
                }
            })
            .collect();
        members.sort_by(|one, other| {
            (!one.here, &one.name, one.seen_s).cmp(&(!other.here, &other.name, other.seen_s))
        });
        let mut board = self.board();
        let holder = members.iter().find(|member| member.holds_lease);
        board.status.lease = holder.map(|one| one.name.clone().unwrap_or_default());
        board.status.spares = u64::try_from(snapshot.spares.len()).unwrap_or(u64::MAX);
        board.status.behind = snapshot.behind.is_some();
        board.status.members = members;
        board.listed = now;
    }

    /// Notes what the member knows after a step.
    pub(super) fn stepped(&self, member: &Member, view: &View, contact: Option<Duration>) {
        let local = member.local();
        let mut board = self.board();
        board.contact = contact;
        let status = &mut board.status;
        status.fence = local.seen.number();
        status.epoch = local.epoch.fence().number();
        status.generation = local.session.fence().number();
        status.committed = !local.is_uncommitted && status.generation > 0;
        status.holds_lease = member.holds_lease();
        status.role = if status.holds_lease { FleetRole::Holder } else { FleetRole::Member };
        status.apart = local.apart.is_some();
        (status.locked, status.logged_out) = (view.is_locked, view.is_logged_out);
        status.strays = u64::try_from(local.set.strays().count()).unwrap_or(u64::MAX);
        (status.clients, status.clients_revoked, status.clients_unopened) = (0, 0, 0);
        for (_, entry) in local.set.clients() {
            match entry {
                Entry::Live(..) => status.clients += 1,
                Entry::Revoked(..) => status.clients_revoked += 1,
                Entry::Unopened(_) => status.clients_unopened += 1,
            }
        }
        board.serves_keys_until = member.serves_keys_until();
    }

    /// Notes how many records open and cannot be read: they are of another version.
    pub(super) fn note_unreadable(&self, number: usize) {
        self.board().unreadable = u64::try_from(number).unwrap_or(u64::MAX);
    }

    /// Returns the status; ages are those of `now`, on the boot clock.
    pub(super) fn status(&self, now: Duration) -> FleetStatus {
        let board = self.board();
        let mut status = board.status.clone();
        status.clients_unopened += board.unreadable;
        status.clients = status.clients.saturating_sub(board.unreadable);
        let is_fresh = board.serves_keys_until.is_some_and(|end| now <= end);
        status.clients_stale = status.clients_shared && !is_fresh;
        status.silent_s = board.contact.map(|contact| now.saturating_sub(contact).as_secs());
        let older = now.saturating_sub(board.listed).as_secs();
        status.members.iter_mut().for_each(|member| member.seen_s += older);
        status
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn durability(reached: Reached) -> String {
    let text = match (reached.is_enough(), reached.file, reached.expected) {
        (false, _, _) => "not reached",
        (true, Some(_), 0) => "file",
        (true, Some(_), _) => "file and replicas",
        (true, None, 0) => "none",
        (true, None, _) => "replicas",
    };
    text.to_owned()
}
