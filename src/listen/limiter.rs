//! Limits the connections at once, for each class of peers: a connection counts once its peer is
//! known.
//!
//! Allowed users share `limits.connections`. Three quarters are the owner's, and some of these the
//! unix socket's. All other users have small limits beside that, for as long as a refusal takes.
//!
//! All limits together fit into the files that the process may have open, with a reserve for
//! everything else: without a free descriptor no request could be sent on, however few there are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::peer::{Peer, PeerAccess};

/// Counts connections by the class of their peer. Clones share the counts.
#[derive(Clone, Debug)]
pub struct ConnectionLimiter {
    max: usize,
    denied: DeniedLimits,
    overflow: usize,
    open: Arc<Mutex<OpenConnections>>,
}

/// How many connections denied users may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DeniedLimits {
    all: usize,
    each: usize,
}

/// The right to have one connection, until dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    class: ConnectionClass,
    open: Arc<Mutex<OpenConnections>>,
}

/// Which limit a connection counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionClass {
    Owner {
        is_unix: bool,
    },
    Guest,
    Remote,
    Denied(Option<u32>),
    Unresolved(u32),
    /// Beyond the limit: its requests get a refusal.
    Overflow,
}

#[derive(Debug, Default)]
struct OpenConnections {
    owner_tcp: usize,
    owner_unix: usize,
    guests: usize,
    remote: usize,
    denied: CountsByUser,
    unresolved: CountsByUser,
    overflow: usize,
}

/// Connections of users who are denied, or not allowed yet.
#[derive(Debug, Default)]
struct CountsByUser {
    all: usize,
    /// Connections by user; `None`: the kernel does not name the user.
    each: BTreeMap<Option<u32>, usize>,
}

impl ConnectionLimiter {
    /// Lets `max` connections be open at once, or as many as there are files for.
    pub fn new(max: usize) -> Self {
        Self::with_files(max, max_open_files())
    }

    /// Limits connections in a process that may have `files` open. A connection takes a file, and
    /// its request another one, for the connection to Nexudus. Most files are left to the owner.
    fn with_files(max: usize, files: usize) -> Self {
        let all = MAX_DENIED.min(files / 8).max(1);
        let denied = DeniedLimits { all, each: MAX_DENIED_PER_USER.min(all.div_ceil(2)) };
        let overflow = MAX_OVERFLOW.min(files / 16).max(1);
        let reserved = 2 * all + overflow + RESERVED_FILES.min(files / 4);
        let max = max.min(files.saturating_sub(reserved) / 2).max(1);
        Self { max, denied, overflow, open: Arc::default() }
    }

    /// Returns how many connections are served at once.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Counts a connection of `peer`, if its class has room.
    ///
    /// # Errors
    ///
    /// The limit that was reached, for the log.
    pub fn acquire(
        &self,
        peer: &Peer,
        access: PeerAccess,
    ) -> Result<ConnectionPermit, &'static str> {
        let is_unix = match peer {
            Peer::Unix { .. } => true,
            Peer::Tcp { .. } => false,
        };
        let class = match access {
            PeerAccess::Owner => ConnectionClass::Owner { is_unix },
            PeerAccess::Guest => ConnectionClass::Guest,
            PeerAccess::Remote => ConnectionClass::Remote,
            PeerAccess::Denied(uid) => ConnectionClass::Denied(uid),
            PeerAccess::Unresolved(uid) => ConnectionClass::Unresolved(uid),
        };
        self.try_acquire(class).or_else(|limit| {
            if !access.is_allowed() {
                return Err(limit);
            }
            self.try_acquire(ConnectionClass::Overflow).map_err(|_| limit)
        })
    }

    fn try_acquire(&self, class: ConnectionClass) -> Result<ConnectionPermit, &'static str> {
        let mut open = self.open();
        let served = open.owner_tcp + open.owner_unix + open.guests + open.remote;
        let others = open.guests + open.remote;
        let (for_unix, for_others) = (RESERVED_FOR_UNIX.min(self.max / 4), self.max / 4);
        // The part of the unix socket that it has not taken stays free for it.
        let reserved = for_unix.saturating_sub(open.owner_unix);
        let reached = match class {
            ConnectionClass::Owner { is_unix: true } => (served >= self.max).then_some(LIMIT_NAME),
            ConnectionClass::Owner { is_unix: false }
            | ConnectionClass::Guest
            | ConnectionClass::Remote
                if served + reserved >= self.max =>
            {
                Some(LIMIT_NAME)
            }
            ConnectionClass::Guest => (others >= for_others).then_some("users beside the owner"),
            ConnectionClass::Remote => (others >= for_others
                || open.remote >= for_others.div_ceil(2))
            .then_some("other machines"),
            ConnectionClass::Denied(uid) => open.denied.reached(uid, self.denied),
            ConnectionClass::Unresolved(uid) => open.unresolved.reached(Some(uid), self.denied),
            ConnectionClass::Overflow => (open.overflow >= self.overflow).then_some(LIMIT_NAME),
            ConnectionClass::Owner { is_unix: false } => None,
        };
        if let Some(limit) = reached {
            return Err(limit);
        }
        open.count(class, |count| *count += 1);
        Ok(ConnectionPermit { class, open: self.open.clone() })
    }

    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    /// Says whether requests are handled, rather than refused as too many.
    pub fn has_room(&self) -> bool {
        self.class != ConnectionClass::Overflow
    }

    /// Says whether the connection may stay between two requests.
    pub fn can_keep_alive(&self) -> bool {
        matches!(
            self.class,
            ConnectionClass::Owner { .. } | ConnectionClass::Guest | ConnectionClass::Remote
        )
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.count(self.class, |count| *count -= 1);
    }
}

