//! The local users who may connect: our own, and those whom the configuration names.

use std::sync::atomic::{AtomicU64, Ordering};

use super::group_members::GroupMembers;
use super::{Peer, User, user_names};

/// The users who may connect. Consulted once per connection.
#[derive(Clone, Debug)]
pub struct UserAcl {
    /// The number of this list; clones share it.
    id: u64,
    own: u32,
    named: Vec<u32>,
    members: GroupMembers,
    /// Whether peers from beyond this machine may connect, as far as their key allows.
    exposed: bool,
    /// The number that stands for all users whom this user namespace does not know.
    overflow_uid: Option<u32>,
}

/// The access of a peer, as far as it is known without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAccess {
    /// Our own user, or one whom this system cannot distinguish from it.
    Owner,
    /// Another local user who is allowed.
    Guest,
    /// From beyond this machine, allowed as far as its key.
    Remote,
    /// A user who is denied; the number, where the kernel reports it.
    Denied(Option<u32>),
    /// A user whom the user database must be queried about: see [`UserAcl::resolve`].
    Unresolved(u32),
}

impl UserAcl {
    /// Allows our own user, `users` and the members of `groups`; with `exposed` also peers from
    /// beyond this machine.
    pub fn new(users: Vec<u32>, groups: Vec<u32>, exposed: bool) -> Self {
        user_names::load();
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            own: own_uid(),
            named: users,
            members: GroupMembers::new(groups),
            exposed,
            overflow_uid: is_in_user_namespace().then_some(OVERFLOW_UID),
        }
    }

    /// Takes over what is known of the members of the groups, if `previous` has the same groups.
    #[must_use]
    pub fn with_members_of(self, previous: &Self) -> Self {
        let is_same = self.members.groups() == previous.members.groups();
        let members = if is_same { previous.members.clone() } else { self.members };
        Self { members, ..self }
    }

    /// Returns the number of this list: two lists that were made apart have different ones.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the first of the groups.
    pub fn first_group(&self) -> Option<u32> {
        self.members.groups().first().copied()
    }

    /// Returns the access of a peer, without waiting.
    pub fn classify(&self, peer: &Peer) -> PeerAccess {
        match (peer, peer.uid()) {
            (_, Some(uid)) if self.contains(uid) => {
                if uid == self.own {
                    PeerAccess::Owner
                } else {
                    PeerAccess::Guest
                }
            }
            (_, Some(uid)) if Some(uid) == self.overflow_uid => PeerAccess::Denied(Some(uid)),
            (_, Some(uid)) => match self.members.cached(uid) {
                Some(true) => PeerAccess::Guest,
                Some(false) => PeerAccess::Denied(Some(uid)),
                None => PeerAccess::Unresolved(uid),
            },
            // Only the address is known: the peer is on this machine.
            (Peer::Tcp { user: User::Unsupported, .. }, None) => PeerAccess::Owner,
            (Peer::Tcp { user: User::Remote, .. }, None) if self.exposed => PeerAccess::Remote,
            (Peer::Tcp { .. } | Peer::Unix { .. }, None) => PeerAccess::Denied(None),
        }
    }

    /// Queries the system's user database, which may be on the network, for the access of a user;
    /// without a result in time the user is denied.
    pub async fn resolve(&self, uid: u32) -> PeerAccess {
        if self.members.contains(uid, groups_of).await {
            PeerAccess::Guest
        } else {
            PeerAccess::Denied(Some(uid))
        }
    }

    /// Says whether a peer may connect at all.
    pub async fn is_allowed(&self, peer: &Peer) -> bool {
        match self.classify(peer) {
            PeerAccess::Unresolved(uid) => self.resolve(uid).await.is_allowed(),
            access @ (PeerAccess::Owner
            | PeerAccess::Guest
            | PeerAccess::Remote
            | PeerAccess::Denied(_)) => access.is_allowed(),
        }
    }

    /// Says whether this user is ours, or named.
    pub fn contains(&self, uid: u32) -> bool {
        Some(uid) != self.overflow_uid && (uid == self.own || self.named.contains(&uid))
    }
}

/// The number of the next list. 0 is none's.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl PeerAccess {
    /// Says whether the peer may connect at all.
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::Owner | Self::Guest | Self::Remote)
    }
}

#[cfg(unix)]
fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Looks a user up in the system's user database.
#[cfg(unix)]
pub fn uid_by_name(name: &str) -> Option<u32> {
    nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
}

/// Looks a group up in the system's user database.
#[cfg(unix)]
pub fn gid_by_name(name: &str) -> Option<u32> {
    nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}

