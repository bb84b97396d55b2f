//! The `/dev` of the command: the devices that programs need, and no terminal of another program.
//!
//! The person may open all of the person's terminals: text that is typed into another one could be taken,
//! and output written to it. New terminals are of an instance that only the command sees. Its own
//! terminal is open already, and `/dev/tty` leads to it. Block devices and message queues are left out
//! too: the former hold what is hidden, and the latter are those of the system.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};

use super::plan::{Refusal, Step as _};

/// Puts a new `/dev` in the place of the system's.
pub(super) fn arrange() -> Result<(), Refusal> {
    let directory = Path::new("/dev");
    if !directory.is_dir() {
        return Ok(());
    }
    let none = None::<&str>;
    // Opened before the new directory is in their way.
    let kept = kept().step("find the devices")?;
    let bare = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), directory, Some("tmpfs"), bare, Some("mode=755,size=256k"))
        .step("empty /dev")?;
    for (path, opened) in &kept {
        pass_on(path, opened).step(format!("pass {} on", path.display()))?;
    }
    fs::create_dir(TERMINALS).step("make /dev/pts")?;
    let own = Some("newinstance,ptmxmode=0666,mode=620");
    mount(Some("devpts"), TERMINALS, Some("devpts"), bare, own).step("mount /dev/pts")?;
    fs::create_dir(MEMORY).step("make /dev/shm")?;
    mount(Some("tmpfs"), MEMORY, Some("tmpfs"), bare | MsFlags::MS_NODEV, Some("mode=1777"))
        .step("empty /dev/shm")?;
    for (name, target) in LINKS {
        symlink(target, directory.join(name)).step(format!("make /dev/{name}"))?;
    }
    let read_only = bare | MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(none, directory, none, read_only, none).step("close /dev")
}

/// Opens what the command keeps.
fn kept() -> io::Result<Vec<(PathBuf, File)>> {
    let is_kept = |name: &str| DEVICES.contains(&name) || name.starts_with("nvidia");
    let mut kept = vec![];
    for entry in fs::read_dir("/dev")? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_kept) {
            let flags = OFlag::O_PATH.bits();
            match OpenOptions::new().read(true).custom_flags(flags).open(entry.path()) {
                Ok(opened) => kept.push((entry.path(), opened)),
                // A link to a device that is not there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(kept)
}

fn pass_on(path: &Path, opened: &File) -> io::Result<()> {
    let none = None::<&str>;
    if opened.metadata()?.is_dir() {
        fs::create_dir(path)?;
    } else {
        File::create(path)?;
    }
    let place = format!("/proc/self/fd/{}", opened.as_raw_fd());
    Ok(mount(Some(place.as_str()), path, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?)
}

/// Those of every program, and those that compute.
const DEVICES: [&str; 9] =
    ["null", "zero", "full", "random", "urandom", "tty", "dri", "kfd", "accel"];

const TERMINALS: &str = "/dev/pts";
const MEMORY: &str = "/dev/shm";

const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
