//! A machine with a real systemd, booted for one test: a container with processes, mounts, users and
//! a network (loopback only) of its own. Nothing that a test does to it outlives the test.
//!
//! The calling thread moves into the machine's network, and with it whatever it starts: a simulator
//! in this process, curl as one of the machine's users. Files and commands of the machine are
//! reached through its first process.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nexudus_simulator::{Account, Simulator};
use nix::sched::{CloneFlags, setns};

use crate::shared::eventually;

/// A running machine; it ends with the test.
pub(crate) struct Machine {
    container: Child,
    /// The machine's first process, by its number outside.
    leader: u32,
}

/// The output of a command.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

/// A local user of the machine (`scripts/machine.sh`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct User(pub(crate) u32);

pub(crate) const ALICE: User = User(1000);
pub(crate) const BOB: User = User(1001);
pub(crate) const CAROL: User = User(1002);

/// A container has neither keyring nor Landlock, unless they are named; a machine has both.
const SYSTEM_CALLS: &str = "--system-call-filter=@keyring landlock_create_ruleset \
                            landlock_add_rule landlock_restrict_self";

/// Boots a machine with our program in /usr/local/bin and the calling thread in its network.
pub(crate) fn machine() -> Machine {
    assert!(nix::unistd::geteuid().is_root(), "booting a machine takes root: `sudo -E make test`");
    assert!(Path::new(ROOT).exists(), "there is no machine to boot: run scripts/prepare.sh");
    let program = format!("--bind-ro={}:/usr/local/bin/nexudus-proxy", OURS);
    let container = Command::new("systemd-nspawn")
        .args(["--quiet", "--boot", "--directory", ROOT, "--volatile=overlay", &program])
        .args(["--private-network", "--register=no", "--keep-unit", "--console=pipe"])
        .args([SYSTEM_CALLS, &format!("--machine=m{}", std::process::id())])
        // Also where this machine itself still has the first kind of control groups.
        .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
        // Several tests boot it at a time, and none of them writes to it.
        .env("SYSTEMD_NSPAWN_LOCK", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|_| panic!("the test needs systemd-nspawn: run scripts/prepare.sh"));
    let mut machine = Machine { container, leader: 0 };
    eventually("the machine boots", || {
        machine.leader = machine.first_process().unwrap_or_default();
        machine.leader != 0 && machine.path("/run/systemd/private").exists()
    });
    let state = machine.tried("systemctl is-system-running --wait").out;
    assert_eq!(state, "running\n", "{}", machine.tried("systemctl list-units --failed").out);
    let network = std::fs::File::open(format!("/proc/{}/ns/net", machine.leader)).unwrap();
    setns(network, CloneFlags::CLONE_NEWNET).unwrap();
    machine
}

/// Boots one that has the units and a login; nothing is started yet.
pub(crate) fn installed() -> Machine {
    let machine = machine();
    machine.install();
    machine.store_credentials();
    machine
}

/// Boots one on which the service has been started, and the Nexudus that it asks. `more` is added to
/// its configuration.
pub(crate) fn serving(more: &str) -> (Machine, Simulator) {
    let machine = installed();
    let nexudus = machine.nexudus(more);
    machine.run(START);
    (machine, nexudus)
}

impl Machine {
    fn first_process(&self) -> Option<u32> {
        let id = self.container.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// Returns a file of the machine.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.leader))
    }

