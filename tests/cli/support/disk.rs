//! A small disk of a test's own, which can be full or read-only as real ones are.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A file system of 64 KiB in memory, in a mount namespace that ends with the test.
pub(crate) struct SmallDisk {
    holder: Child,
    at: PathBuf,
}

/// Mounts one at a directory, for the commands that are put [`SmallDisk::inside`].
pub(crate) fn disk(at: &Path) -> SmallDisk {
    std::fs::create_dir_all(at).unwrap();
    let script = "mount -t tmpfs -o size=64k,mode=700 none \"$0\" && echo ready && exec cat";
    let mut holder = Command::new("unshare")
        .args(as_user(&["--map-root-user"]))
        .args(["--mount", "sh", "-c", script])
        .arg(at)
        // It ends when we do, whatever happens to us.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test needs unshare: install util-linux");
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "no file system can be mounted here");
    SmallDisk { holder, at: at.to_owned() }
}

impl SmallDisk {
    /// Returns the same command, which sees this disk.
    pub(crate) fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .args(as_user(&["--user", "--preserve-credentials"]))
            .args(["--mount", "--target", &self.holder.id().to_string(), "--"])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        inside
    }

    /// Leaves no room on it.
    pub(crate) fn fill(&self) {
        // It ends when nothing more fits.
        assert!(!self.run("dd if=/dev/zero bs=4k of=\"$0/filler\" 2>/dev/null"));
    }

    /// Makes room on it.
    pub(crate) fn free(&self) {
        assert!(self.run("rm \"$0/filler\""));
    }

    /// Mounts the disk read-only, or writable again.
    pub(crate) fn read_only(&self, is: bool) {
        let way = if is { "ro" } else { "rw" };
        assert!(self.run(&format!("mount -o remount,{way} \"$0\"")));
    }

    fn run(&self, script: &str) -> bool {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).arg(&self.at).env("PATH", std::env::var_os("PATH").unwrap());
        self.inside(&command).status().unwrap().success()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Only root can do without a user namespace.
fn as_user(options: &'static [&'static str]) -> &'static [&'static str] {
    if nix::unistd::geteuid().is_root() { &[] } else { options }
}