#[cfg(all(unix, not(target_vendor = "apple")))]
fn groups_of(uid: u32) -> Vec<u32> {
    let Ok(Some(user)) = nix::unistd::User::from_uid(uid.into()) else { return vec![] };
    let Ok(name) = std::ffi::CString::new(user.name) else { return vec![] };
    let groups = nix::unistd::getgrouplist(&name, user.gid).unwrap_or_default();
    groups.into_iter().map(nix::unistd::Gid::as_raw).collect()
}

/// macOS has a directory service for this, without a safe interface here: only the primary group
/// counts.
#[cfg(target_vendor = "apple")]
fn groups_of(uid: u32) -> Vec<u32> {
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    user.map(|user| user.gid.as_raw()).into_iter().collect()
}

#[cfg(not(unix))]
fn own_uid() -> u32 {
    0
}

/// Unknown on this system.
#[cfg(not(unix))]
pub fn uid_by_name(_: &str) -> Option<u32> {
    None
}

/// Unknown on this system.
#[cfg(not(unix))]
pub fn gid_by_name(_: &str) -> Option<u32> {
    None
}

#[cfg(not(unix))]
fn groups_of(_: u32) -> Vec<u32> {
    vec![]
}

/// Says whether this process sees only some of the machine's users (a container, `PrivateUsers=`).
fn is_in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| {
        let whole = ["0", "0", "4294967295"];
        !map.split_whitespace().eq(whole)
    })
}

/// The number that the kernel shows for a user who is not in the map
/// (`/proc/sys/kernel/overflowuid`).
const OVERFLOW_UID: u32 = 65534;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::peer::group_members::QUERY_TIMEOUT;

    #[tokio::test]
    async fn our_own_user_is_let_in_and_root_only_by_name() {
        let users = UserAcl { own: 1000, ..none() };
        assert!(users.is_allowed(&unix(1000)).await);
        for uid in [0, 1001, OVERFLOW_UID] {
            assert!(!users.is_allowed(&unix(uid)).await, "{uid}");
        }

        let users = UserAcl { named: vec![0], ..users };
        assert!(users.is_allowed(&unix(0)).await);
    }

    #[tokio::test]
    async fn a_peer_whom_the_kernel_does_not_know_is_not_let_in() {
        let users = none();
        assert!(users.is_allowed(&tcp(User::Known { uid: users.own, socket: 1 })).await);
        assert!(!users.is_allowed(&tcp(User::Unknown)).await);
        assert!(!users.is_allowed(&tcp(User::Remote)).await);
        assert!(UserAcl { exposed: true, ..none() }.is_allowed(&tcp(User::Remote)).await);
    }

    #[tokio::test]
    async fn the_overflow_user_of_a_namespace_is_never_let_in() {
        let users =
            UserAcl { named: vec![OVERFLOW_UID], overflow_uid: Some(OVERFLOW_UID), ..none() };
        assert!(!users.is_allowed(&unix(OVERFLOW_UID)).await);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_member_of_a_named_group_is_let_in() {
        let users = UserAcl::new(vec![], vec![0], false);
        assert!(UserAcl { own: 7, ..users.clone() }.is_allowed(&unix(0)).await);
        assert!(!UserAcl { own: 7, ..users }.is_allowed(&unix(OVERFLOW_UID)).await);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_user_database_that_does_not_answer_lets_no_user_in() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).max_blocking_threads(1);
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let users = UserAcl { own: 7, ..UserAcl::new(vec![], vec![0], false) };
        runtime.build().unwrap().block_on(async {
            let _hangs = tokio::task::spawn_blocking(move || ended.recv());
            let peer = unix(0);
            let mut allowed = pin!(users.is_allowed(&peer));
            let mut poll = async || poll_fn(|cx| Poll::Ready(allowed.as_mut().poll(cx))).await;

            assert_eq!(poll().await, Poll::Pending);
            tokio::time::advance(QUERY_TIMEOUT).await;
            assert_eq!(poll().await, Poll::Ready(false));
            drop(end);
        });
    }

    fn none() -> UserAcl {
        let members = GroupMembers::new(vec![]);
        UserAcl {
            id: 0,
            own: own_uid(),
            named: vec![],
            members,
            exposed: false,
            overflow_uid: None,
        }
    }

    fn unix(uid: u32) -> Peer {
        Peer::Unix { uid, pid: None }
    }

    fn tcp(user: User) -> Peer {
        Peer::Tcp { remote: ([127, 0, 0, 1], 1).into(), user }
    }
}
