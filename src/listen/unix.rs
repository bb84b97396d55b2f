//! The unix socket: 0600 from its first instant, in a directory of our own.
//!
//! A socket file that refuses connections is stale, and is replaced. A socket that accepts them, or
//! might, is left alone. At the end only our own file is removed (`socket_file.rs`).

#![cfg(unix)]

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::listener::BoundSocket;
use super::socket_file::SocketFile;
use super::{Error, backlog};
use crate::peer::UserAcl;
use crate::secure_fs;

/// The users who may open a socket's file, and go through its directory if that is ours.
/// `UserAcl` decides for each connection whether its user is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketAccess {
    /// Our own user.
    Owner,
    /// Members of this group too.
    Group(u32),
    /// Every user of this machine.
    AllUsers,
}

impl SocketAccess {
    /// Returns the access for the allowed users: besides us, the first of their groups.
    pub fn for_users(users: &UserAcl) -> Self {
        users.first_group().map_or(Self::Owner, Self::Group)
    }
}

/// Binds `path`, making its directory (0700) where it is missing.
///
/// # Errors
///
/// [`Error::SocketPath`], [`Error::SocketInUse`], or [`Error::SocketPlace`] with the reason.
pub fn bind(path: &Path, access: SocketAccess) -> Result<BoundSocket, Error> {
    if path.as_os_str().len() > MAX_PATH_BYTES {
        return Err(Error::SocketPath { path: path.to_owned(), limit: MAX_PATH_BYTES });
    }
    let unsafe_place = |what, source| Error::SocketPlace { path: path.to_owned(), what, source };
    let directory = path.parent().ok_or_else(|| unsafe_place("it has no directory", None))?;
    prepare_dir(directory).map_err(|(what, source)| unsafe_place(what, source))?;
    remove_stale(path)?;
    grant_traversal(directory, access)
        .map_err(|source| unsafe_place("its group cannot be given access", Some(source)))?;
    let listener = listen(directory, path, access)
        .map_err(|source| unsafe_place("the system refused it", Some(source)))?;
    let file = SocketFile::new(path).map_err(|source| unsafe_place("it is gone", Some(source)))?;
    Ok(BoundSocket::Unix(listener, file))
}

/// Changes the users who may open the socket of ours at `path`.
///
/// # Errors
///
/// [`Error::SocketPlace`] when the system refuses: only root can give a file to a group that it is
/// not in.
pub fn change_access(path: &Path, access: SocketAccess) -> Result<(), Error> {
    let changed = (|| {
        let directory = path.parent().ok_or(io::ErrorKind::NotFound)?;
        let found = std::fs::symlink_metadata(path)?;
        if !found.file_type().is_socket() {
            return Err(io::ErrorKind::NotFound.into());
        }
        grant_traversal(directory, access)?;
        apply_access(path, access)?;
        restrict_dir(directory)
    })();
    changed.map_err(|source| Error::SocketPlace {
        path: path.to_owned(),
        what: "its group cannot be given access",
        source: Some(source),
    })
}

/// Gives a socket file the group and the mode of `access`.
fn apply_access(socket: &Path, access: SocketAccess) -> io::Result<()> {
    let (group, mode) = match access {
        SocketAccess::Owner => (None, 0o600),
        SocketAccess::Group(group) => (Some(group), 0o660),
        SocketAccess::AllUsers => (None, 0o666),
    };
    std::os::unix::fs::chown(socket, None, group)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(mode))
}

/// Takes back the access to a directory of ours that [`bind`] gave for sockets that are gone.
///
/// # Errors
///
/// When it cannot be read or changed.
pub fn restrict_dir(directory: &Path) -> io::Result<()> {
    let found = std::fs::metadata(directory)?;
    if !is_private_dir(&found) {
        return Ok(());
    }
    let mut granted = 0;
    for entry in std::fs::read_dir(directory)? {
        // Another profile's may be gone meanwhile.
        let Ok(file) = entry?.metadata() else { continue };
        if file.file_type().is_socket() && file.mode() & 0o006 != 0 {
            granted |= TRAVERSABLE_BY_ALL;
        } else if file.file_type().is_socket() && file.mode() & 0o060 != 0 {
            granted |= TRAVERSABLE_BY_GROUP;
        }
    }
    let mode = found.mode() & 0o7777;
    let needed = mode & (!TRAVERSABLE_BY_ALL | granted);
    if needed == mode {
        return Ok(());
    }
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(needed))
}

