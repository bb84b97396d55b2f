//! The files that the command sees: those of the person, without the ones that lead back here.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::mount_list::{self, Mount, other_places};
use super::pinned::{Missing, PinnedNames, may_rename_in};
use super::plan::{IsolationPlan, Protected, Refusal, Step as _};
use super::{devices, read_only};

/// Arranges the mounts of this namespace. Called by process 1 inside, because a `/proc` shows the
/// processes of the namespace that its mounter is in.
///
/// The command cannot take a mount away again: it has no capability over this namespace, and in one
/// of its own the kernel locks what it inherits (mount_namespaces(7)).
pub(super) fn arrange(plan: &IsolationPlan) -> Result<(), Refusal> {
    // Resolved again below: the directory that is in use stays reachable under a mount.
    let directory = std::env::current_dir().step("find the current directory")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .step("separate the mounts from those of the system")?;
    let mounts = mount_list::read().step("read the list of mounts")?;
    mount(Some("proc"), "/proc", Some("proc"), BARE, none).step("mount /proc")?;
    devices::arrange()?;
    protect(&plan.protected, &mounts)?;
    read_only::protect_kernel(&mounts, plan.uid == 0).step("close the kernel's settings")?;
    for (ours, theirs) in &plan.replaced {
        mount(Some(ours), theirs, none, MsFlags::MS_BIND, none)
            .step(format!("replace {}", theirs.display()))?;
    }
    std::env::set_current_dir(directory).step("enter the current directory, which is hidden")
}

/// Hides and closes, and pins the names first: a mount that is made later is on top.
fn protect(protected: &Protected, mounts: &[Mount]) -> Result<(), Refusal> {
    let mut pinned = PinnedNames::default();
    let mut follow = |path: &PathBuf, missing| {
        pinned.follow(path, missing).step(format!("pin the way to {}", path.display()))
    };
    let mut hidden = BTreeSet::new();
    for path in &protected.own {
        hidden.extend(follow(path, Missing::Make)?);
    }
    for path in &protected.hidden {
        hidden.extend(follow(path, Missing::Leave)?);
    }
    let mut closed = BTreeSet::new();
    for path in &protected.read_only {
        closed.extend(follow(path, Missing::Leave)?);
    }
    let elsewhere = hidden.iter().flat_map(|path| same_elsewhere(mounts, path));
    let elsewhere: Vec<PathBuf> = elsewhere.collect();
    let of_kernel = mounts.iter().filter(|mount| mount.is_of_kernel_elsewhere());
    let of_kernel = of_kernel.map(|mount| mount.place.clone());
    for path in closed.iter().filter(|path| may_change(path)) {
        read_only::protect(path).step(format!("close {}", path.display()))?;
    }
    hidden.extend(elsewhere.into_iter().chain(of_kernel));
    for path in hidden {
        hide(&path).step(format!("hide {}", path.display()))?;
    }
    Ok(())
}

/// Returns the other places at which the same file or directory, or a part of it, is seen.
fn same_elsewhere(mounts: &[Mount], path: &Path) -> Vec<PathBuf> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    let Some(ours) = identity(path) else { return vec![] };
    // Another mount may be in front of it there. A part of the directory is a mount itself.
    let is_seen = |place: &PathBuf| {
        identity(place) == Some(ours) || mounts.iter().any(|it| it.place == *place)
    };
    other_places(mounts, path).into_iter().filter(is_seen).collect()
}

/// Says whether the user may write a file, or put another in its place.
fn may_change(file: &Path) -> bool {
    let directory = file.parent().unwrap_or(file);
    [file, directory].iter().any(|path| may_rename_in(path).unwrap_or(true))
}

/// Makes a directory empty and a file too. A path that does not exist leads nowhere.
fn hide(path: &Path) -> io::Result<()> {
    let none = None::<&str>;
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            let options = Some("size=4k,mode=555");
            mount(Some("tmpfs"), path, Some("tmpfs"), BARE | MsFlags::MS_RDONLY, options)?;
        }
        Ok(_) => mount(Some("/dev/null"), path, none, MsFlags::MS_BIND, none)?,
        // Hidden with a directory above it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // What cannot be entered now cannot be entered inside either.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

const BARE: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);