impl OpenConnections {
    /// Changes what a connection of this class counts for.
    fn count(&mut self, class: ConnectionClass, change: impl Fn(&mut usize)) {
        match class {
            ConnectionClass::Owner { is_unix: true } => change(&mut self.owner_unix),
            ConnectionClass::Owner { is_unix: false } => change(&mut self.owner_tcp),
            ConnectionClass::Guest => change(&mut self.guests),
            ConnectionClass::Remote => change(&mut self.remote),
            ConnectionClass::Denied(uid) => self.denied.count(uid, change),
            ConnectionClass::Unresolved(uid) => self.unresolved.count(Some(uid), change),
            ConnectionClass::Overflow => change(&mut self.overflow),
        }
    }
}

impl CountsByUser {
    /// Returns the limit that one more connection of this user would exceed.
    fn reached(&self, uid: Option<u32>, limits: DeniedLimits) -> Option<&'static str> {
        match self.each.get(&uid) {
            _ if self.all >= limits.all => Some("all other users"),
            Some(each) if *each >= limits.each => Some("one other user"),
            Some(_) | None => None,
        }
    }

    fn count(&mut self, uid: Option<u32>, change: impl Fn(&mut usize)) {
        change(&mut self.all);
        let each = self.each.entry(uid).or_default();
        change(each);
        if *each == 0 {
            self.each.remove(&uid);
        }
    }
}

/// How the log names `limits.connections`.
const LIMIT_NAME: &str = "limits.connections";

/// Connections of the unix socket whose room no other connection takes.
const RESERVED_FOR_UNIX: usize = 64;

/// Returns how many files this process may have open.
fn max_open_files() -> usize {
    #[cfg(unix)]
    if let Ok((files, _)) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
    {
        return usize::try_from(files).unwrap_or(usize::MAX);
    }
    usize::MAX
}

/// Most connections at once of all denied users, and of one of them, where the process may have
/// files enough.
const MAX_DENIED: usize = 256;
const MAX_DENIED_PER_USER: usize = 32;

/// Most connections beyond their limit that get a refusal, where the process may have files enough.
const MAX_OVERFLOW: usize = 64;

