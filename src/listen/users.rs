//! Which local users are let in: our own, and those whom the configuration names.

#[cfg(unix)]
use super::Opening;
use super::members::Members;
use super::peer::User;
use super::{Error, Peer};

/// The users who may call. Looked at once per connection.
#[derive(Clone, Debug)]
pub struct Users {
    own: u32,
    named: Vec<u32>,
    groups: Vec<u32>,
    members: Members,
    /// Callers from beyond this machine are let in as far as their key.
    exposed: bool,
    /// The number that stands for everybody whom this user namespace does not know.
    nobody: Option<u32>,
}

/// What a caller is to us, as far as it is known without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Our own user, or one whom this system cannot tell from it.
    Owner,
    /// Another local user who is let in.
    Guest,
    /// From beyond this machine, let in as far as its key.
    Remote,
    /// Not let in; the user, where the kernel tells.
    Stranger(Option<u32>),
    /// A user of whom the user database must be asked: see [`Users::settle`].
    Unsettled(u32),
}

impl Users {
    /// Lets in our own user, `users` and the members of `groups`, by name or number; with
    /// `exposed` also whoever comes from beyond this machine.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchUser`] or [`Error::NoSuchGroup`].
    pub fn new(users: &[String], groups: &[String], exposed: bool) -> Result<Self, Error> {
        let named = users.iter().map(|name| {
            number(name, user_number).ok_or_else(|| Error::NoSuchUser { name: name.clone() })
        });
        let groups = groups.iter().map(|name| {
            number(name, group_number).ok_or_else(|| Error::NoSuchGroup { name: name.clone() })
        });
        let named = named.collect::<Result<_, _>>()?;
        let groups = groups.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            own: own_uid(),
            named,
            members: Members::of(groups.clone()),
            groups,
            exposed,
            nobody: has_a_map().then_some(OVERFLOW),
        })
    }

    /// Returns who may open the socket of the API: besides us the first of the groups.
    #[cfg(unix)]
    pub fn opening(&self) -> Opening {
        self.groups.first().map_or(Opening::Own, |group| Opening::Group(*group))
    }

    /// Says what this caller is to us, without waiting.
    pub fn standing(&self, peer: &Peer) -> Standing {
        match (peer, peer.uid()) {
            (_, Some(uid)) if self.knows(uid) => match uid == self.own {
                true => Standing::Owner,
                false => Standing::Guest,
            },
            (_, Some(uid)) if Some(uid) == self.nobody => Standing::Stranger(Some(uid)),
            (_, Some(uid)) => match self.members.cached(uid) {
                Some(true) => Standing::Guest,
                Some(false) => Standing::Stranger(Some(uid)),
                None => Standing::Unsettled(uid),
            },
            // Nobody to ask: the address says that it is this machine, and no more.
            (Peer::Tcp { user: User::Untold, .. }, None) => Standing::Owner,
            (Peer::Tcp { user: User::Remote, .. }, None) if self.exposed => Standing::Remote,
            (Peer::Tcp { .. } | Peer::Unix { .. }, None) => Standing::Stranger(None),
        }
    }

    /// Asks the system's user database what this user is to us, which may be on the network; no
    /// answer in time is a no.
    pub async fn settle(&self, uid: u32) -> Standing {
        match self.members.contains(uid, groups_of).await {
            true => Standing::Guest,
            false => Standing::Stranger(Some(uid)),
        }
    }

    /// Says whether this caller may talk to us at all.
    pub async fn let_in(&self, peer: &Peer) -> bool {
        let mut standing = self.standing(peer);
        if let Standing::Unsettled(uid) = standing {
            standing = self.settle(uid).await;
        }
        standing.is_let_in()
    }

    /// Says whether this user is ours, or named.
    pub fn knows(&self, uid: u32) -> bool {
        Some(uid) != self.nobody && (uid == self.own || self.named.contains(&uid))
    }
}

impl Standing {
    /// Says whether the caller may talk to us at all.
    pub fn is_let_in(self) -> bool {
        matches!(self, Self::Owner | Self::Guest | Self::Remote)
    }
}

fn number(name: &str, look_up: impl Fn(&str) -> Option<u32>) -> Option<u32> {
    name.parse().ok().or_else(|| look_up(name))
}

#[cfg(unix)]
fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

#[cfg(unix)]
fn user_number(name: &str) -> Option<u32> {
    nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
}

#[cfg(unix)]
fn group_number(name: &str) -> Option<u32> {
    nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}

