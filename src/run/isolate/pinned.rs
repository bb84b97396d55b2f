//! Names that the command cannot change: those of the directories, and of the symbolic links, on the way
//! to a path that is hidden.
//!
//! A mount over `~/.config/nexudus-proxy` moves along when `~/.config` is renamed, and a directory of the
//! command's could take its place. The kernel renames and removes nothing that is a mount point itself.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::unistd::{AccessFlags, access, geteuid};

/// The names that are pinned.
#[derive(Debug, Default)]
pub(super) struct PinnedNames(BTreeSet<PathBuf>);

/// Whether a directory that does not exist is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The directories on the way to it too.
    Make,
    /// Nothing leads there.
    Leave,
}

impl PinnedNames {
    /// Pins the names on the way to a path. Returns where the path leads; nothing, if it leads nowhere
    /// or to a place that this user cannot enter.
    pub(super) fn follow(&mut self, path: &Path, missing: Missing) -> io::Result<Option<PathBuf>> {
        let mut place = PathBuf::from("/");
        let mut rest = names(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == ".." {
                place.pop();
                continue;
            }
            let next = place.join(name);
            let Some(found) = find(&next, missing)? else { return Ok(None) };
            if found.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return Ok(None);
                }
                self.pin(&place, &next, pin_link)?;
                let target = fs::read_link(&next)?;
                if target.is_absolute() {
                    place = PathBuf::from("/");
                }
                rest.extend(names(&target));
                continue;
            }
            // The last one gets a mount of its own.
            if !rest.is_empty() {
                self.pin(&place, &next, pin_directory)?;
            }
            place = next;
        }
        Ok(Some(place))
    }

    fn pin(
        &mut self,
        directory: &Path,
        name: &Path,
        pin: fn(&Path) -> nix::Result<()>,
    ) -> io::Result<()> {
        if may_rename_in(directory)? && self.0.insert(name.to_owned()) {
            pin(name)?;
        }
        Ok(())
    }
}

/// Says whether the user may rename what is in a directory. Its owner may allow that at any time.
pub(super) fn may_rename_in(directory: &Path) -> io::Result<bool> {
    let is_own = fs::metadata(directory)?.uid() == geteuid().as_raw();
    Ok(is_own || access(directory, AccessFlags::W_OK).is_ok())
}

fn find(path: &Path, missing: Missing) -> io::Result<Option<Metadata>> {
    let found = fs::symlink_metadata(path);
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let found = match found {
        Err(error) if is_missing(&error) && missing == Missing::Make => {
            // As another program would make it; for this user alone.
            match DirBuilder::new().mode(0o700).create(path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // The command cannot make it either.
                Err(error) if is_out_of_reach(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
            fs::symlink_metadata(path)
        }
        found => found,
    };
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_out_of_reach(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_out_of_reach(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// Returns the names of a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    use std::path::Component;
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

fn pin_directory(directory: &Path) -> nix::Result<()> {
    let none = None::<&str>;
    mount(Some(directory), directory, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
}

/// Mounts a link over itself: the kernel follows it afterwards as before.
fn pin_link(link: &Path) -> nix::Result<()> {
    let none = None::<&str>;
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(link);
    let opened = opened.map_err(|error| nix::Error::from_raw(error.raw_os_error().unwrap_or(0)))?;
    let place = format!("/proc/self/fd/{}", opened.as_raw_fd());
    mount(Some(place.as_str()), place.as_str(), none, MsFlags::MS_BIND, none)
}

/// The same as in the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;
