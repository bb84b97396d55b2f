//! Mounts that can be read and not written.

use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::mount_list::Mount;

/// Lets a file or directory be read alone.
pub(super) fn protect(path: &Path) -> io::Result<()> {
    let none = None::<&str>;
    mount(Some(path), path, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
    Ok(remount(path)?)
}

/// Lets the kernel's settings be read alone. The person may write some of them, as the control groups
/// of the person's services, and root all: those reach beyond every namespace.
pub(super) fn protect_kernel(mounts: &[Mount], is_root: bool) -> io::Result<()> {
    for mount in mounts.iter().filter(|mount| mount.place.starts_with("/sys")) {
        match remount(&mount.place) {
            // A place that cannot be reached now, or is under another mount, cannot be later either.
            Ok(()) | Err(nix::Error::ENOENT | nix::Error::EACCES | nix::Error::EINVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // For all others the kernel refuses writes there; and in a `/proc` with other mounts in it, a
    // sandbox of the command's own could not mount one.
    let settings = PROC_OF_ROOT.iter().map(Path::new).filter(|path| is_root && path.exists());
    settings.into_iter().try_for_each(protect)
}

fn remount(place: &Path) -> nix::Result<()> {
    let none = None::<&str>;
    // The kernel takes none of these away from a mount that came from outside.
    let flags = statvfs(place)?.flags();
    let kept = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ];
    let kept = kept.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, kept)| kept);
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(none, place, none, kept.fold(read_only, |all, flag| all | flag), none)
}

/// Of /proc, what the user 0 of the system may write in any namespace: a core dump handler
/// (`kernel.core_pattern`) runs outside.
const PROC_OF_ROOT: [&str; 6] =
    ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi"];