/// Files that are neither a local connection nor one to Nexudus: some thirty of our own (listeners,
/// locks, the log, runtimes), the admin surface's connections, name look-ups, commands.
const RESERVED_FILES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_has_32_places_and_all_of_them_256() {
        let limiter = ConnectionLimiter::with_files(4096, MANY);
        let mut held = vec![];
        let mut take =
            |uid| limiter.acquire(&tcp(), PeerAccess::Denied(uid)).map(|it| held.push(it));

        for uid in [None, Some(1)] {
            assert_eq!((0..40).filter(|_| take(uid).is_ok()).count(), 32, "{uid:?}");
        }
        assert_eq!(take(Some(1)), Err("one other user"));
        assert_eq!((2..1_000).filter(|uid| take(Some(*uid)).is_ok()).count(), 256 - 64);
        assert_eq!(take(Some(7_000)), Err("all other users"));

        assert!(limiter.acquire(&tcp(), PeerAccess::Owner).unwrap().has_room());
        held.clear();
        assert!(limiter.open().denied.each.is_empty());
        assert!(limiter.acquire(&tcp(), PeerAccess::Denied(Some(1))).is_ok());
    }

    #[test]
    fn three_quarters_are_the_owners_whoever_else_is_let_in() {
        let limiter = ConnectionLimiter::with_files(4096, MANY);
        let fill = |peer: &Peer, standing| {
            let places = std::iter::from_fn(|| limiter.acquire(peer, standing).ok());
            places.take_while(ConnectionPermit::has_room).collect::<Vec<_>>()
        };

        let remote = fill(&tcp(), PeerAccess::Remote);
        let guests = fill(&unix(), PeerAccess::Guest);
        assert_eq!((remote.len(), guests.len()), (512, 512));
        let owner = fill(&tcp(), PeerAccess::Owner);
        assert_eq!(owner.len(), 4096 - 1024 - 64);
        // Nor does TCP ever take the room of the unix socket.
        assert_eq!(fill(&unix(), PeerAccess::Owner).len(), 64);
    }

    #[test]
    fn the_owner_alone_has_all_places_and_a_few_more_are_told() {
        let limiter = ConnectionLimiter::new(2);
        let take = || limiter.acquire(&tcp(), PeerAccess::Owner);
        let held: Vec<_> = std::iter::from_fn(|| take().ok()).take(1_000).collect();

        assert_eq!(held.iter().filter(|place| place.has_room()).count(), 2);
        assert_eq!(held.len(), 2 + 64);
        assert_eq!(take().err(), Some(LIMIT_NAME));
    }

    #[test]
    fn users_who_wait_for_the_user_database_take_no_place_of_others() {
        let limiter = ConnectionLimiter::with_files(4096, MANY);
        let waiting = |uid| limiter.acquire(&tcp(), PeerAccess::Unresolved(uid));
        let held: Vec<_> = (0..300).filter_map(|uid| waiting(uid).ok()).collect();

        assert_eq!(held.len(), 256);
        for standing in [PeerAccess::Owner, PeerAccess::Guest, PeerAccess::Denied(Some(300))] {
            assert!(limiter.acquire(&tcp(), standing).unwrap().has_room(), "{standing:?}");
        }
    }

    #[test]
    fn strangers_take_no_more_than_an_eighth_of_the_files_that_there_may_be() {
        for (files, all, each) in [(40, 5, 3), (1, 1, 1), (256, 32, 16), (1_024, 128, 32)] {
            let limiter = ConnectionLimiter::with_files(4096, files);
            let mut held = vec![];
            let mut fill = |standing: fn(u32) -> PeerAccess, uid: u32| {
                held.extend((0..50).map_while(|_| limiter.acquire(&tcp(), standing(uid)).ok()));
                held.len()
            };
            let denied = |uid| PeerAccess::Denied(Some(uid));
            assert_eq!(fill(denied, 1), each, "{files}");
            assert_eq!((2..300).map(|uid| fill(denied, uid)).last(), Some(all), "{files}");
            let unsettled = PeerAccess::Unresolved;
            assert_eq!((0..300).map(|uid| fill(unsettled, uid)).last(), Some(2 * all), "{files}");
        }
    }

    #[test]
    fn all_connections_together_leave_files_for_everything_else() {
        for files in [64, 256, 1_024, 4_096, 20_000, 1 << 20] {
            let limiter = ConnectionLimiter::with_files(1_000_000, files);
            let fill = |access: fn(u32) -> PeerAccess| {
                let all = (0..100_000).map(|uid| limiter.acquire(&tcp(), access(uid % 1_000)));
                let kept: Vec<_> = all.map_while(Result::ok).collect();
                (kept.iter().filter(|permit| permit.has_room()).count(), kept)
            };
            let (served, _kept) = fill(|_| PeerAccess::Owner);
            let (denied, _denied) = fill(|uid| PeerAccess::Denied(Some(uid)));
            let (waiting, _waiting) = fill(PeerAccess::Unresolved);

            let used = 2 * served + denied + waiting + limiter.overflow;
            assert!(used + RESERVED_FILES.min(files / 4) <= files, "{used} of {files}");
            assert!(served > 0 && served + 64 >= limiter.max().min(100_000), "{served} of {files}");
        }
        assert_eq!(ConnectionLimiter::with_files(4_096, 20_000).max(), 4_096);
    }

    const MANY: usize = 1 << 20;

    fn tcp() -> Peer {
        Peer::Tcp { remote: ([127, 0, 0, 1], 1).into(), user: crate::peer::User::Unknown }
    }

    fn unix() -> Peer {
        Peer::Unix { uid: 0, pid: None }
    }
}