    /// Writes a file of the machine.
    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Returns a shell line as a command in the machine, as root.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.leader.to_string(), "--mount", "--uts", "--ipc", "--net"]);
        command.args(["--pid", "--cgroup", "--", "bash", "-c", line]);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin");
        command
    }

    /// Returns a shell line as a command in a user's session, as after a login.
    pub(crate) fn command_of(&self, User(uid): User, line: &str) -> Command {
        let mut command = self.command(&format!(
            "exec setpriv --reuid={uid} --regid={uid} --init-groups env HOME=$(getent passwd {uid} \
             | cut -d: -f6) XDG_RUNTIME_DIR=/run/user/{uid} \
             DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/{uid}/bus bash -c \"$LINE\""
        ));
        command.env("LINE", line);
        command
    }

    /// Runs a shell line in the machine as root; it must succeed. Returns what it printed.
    pub(crate) fn run(&self, line: &str) -> String {
        Said::by(&mut self.command(line)).done(line)
    }

    /// Runs a shell line in a user's session; it must succeed. Returns what it printed.
    pub(crate) fn run_as(&self, user: User, line: &str) -> String {
        Said::by(&mut self.command_of(user, line)).done(line)
    }

    /// Runs a shell line in the machine as root, and tells how it went.
    pub(crate) fn tried(&self, line: &str) -> Said {
        Said::by(&mut self.command(line))
    }

    /// Runs a shell line in a user's session, and tells how it went.
    pub(crate) fn tried_as(&self, user: User, line: &str) -> Said {
        Said::by(&mut self.command_of(user, line))
    }

    /// Asks the daemon as one of the users and returns the status, `000` where there is no answer.
    pub(crate) fn get(&self, user: User, path: &str) -> String {
        self.curl(user, &format!("'http://localhost:6398{path}'"))
    }

    /// Does what [`Machine::get`] does, with these words for curl.
    pub(crate) fn curl(&self, user: User, words: &str) -> String {
        let curl =
            "curl --silent --globoff --max-time 30 --output /dev/null --write-out '%{http_code}'";
        self.tried_as(user, &format!("{curl} {words}")).out
    }

    /// Returns what systemd knows of our service: one property.
    pub(crate) fn service(&self, property: &str) -> String {
        let told = self.run(&format!("systemctl show --value -p {property} nexudus-proxy.service"));
        told.trim().to_owned()
    }

    /// Returns the journal of our units: message by message, of `priority` and above.
    pub(crate) fn journal(&self, priority: &str) -> String {
        self.run(&format!(
            "journalctl --sync; journalctl --no-pager --quiet --output=cat --priority={priority} \
             --unit=nexudus-proxy.service --unit='nexudus-proxy*.socket'"
        ))
    }

    /// Starts a simulated Nexudus in the machine's network and points the daemon at it.
    pub(crate) fn nexudus(&self, more: &str) -> Simulator {
        let account = Account::new(EMAIL, PASSWORD);
        let simulator = Simulator::builder().account(account).start().unwrap();
        self.write("/etc/nexudus-proxy/ca.pem", simulator.ca_pem());
        self.configure(&simulator, more);
        simulator
    }

    /// Writes the configuration of the machine's daemon.
    pub(crate) fn configure(&self, simulator: &Simulator, more: &str) {
        self.write("/etc/nexudus-proxy/config.toml", configuration(simulator) + more);
    }

    /// Puts the units for the whole machine where `service install --system` does.
    pub(crate) fn install(&self) {
        for unit in UNITS {
            self.write(&format!("/etc/systemd/system/{unit}"), source(unit));
        }
        self.run("systemctl daemon-reload");
    }

    /// Adds lines to one of the units, as `systemctl edit` does.
    pub(crate) fn edit(&self, unit: &str, lines: &str) {
        self.write(&format!("/etc/systemd/system/{unit}.d/test.conf"), lines);
        self.run("systemctl daemon-reload");
    }

    /// Stores the login and the key of the session file, encrypted, as docs/service.md says.
    pub(crate) fn store_credentials(&self) {
        self.run("install -d -m 700 /etc/credstore.encrypted");
        for (name, value) in
            [("nexudus-email", EMAIL), ("nexudus-password", PASSWORD), ("nexudus-key", KEY)]
        {
            self.run(&format!(
                "printf %s '{value}' | systemd-creds encrypt --with-key=host --name={name} - \
                 /etc/credstore.encrypted/{name} 2>&1"
            ));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && self.leader != 0 {
            let said = self.tried("journalctl --no-pager --quiet --lines=80");
            let _ = writeln!(std::io::stderr(), "the machine's journal ends with:\n{}", said.out);
        }
        // Its first process takes every other one with it.
        if let Some(leader) = i32::try_from(self.leader).ok().filter(|pid| *pid > 0) {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(leader),
                nix::sys::signal::Signal::SIGKILL,
            );
        } else {
            let _ = self.container.kill();
        }
        let _ = self.container.wait();
    }
}

impl Said {
    pub(crate) fn by(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().unwrap();
        Self {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }

    fn done(self, line: &str) -> String {
        assert_eq!(self.code, 0, "{line}\n{}{}", self.out, self.err);
        self.out
    }
}

/// Returns one of our own programs, run by a user of the machine in its network.
pub(crate) fn program(User(uid): User, program: &str) -> Command {
    let mut command = Command::new(program);
    command.uid(uid).gid(uid).current_dir("/").env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command
}

/// Returns the configuration that points a daemon at a simulated Nexudus.
pub(crate) fn configuration(simulator: &Simulator) -> String {
    format!(
        "[upstream]\norigin = \"https://localhost:{}\"\nca_file = \"ca.pem\"\n\
         [listen]\nusers = [\"alice\"]\n",
        simulator.address().port()
    )
}

/// Returns the text of a unit.
pub(crate) fn source(unit: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(unit);
    std::fs::read_to_string(path).unwrap()
}

pub(crate) const UNITS: [&str; 3] =
    ["nexudus-proxy.service", "nexudus-proxy.socket", "nexudus-proxy-admin.socket"];

/// Starts with the machine, as after `systemctl enable --now`.
pub(crate) const START: &str = "systemctl enable --quiet --now nexudus-proxy.service nexudus-proxy.socket nexudus-proxy-admin.socket";

pub(crate) const EMAIL: &str = "ada@example.test";
pub(crate) const PASSWORD: &str = "marker-password-7f3a";
pub(crate) const KEY: &str = "marker-key-0123456789abcdef";

const ROOT: &str = "/var/cache/nexudus-proxy-tests/machine";
const OURS: &str = env!("CARGO_BIN_EXE_nexudus-proxy");