#[cfg(all(unix, not(target_vendor = "apple")))]
fn groups_of(uid: u32) -> Vec<u32> {
    let Ok(Some(user)) = nix::unistd::User::from_uid(uid.into()) else { return vec![] };
    let Ok(name) = std::ffi::CString::new(user.name) else { return vec![] };
    let groups = nix::unistd::getgrouplist(&name, user.gid).unwrap_or_default();
    groups.into_iter().map(nix::unistd::Gid::as_raw).collect()
}

/// macOS asks its directory service, which has no safe interface here: the primary group counts.
#[cfg(target_vendor = "apple")]
fn groups_of(uid: u32) -> Vec<u32> {
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    user.map(|user| user.gid.as_raw()).into_iter().collect()
}

#[cfg(not(unix))]
fn own_uid() -> u32 {
    0
}

#[cfg(not(unix))]
fn user_number(_: &str) -> Option<u32> {
    None
}

#[cfg(not(unix))]
fn group_number(_: &str) -> Option<u32> {
    None
}

#[cfg(not(unix))]
fn groups_of(_: u32) -> Vec<u32> {
    vec![]
}

/// Says whether this process sees only some of the machine's users (a container, `PrivateUsers=`).
fn has_a_map() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| {
        let whole = ["0", "0", "4294967295"];
        !map.split_whitespace().eq(whole)
    })
}

/// What the kernel shows in place of a user who is not in the map (`/proc/sys/kernel/overflowuid`).
const OVERFLOW: u32 = 65534;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::listen::members::LATE;

    #[tokio::test]
    async fn our_own_user_is_let_in_and_root_only_by_name() {
        let users = Users { own: 1000, ..none() };
        assert!(users.let_in(&unix(1000)).await);
        for uid in [0, 1001, OVERFLOW] {
            assert!(!users.let_in(&unix(uid)).await, "{uid}");
        }

        let users = Users { named: vec![0], ..users };
        assert!(users.let_in(&unix(0)).await);
    }

    #[tokio::test]
    async fn a_caller_whom_the_kernel_does_not_know_is_not_let_in() {
        let users = none();
        assert!(users.let_in(&tcp(User::Known { uid: users.own, socket: 1 })).await);
        assert!(!users.let_in(&tcp(User::Unknown)).await);
        assert!(!users.let_in(&tcp(User::Remote)).await);
        assert!(Users { exposed: true, ..none() }.let_in(&tcp(User::Remote)).await);
    }

    #[tokio::test]
    async fn nobody_in_a_user_namespace_is_not_a_name() {
        let users = Users { named: vec![OVERFLOW], nobody: Some(OVERFLOW), ..none() };
        assert!(!users.let_in(&unix(OVERFLOW)).await);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_member_of_a_named_group_is_let_in() {
        let users = Users::new(&[], &["root".to_owned()], false).unwrap();
        assert!(Users { own: 7, ..users.clone() }.let_in(&unix(0)).await);
        assert!(!Users { own: 7, ..users }.let_in(&unix(OVERFLOW)).await);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_user_database_that_does_not_answer_lets_nobody_in() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).max_blocking_threads(1);
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let users = Users { own: 7, ..Users::new(&[], &["root".to_owned()], false).unwrap() };
        runtime.build().unwrap().block_on(async {
            let _hangs = tokio::task::spawn_blocking(move || ended.recv());
            let caller = unix(0);
            let mut let_in = pin!(users.let_in(&caller));
            let mut answer = async || poll_fn(|cx| Poll::Ready(let_in.as_mut().poll(cx))).await;

            assert_eq!(answer().await, Poll::Pending);
            tokio::time::advance(LATE).await;
            assert_eq!(answer().await, Poll::Ready(false));
            drop(end);
        });
    }

    #[test]
    fn a_user_that_does_not_exist_is_told() {
        let missing = ["nobody-has-this-name".to_owned()];
        assert!(matches!(Users::new(&missing, &[], false), Err(Error::NoSuchUser { .. })));
        assert!(matches!(Users::new(&[], &missing, false), Err(Error::NoSuchGroup { .. })));
    }

    fn none() -> Users {
        let members = Members::of(vec![]);
        Users {
            own: own_uid(),
            named: vec![],
            groups: vec![],
            members,
            exposed: false,
            nobody: None,
        }
    }

    fn unix(uid: u32) -> Peer {
        Peer::Unix { uid, pid: None }
    }

    fn tcp(user: User) -> Peer {
        Peer::Tcp { remote: ([127, 0, 0, 1], 1).into(), user }
    }
}
