//! Machines of a test: network namespaces on one bridge, in namespaces that end with the test.
//!
//! The test runs itself again under `unshare`. The second run has its own users (unless it is root's),
//! processes, mounts and networks, so that nothing of it is left on the machine, even if it is killed.

use std::path::Path;
use std::process::Command;

/// A machine: a network namespace with an address on the bridge.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    name: String,
    pub(crate) address: String,
}

/// Packets between a machine and others that are lost. Nobody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// None leaves the machine.
    Sent,
    /// None reaches the machine.
    Received,
    Both,
}

/// Runs `body` in namespaces of its own. `test` is the path of the test that calls this.
pub(crate) fn isolated(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        open_bridge();
        return body();
    }
    let flags = if nix::unistd::geteuid().is_root() { "-nmp" } else { "-rnmp" };
    let output = Command::new("unshare")
        .args([flags, "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{errors}");
}

/// The names of namespaces are files, and these must not be the machine's own.
fn open_bridge() {
    run("mount -t tmpfs tmpfs /run");
    run("mkdir /run/netns");
    run("ip link set lo up");
    run("ip link add fleet type bridge");
    run(&format!("ip address add {HUB}/24 dev fleet"));
    run("ip link set fleet up");
}

impl Node {
    /// Makes a machine whose address ends with this number.
    pub(crate) fn new(number: usize) -> Self {
        let (name, address) = (format!("node{number}"), format!("10.77.0.{number}"));
        run(&format!("ip netns add {name}"));
        run(&format!("ip link add port{number} type veth peer name eth0 netns {name}"));
        run(&format!("ip link set port{number} master fleet up"));
        run(&format!("ip -n {name} address add {address}/24 dev eth0"));
        run(&format!("ip -n {name} link set eth0 up"));
        run(&format!("ip -n {name} link set lo up"));
        Self { name, address }
    }

    /// Returns a command that runs on this machine, in the process that is spawned.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program);
        command
    }

    /// Loses packets between this machine and `others` (an address, or several by a mask).
    pub(crate) fn cut(&self, cut: Cut, others: &str) {
        if cut != Cut::Received {
            self.filter(&["-A", "OUTPUT", "-d", others, "-j", "DROP"]);
        }
        if cut != Cut::Sent {
            self.filter(&["-A", "INPUT", "-s", others, "-j", "DROP"]);
        }
    }

    /// Loses nothing any more.
    pub(crate) fn heal(&self) {
        self.filter(&["-F"]);
    }

    fn filter(&self, words: &[&str]) {
        let status = self.command("iptables").arg("-w").args(words).status().unwrap();
        assert!(status.success(), "iptables {words:?}");
    }
}

/// Mounts a file system of 4 MiB there.
pub(crate) fn mount_small(folder: &Path) {
    run(&format!("mount -t tmpfs -o size=4m tmpfs {}", folder.display()));
}

fn run(line: &str) {
    let mut words = line.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{line}");
}

/// The address of the test itself, where the issuer listens.
pub(crate) const HUB: &str = "10.77.0.1";

/// The engines and their sentinels, as a filter names them: numbers from 32 to 47.
pub(crate) const ENGINES: &str = "10.77.0.32/28";

/// Set in the second run.
const INSIDE: &str = "FLEET_NETWORK_INSIDE";