/// Binds inside a directory that only we can enter and moves the socket to `path` once its mode is
/// right. The usual way, a umask around `bind`, changes the mode of whatever other threads make
/// meanwhile.
fn listen(directory: &Path, path: &Path, access: SocketAccess) -> io::Result<UnixListener> {
    let random = uuid::Uuid::new_v4().simple().to_string();
    // As long as the usual file names, so that a path that fits at the end fits here too.
    let staging = directory.join(format!(".{}", &random[..7]));
    std::fs::DirBuilder::new().mode(0o700).create(&staging)?;
    let made = (|| {
        let socket = staging.join("s");
        let listener = UnixListener::bind(&socket)?;
        apply_access(&socket, access)?;
        listener.set_nonblocking(true)?;
        backlog::extend(&listener)?;
        std::fs::rename(&socket, path)?;
        Ok(listener)
    })();
    let removed = std::fs::remove_dir_all(&staging);
    made.and_then(|listener| removed.map(|()| listener))
}

/// Makes the directory, or checks that no other user can put files into it.
fn prepare_dir(directory: &Path) -> Result<(), (&'static str, Option<io::Error>)> {
    secure_fs::create_dir(directory)
        .map_err(|source| ("its directory cannot be made", Some(source)))?;
    let found = std::fs::metadata(directory)
        .map_err(|source| ("its directory cannot be read", Some(source)))?;
    if found.uid() != nix::unistd::geteuid().as_raw() && found.uid() != 0 {
        return Err(("its directory belongs to another user", None));
    }
    let sticky = found.mode() & 0o1000 != 0;
    if found.mode() & 0o022 != 0 && !sticky {
        return Err(("others can write to its directory", None));
    }
    Ok(())
}

/// Lets other users go through a directory of ours that only we can read. Users of another socket,
/// or of an earlier configuration, may go through it already.
fn grant_traversal(directory: &Path, access: SocketAccess) -> io::Result<()> {
    let (group, passing) = match access {
        SocketAccess::Owner => return Ok(()),
        SocketAccess::Group(group) => (Some(group), TRAVERSABLE_BY_GROUP),
        SocketAccess::AllUsers => (None, TRAVERSABLE_BY_ALL),
    };
    let found = std::fs::metadata(directory)?;
    if !is_private_dir(&found) || found.mode() & TRAVERSABLE_BY_ALL == TRAVERSABLE_BY_ALL {
        return Ok(());
    }
    std::os::unix::fs::chown(directory, None, group)?;
    let mode = found.mode() & 0o7777 | passing;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode))
}

/// Says whether a directory is our own user's, and not one that a person has opened to others.
fn is_private_dir(directory: &std::fs::Metadata) -> bool {
    directory.uid() == nix::unistd::geteuid().as_raw() && directory.mode() & 0o066 == 0
}

/// Removes a socket file that refuses connections.
fn remove_stale(path: &Path) -> Result<(), Error> {
    let unsafe_place = |what, source| Error::SocketPlace { path: path.to_owned(), what, source };
    let file = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(unsafe_place("it cannot be read", Some(source))),
        Ok(file) => file,
    };
    if !file.file_type().is_socket() {
        return Err(unsafe_place("something else is there", None));
    }
    if file.uid() != nix::unistd::geteuid().as_raw() {
        return Err(unsafe_place("it belongs to another user", None));
    }
    match UnixStream::connect(path) {
        // Only a refusal proves that no process listens; with a full backlog one does.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
                .map_err(|source| unsafe_place("the stale one cannot be removed", Some(source)))
        }
        Ok(_) | Err(_) => Err(Error::SocketInUse { path: path.to_owned() }),
    }
}

