//! The files that the command sees: those of the person, without the ones that lead back here.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::plan::{IsolationPlan, Refusal, Step as _};

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
    let others = proc_mounts().step("read the list of mounts")?;
    let bare = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), bare, none).step("mount /proc")?;
    for path in others.iter().chain(&plan.hidden) {
        hide(path).step(format!("hide {}", path.display()))?;
    }
    for path in SCRATCH.map(Path::new) {
        if path.is_dir() {
            let options = Some("mode=1777");
            mount(Some("tmpfs"), path, Some("tmpfs"), bare, options)
                .step(format!("empty {}", path.display()))?;
        }
    }
    for (ours, theirs) in &plan.replaced {
        mount(Some(ours), theirs, none, MsFlags::MS_BIND, none)
            .step(format!("replace {}", theirs.display()))?;
    }
    std::env::set_current_dir(directory).step("enter the current directory, which is hidden")
}

/// Makes a directory empty and a file too. A path that does not exist leads nowhere.
fn hide(path: &Path) -> io::Result<()> {
    let none = None::<&str>;
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            let bare = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            let options = Some("size=4k,mode=555");
            mount(Some("tmpfs"), path, Some("tmpfs"), bare | MsFlags::MS_RDONLY, options)?;
        }
        Ok(_) => mount(Some("/dev/null"), path, none, MsFlags::MS_BIND, none)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // What cannot be entered now cannot be entered inside either.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Returns the places besides `/proc` that show the processes outside.
fn proc_mounts() -> io::Result<BTreeSet<PathBuf>> {
    let list = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(list.lines().filter_map(proc_mount).collect())
}

/// Reads a line of proc_pid_mountinfo(5): the fifth field is the place; the type follows a hyphen.
fn proc_mount(line: &str) -> Option<PathBuf> {
    let (mount, kind) = line.split_once(" - ")?;
    let place = unescape(mount.split(' ').nth(4)?);
    let is_other = kind.starts_with("proc ") && !Path::new(&place).starts_with("/proc");
    is_other.then(|| place.into())
}

/// Blanks and backslashes stand there as octal numbers.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

/// Directories of memory that processes share by name.
const SCRATCH: [&str; 1] = ["/dev/shm"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_proc_is_found_and_hidden_too() {
        let other = "40 27 0:21 / /srv/my\\040root/proc rw,relatime - proc proc rw";
        assert_eq!(proc_mount(other), Some(PathBuf::from("/srv/my root/proc")));
        for line in [
            "22 27 0:21 / /proc rw,relatime - proc proc rw",
            "41 22 0:30 / /proc/sys/fs/binfmt_misc rw - binfmt_misc none rw",
            "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw",
            "",
        ] {
            assert_eq!(proc_mount(line), None, "{line}");
        }
    }
}
