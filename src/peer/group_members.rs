//! Membership in the configured groups, as the system's user database says, cached for a moment:
//! the database may be on the network, and any local user can cause a query.
//!
//! There is one query for each user at a time, and few in all. Users who were members before do not
//! wait behind those who were not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

/// The allowed groups, and the users whose membership is known. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct GroupMembers {
    groups: Arc<[u32]>,
    shared: Arc<MemberQueries>,
}

#[derive(Debug)]
struct MemberQueries {
    lock: Mutex<CachedMembers>,
    /// Queries about users who were members before.
    for_members: Arc<Semaphore>,
    /// Queries about all others.
    for_others: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct CachedMembers {
    members: BTreeMap<u32, Instant>,
    others: BTreeMap<u32, Instant>,
    pending: BTreeMap<u32, Arc<OnceCell<bool>>>,
}

impl GroupMembers {
    /// Caches the members of `groups`.
    pub(super) fn new(groups: Vec<u32>) -> Self {
        let shared = MemberQueries {
            lock: Mutex::default(),
            for_members: Arc::new(Semaphore::new(MAX_MEMBER_QUERIES)),
            for_others: Arc::new(Semaphore::new(MAX_OTHER_QUERIES)),
        };
        Self { groups: groups.into(), shared: Arc::new(shared) }
    }

    /// Returns the groups.
    pub(super) fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// Says whether this user is a member, as far as that is known without a query.
    pub(super) fn cached(&self, uid: u32) -> Option<bool> {
        if self.groups.is_empty() {
            return Some(false);
        }
        let known = self.shared.lock();
        let is_fresh = |at: Option<&Instant>| at.is_some_and(|at| at.elapsed() < CACHE_TTL);
        match (is_fresh(known.members.get(&uid)), is_fresh(known.others.get(&uid))) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }

    /// Queries whether this user is a member; without a result in time the user is not.
    ///
    /// `groups_of` blocks, and runs on a thread for that.
    pub(super) async fn contains(&self, uid: u32, groups_of: fn(u32) -> Vec<u32>) -> bool {
        if let Some(is_member) = self.cached(uid) {
            return is_member;
        }
        let question = self.shared.lock().pending_query(uid);
        let asking = question.get_or_init(|| self.query(uid, groups_of));
        match tokio::time::timeout(QUERY_TIMEOUT, asking).await {
            Ok(is_member) => *is_member,
            Err(_) => {
                tracing::debug!(uid, "the user database did not respond in time");
                false
            }
        }
    }

    async fn query(&self, uid: u32, groups_of: fn(u32) -> Vec<u32>) -> bool {
        let was_member = self.shared.lock().members.contains_key(&uid);
        let queries = if was_member { &self.shared.for_members } else { &self.shared.for_others };
        // The semaphore is never closed. The thread holds the permit, so that a thread that hangs
        // counts as a query.
        let Ok(permit) = queries.clone().acquire_owned().await else { return false };
        let this = self.clone();
        let mut query = AbortOnDrop(tokio::task::spawn_blocking(move || {
            let is_member = groups_of(uid).iter().any(|group| this.groups.contains(group));
            // The result is recorded even if no connection waits any more: the next one need not
            // query again.
            this.shared.lock().record(uid, is_member);
            drop(permit);
            is_member
        }));
        (&mut query.0).await.unwrap_or(false)
    }
}

/// Takes a query that has not begun out of the queue once no connection waits for it.
struct AbortOnDrop(tokio::task::JoinHandle<bool>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl MemberQueries {
    fn lock(&self) -> MutexGuard<'_, CachedMembers> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedMembers {
    /// Returns the query about this user, which all connections share that need it now.
    fn pending_query(&mut self, uid: u32) -> Arc<OnceCell<bool>> {
        // Drops queries that have ended, or that no connection waits for any more.
        self.pending
            .retain(|_, question| !question.initialized() && Arc::strong_count(question) > 1);
        self.pending.entry(uid).or_default().clone()
    }

    fn record(&mut self, uid: u32, is_member: bool) {
        let (one, other) = if is_member {
            (&mut self.members, &mut self.others)
        } else {
            (&mut self.others, &mut self.members)
        };
        other.remove(&uid);
        if one.len() >= MAX_CACHED_USERS
            && let Some(oldest) = one.iter().min_by_key(|(_, at)| **at).map(|(uid, _)| *uid)
        {
            one.remove(&oldest);
        }
        one.insert(uid, Instant::now());
    }
}

/// How long a result is used: a user who has left the group is allowed as long.
const CACHE_TTL: Duration = Duration::from_secs(10);

/// Longest wait for the user database.
pub(super) const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Most users of a kind that are remembered.
const MAX_CACHED_USERS: usize = 256;

/// Most queries at once, of the 8 threads that the data path has for blocking work.
const MAX_MEMBER_QUERIES: usize = 2;
const MAX_OTHER_QUERIES: usize = 3;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn the_database_is_queried_once_however_many_connect() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        fn asked(_: u32) -> Vec<u32> {
            ASKED.fetch_add(1, Ordering::Relaxed);
            vec![7]
        }
        let members = GroupMembers::new(vec![7]);

        for _ in 0..100 {
            let (one, other) = tokio::join!(members.contains(1, asked), members.contains(1, asked));
            assert!(one && other);
        }

        assert_eq!(ASKED.load(Ordering::Relaxed), 1);
        assert_eq!((members.cached(1), members.cached(2)), (Some(true), None));
    }

    #[test]
    fn users_whom_the_database_does_not_know_hold_up_no_member() {
        fn hangs_for_others(uid: u32) -> Vec<u32> {
            if uid != 1 {
                std::thread::park_timeout(Duration::from_secs(30));
            }
            vec![7]
        }
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(8).build().unwrap();
        runtime.block_on(async {
            let members = GroupMembers::new(vec![7]);
            assert!(members.contains(1, hangs_for_others).await);
            let others: Vec<_> = (100..200)
                .map(|uid| {
                    let members = members.clone();
                    tokio::spawn(async move { members.contains(uid, hangs_for_others).await })
                })
                .collect();
            while members.shared.for_others.available_permits() > 0 {
                tokio::task::yield_now().await;
            }

            // No longer fresh: queried again, by a thread that no other user holds.
            members.shared.lock().members.insert(1, Instant::now() - CACHE_TTL);
            assert_eq!(members.cached(1), None);
            assert!(members.contains(1, hangs_for_others).await);

            drop(others);
        });
        runtime.shutdown_background();
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut known = CachedMembers::default();
        for uid in 0..10_000 {
            known.record(uid, uid % 2 == 0);
            known.pending_query(uid);
        }
        assert_eq!((known.members.len(), known.others.len()), (MAX_CACHED_USERS, MAX_CACHED_USERS));
        assert!(known.members.contains_key(&9_998));
        assert_eq!(known.pending.len(), 1);
    }
}