/// Longest socket path, in bytes: macOS has 104 in `sun_path`, Linux 108, and one of them is the
/// final NUL.
const MAX_PATH_BYTES: usize = 103;

/// The mode bits with which every user, or the group, may go through a directory.
const TRAVERSABLE_BY_ALL: u32 = 0o011;
const TRAVERSABLE_BY_GROUP: u32 = 0o010;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_private_and_its_directory_is_made() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("run/proxy.sock");

        let bound = bind(&path, SocketAccess::Owner).unwrap();

        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_group_that_is_let_in_can_open_the_socket_and_no_more() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("run/proxy.sock");
        let own = nix::unistd::getegid().as_raw();

        let _bound = bind(&path, SocketAccess::Group(own)).unwrap();

        let file = std::fs::metadata(&path).unwrap();
        assert_eq!((file.mode() & 0o777, file.gid()), (0o660, own));
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o710);
    }

    #[test]
    fn a_user_who_is_let_in_later_can_go_through_the_directory_too() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("run/proxy.sock");
        let own = nix::unistd::getegid().as_raw();
        // Only root can give a directory to any group.
        let other = if nix::unistd::geteuid().is_root() { 12345 } else { own };
        let passes = |access| {
            drop(bind(&path, access).unwrap());
            let directory = std::fs::metadata(path.parent().unwrap()).unwrap();
            (directory.mode() & 0o777, directory.gid())
        };

        assert_eq!(passes(SocketAccess::Group(own)), (0o710, own));
        assert_eq!(passes(SocketAccess::Group(other)), (0o710, other));
        assert_eq!(passes(SocketAccess::AllUsers), (0o711, other));
        assert_eq!(
            passes(SocketAccess::Group(own)),
            (0o711, other),
            "all users can go through it still"
        );
        let readable = std::fs::Permissions::from_mode(0o750);
        std::fs::set_permissions(path.parent().unwrap(), readable).unwrap();
        assert_eq!(passes(SocketAccess::AllUsers), (0o750, other), "as a person has set it");
    }

    #[test]
    fn a_directory_is_open_for_as_long_as_a_socket_in_it_is() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("run");
        let own = nix::unistd::getegid().as_raw();
        let bound = |name, access| bind(&directory.join(name), access).unwrap();
        let _private = bound("1.sock", SocketAccess::Owner);
        let group = bound("2.sock", SocketAccess::Group(own));
        let all_users = bound("3.sock", SocketAccess::AllUsers);
        let shut = || {
            restrict_dir(&directory).unwrap();
            std::fs::metadata(&directory).unwrap().mode() & 0o777
        };

        assert_eq!(shut(), 0o711);
        drop(all_users);
        assert_eq!(shut(), 0o710);
        drop(group);
        assert_eq!(shut(), 0o700);
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o751)).unwrap();
        assert_eq!(shut(), 0o751, "as a person has set it");
    }

    #[test]
    fn a_live_socket_is_left_alone_and_a_stale_one_replaced() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("proxy.sock");
        let live = UnixListener::bind(&path).unwrap();
        assert!(matches!(bind(&path, SocketAccess::Owner), Err(Error::SocketInUse { .. })));

        drop(live);

        bind(&path, SocketAccess::Owner).unwrap();
    }

    #[test]
    fn a_successors_socket_is_not_removed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("proxy.sock");
        let bound = bind(&path, SocketAccess::Owner).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();

        drop(bound);

        assert!(path.exists());
    }

    #[test]
    fn a_path_that_no_system_takes_and_a_file_in_the_way_are_refused() {
        let home = tempfile::tempdir().unwrap();
        assert!(matches!(
            bind(&home.path().join("x".repeat(104)), SocketAccess::Owner).map(drop),
            Err(Error::SocketPath { limit: 103, .. })
        ));
        let path = home.path().join("proxy.sock");
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(&path, SocketAccess::Owner), Err(Error::SocketPlace { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
