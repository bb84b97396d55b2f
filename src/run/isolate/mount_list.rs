//! The mounts of a namespace, as proc_pid_mountinfo(5) lists them.

use std::io;
use std::path::{Path, PathBuf};

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// The file system: `254:0`.
    device: String,
    /// The directory of that file system that is seen here.
    root: PathBuf,
    /// Where.
    pub(super) place: PathBuf,
    /// `ext4`, `proc`.
    kind: String,
}

/// Returns the mounts of this process, the topmost last.
pub(super) fn read() -> io::Result<Vec<Mount>> {
    let list = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(list.lines().filter_map(parse).collect())
}

/// Reads one line: fields three to five; the type follows a hyphen.
fn parse(line: &str) -> Option<Mount> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(2);
    Some(Mount {
        device: fields.next()?.to_owned(),
        root: unescape(fields.next()?).into(),
        place: unescape(fields.next()?).into(),
        kind: kind.split(' ').next()?.to_owned(),
    })
}

/// Blanks and backslashes stand there as octal numbers.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

impl Mount {
    /// Says whether this mount shows processes, devices or settings of the system outside, at another
    /// place than the usual one, which `mounts.rs` arranges.
    pub(super) fn is_of_kernel_elsewhere(&self) -> bool {
        let usual = KERNEL_KINDS.iter().find(|(kind, _)| *kind == self.kind);
        usual.is_some_and(|(_, usual)| !self.place.starts_with(usual))
    }
}

/// Returns the other places at which a file or directory, or a part of it, is mounted. `path` has no
/// symbolic link in it.
pub(super) fn other_places(mounts: &[Mount], path: &Path) -> Vec<PathBuf> {
    let holders = mounts.iter().filter(|mount| path.starts_with(&mount.place));
    let Some(holder) = holders.max_by_key(|mount| mount.place.components().count()) else {
        return vec![];
    };
    let below = path.strip_prefix(&holder.place).unwrap_or(path);
    let inner = join(&holder.root, below);
    let others = mounts.iter().filter(|it| it.device == holder.device && it.place != holder.place);
    let place = |mount: &Mount| match inner.strip_prefix(&mount.root) {
        Ok(below) => Some(join(&mount.place, below)),
        Err(_) => mount.root.starts_with(&inner).then(|| mount.place.clone()),
    };
    // Below the path itself, everything is hidden with it.
    others.filter_map(place).filter(|place| !place.starts_with(path)).collect()
}

/// Joins without a slash at the end.
fn join(directory: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { directory.to_owned() } else { directory.join(below) }
}

/// File systems that reach out of the namespaces, each with the place that `mounts.rs` arranges.
const KERNEL_KINDS: [(&str, &str); 7] = [
    ("proc", "/proc"),
    ("devpts", "/dev"),
    ("devtmpfs", "/dev"),
    ("mqueue", "/dev"),
    ("sysfs", "/sys"),
    ("cgroup", "/sys"),
    ("cgroup2", "/sys"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_the_system_outside_is_found_wherever_it_is_mounted() {
        let other = parse("40 27 0:21 / /srv/my\\040root/proc rw,relatime - proc proc rw").unwrap();
        assert_eq!(other.place, Path::new("/srv/my root/proc"));
        assert!(other.is_of_kernel_elsewhere());
        for line in [
            "22 27 0:21 / /proc rw,relatime - proc proc rw",
            "41 22 0:30 / /proc/sys/fs/binfmt_misc rw - binfmt_misc none rw",
            "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw",
            "30 27 0:24 / /dev/pts rw - devpts devpts rw",
        ] {
            assert!(!parse(line).unwrap().is_of_kernel_elsewhere(), "{line}");
        }
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_directory_is_found_at_each_place_of_its_file_system() {
        let mounts: Vec<_> = [
            "27 1 0:30 /@ / rw - btrfs /dev/vda rw",
            "28 27 0:30 /@home /home rw - btrfs /dev/vda rw",
            "29 27 0:30 / /mnt/all rw - btrfs /dev/vda rw",
            "30 27 0:30 /@home/ana/.config/np/part /srv/part rw - btrfs /dev/vda rw",
            "31 27 0:31 / /other rw - ext4 /dev/vdb rw",
        ]
        .iter()
        .filter_map(|line| parse(line))
        .collect();

        let found = other_places(&mounts, Path::new("/home/ana/.config/np"));

        assert_eq!(found, ["/mnt/all/@home/ana/.config/np", "/srv/part"].map(PathBuf::from));
        assert!(other_places(&mounts, Path::new("/other/x")).is_empty());
    }
}
